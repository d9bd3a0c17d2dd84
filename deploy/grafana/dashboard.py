"""Write the dashboard cisterna.json: python deploy/grafana/dashboard.py

One panel is one question an operator asks. Queries use the metrics of docs/architecture.md and no label but theirs and
`job`, `instance`, so the same dashboard serves the one-machine stack and a cluster. Counters of things that may never
happen end in `or vector(0)`: a zero is an answer, an empty panel is not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

TARGET = Path(__file__).resolve().parent / "cisterna.json"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24


@dataclass(frozen=True)
class Query:
    """One line family: PromQL and the legend of each line."""

    promql: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A question (title), its queries and the Grafana unit of the answer. Width in 24ths of the page."""

    title: str
    queries: tuple[Query, ...]
    unit: str
    text: str
    width: int = 8
    height: int = 7
    kind: str = "timeseries"
    stacked: bool = False


def ask(title: str, promql: str, legend: str, unit: str, text: str, **look: object) -> Panel:
    """A panel with one query."""
    return Panel(title, (Query(promql, legend),), unit, text, **look)  # type: ignore[arg-type]


ROWS: dict[str, tuple[Panel, ...]] = {
    "Is it well": (
        ask(
            "Processes up", 'sum by (job) (up{job=~"cisterna-.*"})', "{{job}}", "none",
            "Processes that answer their metrics port, by job. Fewer than deployed: CisternaServiceDown.",
            kind="stat", width=6, height=5,
        ),
        ask(
            "Triton answers its canary", "min(cisterna_triton_healthy)", "healthy", "none",
            "1 where the canary frame came back right on every ernet process. 0: CisternaTritonUnhealthy.",
            kind="stat", width=6, height=5,
        ),
        ask(
            "Blocks in quarantine", "sum(cisterna_driver_quarantined_total) or vector(0)", "blocks", "none",
            "Over the runs whose driver is alive. More than 0: those runs end DEGRADED.",
            kind="stat", width=6, height=5,
        ),
        ask(
            "Failed calls",
            'sum by (service) (rate(cisterna_rpc_requests_total{code=~"INTERNAL|UNKNOWN|DATA_LOSS|UNAVAILABLE'
            '|DEADLINE_EXCEEDED|UNIMPLEMENTED"}[5m])) / sum by (service) (rate(cisterna_rpc_requests_total[5m]))'
            " or sum by (service) (rate(cisterna_rpc_requests_total[5m])) * 0",
            "{{service}}", "percentunit",
            "Share of calls that failed by a fault of ours or the store's, of all calls.", width=6, height=5,
        ),
    ),
    "Is it getting on": (
        ask(
            "Blocks waiting", "sum by (service) (cisterna_driver_backlog)", "{{service}}", "none",
            "Blocks that the drivers could send now or have sent. Workers are scaled on this.",
        ),
        ask(
            "Blocks finished", "sum by (service, outcome) (rate(cisterna_blocks_total[5m]))", "{{service}} {{outcome}}",
            "ops", "computed, cached (a receipt was there), lost_race (another worker was first), failed.",
        ),
        ask(
            "Voxels computed", "sum by (stage) (rate(cisterna_voxels_total[5m]))", "{{stage}}", "none",
            "Voxels a second, over all processes of a stage.",
        ),
        ask(
            "Bytes written", "sum by (stage) (rate(cisterna_bytes_written_total[5m]))", "{{stage}}", "Bps",
            "Data objects put into the store.",
        ),
        ask(
            "Attempts repeated", "sum by (service, reason) (rate(cisterna_driver_retries_total[5m])) or vector(0)",
            "{{service}} {{reason}}", "ops",
            "Retries by reason. BUSY is the ordinary pushing-back of full workers.",
        ),
        ask(
            "Tasks in hand", "sum by (service) (cisterna_queue_depth)", "{{service}}", "none",
            "Tasks that workers have admitted and not yet answered.",
        ),
    ),
    "Where does the time go": (
        Panel(
            "Time of a call",
            (
                Query(
                    "histogram_quantile(0.5, sum by (service, le) (rate(cisterna_rpc_seconds_bucket[5m])))",
                    "{{service}} median",
                ),
                Query(
                    "histogram_quantile(0.95, sum by (service, le) (rate(cisterna_rpc_seconds_bucket[5m])))",
                    "{{service}} 95 %",
                ),
            ),
            "s", "Wall time of a call in the service, admission included.",
        ),
        ask(
            "Seconds a block by phase",
            "sum by (stage, phase) (rate(cisterna_block_phase_seconds_sum[5m]))"
            " / sum by (stage, phase) (rate(cisterna_block_phase_seconds_count[5m]) > 0)",
            "{{stage}} {{phase}}", "s",
            "Mean of read, compute and write. Reading longer than computing: the store is the brake, not the device.",
            stacked=True,
        ),
        ask(
            "Calls by method", "sum by (service, method, code) (rate(cisterna_rpc_requests_total[5m]))",
            "{{service}} {{method}} {{code}}", "ops", "Calls a second by method and answer.",
        ),
        ask(
            "Sent away when full", "sum by (service) (rate(cisterna_admission_rejected_total[5m])) or vector(0)",
            "{{service}}", "ops", "Tasks refused because all places were taken. Steady and high: too few workers.",
        ),
    ),
    "Triton": (
        Panel(
            "Time of a request to Triton",
            (
                Query(
                    "histogram_quantile(0.5, sum by (transport, le) (rate(cisterna_triton_seconds_bucket[5m])))",
                    "{{transport}} median",
                ),
                Query(
                    "histogram_quantile(0.95, sum by (transport, le) (rate(cisterna_triton_seconds_bucket[5m])))",
                    "{{transport}} 95 %",
                ),
            ),
            "s", "Frames (or tiles) that Triton answered, its queue included; canaries left out.",
        ),
        ask(
            "Answers of Triton", "sum by (outcome) (rate(cisterna_triton_answers_total[5m])) or vector(0)",
            "{{outcome}}", "ops",
            "ok, busy (queue full), deadline, unreachable, dead_worker, not_loaded, lost_memory, refused, failed.",
        ),
        ask(
            "Triton brought back", "sum by (how) (increase(cisterna_triton_recoveries_total[5m])) or vector(0)",
            "{{how}}", "none",
            "reconnected (the server came back), reloaded (a worker had died), loaded, sent (the repository lacked the "
            "model), memory (shared memory made anew).",
        ),
        ask(
            "Requests at Triton", "sum(cisterna_triton_in_flight)", "in flight", "none",
            "Sent and not yet answered, over all ernet processes: what Triton can gather into batches.",
        ),
    ),
    "What runs": (
        ask(
            "Device memory", "sum by (service, instance) (cisterna_device_memory_bytes)", "{{service}} {{instance}}",
            "bytes", "Memory that a process holds on its device.", width=12,
        ),
        ask(
            "Models loaded", "count by (service, model, digest) (cisterna_model_info)",
            "{{service}} {{model}} {{digest}}", "none",
            "Processes that hold each model. Two digests of one name: an update is under way.", width=12,
        ),
    ),
}  # fmt: skip


def _panel_json(panel: Panel, number: int, x: int, y: int) -> dict[str, object]:
    stat = panel.kind == "stat"
    custom = {} if stat else {"lineWidth": 1, "fillOpacity": 20 if panel.stacked else 5, "showPoints": "never"}
    if panel.stacked:
        custom["stacking"] = {"mode": "normal"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}}
        if stat
        else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [
            {"refId": chr(65 + i), "expr": query.promql, "legendFormat": query.legend, "datasource": DATASOURCE}
            for i, query in enumerate(panel.queries)
        ],
    }


def dashboard() -> dict[str, object]:
    """The dashboard as Grafana's JSON model."""
    panels: list[dict[str, object]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(
            {
                "id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            }
        )  # fmt: skip
        x, y, deepest = 0, y + 1, 0
        for panel in row:
            if x + panel.width > COLUMNS:
                x, y, deepest = 0, y + deepest, 0
            panels.append(_panel_json(panel, len(panels) + 1, x, y))
            x, deepest = x + panel.width, max(deepest, panel.height)
        y += deepest
    return {
        "uid": "cisterna",
        "title": "Cisterna",
        "tags": ["cisterna"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": panels,
    }


def written() -> str:
    """The file's text: what this program writes and the drift test compares."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(written())
