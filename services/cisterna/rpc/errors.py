"""One error model: a reason from the protos, a gRPC status that fits it, and a sentence for people.

Clients act on ``ErrorInfo.reason``; nobody parses text. Details follow google.rpc: BadRequest, ResourceInfo and
RetryInfo stand beside ErrorInfo where they apply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from cisterna.models import ModelError
from cisterna.store import CorruptObject, ObjectMissing, StoreFull, StoreUnavailable
from cisterna.v1.common_pb2 import Reason

DOMAIN = "cisterna"
REASON_NAMES = frozenset(Reason.keys())

CODES: dict[int, int] = {
    Reason.REASON_BAD_REQUEST: code_pb2.INVALID_ARGUMENT,
    Reason.REASON_MISSING_INPUT: code_pb2.NOT_FOUND,
    Reason.REASON_STAGE_VERSION: code_pb2.FAILED_PRECONDITION,
    Reason.REASON_MODEL_MISMATCH: code_pb2.FAILED_PRECONDITION,
    Reason.REASON_CORRUPT_CHUNK: code_pb2.DATA_LOSS,
    Reason.REASON_BUSY: code_pb2.RESOURCE_EXHAUSTED,
    Reason.REASON_OUT_OF_MEMORY: code_pb2.RESOURCE_EXHAUSTED,
    Reason.REASON_STORE_UNAVAILABLE: code_pb2.UNAVAILABLE,
    Reason.REASON_TRITON_UNAVAILABLE: code_pb2.UNAVAILABLE,
    Reason.REASON_GOING_AWAY: code_pb2.UNAVAILABLE,
    Reason.REASON_STORE_FULL: code_pb2.RESOURCE_EXHAUSTED,
    Reason.REASON_BAD_TOKEN: code_pb2.UNAUTHENTICATED,
    Reason.REASON_INTERNAL: code_pb2.INTERNAL,
}


class TaskError(Exception):
    """A failure with its reason; raised in a service, carried to the caller as a rich status."""

    def __init__(self, reason: int, message: str, *, resource: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.resource = resource
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Failure:
    """What a caller learns from a failed call. ``reason`` is 0 where the server said none: it died, or time ran out."""

    reason: int
    code: grpc.StatusCode
    message: str
    worker: str
    retry_after_s: float

    @property
    def reason_name(self) -> str:
        if self.reason:
            return Reason.Name(self.reason).removeprefix("REASON_")
        return "WORKER_LOST" if self.code is grpc.StatusCode.UNAVAILABLE else self.code.name


def as_task_error(error: Exception) -> TaskError:
    """The reason that fits an exception raised while a task ran."""
    if isinstance(error, TaskError):
        return error
    if isinstance(error, ObjectMissing):
        return TaskError(Reason.REASON_MISSING_INPUT, str(error), resource=error.path)
    if isinstance(error, CorruptObject):
        return TaskError(Reason.REASON_CORRUPT_CHUNK, str(error))
    if isinstance(error, StoreFull):
        return TaskError(Reason.REASON_STORE_FULL, str(error))
    if isinstance(error, StoreUnavailable):
        return TaskError(Reason.REASON_STORE_UNAVAILABLE, str(error), retry_after_s=1.0)
    if isinstance(error, ModelError):
        return TaskError(Reason.REASON_MODEL_MISMATCH, str(error))
    # torch is not imported here: its errors are known by name.
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        return TaskError(Reason.REASON_OUT_OF_MEMORY, f"the block does not fit: {error}")
    if name == "AcceleratorError":
        return TaskError(Reason.REASON_GOING_AWAY, f"the device is lost: {error}")
    if isinstance(error, ValueError):
        return TaskError(Reason.REASON_BAD_REQUEST, str(error))
    return TaskError(Reason.REASON_INTERNAL, f"{name}: {error}; the worker's log has the traceback")


def to_status(error: TaskError, worker: str) -> status_pb2.Status:
    """google.rpc.Status of an error."""
    name = Reason.Name(error.reason).removeprefix("REASON_")
    details = [error_details_pb2.ErrorInfo(reason=name, domain=DOMAIN, metadata={"worker": worker})]
    packed = [_pack(d) for d in details]
    if error.reason == Reason.REASON_BAD_REQUEST:
        violation = error_details_pb2.BadRequest.FieldViolation(description=error.message)
        packed.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
    if error.resource:
        packed.append(_pack(error_details_pb2.ResourceInfo(resource_type="object", resource_name=error.resource)))
    if error.retry_after_s > 0:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        packed.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=CODES[error.reason], message=error.message, details=packed)


def abort(context: grpc.ServicerContext, error: TaskError, worker: str) -> NoReturn:
    """Ends a call with an error's rich status."""
    context.abort_with_status(rpc_status.to_status(to_status(error, worker)))
    raise AssertionError("abort returns never")


def failure_of(error: grpc.RpcError) -> Failure:
    """What a failed call says, read from its status details."""
    code, message = error.code(), error.details() or ""
    reason, worker, retry_after_s = 0, "", 0.0
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in status.details if status is not None else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            if info.domain == DOMAIN and f"REASON_{info.reason}" in REASON_NAMES:
                reason = Reason.Value(f"REASON_{info.reason}")
                worker = info.metadata.get("worker", "")
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    return Failure(int(reason), code, message, worker, retry_after_s)


def _pack(message: object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed
