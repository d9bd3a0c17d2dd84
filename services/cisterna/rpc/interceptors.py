"""What stands before every call of a service: the token, and the count and time of calls."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import Any

import grpc

from cisterna.rpc import metrics
from cisterna.rpc.errors import TaskError, abort
from cisterna.v1.common_pb2 import Reason

OPEN_PREFIXES = ("/grpc.health.v1.Health/", "/grpc.reflection.")

Handler = Any  # grpc.RpcMethodHandler, whose stubs and run time disagree on being generic
Continuation = Callable[[grpc.HandlerCallDetails], Handler | None]


class TokenCheck(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Refuses calls without the bearer token; health and reflection stay open. No token configured: no check."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}" if token else ""

    def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Handler | None:
        if not self._expected or details.method.startswith(OPEN_PREFIXES):
            return continuation(details)
        sent = dict(details.invocation_metadata or ()).get("authorization", "")
        if hmac.compare_digest(str(sent).encode(), self._expected.encode()):
            return continuation(details)
        refusal = TaskError(
            Reason.REASON_BAD_TOKEN, "the call carries no token or a wrong one: set CISTERNA_TOKEN on both sides"
        )

        def refuse(request: Any, context: grpc.ServicerContext) -> Any:
            abort(context, refusal, "")

        return grpc.unary_unary_rpc_method_handler(refuse)


class CallMetrics(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Counts and times unary calls by method and status."""

    def __init__(self, service: str) -> None:
        self._service = service

    def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Handler | None:
        handler = continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        inner, service, method = handler.unary_unary, self._service, details.method.rsplit("/", 1)[-1]

        def timed(request: Any, context: grpc.ServicerContext) -> Any:
            start = time.perf_counter()
            try:
                return inner(request, context)
            finally:
                code = context.code() or grpc.StatusCode.OK  # type: ignore[attr-defined]
                name = code.name if isinstance(code, grpc.StatusCode) else str(code)
                metrics.REQUESTS.labels(service, method, name).inc()
                metrics.SECONDS.labels(service, method).observe(time.perf_counter() - start)

        return grpc.unary_unary_rpc_method_handler(
            timed, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )
