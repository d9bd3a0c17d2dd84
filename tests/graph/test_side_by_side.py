"""Frames in several processes: the same tables, and no process outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
from cisterna.graph.frames import TABLES
from cisterna.graph.parameters import TracingParameters
from cisterna.graph.side_by_side import SideBySide
from drawing import draw


def calls(count: int) -> list[tuple]:
    found = []
    for frame in range(count):
        classes = draw([((48, 8), (48, 88)), ((8, 40 + frame), (48, 40 + frame))]).astype(np.uint8) * 2
        found.append((classes, None, classes.astype(np.uint16) * 100, frame, [0.1, 0.1], 1.0, TracingParameters()))
    return found


def test_two_processes_give_the_tables_of_one_also_after_one_was_killed():
    alone, two = SideBySide(1), SideBySide(2)
    try:
        wanted = alone.traced(calls(4))
        for kill in (False, True):
            if kill:
                killed = [c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())]
                assert killed
                killed[0].kill()
            for one, other in zip(wanted, two.traced(calls(4)), strict=True):
                for table in TABLES:
                    pd.testing.assert_frame_equal(getattr(one, table.name), getattr(other, table.name))
    finally:
        two.close()


PARENT = """
import sys, time
sys.path[:0] = {path!r}
from test_side_by_side import calls
from cisterna.graph.side_by_side import SideBySide
if __name__ == "__main__":
    SideBySide(2).traced(calls(2))
    print("ready", flush=True)
    time.sleep(600)
"""


def test_processes_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(path=[os.path.dirname(__file__)]))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().strip() == "ready"
        children = psutil.Process(parent.pid).children(recursive=True)
        assert children
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        deadline = time.monotonic() + 30
        while any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children):
            assert time.monotonic() < deadline, "a process outlived its killed parent"
            time.sleep(0.1)
