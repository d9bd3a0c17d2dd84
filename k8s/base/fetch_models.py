"""Lay out Triton's model repository from the models in the store: python fetch_models.py FOLDER

Runs before Triton in its pod, in the ernet image. A network that is not the one its model.json names ends the program,
and with it the pod's start, before anything false is served.
"""

import json
import os
import sys
from pathlib import Path

from cisterna.ernet.triton_server import FAMILIES, lay_out
from cisterna.store import open_store


def fetch(store_url: str, folder: Path) -> list[str]:
    """Names of the models laid out. Raises SystemExit with one sentence where there is none, or one is not itself."""
    store = open_store(store_url)
    found = []
    for name in store.folders("models"):
        spec = json.loads(store.get(f"models/{name}/model.json"))
        if spec.get("family") not in FAMILIES or "onnx" not in spec:
            continue
        try:
            lay_out(spec, store.get(f"models/{name}/{spec['onnx']['file']}"), folder, f"models/{name}")
        except ValueError as error:
            raise SystemExit(str(error)) from error
        found.append(name)
    if not found:
        raise SystemExit(f"{store_url} holds no ERnet with an ONNX network: add one with `cisterna models add FOLDER`")
    return found


if __name__ == "__main__":
    print("models for Triton:", *fetch(os.environ["CISTERNA_STORE"], Path(sys.argv[1])))
