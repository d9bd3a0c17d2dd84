"""Starts Triton on one machine: its command line, and its model repository laid out from model folders."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from .triton_config import CANARY_EDGE_PX, cluster_config, local_config

FAMILIES = ("ernet-swin2d", "ernet-swin3d")
INSTALL_HINT = "run `python deploy/triton/install.py` (in the repository) to install it"


def triton_command(
    triton_home: str | Path, repository: str | Path, http_port: int, grpc_port: int, metrics_port: int
) -> tuple[list[str], dict[str, str]]:
    """(argv, environment) of a Triton server on 127.0.0.1 over a model repository (see `build_repository`).

    `triton_home` is the folder that deploy/triton/install.py filled. The server loads every model of the repository at
    start and stays up when one fails to load; models can be loaded again at run time (explicit control). Raises
    ValueError when the folder holds no finished installation.
    """
    home, repository = Path(triton_home).resolve(), Path(repository).resolve()
    try:
        installed = json.loads((home / "stamp.json").read_text())
    except (OSError, ValueError):
        raise ValueError(f"there is no Triton in {home}; {INSTALL_HINT}") from None
    if not repository.is_dir():
        raise ValueError(f"Triton's model repository {repository} is not there; make it with build_repository")
    root = home / "server/pytriton/tritonserver"
    argv = [
        str(root / "bin/tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={home / 'backends'}",
        f"--cache-directory={root / 'caches'}",
        "--disable-auto-complete-config",
        "--model-config-name=local",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--exit-on-error=false",
        "--exit-timeout-secs=5",
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
        "--metrics-address=127.0.0.1",
        f"--http-port={http_port}",
        f"--grpc-port={grpc_port}",
        f"--metrics-port={metrics_port}",
        "--allow-gpu-metrics=false",
        f"--backend-config=python,shm-region-prefix-name={memory_prefix(grpc_port)}",
    ]
    environment = {
        # The first python3 on PATH is the one the models run in.
        "PATH": f"{home / 'python/bin'}:{os.environ.get('PATH', os.defpath)}",
        "LD_LIBRARY_PATH": str(installed["libdir"]),
        "HOME": os.environ.get("HOME", "/"),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    for name in ("TMPDIR", "LANG"):
        if name in os.environ:
            environment[name] = os.environ[name]
    return argv, environment


def memory_prefix(grpc_port: int) -> str:
    """How the names of this server's own regions in /dev/shm begin; a kill -9 leaves them there (1 MB a worker)."""
    return f"cisterna_triton_{grpc_port}_"


def build_repository(
    model_folders: str | Path | Iterable[str | Path], target_dir: str | Path, instances: int = 1
) -> list[str]:
    """Lays out a Triton model repository from model folders; returns the names of the models in it.

    `<target>/<name>/{config.pbtxt, configs/local.pbtxt, 1/model.onnx}`, the same for a cluster and for one machine.
    Models without ONNX or of other families are passed over. A file that is right already is left alone, so building
    again under a running server changes nothing. `instances`: worker processes of each model, of one thread each, where
    the server has no GPU. Raises ValueError for a folder whose ONNX file is not the one that
    its model.json names.
    """
    folders = [model_folders] if isinstance(model_folders, str | Path) else list(model_folders)
    target = Path(target_dir)
    target.mkdir(parents=True, exist_ok=True)
    names = []
    for folder in map(Path, folders):
        description = folder / "model.json"
        if not description.is_file():
            raise ValueError(f"{folder} is not a model folder: it has no model.json")
        spec = json.loads(description.read_text())
        if spec.get("family") not in FAMILIES or "onnx" not in spec:
            continue
        onnx = (folder / spec["onnx"]["file"]).read_bytes()
        lay_out(spec, onnx, target, str(folder), instances)
        names.append(spec["name"])
    return names


def lay_out(spec: Mapping[str, object], onnx: bytes, target: Path, source: str, instances: int = 1) -> None:
    """One model of the repository, from its model.json and the bytes of its ONNX file."""
    name, entry = str(spec["name"]), spec["onnx"]
    assert isinstance(entry, dict)
    frames = int(str(spec.get("frames", 1)))
    edge_px = int(str(spec.get("smallest_frame_px", CANARY_EDGE_PX)))
    digest = hashlib.sha256(onnx).hexdigest()
    if digest != entry["sha256"]:
        raise ValueError(f"{source}: {entry['file']} is not the file that model.json names; add the model again")
    home = target / name
    changed = write_changed(home / "1/model.onnx", onnx)
    if changed:  # a server that looks now must not pair the new weights with an old configuration
        shutil.rmtree(home / "configs", ignore_errors=True)
    write_changed(home / "config.pbtxt", cluster_config(name, digest, frames=frames, canary_edge_px=edge_px).encode())
    local = local_config(name, digest, frames=frames, canary_edge_px=edge_px, instances=instances)
    write_changed(home / "configs/local.pbtxt", local.encode())


def write_changed(path: Path, data: bytes) -> bool:
    """Writes a file whole (a reader sees the old or the new one); False where it held these bytes already."""
    if path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + f".{os.getpid()}.new")
    fresh.write_bytes(data)
    fresh.replace(path)
    return True
