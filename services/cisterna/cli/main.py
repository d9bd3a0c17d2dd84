"""The ``cisterna`` command. Errors are one line that says what to do; the exit codes are in docs/cli.md."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from cisterna.cli.home import Unreachable, UsageError
from cisterna.models import ModelError
from cisterna.store import ObjectMissing, StoreError, StoreFull, StoreRefused

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 5


ROOMS = {
    "demo": ("demo",),
    "stack": ("up", "down", "ps", "logs", "doctor"),
    "submit": ("submit", "plan"),
    "runs": ("runs", "show", "wait", "cancel", "retry", "verify", "export", "rm"),
    "review": ("review",),
    "make": ("train", "models", "phantom"),
    "compare": ("compare",),
    "view": ("view",),
    "evaluate": ("evaluate",),
}
"""Which module of this room adds which commands: only the one that is asked for is imported."""


def build_parser(argv: list[str]) -> argparse.ArgumentParser:
    """The parser; all commands where none of them is asked for (help, mistakes)."""
    parser = argparse.ArgumentParser(prog="cisterna", description="From microscope to ER exit sites and ER networks.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = [room for room, names in ROOMS.items() if argv[:1] and argv[0] in names]
    for room in asked or ROOMS:
        importlib.import_module(f"cisterna.cli.{room}").add_arguments(commands, argv)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one command: 0 ok, 1 failed, 2 unusable input, 3 degraded, 4 cancelled, 5 store or services unreachable."""
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
