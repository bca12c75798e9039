"""Run what the page `beyond_sample_complexity` shows, a row at a time.

    python benchmarks/pursuit.py targets            # 12 tasks of two sizes, 5 minutes
    python benchmarks/pursuit.py large              # a hundred thousand, and a million
    python benchmarks/pursuit.py complexity M SEEDS # the ladder of one dimension

Rows go to results/pursuit_NAME/rows.csv; those that are there are not run again.
"""

import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch

from modbook.beyond import (
    METHODS,
    SOLVED,
    PursuitTrial,
    large_grid,
    rungs,
    targets_grid,
)

KEYS = ["method", "m", "n", "tau", "seed"]


class Rows:
    """A table on disk that grows by a row."""

    def __init__(self, name: str):
        root = Path(__file__).resolve().parent.parent
        self.path = root / "results" / f"pursuit_{name}" / "rows.csv"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        table = pd.read_csv(self.path) if self.path.exists() else None
        self.rows = [] if table is None else table.to_dict("records")

    def run(self, trial: PursuitTrial) -> dict:
        key = asdict(trial)
        for row in self.rows:
            if all(row[name] == key[name] for name in KEYS):
                return row
        row = trial.run()
        self.rows.append(row)
        table = pd.DataFrame(self.rows)
        table.to_csv(self.path, index=False, float_format="%.6g")
        shown = ("nmse", "worst_cosine", "modules", "seconds", "cpu_seconds")
        print(*key.values(), *(f"{row[name]:.4g}" for name in shown), flush=True)
        return row


def climb_ladder(rows: Rows, m: int, seeds: int) -> None:
    """Up to the first rung that solves the task, for both methods."""
    for seed in range(seeds):
        for method in METHODS:
            for n in rungs(m):
                if rows.run(PursuitTrial(method, m, n, 3, seed))["nmse"] < SOLVED:
                    break


if __name__ == "__main__":
    torch.set_num_threads(1)
    name, *rest = sys.argv[1:]
    if name == "complexity":
        climb_ladder(Rows(name), *map(int, rest))
    else:
        for trial in {"targets": targets_grid, "large": large_grid}[name]():
            Rows(name).run(trial)
