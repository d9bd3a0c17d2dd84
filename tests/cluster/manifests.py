"""Rendering the manifests and the lint that no ready tool does: names that must meet, and do not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parents[2]
OVERLAY = REPOSITORY / "k8s/overlays/facility"
# Secrets that the operator makes (docs/operations.md says how) and the keys each must hold.
OUTSIDE_SECRETS = {"cisterna-s3": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}, "cisterna-token": {"CISTERNA_TOKEN"}}


def render(folder: Path) -> list[Manifest]:
    """What `kubectl kustomize` makes of a folder."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise RuntimeError(f"kubectl kustomize {folder} failed: {done.stderr}")
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [m for m in manifests if m["kind"] in kinds]


def pod_templates(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """(name, pod template) of everything that makes pods."""
    for m in manifests:
        where = f"{m['kind']}/{m['metadata']['name']}"
        if m["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield where, m["spec"]["template"]
        elif m["kind"] == "CronJob":
            yield where, m["spec"]["jobTemplate"]["spec"]["template"]


def containers_of(template: Manifest) -> list[Manifest]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def dangling(manifests: list[Manifest]) -> list[str]:
    """Every reference that leads nowhere, as a sentence. Empty where all names meet."""
    return [
        *_dangling_config(manifests),
        *_dangling_ports(manifests),
        *_dangling_selectors(manifests),
        *_dangling_monitors(manifests),
        *_dangling_addresses(manifests),
    ]


def _dangling_config(manifests: list[Manifest]) -> Iterator[str]:
    maps = {m["metadata"]["name"]: set(m.get("data", {})) for m in of_kind(manifests, "ConfigMap")}
    secrets = {m["metadata"]["name"]: set(m.get("data", {})) for m in of_kind(manifests, "Secret")} | OUTSIDE_SECRETS
    claims = {m["metadata"]["name"] for m in of_kind(manifests, "PersistentVolumeClaim")}
    accounts = {m["metadata"]["name"] for m in of_kind(manifests, "ServiceAccount")} | {"default"}
    for where, template in pod_templates(manifests):
        spec = template["spec"]
        volumes = {v["name"]: v for v in spec.get("volumes", [])}
        for volume in volumes.values():
            if "configMap" in volume and volume["configMap"]["name"] not in maps:
                yield f"{where}: volume {volume['name']} names an absent ConfigMap, {volume['configMap']['name']}"
            if "secret" in volume and volume["secret"]["secretName"] not in secrets:
                yield f"{where}: volume {volume['name']} names an unknown Secret, {volume['secret']['secretName']}"
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and claim not in claims:
                yield f"{where}: volume {volume['name']} names claim {claim}, which is not there"
        if spec.get("serviceAccountName", "default") not in accounts:
            yield f"{where}: names ServiceAccount {spec['serviceAccountName']}, which is not there"
        for container in containers_of(template):
            place = f"{where} container {container['name']}"
            for source in container.get("envFrom", []):
                for key, known in (("configMapRef", maps), ("secretRef", secrets)):
                    if key in source and source[key]["name"] not in known:
                        yield f"{place}: {key} {source[key]['name']} is not there"
            for variable in container.get("env", []):
                for key, known in (("configMapKeyRef", maps), ("secretKeyRef", secrets)):
                    ref = variable.get("valueFrom", {}).get(key)
                    if ref and ref["key"] not in known.get(ref["name"], set()):
                        yield f"{place}: {variable['name']} takes {ref['key']} of {ref['name']}, which is not there"
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield f"{place}: mounts volume {mount['name']}, which the pod does not have"


def _dangling_ports(manifests: list[Manifest]) -> Iterator[str]:
    for where, template in pod_templates(manifests):
        for container in containers_of(template):
            names = {p["name"] for p in container.get("ports", [])}
            numbers = {p["containerPort"] for p in container.get("ports", [])}
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                for how in ("grpc", "httpGet", "tcpSocket"):
                    port = container.get(kind, {}).get(how, {}).get("port")
                    if port is not None and port not in names | numbers:
                        yield f"{where} container {container['name']}: {kind} asks port {port}, which it does not open"
    for service in of_kind(manifests, "Service"):
        for template in _selected(manifests, service["spec"].get("selector", {})):
            ports = [p for c in template["spec"]["containers"] for p in c.get("ports", [])]
            open_ports = {p["name"] for p in ports} | {p["containerPort"] for p in ports}
            for port in service["spec"]["ports"]:
                if port.get("targetPort", port["port"]) not in open_ports:
                    yield f"Service/{service['metadata']['name']}: no container opens targetPort {port['targetPort']}"


def _selected(manifests: list[Manifest], labels: dict[str, str]) -> list[Manifest]:
    return [
        template
        for _, template in pod_templates(manifests)
        if labels and labels.items() <= template["metadata"].get("labels", {}).items()
    ]


def _dangling_selectors(manifests: list[Manifest]) -> Iterator[str]:
    for m in manifests:
        where, spec = f"{m['kind']}/{m['metadata']['name']}", m.get("spec", {})
        selectors: list[dict[str, str]] = []
        if m["kind"] == "Service":
            selectors = [spec["selector"]]
        elif m["kind"] in ("Deployment", "PodDisruptionBudget"):
            selectors = [spec["selector"]["matchLabels"]]
        elif m["kind"] == "NetworkPolicy":
            peers = [peer for rule in spec.get("ingress", []) for peer in rule.get("from", [])]
            chosen = [spec["podSelector"], *(peer["podSelector"] for peer in peers if "podSelector" in peer)]
            selectors = [c["matchLabels"] for c in chosen if c]
        for labels in selectors:
            if not _selected(manifests, labels):
                yield f"{where}: selects {labels}, which no pod carries"
        if m["kind"] == "Deployment":
            for key, value in spec["selector"]["matchLabels"].items():
                if spec["template"]["metadata"]["labels"].get(key) != value:
                    yield f"{where}: its own pods lack {key}={value}"
        target = spec.get("scaleTargetRef")
        if target and not any(
            d["metadata"]["name"] == target["name"] for d in of_kind(manifests, target.get("kind", "Deployment"))
        ):
            yield f"{where}: scales {target['name']}, which is not there"


def _dangling_monitors(manifests: list[Manifest]) -> Iterator[str]:
    for monitor in of_kind(manifests, "ServiceMonitor"):
        where, spec = f"ServiceMonitor/{monitor['metadata']['name']}", monitor["spec"]
        wanted = spec["selector"]["matchLabels"].items()
        services = [s for s in of_kind(manifests, "Service") if wanted <= s["metadata"].get("labels", {}).items()]
        if not services:
            yield f"{where}: selects {dict(wanted)}, which no Service carries"
        for service in services:
            name, ports = service["metadata"]["name"], {p["name"] for p in service["spec"]["ports"]}
            yield from (f"{where}: {name} has no port {e['port']}" for e in spec["endpoints"] if e["port"] not in ports)
            if spec.get("jobLabel", "") not in service["metadata"]["labels"]:
                yield f"{where}: {name} lacks its jobLabel"
    for monitor in of_kind(manifests, "PodMonitor"):
        where, spec = f"PodMonitor/{monitor['metadata']['name']}", monitor["spec"]
        templates = _selected(manifests, spec["selector"]["matchLabels"])
        if not templates:
            yield f"{where}: selects {spec['selector']['matchLabels']}, which no pod carries"
        for template in templates:
            ports = {p["name"] for c in template["spec"]["containers"] for p in c.get("ports", [])}
            missing = [e["port"] for e in spec["podMetricsEndpoints"] if e["port"] not in ports]
            yield from (f"{where}: its pods have no port {port}" for port in missing)


def _dangling_addresses(manifests: list[Manifest]) -> Iterator[str]:
    """host:port in the configuration must be a Service here that opens this port."""
    open_ports = {s["metadata"]["name"]: {p["port"] for p in s["spec"]["ports"]} for s in of_kind(manifests, "Service")}
    for m in of_kind(manifests, "ConfigMap"):
        data = m.get("data", {})
        listed = [part.partition("=")[2] for part in data.get("CISTERNA_SERVICES", "").split(";") if part]
        addresses = [a for entry in listed for a in entry.split(",")] + [a for a in [data.get("CISTERNA_TRITON")] if a]
        for address in addresses:
            host, _, port = address.removeprefix("dns:///").rpartition(":")
            if int(port) not in open_ports.get(host, set()):
                yield f"ConfigMap/{m['metadata']['name']}: {address} is no Service's port"
