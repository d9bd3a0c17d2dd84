"""A real Triton server over a small random ERnet."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest


class TritonServer:
    """A server process of its own process group, over one repository, on fixed ports."""

    def __init__(self, home: Path, repository: Path, log: Path) -> None:
        self.home, self.repository, self.log = home, repository, log
        self.ports = free_ports(3)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports[1]}"

    def start(self) -> None:
        from cisterna.cli.supervise import remove_memory
        from cisterna.ernet.triton_server import memory_prefix, triton_command

        remove_memory(memory_prefix(self.ports[1]))
        argv, environment = triton_command(self.home, self.repository, *self.ports)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log, start_new_session=True)

    def wait(self, seconds: float = 40) -> None:
        from cisterna.ernet.triton_client import Triton

        triton, until = Triton(self.address), time.monotonic() + seconds
        try:
            while not triton.healthy():
                assert self.process is not None
                assert self.process.poll() is None, f"Triton ended: {self.log.read_text()[-800:]}"
                assert time.monotonic() < until, f"Triton is not up: {self.log.read_text()[-800:]}"
                time.sleep(0.2)
        finally:
            triton.close()

    def worker_pids(self) -> list[int]:
        """The stub processes, in which the models run."""
        assert self.process is not None
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
                command = (folder / "cmdline").read_bytes()
            except (OSError, IndexError):
                continue
            if parent == self.process.pid and b"triton_python_backend_stub" in command:
                found.append(int(folder.name))
        return found

    def worker_pid(self, seconds: float = 15) -> int:
        """The one stub process of the one model, once an unloaded one has ended."""
        until = time.monotonic() + seconds
        while len(found := self.worker_pids()) != 1:
            assert time.monotonic() < until, f"workers of Triton: {found}"
            time.sleep(0.1)
        return found[0]

    def kill(self, number: int = signal.SIGKILL) -> None:
        from cisterna.cli.supervise import remove_memory
        from cisterna.ernet.triton_server import memory_prefix

        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
            self.process.wait(30)
            remove_memory(memory_prefix(self.ports[1]))


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="session")
def triton_home() -> Path:
    home = Path(os.environ.get("CISTERNA_TRITON_HOME", Path(__file__).parents[2] / ".triton"))
    if not (home / "stamp.json").is_file():
        pytest.skip(f"no Triton in {home}: run `python deploy/triton/install.py`")
    return home


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a narrow, random network named `small`."""
    torch = pytest.importorskip("torch")
    from cisterna.ernet.export import model_spec, write_ernet_folder
    from cisterna.ernet.swin2d import build

    topology = {"embed": 16, "depths": [1, 1], "heads": 4, "mlp_ratio": 2.0, "classes": 4}
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("models") / "small"
    spec = model_spec("small", topology, 0.1, "BSD-3-Clause", True, {}, {})
    network = build(**topology)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.15)
    write_ernet_folder(folder, spec, network)
    return folder


@pytest.fixture(scope="module")
def triton_over(
    triton_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Sequence[Path]], TritonServer]]:
    """Starts a server of the module's own over model folders."""
    from cisterna.ernet.triton_server import build_repository

    servers: list[TritonServer] = []

    def start(folders: Sequence[Path]) -> TritonServer:
        place = tmp_path_factory.mktemp("triton")
        build_repository(folders, place / "repository")
        servers.append(TritonServer(triton_home, place / "repository", place / "triton.log"))
        servers[-1].start()
        servers[-1].wait(150)
        return servers[-1]

    yield start
    for server in servers:
        server.kill(signal.SIGTERM)


@pytest.fixture(scope="session")
def triton(triton_home: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A running server. A test that kills it starts it again."""
    from cisterna.ernet.triton_server import build_repository

    place = tmp_path_factory.mktemp("triton")
    assert build_repository([small_model], place / "repository") == ["small"]
    server = TritonServer(triton_home, place / "repository", place / "triton.log")
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill(signal.SIGTERM)
