"""Copy the models that Triton serves out of the store into a repository folder: python fetch_models.py FOLDER

A model folder of the store is one for Triton where it holds config.pbtxt. What arrives must be what model.json names:
a digest that differs ends the program, and with it the pod's start, before anything false is served.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from cisterna.store import open_store


def fetch(store_url: str, folder: Path) -> list[str]:
    """Names of the models copied. Raises SystemExit with one sentence where a model is not what it says."""
    store = open_store(store_url)
    found = []
    for path in store.list("models"):
        parts = path.split("/")
        if len(parts) != 3 or parts[2] != "config.pbtxt":
            continue
        name = parts[1]
        description = json.loads(store.get(f"models/{name}/model.json"))
        onnx = description["onnx"]
        network = store.get(f"models/{name}/{onnx['file']}")
        digest = hashlib.sha256(network).hexdigest()
        if digest != onnx["sha256"]:
            raise SystemExit(
                f"models/{name}/{onnx['file']} has sha256 {digest}, model.json says {onnx['sha256']}: put it again"
            )
        target = folder / name / onnx["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(network)
        (folder / name / "config.pbtxt").write_bytes(store.get(path))
        found.append(name)
    if not found:
        raise SystemExit("the store holds no model with config.pbtxt under models/: add one with `cisterna models add`")
    return found


if __name__ == "__main__":
    print("models for Triton:", *fetch(os.environ["CISTERNA_STORE"], Path(sys.argv[1])))
