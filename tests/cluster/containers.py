"""Podman for tests: its own storage and configuration in a cache folder, and a base image made without any registry.

The Dockerfile starts from `python:3.11-slim-bookworm`. Where no registry answers, a stand-in of that name is made from
Debian packages (bookworm's own Python is 3.11 too): debootstrap, then import. It stays in the cache folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGES = (
    "podman", "buildah", "runc", "netavark", "aardvark-dns", "iptables", "catatonit", "debootstrap",
)  # fmt: skip
BASE = "docker.io/library/python:3.11-slim-bookworm"
CONFIGURATION = """\
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""
# What an image build needs of this machine to reach a package index; mounted, never part of the Dockerfile.
PIP_FILES = ("/etc/pip.conf", "/root/.config/pip/pip.conf", "/etc/ssl/certs/ca-certificates.crt")


class ContainersError(RuntimeError):
    """A container command failed; the message ends with its last lines."""


def why_missing() -> str | None:
    """None where containers can be built and run here, else a sentence fit for pytest.skip."""
    if os.geteuid() != 0:
        return "building and running the image needs root (debootstrap, podman with runc)"
    absent = [program for program in ("podman", "runc", "debootstrap") if shutil.which(program) is None]
    if absent:
        return f"{', '.join(absent)} missing: apt-get install -y --no-install-recommends {' '.join(PACKAGES)}"
    return None


class Containers:
    """Images and containers of the tests, apart from everything else on the machine."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.storage = cache / "containers"
        self.storage.mkdir(parents=True, exist_ok=True)
        self._lock = open(cache / "lock", "w")  # noqa: SIM115
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # two test sessions on one cache would remove each other's containers
        self.configuration = cache / "containers.conf"
        self.configuration.write_text(CONFIGURATION)
        # The engine's database remembers this path, so it must be the same in every run; it must also be short.
        self.run_root = Path("/run") / f"cisterna-test-{hashlib.sha256(str(cache).encode()).hexdigest()[:8]}"

    def podman(self, *words: str, timeout_s: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        roots = ("--root", str(self.storage), "--runroot", str(self.run_root))
        done = subprocess.run(
            ["podman", *roots, *words],
            env={**os.environ, "CONTAINERS_CONF": str(self.configuration)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            raise ContainersError(f"podman {words[0]} failed:\n{(done.stdout + done.stderr)[-3000:]}")
        return done

    def close(self) -> None:
        """Stop and forget what ran; images stay in the cache."""
        self.podman("rm", "--all", "--force", "--time", "2", check=False)
        self._lock.close()

    def has_image(self, name: str) -> bool:
        answer = self.podman("image", "exists", name, check=False)
        if answer.returncode > 1:
            raise ContainersError(f"podman does not work here:\n{answer.stderr[-3000:]}")
        return answer.returncode == 0

    def make_base(self) -> None:
        """Make the stand-in base image unless the cache holds it (about 2 minutes, 200 MB)."""
        if self.has_image(BASE):
            return
        with tempfile.TemporaryDirectory(prefix="cisterna-base-", dir=self.cache) as folder:
            root = Path(folder) / "root"
            mirror = os.environ.get("CISTERNA_TEST_MIRROR", "http://deb.debian.org/debian")
            _run(
                "debootstrap", "--variant=minbase", "--include=python3,python3-pip,python3-venv,ca-certificates",
                "bookworm", str(root), mirror,
            )  # fmt: skip
            for name in ("python", "python3", "python3.11"):
                (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3.11")
            (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink(missing_ok=True)
            for leftover in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
                shutil.rmtree(root / leftover, ignore_errors=True)
            archive = Path(folder) / "root.tar"
            _run("tar", "-C", str(root), "--numeric-owner", "--one-file-system", "-cf", str(archive), ".")
            path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            self.podman("import", "--change", f"ENV {path}", str(archive), BASE, timeout_s=300)

    def build(self, repository: Path, target: str, tag: str) -> None:
        """Build one target of deploy/Dockerfile. Layers are kept, so a second build only installs our own package."""
        mounts = [f"--volume={path}:{path}:ro" for path in PIP_FILES if os.path.isfile(path)]
        mounts += [f"--volume={path}:{path}:ro" for path in _local_indexes()]
        self.podman(
            "build", "--pull=never", "--format=docker", "--network=host", "--layers", *mounts,
            f"--target={target}", f"--tag={tag}", f"--file={repository / 'deploy/Dockerfile'}", str(repository),
            timeout_s=500,
        )  # fmt: skip
        # Layers of former states of our sources are kept for a week.
        self.podman("image", "prune", "--force", "--filter", "until=168h", check=False)


def _local_indexes() -> list[str]:
    """Folders on this machine that pip's configuration names: find-links, file:// indexes with what lies beside."""
    done = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, timeout=60, check=False)
    folders = set()
    for word in done.stdout.replace("'", " ").split():
        path = Path(word.removeprefix("file://"))
        if path.is_absolute() and path.is_dir():
            folders.add(str(path.parent if word.startswith("file://") else path))
    return sorted(folders)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise ContainersError(f"{command[0]} failed:\n{(done.stdout + done.stderr)[-3000:]}")
