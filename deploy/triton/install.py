#!/usr/bin/env python3
"""Puts a real Triton server into a folder (default `.triton/` of this repository), without root or containers.

    python deploy/triton/install.py [FOLDER]

nvidia-pytriton carries NVIDIA's `tritonserver` with its Python backend; CPU only is fine. Its Python backend needs
numpy < 2, so the server gets a Python environment of its own. Safe to run again: a stamp says what is there.

    server/     the wheel's files           python/    environment of the models (numpy 1, onnxruntime)
    backends/   python → server/…, onnxruntime/model.py                         stamp.json
"""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

SERVER = "nvidia-pytriton==0.7.0"
MODEL_PACKAGES = ("numpy==1.26.4", "onnxruntime==1.31.1")
HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=HERE.parents[1] / ".triton")
    home = parser.parse_args().folder.resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with open(home / ".lock", "w") as lock:  # two installations at once would mix their files
            fcntl.flock(lock, fcntl.LOCK_EX)
            changed = install(home)
    except (OSError, RuntimeError) as error:
        print(f"Triton was not installed into {home}: {error}", file=sys.stderr)
        return 1
    print(f"Triton is in {home}" + ("" if changed else " (it was already)"))
    return 0


def install(home: Path) -> bool:
    """True when something had to be done."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    wanted = {
        "server": SERVER,
        "packages": list(MODEL_PACKAGES),
        "python": python,
        "base": sys.base_prefix,
        "libdir": str(libpython_folder()),
    }
    stamp = home / "stamp.json"
    link_backends(home)
    found = json.loads(stamp.read_text()) if stamp.is_file() else None
    if found == wanted:
        return False
    stamp.unlink(missing_ok=True)
    root = home / "server/pytriton/tritonserver"
    if not (root / "bin/tritonserver").is_file() or (found and found["server"] != SERVER):
        shutil.rmtree(home / "server", ignore_errors=True)
        pip("install", "--no-deps", "--target", str(home / "server"), SERVER)
    stub = root / "python_backend_stubs" / python / "triton_python_backend_stub"
    if not stub.is_file():
        raise RuntimeError(f"{SERVER} has no stub for Python {python}; run this with Python 3.9 to 3.13")
    target = root / "backends/python/triton_python_backend_stub"
    shutil.copyfile(stub, target)
    target.chmod(0o755)
    (root / "bin/tritonserver").chmod(0o755)

    shutil.rmtree(home / "python", ignore_errors=True)
    venv.create(home / "python", with_pip=False, symlinks=True)
    site = home / "python/lib" / f"python{python}" / "site-packages"
    pip("install", "--target", str(site), *MODEL_PACKAGES)
    stamp.write_text(json.dumps(wanted, indent=1) + "\n")
    return True


def link_backends(home: Path) -> None:
    backends = home / "backends"
    (backends / "onnxruntime").mkdir(parents=True, exist_ok=True)
    python = backends / "python"
    if not python.is_symlink():
        python.symlink_to(Path("../server/pytriton/tritonserver/backends/python"))
    shutil.copyfile(HERE / "backends/onnxruntime/model.py", backends / "onnxruntime/model.py")


def libpython_folder() -> Path:
    """Where libpython3.x.so lies: the stub is linked against it."""
    folder = Path(sysconfig.get_config_var("LIBDIR") or sys.base_prefix + "/lib")
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so"
    for place in (folder, Path(sys.base_prefix) / "lib", Path("/usr/lib/x86_64-linux-gnu")):
        if list(place.glob(name + "*")):
            return place
    raise RuntimeError(f"{name} is not in {folder}; install Python's shared library (Debian: libpython3.11)")


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()[-400:]}")


if __name__ == "__main__":
    raise SystemExit(main())
