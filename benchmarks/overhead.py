"""What the engine itself costs, next to the training. `python benchmarks/overhead.py`.

A sweep of laptop scale on one core into a new store: planning, ids, rows and the store
against the time inside the trials.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_threads] = "1"

from modbook.experiments import Sweep  # noqa: E402
from modbook.store import Store, hardware  # noqa: E402
from modbook.sweeps import run_sweep  # noqa: E402
from modbook.trials import Trial  # noqa: E402

inside = 0.0
train = Trial.run


def timed(trials, device="cpu"):
    """Train the trials, and count the seconds."""
    global inside
    started = time.perf_counter()
    try:
        return train(trials, device)
    finally:
        inside += time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--m", type=int, default=3)
    parser.add_argument("--scale", default="laptop")
    given = parser.parse_args()
    sweep = Sweep(m=given.m, scale=given.scale)
    trials = [replace(cell.trial) for cell in sweep.grid()]
    Trial.run = staticmethod(timed)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with Store(Path(folder) / "rows.sqlite") as store:
            run_sweep(trials, store, workers=1, device="cpu", show=False)
        total = time.perf_counter() - started
    print(f"{len(trials)} trials of sweep, m = {given.m}, {given.scale}; {hardware()}")
    print(f"{total:.1f} s, {total - inside:.2f} s of them outside the trials: ", end="")
    print(f"{1 - inside / total:.2%}")


if __name__ == "__main__":
    sys.exit(main())
