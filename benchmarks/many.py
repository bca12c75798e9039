"""Many fits of the pursuit at once: one after another, in threads, in processes.

    python benchmarks/many.py           # the ways
    python benchmarks/many.py --calls   # what one program for all could save

The ways take turns, three times; every answer has to be the same to the last bit. Run
it on an idle machine. The processes are scikit-learn's way, joblib, and have started
before the clock does.

A program for many tasks at once would make the calls of one task and compute as much as
before. What it could save is the price of a call, that of torch's smallest sum, times
how many there are.
"""

import argparse
import os
import statistics
import time

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from torch.utils._python_dispatch import TorchDispatchMode

from modbook.beyond import SIZES, TASKS, PursuitTrial, pursuit_data
from modbook.experiments import results_folder
from modbook.products import one_thread
from modbook.pursuit import pursue
from modbook.store import provenance

CORES = len(os.sched_getaffinity(0))
WAYS = {"one after another": 1, "threads": CORES, "processes": CORES}
REPETITIONS = 3


def fit(m: int, n: int, seed: int) -> np.ndarray:
    """The directions that the pursuit finds in one task."""
    _, X, y, *_ = pursuit_data(PursuitTrial("pursuit", m, n, 3, seed))
    return pursue(X, y, np.random.default_rng(seed)).directions


def pools() -> dict[str, Parallel]:
    found = {way: Parallel(WAYS[way], backend="threading") for way in list(WAYS)[:2]}
    return found | {"processes": Parallel(CORES, backend="loky")}


def seconds(pool: Parallel, m: int, n: int) -> tuple[float, list[np.ndarray]]:
    start = time.perf_counter()
    found = pool(delayed(fit)(m, n, seed) for seed in TASKS)
    return time.perf_counter() - start, found


def lines(m: int, n: int) -> list[dict]:
    """A row for each way."""
    times, known = {way: [] for way in WAYS}, None
    with pools()["processes"] as processes:
        ways = pools() | {"processes": processes}
        processes(delayed(fit)(2, 100, seed) for seed in range(2 * CORES))
        for _ in range(REPETITIONS):
            for way, pool in ways.items():
                took, found = seconds(pool, m, n)
                times[way].append(took)
                known = known or found
                assert all(map(np.array_equal, found, known)), f"{way}: others"
    first = statistics.median(times["one after another"])
    return [
        dict(m=m, n=n, tasks=len(TASKS), way=way, at_once=WAYS[way])
        | dict(seconds=statistics.median(own), least=min(own), most=max(own))
        | dict(faster=first / statistics.median(own))
        for way, own in times.items()
    ]


class Counter(TorchDispatchMode):
    """Counts what torch is told to compute."""

    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


def price(calls: int = 100_000) -> float:
    """Processor seconds of a call that computes next to nothing."""
    small = torch.ones(4, dtype=torch.float64)
    start = time.process_time()
    for _ in range(calls):
        small + small
    return (time.process_time() - start) / calls


def called(m: int, n: int) -> list[dict]:
    """A row for each task: its calls, and their share of the processor's time."""
    rows = []
    for seed in TASKS:
        start = time.process_time()
        fit(m, n, seed)
        took = time.process_time() - start
        with Counter() as counter:
            fit(m, n, seed)
        row = dict(m=m, n=n, seed=seed, calls=counter.calls, cpu_seconds=took)
        row["microseconds"] = 1e6 * price()
        rows.append(row | dict(share=row["microseconds"] / 1e6 * row["calls"] / took))
    return rows


@one_thread()  # which threads would else take from each other
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", action="store_true")
    calls = parser.parse_args().calls
    make, name = (called, "calls.csv") if calls else (lines, "many.csv")
    fit(2, 100, 0)  # the first of all prepares
    rows = pd.DataFrame([line | provenance() for size in SIZES for line in make(*size)])
    print(rows.drop(columns=list(provenance())).to_string())
    path = results_folder() / "speed" / name
    rows.to_csv(path, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
