"""What Triton's errors mean: the three that callers see, and which of the server's own messages stands for which."""

from __future__ import annotations

from tritonclient.utils import InferenceServerException


class TritonUnavailable(RuntimeError):
    """Triton does not answer, or its model could not be brought back. Trying later can help."""


class TritonBusy(TritonUnavailable):
    """Triton is well and its queue is full, or this request waited in it too long. Trying later will help."""


class TritonRefused(ValueError):
    """Triton holds another model than the one asked for, or does not accept this request. Trying later won't help."""


DEAD_WORKER, NOT_LOADED, LOST_MEMORY = "dead_worker", "not_loaded", "lost_memory"
BUSY, DEADLINE, UNREACHABLE, REFUSED, FAILED = "busy", "deadline", "unreachable", "refused", "failed"
CURABLE = (DEAD_WORKER, NOT_LOADED)
"""Loading the model again is the cure."""


def kind(error: InferenceServerException) -> str:
    """Which failure this is. Triton gives few distinct codes, so its messages have to be read (2.51; 24.10)."""
    message, status = str(error.message() or "").lower(), str(error.status() or "")
    if "stub process" in message and "not healthy" in message:
        return DEAD_WORKER
    if "unable to find shared memory region" in message:
        return LOST_MEMORY
    if "unknown model" in message or "is not ready" in message or "no available versions" in message:
        return NOT_LOADED
    if "exceeds maximum queue size" in message or "request timeout expired" in message:
        return BUSY
    if "DEADLINE_EXCEEDED" in status:
        return DEADLINE
    if "UNAVAILABLE" in status:
        return UNREACHABLE
    return REFUSED if "INVALID_ARGUMENT" in status else FAILED


def told(error: InferenceServerException, address: str, model: str) -> TritonUnavailable | TritonRefused:
    """The same failure in the words, and of the type, that callers act on."""
    what = kind(error)
    if what == REFUSED:
        return TritonRefused(f"Triton at {address} refuses this request to {model}: {first_line(error)}")
    if what == BUSY:
        return TritonBusy(f"Triton at {address} has no place for a request to {model}: {first_line(error)}")
    return TritonUnavailable(
        f"Triton at {address} did not compute model {model} ({error.status()}): {first_line(error)}"
    )


def first_line(error: InferenceServerException) -> str:
    lines = str(error.message() or "no message").strip().splitlines()
    return lines[0][:200] if lines else "no message"
