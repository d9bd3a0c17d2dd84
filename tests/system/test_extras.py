"""Each service's extra is enough for it, and three of them bring no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TORCH_FREE = ("eres", "graph", "ernet")


@pytest.mark.parametrize("extra", TORCH_FREE)
def test_the_extra_brings_no_torch(extra: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--quiet",
        "--report",
        str(report),
    ]
    done = subprocess.run([*command, f"{ROOT}[{extra}]"], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot resolve here: {done.stderr.strip().splitlines()[-1]}")
    names = {i["metadata"]["name"].lower() for i in json.loads(report.read_text())["install"]}
    assert "cisterna" in names
    assert "torch" not in names


WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("torch is absent here", name=name)

sys.meta_path.insert(0, Absent())
import cisterna.{service}.service
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("service", TORCH_FREE)
def test_the_service_starts_where_torch_is_absent(service: str) -> None:
    program = WITHOUT_TORCH.format(service=service)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
