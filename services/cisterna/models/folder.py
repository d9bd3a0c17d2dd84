"""A model is a folder: model.json, weights as safetensors and, for Triton, model.onnx with config.pbtxt."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from cisterna.models.digest import digest, sha256

if TYPE_CHECKING:
    import torch

FORMAT = 1
BUILDERS = {
    "fastfib": "cisterna.denoise.fastfib:build",
    "asem": "cisterna.segment.unet:build",
    "ernet-swin2d": "cisterna.ernet.swin2d:build",
    "ernet-swin3d": "cisterna.ernet.swin3d:build",
}
"""Where a family's ``build(**topology) -> torch.nn.Module`` lives; imported only when a network is wanted."""

REQUIRED = (
    "name",
    "family",
    "topology",
    "padding",
    "context",
    "stride",
    "intensity",
    "flop_per_voxel",
    "demo",
    "licence",
)
WEIGHTS_FILE = "weights.safetensors"
ONNX_FILE = "1/model.onnx"
CONFIG_FILE = "config.pbtxt"


class ModelError(ValueError):
    """A model folder is incomplete, altered, or of another family than asked for."""


class ModelSource(Protocol):
    """The part of an object store that reading a model needs."""

    def get(self, path: str) -> bytes: ...
    def exists(self, path: str) -> bool: ...
    def put_new(self, path: str, data: bytes) -> bool: ...
    def put(self, path: str, data: bytes) -> None: ...
    def delete(self, path: str) -> None: ...


@dataclass(frozen=True)
class Model:
    """model.json (``spec``) and the weights (float32 arrays by state_dict key)."""

    spec: Mapping[str, Any]
    weights: Mapping[str, NDArray[Any]]

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def family(self) -> str:
        return str(self.spec["family"])

    @property
    def digest(self) -> str:
        return str(self.spec["digest"])

    def module(self) -> torch.nn.Module:
        """The network in eval mode, on the CPU, in float32."""
        import torch

        module_name, function = BUILDERS[self.family].split(":")
        network: torch.nn.Module = getattr(importlib.import_module(module_name), function)(**self.spec["topology"])
        state = {k: torch.from_numpy(np.array(v)) for k, v in self.weights.items()}
        try:
            network.load_state_dict(state, strict=True)
        except RuntimeError as e:
            raise ModelError(
                f"weights of model {self.name} do not fit its topology: {str(e).splitlines()[-1].strip()}"
            ) from e
        return network.eval()


def write_model_folder(
    path: Path | str,
    spec: Mapping[str, Any],
    weights: Mapping[str, NDArray[Any]],
    onnx: bytes | None = None,
    config: str | None = None,
) -> str:
    """Writes a model folder (weights as float16, integers as they are) and returns its digest.

    ``spec`` holds the fields of docs/architecture.md except ``format``, ``weights``, ``onnx`` and ``digest``.
    """
    missing = [k for k in REQUIRED if k not in spec]
    if missing:
        raise ModelError(f"model.json of {spec.get('name', path)} lacks {', '.join(missing)}")
    if spec["family"] not in BUILDERS:
        raise ModelError(f"unknown model family {spec['family']!r}: one of {', '.join(BUILDERS)}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", str(spec["name"])):
        raise ModelError(f"model name {spec['name']!r} must be lower-case letters, digits, '.', '_' and '-'")
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    stored = {
        k: np.ascontiguousarray(v, dtype=np.float16 if np.asarray(v).dtype.kind == "f" else None)
        for k, v in sorted(weights.items())
    }
    blob = save_safetensors(stored)
    document: dict[str, Any] = {
        **spec,
        "format": FORMAT,
        "weights": {"file": WEIGHTS_FILE, "sha256": sha256(blob), "bytes": len(blob), "dtype": "float16"},
    }
    if onnx is not None:
        (folder / "1").mkdir(exist_ok=True)
        (folder / ONNX_FILE).write_bytes(onnx)
        document["onnx"] = {"file": ONNX_FILE, "sha256": sha256(onnx), "bytes": len(onnx)}
    if config is not None:
        (folder / CONFIG_FILE).write_text(config)
    document.pop("digest", None)
    document["digest"] = digest(document)
    (folder / WEIGHTS_FILE).write_bytes(blob)
    (folder / "model.json").write_text(_pretty(document))
    return str(document["digest"])


def amend_model_folder(path: Path | str, entries: Mapping[str, Any]) -> str:
    """Adds entries to the model.json of a checked folder, in place of those of the same names; returns the new digest.

    Weights stay as they are. What identifies them and the digest cannot be set: ModelError.
    """
    folder = Path(path)
    fixed = {"format", "name", "family", "topology", "weights", "onnx", "digest"} & set(entries)
    if fixed:
        raise ModelError(f"{', '.join(sorted(fixed))} of {folder}/model.json cannot be amended: write the folder anew")
    document = {k: v for k, v in read_model_folder(folder).spec.items() if k != "digest"} | dict(entries)
    document["digest"] = digest(document)
    fresh = folder / "model.json.new"
    fresh.write_text(_pretty(document))
    fresh.replace(folder / "model.json")
    return str(document["digest"])


def _pretty(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_spec(text: bytes | str, where: str) -> dict[str, Any]:
    """model.json, checked: format, digest, family."""
    try:
        spec: dict[str, Any] = json.loads(text)
    except ValueError as e:
        raise ModelError(f"{where}/model.json is not JSON: {e}") from e
    if spec.get("format") != FORMAT:
        raise ModelError(f"{where}/model.json has format {spec.get('format')}; this Cisterna reads {FORMAT}")
    if spec.get("family") not in BUILDERS:
        raise ModelError(f"{where} is of family {spec.get('family')!r}; known are {', '.join(BUILDERS)}")
    said = spec.get("digest")
    if digest({k: v for k, v in spec.items() if k != "digest"}) != said:
        raise ModelError(f"{where}/model.json was altered: its digest is not {said}; add the model again")
    return spec


def _weights(spec: Mapping[str, Any], blob: bytes, where: str) -> dict[str, NDArray[Any]]:
    if sha256(blob) != spec["weights"]["sha256"]:
        raise ModelError(
            f"{where}/{WEIGHTS_FILE} is not the file that model.json names (sha256 differs); add the model again"
        )
    try:
        arrays = load_safetensors(blob)
    except SafetensorError as e:
        raise ModelError(f"{where}/{WEIGHTS_FILE} does not read as safetensors: {e}") from e
    return {k: v.astype(np.float32) if v.dtype == np.float16 else v for k, v in arrays.items()}


def read_model_folder(path: Path | str) -> Model:
    """Reads and checks a model folder on disk."""
    folder = Path(path)
    if not (folder / "model.json").is_file():
        raise ModelError(f"{folder} is no model folder: it has no model.json")
    spec = read_spec((folder / "model.json").read_bytes(), str(folder))
    return Model(spec, _weights(spec, (folder / WEIGHTS_FILE).read_bytes(), str(folder)))


def read_model(store: ModelSource, name: str) -> Model:
    """Reads and checks ``models/<name>/`` of a store."""
    where = f"models/{name}"
    spec = read_spec(store.get(f"{where}/model.json"), where)
    return Model(spec, _weights(spec, store.get(f"{where}/{WEIGHTS_FILE}"), where))


def install_model(store: ModelSource, folder: Path | str) -> str:
    """Copies a checked model folder into a store (model.json last) and returns its name.

    A model of that name with another digest is refused: names are cited in reports, so they never change meaning.
    Demonstration models alone give way to those of a newer release; reports cite them with their digest.
    """
    folder = Path(folder)
    model = read_model_folder(folder)
    where = f"models/{model.name}"
    if store.exists(f"{where}/model.json"):
        present = read_spec(store.get(f"{where}/model.json"), where)
        if present["digest"] == model.digest:
            return model.name
        if not (present["demo"] and model.spec["demo"]):
            raise ModelError(
                f"the store already holds another model named {model.name} (digest {present['digest'][:12]}…, "
                f"this one {model.digest[:12]}…): give the new one another name"
            )
        store.delete(f"{where}/model.json")  # no moment shows the new weights under the old description
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    for name in [n for n in files if n != "model.json"] + ["model.json"]:
        store.put(f"{where}/{name}", (folder / name).read_bytes())
    return model.name


def load_model(folder: Path | str) -> torch.nn.Module:
    """Any model folder of ours as a torch module: eval mode, CPU, float32."""
    return read_model_folder(folder).module()


def demo_models() -> Iterable[Path]:
    """Folders of the demonstration models that ship with the package."""
    home = Path(__file__).parent / "demo"
    return sorted(p.parent for p in home.glob("*/model.json"))
