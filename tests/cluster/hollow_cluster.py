"""A real control plane (API server, controllers, scheduler) with hollow nodes, on which pods only say that they run.

The programs come from the folder CISTERNA_TEST_TOOLS/kubernetes: up.sh, down.sh, hollow_nodes.py, downlevel.py. The
server is of release 1.20, so manifests are mapped down before they are applied; what has no counterpart there is left
out in `downlevel`, and nowhere else.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

Manifest = dict[str, Any]
# name: (nodes, accelerator label, GPUs a node)
POOLS = {"volume-gpu": (2, "nvidia-h100", 8), "inference-gpu": (1, "nvidia-l4", 1), "cpu": (2, "none", 0)}
OPERATOR_KINDS = {"ServiceMonitor": "servicemonitors", "PodMonitor": "podmonitors", "PrometheusRule": "prometheusrules"}


def tools() -> Path | None:
    folder = os.environ.get("CISTERNA_TEST_TOOLS")
    return Path(folder) / "kubernetes" if folder else None


def why_missing() -> str | None:
    """None where the control plane can be started, else a sentence fit for pytest.skip."""
    folder = tools()
    if folder is None or not (folder / "up.sh").exists():
        return "CISTERNA_TEST_TOOLS names no folder with kubernetes/up.sh, so there is no API server to ask"
    absent = [program for program in ("kubectl", "unzstd", "openssl") if shutil.which(program) is None]
    if absent:
        return f"{', '.join(absent)} missing: apt-get install -y zstd openssl, and kubectl 1.32"
    try:
        import kubernetes  # noqa: F401
    except ImportError:
        return "the Python package kubernetes is missing (pip install .[dev]), so nodes cannot be made"
    return None


class HollowCluster:
    """One control plane in a folder, with the nodes of POOLS. Only one can run on a machine: its ports are fixed."""

    def __init__(self, folder: Path) -> None:
        folder_of_tools = tools()
        assert folder_of_tools is not None
        self.tools = folder_of_tools
        self.folder = folder
        self.environment = {**os.environ, "KUBECONFIG": str(folder / "kubeconfig")}
        self._nodes: subprocess.Popen[bytes] | None = None
        self._lock = open("/tmp/cisterna-hollow-cluster.lock", "w")  # noqa: SIM115

    def __enter__(self) -> HollowCluster:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([str(self.tools / "up.sh"), str(self.folder)], check=True, timeout=180, capture_output=True)
        asked = [f"{name}:{count}:{accelerator}:{gpus}" for name, (count, accelerator, gpus) in POOLS.items()]
        with open(self.folder / "nodes.log", "wb") as log:
            self._nodes = subprocess.Popen(
                [sys.executable, str(self.tools / "hollow_nodes.py"), *asked],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        count = sum(nodes for nodes, _, _ in POOLS.values())
        self.until(lambda: len(self.list("nodes")) == count, 60, "the hollow nodes do not appear")
        # All hollow nodes are born with the GPU taint; processor nodes have none.
        for node in self.list("nodes"):
            if node["metadata"]["labels"]["pool"] == "cpu":
                self.kubectl("taint", "node", node["metadata"]["name"], "nvidia.com/gpu-")
        self.apply([_operator_kind(kind, plural) for kind, plural in OPERATOR_KINDS.items()])
        wait = [f"crd/{plural}.monitoring.coreos.com" for plural in OPERATOR_KINDS.values()]
        self.kubectl("wait", "--for=condition=Established", "--timeout=30s", *wait)

    def _stop(self) -> None:
        if self._nodes is not None and self._nodes.poll() is None:
            os.killpg(self._nodes.pid, signal.SIGKILL)
            self._nodes.wait(10)
        subprocess.run([str(self.tools / "down.sh"), str(self.folder)], timeout=60, check=False, capture_output=True)
        self._lock.close()

    def kubectl(self, *words: str, given: str | None = None, check: bool = True, timeout_s: float = 60) -> str:
        """Run kubectl against this cluster and return what it prints. Raises RuntimeError with its complaint."""
        done = subprocess.run(
            ["kubectl", *words], env=self.environment, input=given, capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"kubectl {' '.join(words[:4])}: {done.stderr[-2000:]}")
        return done.stdout if done.returncode == 0 else done.stderr

    def list(self, what: str, *words: str) -> list[Manifest]:
        found: list[Manifest] = json.loads(self.kubectl("get", what, *words, "-o", "json"))["items"]
        return found

    def apply(self, manifests: list[Manifest]) -> str:
        return self.kubectl("apply", "--validate=strict", "-f", "-", given=yaml.safe_dump_all(manifests))

    def downlevel(self, manifests: list[Manifest]) -> list[Manifest]:
        """The manifests as a 1.20 server takes them."""
        for m in manifests:
            if m["kind"] == "CronJob":
                m["spec"]["jobTemplate"]["spec"].pop("podFailurePolicy", None)  # stable since 1.31
        done = subprocess.run(
            [sys.executable, str(self.tools / "downlevel.py")], input=yaml.safe_dump_all(manifests),
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return [m for m in yaml.safe_load_all(done.stdout) if m]

    def until(self, true: Callable[[], bool], patience_s: float, complaint: str) -> None:
        deadline = time.monotonic() + patience_s
        while not true():
            if time.monotonic() > deadline:
                raise AssertionError(f"{complaint} within {patience_s:.0f} s")
            time.sleep(0.5)


def _operator_kind(kind: str, plural: str) -> Manifest:
    """The Prometheus operator's kind, without its schema: the API server then stores it, and no more."""
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": free}}],
        },
    }
