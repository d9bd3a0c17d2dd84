"""The interface stays what was released, and the generated code is what the protos say."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).parents[2]
PROTOS = sorted((ROOT / "protos").rglob("*.proto"))


def _protoc(*options: str) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "protos"), *options, *map(str, PROTOS)]
    subprocess.run(command, check=True, timeout=120)


def _descriptors(folder: Path) -> descriptor_pb2.FileDescriptorSet:
    out = folder / "set.binpb"
    _protoc(f"--descriptor_set_out={out}")
    return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())


def _fields(files: descriptor_pb2.FileDescriptorSet) -> dict[str, tuple[object, ...]]:
    """Everything on the wire, by full name: fields, enum values, methods."""
    found: dict[str, tuple[object, ...]] = {}

    def message(prefix: str, m: descriptor_pb2.DescriptorProto) -> None:
        name = f"{prefix}.{m.name}"
        found[name] = ("message",)
        for f in m.field:
            found[f"{name}.{f.name}"] = ("field", f.number, f.type, f.label, f.type_name)
        for e in m.enum_type:
            enum(name, e)
        for n in m.nested_type:
            message(name, n)

    def enum(prefix: str, e: descriptor_pb2.EnumDescriptorProto) -> None:
        for v in e.value:
            found[f"{prefix}.{e.name}.{v.name}"] = ("value", v.number)

    for file in files.file:
        for m in file.message_type:
            message(file.package, m)
        for e in file.enum_type:
            enum(file.package, e)
        for s in file.service:
            for method in s.method:
                found[f"{file.package}.{s.name}.{method.name}"] = ("method", method.input_type, method.output_type)
    return found


def lost(golden: dict[str, tuple[object, ...]], now: dict[str, tuple[object, ...]]) -> list[str]:
    """What the golden interface has and the present one lacks or has changed."""
    return sorted(n for n, v in golden.items() if now.get(n) != v)


def test_generated_code_is_that_of_the_protos(tmp_path: Path) -> None:
    _protoc(f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", f"--grpc_python_out={tmp_path}")
    made = sorted((tmp_path / "cisterna" / "v1").iterdir())
    assert len(made) == 3 * len(PROTOS)
    committed = ROOT / "services" / "cisterna" / "v1"
    drifted = [p.name for p in made if not filecmp.cmp(p, committed / p.name, shallow=False)]
    assert drifted == [], "run `make proto` and commit what it makes"


def test_nothing_released_was_removed_or_renumbered(tmp_path: Path) -> None:
    golden = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "protos" / "golden.binpb").read_bytes())
    assert lost(_fields(golden), _fields(_descriptors(tmp_path))) == [], (
        "protos/README.md says how to bless an intended change"
    )


@pytest.mark.parametrize("change", ["remove", "renumber", "retype"])
def test_the_check_sees_a_broken_field(tmp_path: Path, change: str) -> None:
    golden = _fields(_descriptors(tmp_path))
    files = _descriptors(tmp_path)
    task = next(m for f in files.file for m in f.message_type if m.name == "TaskRef")
    if change == "remove":
        del task.field[2]
    elif change == "renumber":
        task.field[2].number = 99
    else:
        task.field[2].type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
    assert lost(golden, _fields(files)) == ["cisterna.v1.TaskRef.stage_key"]


@pytest.mark.skipif(
    shutil.which("buf", path=str(Path(sys.executable).parent)) is None,
    reason="buf is not installed (pip install buf-bin)",
)
def test_buf_finds_nothing_to_say() -> None:
    buf = shutil.which("buf", path=str(Path(sys.executable).parent))
    done = subprocess.run(
        [str(buf), "lint"], cwd=ROOT / "protos", capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
