"""The metrics of a service process. Labels never name a run, a block or a data set: their number stays small."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)

REQUESTS = Counter("cisterna_rpc_requests_total", "Calls answered", ["service", "method", "code"])
SECONDS = Histogram("cisterna_rpc_seconds", "Wall time of calls", ["service", "method"], buckets=_SECONDS)
PHASE_SECONDS = Histogram(
    "cisterna_block_phase_seconds", "Wall time of a block's phases", ["service", "stage", "phase"], buckets=_SECONDS
)
BLOCKS = Counter("cisterna_blocks_total", "Blocks by outcome", ["service", "stage", "outcome"])
VOXELS = Counter("cisterna_voxels_total", "Voxels computed", ["service", "stage"])
BYTES_WRITTEN = Counter("cisterna_bytes_written_total", "Bytes of data objects written", ["service", "stage"])
QUEUE_DEPTH = Gauge("cisterna_queue_depth", "Tasks admitted and not yet answered", ["service"])
REJECTED = Counter("cisterna_admission_rejected_total", "Tasks sent away because all places were taken", ["service"])
MODEL_INFO = Gauge("cisterna_model_info", "1 for every model this process has loaded", ["service", "model", "digest"])
DEVICE_MEMORY = Gauge("cisterna_device_memory_bytes", "Memory that this process holds on its device", ["service"])
TRITON_HEALTHY = Gauge("cisterna_triton_healthy", "1 where Triton's canary inference came back right", ["service"])
TRITON_SECONDS = Histogram(
    "cisterna_triton_seconds",
    "Wall time of requests that Triton answered, its queue included",
    ["service", "transport"],
    buckets=(0.001, 0.002, *_SECONDS),
)
TRITON_ANSWERS = Counter("cisterna_triton_answers_total", "Requests to Triton by outcome", ["service", "outcome"])
TRITON_RECOVERIES = Counter("cisterna_triton_recoveries_total", "What brought Triton back", ["service", "how"])
TRITON_IN_FLIGHT = Gauge("cisterna_triton_in_flight", "Requests sent to Triton and not yet answered", ["service"])


def start_triton_at_zero(service: str, recoveries: Iterable[str]) -> None:
    """Shows what is counted before it first happens: a series that appears with 1 has no increase for an alert."""
    for transport in ("grpc", "shared_memory"):
        TRITON_SECONDS.labels(service, transport)
    for how in recoveries:
        TRITON_RECOVERIES.labels(service, how)


def stage_family(stage: str) -> str:
    """The stage without its class and pyramid level: a label with few values."""
    for known in (
        "eres-label",
        "eres-merge",
        "eres-split",
        "eres-number",
        "eres-relabel",
        "eres-profile",
        "eres-measure",
        "eres-regions",
        "eres-region",
        "eres-sites",
        "eres-survey",
        "eres-statistics",
        "graph-trace",
        "graph-summary",
        "graph-static",
    ):
        if stage.startswith(known):
            return known if "-pyramid" not in stage else "pyramid"
    return "pyramid" if "-pyramid" in stage else stage.split("-", 1)[0]
