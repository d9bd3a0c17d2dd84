"""Metrics of a driver process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

BACKLOG = Gauge("cisterna_driver_backlog", "Blocks of this run that wait or fly, by service", ["service"])
RETRIES = Counter("cisterna_driver_retries_total", "Failed tries by reason", ["service", "reason"])
QUARANTINED = Counter("cisterna_driver_quarantined_total", "Blocks given up", ["service"])
