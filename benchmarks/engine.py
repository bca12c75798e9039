"""What the engine costs beside the training, and how fast a finished store is resumed.

    python benchmarks/engine.py

Both are measured on an idle machine and written to `results/speed/engine.csv`: a sweep
of short trials on one core into a new store (planning, ids, rows, commits, against the
time inside the trials), and a store of 100,000 rows read again, up to resuming a sweep
that has nothing left to train. Medians of five runs, least and most beside them.
"""

import argparse
import csv
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_threads] = "1"

from modbook.experiments import Sweep, results_folder  # noqa: E402
from modbook.store import Store, provenance  # noqa: E402
from modbook.sweeps import run_sweep  # noqa: E402
from modbook.trials import Rule, Trial  # noqa: E402

FIRST = Trial(
    m=5, k=5, n=100, seed=0, K=25, start="algorithm1", rule=Rule(steps=2), iterations=2
)
REPEATS = 5


def line(what: str, trials: int, values: Sequence[float], unit: str) -> dict:
    """One line of the table, printed too."""
    middle = statistics.median(values)
    print(f"{what:40} {middle:9.4f} {unit} ({min(values):.4f} to {max(values):.4f})")
    found = dict(median=middle, least=min(values), most=max(values))
    return dict(what=what, trials=trials, unit=unit) | found


def overhead(scale: str) -> dict:
    """The share of a sweep's time that is spent outside its trials."""
    sweep = Sweep(m=3, scale=scale, methods="random,oracle", seeds=1)
    trials, shares, train = [cell.trial for cell in sweep.grid()], [], Trial.run
    inside = 0.0

    def timed(group, device="cpu"):
        nonlocal inside
        started = time.perf_counter()
        try:
            return train(group, device)
        finally:
            inside += time.perf_counter() - started

    Trial.run = staticmethod(timed)
    for _ in range(REPEATS):
        inside = 0.0
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            with Store(Path(folder) / "rows.sqlite") as store:
                run_sweep(trials, store, workers=1, device="cpu", show=False)
            shares.append(1 - inside / (time.perf_counter() - started))
    Trial.run = staticmethod(train)
    return line("sweep, outside its trials", len(trials), shares, "of the time")


def measure(what: str, count: int, run: Callable, before: Callable = tuple) -> dict:
    """Seconds of some runs, each after `before`."""
    seconds = []
    for _ in range(REPEATS):
        given = before()
        started = time.perf_counter()
        run(*given)
        seconds.append(time.perf_counter() - started)
    return line(what, count, seconds, "s")


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


def resumed(count: int) -> list[dict]:
    """A finished store of many rows, read and resumed."""
    trials, anew = fresh(count), lambda: (fresh(count),)
    with tempfile.TemporaryDirectory() as folder:
        with Store(Path(folder) / "rows.sqlite") as store:
            fill(store, trials)
        with Store(Path(folder) / "rows.sqlite") as store:
            quiet = lambda some: run_sweep(some, store, workers=1, show=False)  # noqa: E731
            return [
                measure("trials, made and checked", count, lambda: fresh(count)),
                measure("ids of the trials", count, lambda t: [x.id for x in t], anew),
                measure("ids in the store", count, store.ids),
                measure("rows of the store", count, lambda: store.rows(trials)),
                measure("resume, trials made before", count, lambda: quiet(trials)),
                measure("resume", count, quiet, anew),
            ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("--out", type=Path, help="in place of results/speed/engine.csv")
    given = parser.parse_args()
    lines = [overhead(given.scale), *resumed(given.rows)]
    path = given.out or results_folder() / "speed" / "engine.csv"
    with path.open("w", newline="") as file:
        table = [row | provenance() for row in lines]
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    sys.exit(main())
