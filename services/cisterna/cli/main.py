"""The ``cisterna`` command. Errors are one line that says what to do; the exit codes are in docs/cli.md."""

from __future__ import annotations

import argparse
import os
import sys

from cisterna.cli.home import Unreachable, UsageError
from cisterna.models import ModelError
from cisterna.store import ObjectMissing, StoreError, StoreFull, StoreRefused

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 5


def build_parser(argv: list[str]) -> argparse.ArgumentParser:
    from cisterna.cli import demo, make, runs, stack, submit

    parser = argparse.ArgumentParser(prog="cisterna", description="From microscope to ER exit sites and ER networks.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo.add_arguments(commands)
    stack.add_arguments(commands)
    submit.add_arguments(commands)
    runs.add_arguments(commands)
    make.add_arguments(commands, argv)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one command; exit codes: 0 ok, 1 failed, 2 usage or unusable input, 3 degraded, 4 cancelled, 5 unreachable."""
    argv = sys.argv[1:] if argv is None else argv
    args = build_parser(argv).parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except (StoreRefused, Unreachable) as e:
        return _say(e, EXIT_UNREACHABLE)
    except StoreFull as e:
        return _say(e, EXIT_FAILED)
    except (UsageError, ModelError) as e:
        return _say(e, EXIT_USAGE)
    except ObjectMissing as e:
        return _say(e, EXIT_FAILED)
    except StoreError as e:
        return _say(e, EXIT_UNREACHABLE)
    except (ValueError, FileNotFoundError, IsADirectoryError, PermissionError) as e:
        if os.environ.get("CISTERNA_TRACEBACK"):
            raise
        return _say(e, EXIT_USAGE)
    except KeyboardInterrupt:
        return 130


def _say(error: BaseException, code: int) -> int:
    print(f"cisterna: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
