"""Eleven tiny trials, retrained: their losses change only with the protocol.

When a change is meant to alter losses, raise PROTOCOL in nbs/09_trials.ipynb and run
`python tests/test_golden.py` to write the new values.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from modbook.trials import PROTOCOL, STARTS, Rule, Trial, run

GOLDEN = Path(__file__).with_name("golden.json")
MEASURES = ("test_loss", "train_loss", "similarity", "coverage")

base = Trial(m=3, k=3, n=60, seed=0, iterations=30, n_test=100, dtype="float64")
modular = replace(base, K=4, start="random")
rule = Rule(steps=10, batch=32)
TRIALS = {
    "monolithic": base,
    "random": modular,
    "minibatch, nonlinear": replace(modular, projection="distance", batch=16, seed=1),
    "oracle": replace(modular, start="oracle", fixed=True, tau=2),
    "algorithm 1": replace(modular, start="algorithm1", rule=rule),
    "algorithm 1, joint, adam": replace(
        modular,
        start="algorithm1",
        rule=replace(rule, optimiser="adam", joint=True, jitter=1e-3),
    ),
    "algorithm 1, its open choices": replace(
        modular,
        start="algorithm1",
        rule=replace(rule, u_length=2.0, v_length=0.5, aligned=True, handed="kernel"),
    ),
    "pursuit, taught": replace(modular, start="pursuit", distilled=5),
    "ensemble": replace(base, ensemble=3),
    "modules see all": replace(base, K=4, sees="all"),
    "best checkpoint": replace(modular, checkpoints=5, held_out=20),
}


def measure(trial: Trial) -> dict[str, float]:
    (row,) = run([trial])
    return {name: row[name] for name in MEASURES if name in row}


@pytest.fixture(scope="module")
def golden() -> dict:
    return json.loads(GOLDEN.read_text())


def test_values_belong_to_this_protocol(golden):
    assert golden["protocol"] == PROTOCOL


@pytest.mark.parametrize("name", TRIALS)
def test_losses_are_unchanged(golden, name):
    assert measure(TRIALS[name]) == pytest.approx(golden["rows"][name], rel=1e-6), (
        "losses changed: if that is meant, raise PROTOCOL and rewrite the golden values"
    )


def test_trials_cover_every_start_and_projection():
    kinds = {(t.start, t.projection) for t in TRIALS.values()}
    assert {start for start, _ in kinds} == {None, *STARTS}
    assert {projection for _, projection in kinds} == {"linear", "distance"}


if __name__ == "__main__":
    rows = {name: measure(trial) for name, trial in TRIALS.items()}
    GOLDEN.write_text(json.dumps({"protocol": PROTOCOL, "rows": rows}, indent=1) + "\n")
