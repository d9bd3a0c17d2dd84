"""A movie of very many small frames through the whole line: seconds and memory of every phase.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python tests/bench/many_frames.py [--frames 10000] [--edge 32] [--folder DIR]

One process holds driver, ernet and graph service on a directory store; a plain function stands where Triton is asked.
With a folder the run stays there, and a second call goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

sys.path.insert(0, str(Path(__file__).parents[1] / "runs"))
from cisterna.report.build import build_report
from cisterna.runs import record
from cisterna.runs.driver import Driver
from movie_line import QUICK, movie_line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--edge", type=int, default=32)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    lines = np.zeros((options.edge, options.edge), bool)
    lines[10:13], lines[:, 10:13] = True, True
    clock = [time.perf_counter(), time.process_time()]

    def told(what: str) -> None:
        now = time.perf_counter(), time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        wall, cpu = now[0] - clock[0], now[1] - clock[1]
        print(
            f"{what}: {wall:.1f} s, {cpu:.1f} s CPU ({1e3 * cpu / options.frames:.2f} ms a frame), peak {peak:.0f} MiB"
        )
        clock[:] = now

    with tempfile.TemporaryDirectory() as aside, movie_line(options.folder or Path(aside)) as line:
        frames = (rng.normal(100, 8, (options.frames, *lines.shape)) + 1000 * lines).astype(np.uint16)
        tifffile.imwrite(line.folder / "many.tif", frames, photometric="minisblack")
        told("drawn")
        plan = line.plan(line.folder / "many.tif", QUICK)
        told("ingest and plan")
        record.register_run(line.store, plan)
        Driver(line.store, plan, line.addresses, lambda text: told(text)).run()
        told("run, rest")
        page = build_report(line.store, plan.run_id)
        told(f"report of {len(page) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
