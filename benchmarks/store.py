"""How fast a finished store is read again. `python benchmarks/store.py` prints it.

A store of 100,000 rows is made in a folder that is removed again; then a sweep of the
100,000 trials is resumed, which has nothing to train. Least of some runs, with the time
of the processor beside that of the clock.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_threads] = "1"

from modbook.store import Store, hardware, provenance  # noqa: E402
from modbook.sweeps import run_sweep  # noqa: E402
from modbook.trials import Rule, Trial  # noqa: E402

FIRST = Trial(
    m=5, k=5, n=100, seed=0, K=25, start="algorithm1", rule=Rule(steps=2), iterations=2
)


def measure(name: str, what: Callable, before: Callable = tuple, repeats: int = 5):
    """Print the least time of some runs of `what`, each after `before`."""
    clock, processor = [], []
    for _ in range(repeats):
        given = before()
        started = time.perf_counter(), time.process_time()
        what(*given)
        clock.append(time.perf_counter() - started[0])
        processor.append(time.process_time() - started[1])
    print(f"{name:42} {min(clock):6.2f} s {min(processor):6.2f} s of the processor")


def fresh(count: int) -> list[Trial]:
    """Trials that do not know their ids yet."""
    return [replace(FIRST, seed=seed) for seed in range(count)]


def fill(store: Store, trials: Sequence[Trial]) -> None:
    """A row for each trial, of the columns that rows of Algorithm 1 have."""
    (row,) = FIRST.run([FIRST])
    row |= provenance()
    store.add(
        row | {"id": trial.id, "seed": trial.seed, "test_loss": 1 / (trial.seed + 1)}
        for trial in trials
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    count = parser.parse_args().rows
    trials = fresh(count)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.sqlite"
        with Store(path) as store:
            fill(store, trials)
        megabytes = path.stat().st_size / 1e6
        print(f"{count} rows, {megabytes:.0f} MB; {hardware()}")
        with Store(path) as store:
            anew = lambda: (fresh(count),)  # noqa: E731
            measure("ids of the trials", lambda some: [t.id for t in some], anew)
            measure("Store.ids", store.ids)
            measure("Store.rows", lambda: store.rows(trials))
            quiet = lambda some: run_sweep(some, store, workers=1, show=False)  # noqa: E731
            measure("run_sweep, ids known", lambda: quiet(trials))
            measure("run_sweep, fresh trials", quiet, anew)


if __name__ == "__main__":
    sys.exit(main())
