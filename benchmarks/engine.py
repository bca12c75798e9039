"""What the engine costs beside the training, and how fast a finished store is resumed.

    python benchmarks/engine.py

Both are measured on an idle machine and written to `results/speed/engine.csv`: a sweep
of short trials on one core into a new store (planning, ids, rows, commits, against the
time inside the trials), and a finished sweep of 100,000 rows resumed: its grid, ids
and rows apart, all of `run_sweep`, all of the experiment, and the whole command in a
process of its own, beside what that takes to start. Medians of five runs, least, most.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
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
FIVE = "monolithic,random,algorithm1,algorithm1-adam,oracle"  # 20 trials a seed
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


def fill(store: Store, sweep: Sweep) -> None:
    """A row for each trial, of the columns that rows of Algorithm 1 have."""
    (row,) = FIRST.run([FIRST])
    row = {name: row[name] for name in row if name not in FIRST.parameters()}
    row |= provenance()
    trials = (cell.trial for cell in sweep.cells)
    store.add(row | t.parameters() | {"id": t.id} for t in trials)


def ids(trials: Sequence[Trial]) -> list[str]:
    return [trial.id for trial in trials]


def forgot(trials: Sequence[Trial]) -> tuple[Sequence[Trial]]:
    """The same trials, without the ids that they had found."""
    for trial in trials:
        vars(trial).pop("id", None)
    return (trials,)


def command(sweep: Sweep) -> None:
    """The command that resumes a sweep, in a process of its own."""
    options = ["--workers", "1", "--device", "cpu", "--store", sweep.store]
    chosen = ["--set", f"methods={sweep.methods}", "--set", f"seeds={sweep.seeds}"]
    words = [sys.executable, "-m", "modbook", "run", "sweep", *options, *chosen]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def start() -> None:
    """What every command does first."""
    subprocess.run([sys.executable, "-c", "import modbook.__main__"], check=True)


def resumed(count: int) -> list[dict]:
    """A finished sweep of so many rows, read and resumed."""
    how = dict(methods=FIVE, seeds=count // 20, workers=1, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        sweep = lambda: Sweep(store=f"{folder}/rows.sqlite", **how)  # noqa: E731
        with Store(sweep().store) as store:
            fill(store, sweep())
        trials = [cell.trial for cell in sweep().cells]
        quiet = lambda some: run_sweep(some, store, workers=1, show=False)  # noqa: E731
        with Store(sweep().store) as store:
            lines = [
                measure("grid, made and checked", count, lambda: sweep().grid()),
                measure("ids of the trials", count, ids, lambda: forgot(trials)),
                measure("ids in the store", count, store.ids),
                measure("rows of the store", count, lambda: store.rows(trials)),
                measure("resume", count, quiet, lambda: forgot(trials)),
            ]
        run = lambda: sweep().run(show=False)  # noqa: E731
        return [
            *lines,
            measure("grid and resume, rows labelled", count, run),
            measure("a command that does nothing", 0, start),
            measure("modbook run, all of it", count, lambda: command(sweep())),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
