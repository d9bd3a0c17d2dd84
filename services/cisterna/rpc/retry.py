"""What the driver does about each failure, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import grpc

from cisterna.rpc.errors import Failure
from cisterna.v1.common_pb2 import Reason


class Then(Enum):
    """What follows a failed try."""

    AGAIN = "again"
    """Try again after the wait; the block is not charged: it is not its fault."""
    CHARGE = "charge"
    """Count the try against the block; quarantined when it has used its tries up."""
    STOP = "stop"
    """End the run: no block can succeed until a person acts."""


@dataclass(frozen=True)
class RetryRule:
    then: Then
    wait_s: float


RULES: dict[int, RetryRule] = {
    Reason.REASON_BUSY: RetryRule(Then.AGAIN, 0.25),
    Reason.REASON_GOING_AWAY: RetryRule(Then.AGAIN, 0.5),
    Reason.REASON_STORE_UNAVAILABLE: RetryRule(Then.AGAIN, 2.0),
    Reason.REASON_TRITON_UNAVAILABLE: RetryRule(Then.AGAIN, 2.0),
    Reason.REASON_STAGE_VERSION: RetryRule(Then.AGAIN, 5.0),
    Reason.REASON_OUT_OF_MEMORY: RetryRule(Then.CHARGE, 2.0),
    Reason.REASON_CORRUPT_CHUNK: RetryRule(Then.CHARGE, 0.5),
    Reason.REASON_MISSING_INPUT: RetryRule(Then.CHARGE, 0.5),
    Reason.REASON_INTERNAL: RetryRule(Then.CHARGE, 0.5),
    Reason.REASON_BAD_REQUEST: RetryRule(Then.CHARGE, 0.1),
    Reason.REASON_MODEL_MISMATCH: RetryRule(Then.STOP, 0.0),
    Reason.REASON_BAD_TOKEN: RetryRule(Then.STOP, 0.0),
    Reason.REASON_STORE_FULL: RetryRule(Then.STOP, 0.0),
}
"""One rule per reason."""

WORKER_LOST = RetryRule(Then.CHARGE, 1.0)
"""The connection broke while the worker held the block: it may be the block that kills it."""

DEADLINE = RetryRule(Then.CHARGE, 1.0)
UNKNOWN = RetryRule(Then.CHARGE, 1.0)

MAX_TRIES = 3
MIN_WORKERS = 2
"""A block is quarantined after 3 charged tries on at least 2 worker processes (5 tries where only one exists)."""
MAX_TRIES_ONE_WORKER = 5


def rule_for(failure: Failure) -> RetryRule:
    """The rule that applies to a failure."""
    if failure.reason:
        return RULES[failure.reason]
    if failure.code is grpc.StatusCode.UNAVAILABLE:
        return WORKER_LOST
    if failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DEADLINE
    return UNKNOWN
