"""The thread that owns the device: one computation at a time, or as many as it has threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from cisterna.rpc.device import DeviceThread


def test_one_thread_never_computes_two_at_a_time():
    device, running, most = DeviceThread(), [0], [0]
    lock = threading.Lock()

    def compute() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        threading.Event().wait(0.01)
        with lock:
            running[0] -= 1

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(lambda _: device.call(compute), range(12)))
    device.stop()
    assert most == [1]


def test_two_threads_compute_two_at_a_time():
    device, both = DeviceThread(threads=2), threading.Barrier(2)
    with ThreadPoolExecutor(2) as callers:
        # Each waits for the other: with one thread the barrier would break.
        assert sorted(callers.map(lambda _: device.call(lambda: both.wait(timeout=20)), range(2))) == [0, 1]
    device.stop()


def test_an_error_reaches_its_caller_and_the_thread_goes_on():
    device = DeviceThread()

    def fail() -> None:
        raise ValueError("this block is broken")

    with pytest.raises(ValueError, match="this block is broken"):
        device.call(fail)
    assert device.call(lambda: 7) == 7
    device.stop()
