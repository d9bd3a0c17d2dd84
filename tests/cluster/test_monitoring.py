"""Alert rules through promtool, the dashboard against its source, names against what the services expose."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from live_prometheus import DASHBOARD, REPOSITORY, LivePrometheus, panel_queries, silent_panels, why_missing

pytestmark = pytest.mark.cluster
FOLDER = REPOSITORY / "deploy/prometheus"
sys.path.insert(0, str(REPOSITORY / "deploy/grafana"))
# What Prometheus makes of a histogram.
SUFFIXES = ("", "_bucket", "_sum", "_count")


def alerts():
    return [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]


@pytest.fixture
def promtool():
    missing = why_missing()
    if missing:
        pytest.skip(missing)

    def run(*words, folder=FOLDER):
        return subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_rules_and_configuration_are_sound(promtool):
    for words in (("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml")):
        done = promtool(*words)
        assert done.returncode == 0, done.stdout + done.stderr


def test_rules_fire_on_their_faults_only(promtool):
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", [rule["alert"] for rule in alerts()])
@pytest.mark.parametrize("expression", ["vector(0) > 1", "vector(1)"], ids=["silent", "always"])
def test_the_rule_tests_see_an_alert_that_never_or_always_fires(promtool, tmp_path, alert, expression):
    document = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            if rule["alert"] == alert:
                rule["expr"] = expression
                rule.pop("for", None)
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(document))
    shutil.copy(FOLDER / "alerts_test.yml", tmp_path)
    assert promtool("test", "rules", "alerts_test.yml", folder=tmp_path).returncode != 0


def test_every_alert_has_its_runbook():
    headings = re.findall(r"^#+ (\S+)$", (REPOSITORY / "docs/operations.md").read_text(), flags=re.MULTILINE)
    for rule in alerts():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operations.md"
        assert anchor == rule["alert"].lower()
        assert rule["alert"] in headings


def test_the_operators_rule_object_is_the_same_rules():
    import rule_object

    assert (FOLDER / "rules.yaml").read_text() == rule_object.rule_object(), (
        "run python deploy/prometheus/rule_object.py"
    )
    written = yaml.safe_load((FOLDER / "rules.yaml").read_text())
    assert written["spec"] == yaml.safe_load((FOLDER / "alerts.yml").read_text())


def test_the_dashboard_is_what_its_source_makes():
    import dashboard

    assert DASHBOARD.read_text() == dashboard.written(), "run python deploy/grafana/dashboard.py"


def test_panels_lie_side_by_side_and_say_what_they_show():
    import dashboard

    taken = set()
    for panel in dashboard.dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < dashboard.COLUMNS
        taken |= cells
        assert panel["type"] == "row" or panel["description"]


def test_every_metric_that_is_asked_for_is_exposed():
    """Names in queries are names in the services' and the driver's own code; a renamed metric fails here."""
    import cisterna.rpc.metrics
    import cisterna.runs.metrics  # noqa: F401
    from prometheus_client import REGISTRY

    exposed = {sample for metric in REGISTRY.collect() for sample in _names(metric)}
    asked = {m for _, q in panel_queries() for m in re.findall(r"\bcisterna_\w+", q)}
    asked |= {m for rule in alerts() for m in re.findall(r"\bcisterna_\w+", rule["expr"])}
    assert asked, "no query names a metric"
    assert asked <= exposed, f"nobody exposes {sorted(asked - exposed)}"


def _names(metric):
    if metric.type == "counter":
        return {metric.name + "_total"}
    return {metric.name + suffix for suffix in (SUFFIXES if metric.type == "histogram" else SUFFIXES[:1])}


def test_every_reason_that_is_asked_for_exists():
    from cisterna.v1 import common_pb2

    known = {name.removeprefix("REASON_") for name in common_pb2.Reason.DESCRIPTOR.values_by_name}
    asked = {
        reason
        for rule in alerts()
        for listed in re.findall(r'reason=~?"([A-Z_|]+)"', rule["expr"])
        for reason in listed.split("|")
    }
    assert asked
    assert asked <= known


def test_an_empty_prometheus_leaves_panels_silent(tmp_path):
    """The control of the live test: without services the question is answered with no."""
    missing = why_missing()
    if missing:
        pytest.skip(missing)
    with LivePrometheus(tmp_path / "prometheus", [str(tmp_path / "none.json")]) as prometheus:
        assert len(silent_panels(prometheus.url)) >= 10
