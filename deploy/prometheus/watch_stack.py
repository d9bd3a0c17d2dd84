"""Start Prometheus on this machine's stack: python deploy/prometheus/watch_stack.py [--home FOLDER] [--port 9090]

Needs the program `prometheus` (Debian: apt-get install prometheus). Its data go to FOLDER/prometheus. The targets are
those `cisterna up` writes and the drivers that live, which stand in FOLDER/stack/targets/*.json.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def configuration(targets: list[str]) -> str:
    """prometheus.yml with other target files (absolute paths or patterns) and absolute rule files."""
    text = (HERE / "prometheus.yml").read_text()
    listed = "".join(f"          - {pattern}\n" for pattern in targets)
    return text.replace("          - targets/*.json\n", listed).replace("  - alerts.yml", f"  - {HERE / 'alerts.yml'}")


def command(folder: Path, targets: list[str], port: int) -> list[str]:
    """Write the configuration into `folder` and return the command line that serves it on 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text(configuration(targets))
    return [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=15d",
        f"--web.listen-address=127.0.0.1:{port}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("CISTERNA_HOME") or Path.home() / ".cisterna"))
    parser.add_argument("--port", type=int, default=9090)
    arguments = parser.parse_args()
    if shutil.which("prometheus") is None:
        print("prometheus is not installed: apt-get install -y --no-install-recommends prometheus", file=sys.stderr)
        return 1
    home = arguments.home.resolve()
    targets = [str(home / "stack/prometheus-targets.json"), str(home / "stack/targets/*.json")]
    words = command(home / "prometheus", targets, arguments.port)
    os.execvp(words[0], words)


if __name__ == "__main__":
    sys.exit(main())
