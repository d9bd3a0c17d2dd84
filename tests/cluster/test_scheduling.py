"""The overlay on a real API server: the real scheduler places its pods, real controllers roll it out."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hollow_cluster import POOLS, HollowCluster, why_missing
from manifests import OUTSIDE_SECRETS, OVERLAY, REPOSITORY, of_kind, render

pytestmark = pytest.mark.cluster
NAMESPACE = "cisterna"
POOL_OF = {
    "cisterna-denoise": "volume-gpu",
    "cisterna-segment": "volume-gpu",
    "cisterna-triton": "inference-gpu",
    "cisterna-ernet": "cpu",
    "cisterna-eres": "cpu",
    "cisterna-graph": "cpu",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    missing = why_missing()
    if missing:
        pytest.skip(missing)
    with HollowCluster(tmp_path_factory.mktemp("kubernetes")) as running:
        yield running


@pytest.fixture(scope="module")
def overlay():
    return render(OVERLAY)


@pytest.fixture(scope="module")
def applied(cluster, overlay):
    """The cluster with the whole overlay applied and every replica scheduled and running."""
    mapped = cluster.downlevel(render(OVERLAY))
    cluster.apply(of_kind(mapped, "Namespace"))
    for name, keys in OUTSIDE_SECRETS.items():
        literals = [f"--from-literal={key}=only-for-this-test" for key in sorted(keys)]
        cluster.kubectl("-n", NAMESPACE, "create", "secret", "generic", name, *literals)
    cluster.apply(mapped)
    replicas = {d["metadata"]["name"]: d["spec"]["replicas"] for d in of_kind(overlay, "Deployment")}
    cluster.until(lambda: running(cluster) == replicas, 90, f"not all of {replicas} run; now {running(cluster)}")
    return cluster


def pods(cluster):
    return cluster.list("pods", "-n", NAMESPACE)


def app_of(pod):
    return pod["metadata"]["labels"]["app.kubernetes.io/name"]


def running(cluster):
    alive = [p for p in pods(cluster) if p["status"]["phase"] == "Running" and "deletionTimestamp" not in p["metadata"]]
    return dict(Counter(app_of(p) for p in alive if app_of(p) in POOL_OF))


def gpus(pod):
    return sum(int(c["resources"].get("requests", {}).get("nvidia.com/gpu", 0)) for c in pod["spec"]["containers"])


def test_every_pod_runs_on_its_pool(applied):
    pool_of_node = {n["metadata"]["name"]: n["metadata"]["labels"]["pool"] for n in applied.list("nodes")}
    placed = {(app_of(p), pool_of_node[p["spec"]["nodeName"]]) for p in pods(applied) if app_of(p) in POOL_OF}
    assert placed == set(POOL_OF.items())


def test_every_gpu_of_the_volume_pool_is_in_use_and_none_twice(applied):
    held = Counter()
    for pod in pods(applied):
        held[pod["spec"]["nodeName"]] += gpus(pod)
    nodes, _, each = POOLS["volume-gpu"]
    assert {f"volume-gpu-{i}": held[f"volume-gpu-{i}"] for i in range(nodes)} == {
        f"volume-gpu-{i}": each for i in range(nodes)
    }
    assert all(held[f"cpu-{i}"] == 0 for i in range(POOLS["cpu"][0]))


def test_every_service_has_its_pods_addresses(applied, overlay):
    wanted = {d["metadata"]["name"]: d["spec"]["replicas"] for d in of_kind(overlay, "Deployment")}

    def found():
        endpoints = applied.list("endpoints", "-n", NAMESPACE)
        return {
            e["metadata"]["name"]: sum(len(s.get("addresses", [])) for s in e.get("subsets", [])) for e in endpoints
        }

    applied.until(lambda: found() == wanted, 30, f"endpoints are {found()}, not {wanted}")
    ports = {
        e["metadata"]["name"]: {p["name"]: p["port"] for p in e["subsets"][0]["ports"]}
        for e in applied.list("endpoints", "-n", NAMESPACE)
    }
    assert ports["cisterna-eres"] == {"grpc": 7104, "metrics": 9464}
    assert ports["cisterna-triton"] == {"grpc": 8001, "metrics": 8002}


def test_every_disruption_budget_guards_pods_and_lets_one_go(applied, overlay):
    wanted = {d["metadata"]["name"]: d["spec"]["replicas"] for d in of_kind(overlay, "Deployment")}

    def budgets():
        return {
            b["metadata"]["name"]: (b["status"].get("expectedPods"), b["status"].get("disruptionsAllowed"))
            for b in applied.list("pdb", "-n", NAMESPACE)
        }

    expected = {name: (count, 1) for name, count in wanted.items()}
    applied.until(lambda: budgets() == expected, 30, f"budgets are {budgets()}, not {expected}")


def test_an_update_with_every_gpu_in_use_ends(applied):
    applied.kubectl("-n", NAMESPACE, "set", "image", "deployment/cisterna-segment", "service=cisterna-segment:next")
    started, fewest = time.monotonic(), 12
    while time.monotonic() - started < 90:
        status = applied.list("deployments", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=cisterna-segment")[0][
            "status"
        ]
        fewest = min(fewest, status.get("availableReplicas", 0))
        if status.get("updatedReplicas") == 12 and status.get("availableReplicas") == 12 and status["replicas"] == 12:
            break
        time.sleep(0.3)
    else:
        pytest.fail(f"the roll-out stands still: {status}")
    assert fewest >= 11, f"only {fewest} of 12 workers were up during the roll-out"
    images = {p["spec"]["containers"][0]["image"] for p in pods(applied) if app_of(p) == "cisterna-segment"}
    assert images == {"cisterna-segment:next"}


def test_the_same_update_with_a_surge_would_hang(applied):
    """The control of the test above: the usual strategy waits for a GPU that nobody gives."""
    strategy = '{"spec":{"strategy":{"rollingUpdate":{"maxSurge":%d,"maxUnavailable":%d}}}}'
    name = "deployment/cisterna-triton"
    applied.kubectl("-n", NAMESPACE, "patch", name, "-p", strategy % (1, 0))
    applied.kubectl("-n", NAMESPACE, "set", "image", name, "triton=tritonserver:next")
    waited = applied.kubectl("-n", NAMESPACE, "rollout", "status", name, "--timeout=8s", check=False)
    assert "timed out" in waited
    waiting = [p for p in pods(applied) if app_of(p) == "cisterna-triton" and p["status"]["phase"] == "Pending"]
    assert "Insufficient nvidia.com/gpu" in str(waiting[0]["status"]["conditions"])
    applied.kubectl("-n", NAMESPACE, "patch", name, "-p", strategy % (0, 1))
    applied.kubectl("-n", NAMESPACE, "rollout", "status", name, "--timeout=60s", timeout_s=90)


def test_a_pod_without_toleration_gets_no_gpu_node(applied):
    bare = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "intruder", "namespace": NAMESPACE, "labels": {"app.kubernetes.io/name": "intruder"}},
        "spec": {"nodeSelector": {"pool": "inference-gpu"}, "containers": [{"name": "c", "image": "c"}]},
    }
    applied.apply([bare])

    def refused():
        [pod] = [p for p in pods(applied) if app_of(p) == "intruder"]
        return "untolerated" in str(pod["status"].get("conditions")) or "taint" in str(pod["status"].get("conditions"))

    applied.until(refused, 20, "the scheduler did not refuse a pod without toleration")
    applied.kubectl("-n", NAMESPACE, "delete", "pod", "intruder", "--wait=false")


def test_a_run_is_started_once_as_a_job_on_the_processor_pool(applied):
    def start():
        return subprocess.run(
            [str(REPOSITORY / "k8s/start_run.sh"), "20261121_AbC"],
            env=applied.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    first = start()
    assert first.returncode == 0, first.stderr

    def drivers():
        return [p for p in pods(applied) if app_of(p) == "cisterna-driver" and p["status"]["phase"] == "Running"]

    applied.until(lambda: len(drivers()) == 1, 30, "no driver pod runs")
    again = start()
    assert again.returncode == 0, again.stderr
    assert [j["metadata"]["name"] for j in applied.list("jobs", "-n", NAMESPACE)] == ["run-20261121-abc"]
    [pod] = drivers()
    assert pod["spec"]["nodeName"].startswith("cpu-")
    container = pod["spec"]["containers"][0]
    assert {"name": "CISTERNA_RUN", "value": "20261121_AbC"} in container["env"]
    assert container["image"].endswith("/cisterna/driver:0.1.0")
