"""Channels to the services: client-side balancing, a deadline on every call, the token."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cisterna.rpc.ports import DEFAULT_PORTS
from cisterna.v1.common_pb2 import TaskReply

DEADLINE_S = 900.0
HEALTH_DEADLINE_S = 2.0
HEALTH_TRIES = 2

_CHANNEL_OPTIONS = [
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_retries", 0),  # the driver retries by reason, and must see every failure
]


@dataclass(frozen=True)
class Addresses:
    """Where each service listens: one or more host:port."""

    by_service: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(cls, text: str) -> Addresses:
        """Reads ``denoise=host:port,host:port;segment=…`` (the CISTERNA_SERVICES variable)."""
        found: dict[str, tuple[str, ...]] = {}
        for part in filter(None, (p.strip() for p in text.split(";"))):
            name, _, addresses = part.partition("=")
            if name not in DEFAULT_PORTS or not addresses:
                raise ValueError(
                    f"CISTERNA_SERVICES: {part!r} is not SERVICE=HOST:PORT with one of {', '.join(DEFAULT_PORTS)}"
                )
            found[name] = tuple(a.strip() for a in addresses.split(","))
        return cls(found)

    def __str__(self) -> str:
        return ";".join(f"{s}={','.join(a)}" for s, a in sorted(self.by_service.items()))

    def target(self, service: str) -> str:
        """The gRPC target that balances over all addresses of a service."""
        addresses = self.by_service.get(service)
        if not addresses:
            raise ValueError(f"no address for service {service}: set CISTERNA_SERVICES or run `cisterna up`")
        if len(addresses) == 1 and not addresses[0].split(":")[0].replace(".", "").isdigit():
            return f"dns:///{addresses[0]}"  # a headless Service: one name, many addresses
        return "ipv4:" + ",".join(addresses)


class ServiceClient:
    """Unary task calls to one service."""

    def __init__(self, service: str, addresses: Addresses, token: str | None = None) -> None:
        self.service = service
        self._channel = grpc.insecure_channel(addresses.target(service), options=_CHANNEL_OPTIONS)
        token = os.environ.get("CISTERNA_TOKEN", "") if token is None else token
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._health = health_pb2_grpc.HealthStub(self._channel)
        self._methods: dict[str, Any] = {}

    def start(self, method: str, request: Any, deadline_s: float = DEADLINE_S) -> Any:
        """Starts a call and returns its future; waits for a worker, since none being there is no fault of the block."""
        call = self._methods.get(method)
        if call is None:
            call = self._channel.unary_unary(
                f"/cisterna.v1.{self.service.capitalize()}Service/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=TaskReply.FromString,
            )
            self._methods[method] = call
        return call.future(request, timeout=deadline_s, metadata=self._metadata, wait_for_ready=True)

    def serving(self) -> bool:
        """True where some worker of the service answers SERVING; a hung one is asked past."""
        return any(self._one_serves() for _ in range(HEALTH_TRIES))

    def _one_serves(self) -> bool:
        try:
            reply = self._health.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_DEADLINE_S, wait_for_ready=True)
        except grpc.RpcError:
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        self._channel.close()
