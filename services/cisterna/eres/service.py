"""The exit-site service: probabilities and labels from the store → parts, labels and tables in the store."""

from __future__ import annotations

from typing import Any

import grpc

from cisterna.eres.object_calls import STAGE_VERSIONS as OBJECT_VERSIONS
from cisterna.eres.object_calls import ObjectCalls
from cisterna.eres.site_calls import STAGE_VERSIONS as SITE_VERSIONS
from cisterna.eres.statistics_calls import STAGE_VERSIONS as STATISTICS_VERSIONS
from cisterna.eres.statistics_calls import StatisticsCalls
from cisterna.rpc.server import Worker, serve
from cisterna.v1 import common_pb2, eres_pb2_grpc

STAGE_VERSIONS = {**OBJECT_VERSIONS, **SITE_VERSIONS, **STATISTICS_VERSIONS}


class EresService(StatisticsCalls, ObjectCalls, eres_pb2_grpc.EresServiceServicer):
    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def DownsampleBlock(self, request: common_pb2.DownsampleBlockRequest, context: grpc.ServicerContext) -> Any:
        return self.worker.downsample(context, request)


def main() -> int:
    return serve(
        "eres",
        lambda server, worker: eres_pb2_grpc.add_EresServiceServicer_to_server(  # type: ignore[no-untyped-call]
            EresService(worker), server
        ),
    )
