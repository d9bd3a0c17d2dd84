"""Where each service listens unless told otherwise."""

from __future__ import annotations

from collections.abc import Mapping

DEFAULT_PORTS: Mapping[str, int] = {"denoise": 7101, "segment": 7102, "ernet": 7103, "eres": 7104, "graph": 7105}
