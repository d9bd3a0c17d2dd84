"""`python -m cisterna.denoise`: the denoising service."""

from __future__ import annotations

import sys

import grpc

from cisterna.denoise.service import DenoiseService
from cisterna.rpc.server import Worker, serve
from cisterna.v1 import denoise_pb2_grpc


def main() -> int:
    """Serve until SIGTERM; settings come from the environment."""
    return serve("denoise", register)


def register(server: grpc.Server, worker: Worker) -> None:
    """Add the denoising service to a server."""
    denoise_pb2_grpc.add_DenoiseServiceServicer_to_server(DenoiseService(worker), server)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    sys.exit(main())
