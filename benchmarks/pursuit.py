"""Run what the page `beyond_sample_complexity` shows, a row at a time.

    python benchmarks/pursuit.py targets            # 12 tasks of two sizes, 5 minutes
    python benchmarks/pursuit.py large              # 100,000 and a million: two hours
    python benchmarks/pursuit.py large --device cuda    # the pursuit alone, on a GPU
    python benchmarks/pursuit.py complexity M TASKS [--methods A,B]
    python benchmarks/pursuit.py fates M TASKS      # what was not found, and why
    python benchmarks/pursuit.py starts M TASKS     # with a limit ten times as high
    python benchmarks/pursuit.py arms               # the experiments' own, anew

`complexity` is the ladder of one dimension: of the pursuit and the true directions, or
of the methods that are named, which may be those of `benchmarks/peers.py`. Rows go to
results/pursuit_NAME/rows.csv (NAME_gpu on a GPU); those that are there are not run
again. A second process needs a folder of its own for its rows: --folder FOLDER.

`arms` shows the training sets of recorded trials that started from the pursuit's first
search, of fewer steps (SEARCHES of modbook.trials), to its whole one.
"""

import argparse
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
import peers
import torch

from modbook import experiments, trials
from modbook.beyond import (
    LARGE,
    METHODS,
    MULTIPLE,
    SOLVED,
    TASKS,
    TOLD,
    PatientTrial,
    PursuitTrial,
    large_grid,
    module_fates,
    relative_error,
    rungs,
    targets_grid,
)
from modbook.experiments import read_table, results_folder
from modbook.pursuit import free_parameters
from modbook.store import provenance

KINDS = ("targets", "large", "complexity", "fates", "starts", "arms")
KEYS = ["method", "m", "n", "tau", "seed"]
ARMS = {"fig9": "paper", "table2": "paper"}


class PeerTrial(PursuitTrial):
    """A peer on the same task and samples."""

    methods = tuple(peers.METHODS)

    def fit(self, task, X, y):
        fit = peers.METHODS[self.method]
        return fit(X.numpy(), y[:, 0].numpy(), self.seed, task.u[0])

    def judge(self, found, task, X, y) -> dict:
        guess, directions = found
        values = torch.tensor(np.ravel(guess(X.numpy())))[:, None]
        error = dict(nmse=relative_error(values, y))
        if directions is None:
            return error
        cosines = np.abs(task.u[0] @ np.transpose(directions)).max(1, initial=0)
        return error | dict(worst_cosine=cosines.min(), modules=len(directions))


def installed_grid() -> list[PeerTrial]:
    """The estimator on some tasks of each of the larger sizes."""
    pairs = product(LARGE, TASKS[:TOLD])
    return [PeerTrial("ModularRegressor", 8, n, seed=seed) for n, seed in pairs]


class Rows:
    """A table on disk that grows by a row."""

    def __init__(self, name: str, folder: Path, device: str = "cpu"):
        name = name if device == "cpu" else f"{name}_gpu"
        self.path, self.device = folder / f"pursuit_{name}" / "rows.csv", device
        self.path.parent.mkdir(parents=True, exist_ok=True)
        table = read_table(self.path) if self.path.exists() else None
        self.rows = [] if table is None else table.to_dict("records")

    def run(self, trial: PursuitTrial) -> dict:
        key = asdict(trial)
        for row in self.rows:
            if all(row[name] == key[name] for name in KEYS):
                return row
        row = self.add(trial.run(self.device))
        print(*key.values(), f"{row['nmse']:.4g} {row['seconds']:.3g} s", flush=True)
        return row

    def add(self, row: dict) -> dict:
        self.rows.append(row)
        table = pd.DataFrame(self.rows)
        table.to_csv(self.path, index=False, float_format="%.6g")
        return row


def be_patient(rows: Rows, m: int, seed: int) -> None:
    """At the multiple that was asked for, with more starts."""
    n = MULTIPLE * free_parameters(m, m, 3)
    rows.run(PatientTrial("more starts", m, n, 3, seed))


def keep_fates(rows: Rows, m: int, seed: int) -> None:
    """A row for each module, at the multiple that was asked for."""
    done = {(row["m"], row["seed"]) for row in rows.rows}
    if (m, seed) not in done:
        trial = PursuitTrial("pursuit", m, MULTIPLE * free_parameters(m, m, 3), 3, seed)
        for line in module_fates(trial):
            rows.add(line | provenance())


def recorded_arm(row: dict) -> trials.Trial:
    """The trial of a row of the first search; a table with gaps has floats in it."""
    own = {name: row[name] for name in trials.OWN if pd.notna(row.get(name))}
    counts = {name for name, value in own.items() if isinstance(value, float)}
    counts -= {"learning_rate"}
    own |= {name: int(own[name]) for name in counts} | dict(search="first")
    trial = trials.Trial(**own)
    if trial.id != row["id"]:
        raise ValueError(f"{row['id']} is not the id of {trial}")
    return trial


def search_anew(name: str, row: dict) -> dict:
    """What the pursuit finds for a recorded trial, beside what it had found."""
    trial, kept = recorded_arm(row), ["scale", "m", "k", "n", "tau", "seed", "K"]
    data, start = trials.draw_data([trial]), process_time()
    found = trials.pursue_modules([replace(trial, search="whole")], data, "cpu")
    took = process_time() - start
    U, _ = trials.starting_projections([trial], data, "cpu", found)
    scores = trials.directions(U, data.task.u)
    before = dict(modules_before=row["modules_found"], before=row["start_coverage"])
    line = dict(experiment=name) | {key: row[key] for key in kept} | before
    now = dict(modules=len(found[0].directions), coverage=scores["coverage"].item())
    return line | now | dict(cpu_seconds=took) | provenance()


def keep_arms(rows: Rows) -> None:
    """A row for each training set, not again for what trains on it differently."""
    done = {(row["experiment"], row["m"], row["n"], row["seed"]) for row in rows.rows}
    for name, scale in ARMS.items():
        table = experiments.recorded(name, scale=scale, start="pursuit")
        for row in table[table.distilled.fillna(0) == 0].to_dict("records"):
            if (name, row["m"], row["n"], row["seed"]) not in done:
                line = rows.add(search_anew(name, row))
                print(*list(line.values())[:13], flush=True)


def climb_ladder(rows: Rows, method: str, m: int, seed: int) -> None:
    """Up to the first rung that solves the task."""
    peer = method not in METHODS
    trial = partial(PeerTrial if peer else PursuitTrial, method, m)
    for n in rungs(m, method=method):
        if rows.run(trial(n, 3, seed))["nmse"] < SOLVED:
            break


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=KINDS)
    parser.add_argument("numbers", type=int, nargs="*", help="M and TASKS")
    parser.add_argument("--methods", default=",".join(METHODS), help="with commas")
    parser.add_argument("--folder", type=Path, default=results_folder())
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(given.name, given.folder, given.device)
    grids = {"targets": targets_grid(), "large": large_grid() + installed_grid()}
    if given.name == "arms":
        return keep_arms(rows)
    if given.name in grids:
        for trial in grids[given.name]:
            if given.device == "cpu" or trial.method == "pursuit":
                rows.run(trial)
        return
    if len(given.numbers) != 2 or not 0 < given.numbers[1] <= len(TASKS):
        parser.error(f"{given.name} needs M and TASKS, of which there are {len(TASKS)}")
    m, tasks = given.numbers
    each = dict(fates=keep_fates, starts=be_patient)
    for seed in TASKS[:tasks]:
        if given.name in each:
            each[given.name](rows, m, seed)
            continue
        for method in given.methods.split(","):
            climb_ladder(rows, method, m, seed)


if __name__ == "__main__":
    main()
