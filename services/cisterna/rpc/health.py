"""``python -m cisterna.rpc.health ADDRESS [SERVICE]``: exit 0 where a service says SERVING."""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def check(address: str, service: str = "", timeout_s: float = 2.0) -> str:
    """The health of a server: SERVING, NOT_SERVING, or the gRPC status name of the failure."""
    with grpc.insecure_channel(address) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=timeout_s
            )
        except grpc.RpcError as e:
            return str(e.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print("usage: python -m cisterna.rpc.health HOST:PORT [SERVICE]", file=sys.stderr)
        return 2
    status = check(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "")
    print(status)
    return 0 if status == "SERVING" else 1


if __name__ == "__main__":
    raise SystemExit(main())
