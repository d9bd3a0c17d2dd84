"""The rendered manifests: every name meets its partner, every pod is confined, GPU roll-outs cannot hang."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from manifests import (
    OUTSIDE_SECRETS,
    OVERLAY,
    REPOSITORY,
    containers_of,
    dangling,
    of_kind,
    pod_templates,
    render,
)

pytestmark = pytest.mark.cluster
PORTS = {"denoise": 7101, "segment": 7102, "ernet": 7103, "eres": 7104, "graph": 7105}


@pytest.fixture(scope="module")
def manifests():
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, so the manifests cannot be rendered")
    return render(OVERLAY)


def named(manifests, kind, name):
    return next(m for m in of_kind(manifests, kind) if m["metadata"]["name"] == name)


def test_no_reference_dangles(manifests):
    assert dangling(manifests) == []


def _break_config(ms):
    named(ms, "Deployment", "cisterna-eres")["spec"]["template"]["spec"]["containers"][0]["envFrom"][0] = {
        "configMapRef": {"name": "cisterna-confg"}
    }


def _break_secret(ms):
    named(ms, "Deployment", "cisterna-eres")["spec"]["template"]["spec"]["containers"][0]["envFrom"].append(
        {"secretRef": {"name": "cisterna-s4"}}
    )


def _break_port(ms):
    named(ms, "Service", "cisterna-graph")["spec"]["ports"][0]["targetPort"] = "gprc"


def _break_probe(ms):
    named(ms, "Deployment", "cisterna-graph")["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["grpc"][
        "port"
    ] = 7104


def _break_selector(ms):
    named(ms, "Service", "cisterna-ernet")["spec"]["selector"] = {"app.kubernetes.io/name": "ernet"}


def _break_budget(ms):
    named(ms, "PodDisruptionBudget", "cisterna-ernet")["spec"]["selector"]["matchLabels"] = {"app": "ernet"}


def _break_volume(ms):
    named(ms, "Deployment", "cisterna-triton")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0][
        "name"
    ] = "model"


def _break_monitor(ms):
    named(ms, "ServiceMonitor", "cisterna-services")["spec"]["endpoints"][0]["port"] = "http"


def _break_address(ms):
    config = next(m for m in of_kind(ms, "ConfigMap") if "CISTERNA_TRITON" in m["data"])
    config["data"]["CISTERNA_TRITON"] = "triton:8001"


@pytest.mark.parametrize(
    "plant",
    [
        _break_config, _break_secret, _break_port, _break_probe, _break_selector, _break_budget, _break_volume,
        _break_monitor, _break_address,
    ],
)  # fmt: skip
def test_the_lint_sees_a_planted_mistake(manifests, plant):
    broken = copy.deepcopy(manifests)
    plant(broken)
    assert dangling(broken)


@pytest.mark.parametrize("service", PORTS)
def test_each_service_listens_where_it_is_called(manifests, service):
    container = named(manifests, "Deployment", f"cisterna-{service}")["spec"]["template"]["spec"]["containers"][0]
    env = {e["name"]: e["value"] for e in container["env"]}
    assert env["CISTERNA_LISTEN"] == f"0.0.0.0:{PORTS[service]}"
    assert {"grpc": PORTS[service], "metrics": 9464} == {p["name"]: p["containerPort"] for p in container["ports"]}
    headless = named(manifests, "Service", f"cisterna-{service}")["spec"]
    assert headless["clusterIP"] == "None"
    assert {p["name"]: p["port"] for p in headless["ports"]} == {"grpc": PORTS[service], "metrics": 9464}


def test_images_listen_where_the_manifests_say():
    stages = re.split(r"^FROM ", (REPOSITORY / "deploy/Dockerfile").read_text(), flags=re.MULTILINE)
    targets = {stage.splitlines()[0].split(" AS ")[-1].strip(): stage for stage in stages[1:]}
    for service, port in PORTS.items():
        assert f"CISTERNA_LISTEN=0.0.0.0:{port}" in targets[service]
        assert f'"cisterna.rpc.health", "127.0.0.1:{port}"' in targets[service]
        assert f'ENTRYPOINT ["python", "-m", "cisterna.{service}"]' in targets[service]


def test_every_pod_is_confined(manifests):
    seen = 0
    for where, template in pod_templates(manifests):
        pod = template["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True, where
        assert pod["runAsUser"] == 10001, where
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert template["spec"]["automountServiceAccountToken"] is False, where
        for container in containers_of(template):
            context = container["securityContext"]
            assert context == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, f"{where} {container['name']}"
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, f"{where} {container['name']}"
            assert "memory" in container["resources"]["limits"], f"{where} {container['name']}"
            seen += 1
    assert seen == 8  # five services, Triton and its init container, the driver


def test_gpu_rollouts_need_no_spare_gpu_and_cpu_pods_hold_none(manifests):
    holders = set()
    for deployment in of_kind(manifests, "Deployment"):
        spec = deployment["spec"]
        gpus = sum(int(c["resources"]["limits"].get("nvidia.com/gpu", 0)) for c in containers_of(spec["template"]))
        if gpus:
            holders.add(deployment["metadata"]["name"])
            assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
            assert any(t.get("key") == "nvidia.com/gpu" for t in spec["template"]["spec"]["tolerations"])
    assert holders == {"cisterna-denoise", "cisterna-segment", "cisterna-triton"}


def test_drain_is_given_time(manifests):
    for where, template in pod_templates(manifests):
        assert template["spec"]["terminationGracePeriodSeconds"] >= 60, where


def test_autoscaling_takes_the_number_of_workers_over():
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, so the manifests cannot be rendered")
    scaled = render(Path(__file__).parent / "autoscaled")
    assert dangling(scaled) == []
    for target in of_kind(scaled, "ScaledObject"):
        name = target["metadata"]["name"]
        assert "replicas" not in named(scaled, "Deployment", name)["spec"]
        assert f'service="{name.removeprefix("cisterna-")}"' in target["spec"]["triggers"][0]["metadata"]["query"]
    assert len(of_kind(scaled, "ScaledObject")) == len(PORTS)
    broken = copy.deepcopy(scaled)
    of_kind(broken, "ScaledObject")[0]["spec"]["scaleTargetRef"]["name"] = "denoise"
    assert dangling(broken)


def test_no_secret_stands_in_the_manifests(manifests):
    assert of_kind(manifests, "Secret") == []
    config = yaml.safe_dump(of_kind(manifests, "ConfigMap"))
    assert not [key for keys in OUTSIDE_SECRETS.values() for key in keys if key in config]


def test_the_operator_is_told_how_to_make_each_secret():
    text = (REPOSITORY / "docs/operations.md").read_text()
    for name, keys in OUTSIDE_SECRETS.items():
        assert name in text
        assert all(key in text for key in keys)


def test_schemas_of_a_current_cluster(manifests, tmp_path):
    validate = Path(sys.executable).with_name("kubernetes-validate")
    if not validate.exists():
        pytest.skip("kubernetes-validate is not installed (pip install .[dev])")
    known = [m for m in manifests if "coreos" not in m["apiVersion"] and "keda" not in m["apiVersion"]]
    path = tmp_path / "facility.yaml"
    path.write_text(yaml.safe_dump_all(known))
    done = subprocess.run(
        [str(validate), "--strict", "-k", "1.32", str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # A kind it has no schema for is only a warning there; none of ours may slip through so.
    assert "WARN" not in (done.stdout + done.stderr).upper(), done.stdout + done.stderr
    known[-1]["spec"]["podSelektor"] = {}
    path.write_text(yaml.safe_dump_all(known))
    assert subprocess.run(
        [str(validate), "--strict", "-k", "1.32", str(path)], capture_output=True, timeout=120
    ).returncode
