"""Tiny trials of both tasks, retrained: losses change only with the protocol.

When a change is meant to alter losses, raise PROTOCOL in nbs/09_trials.ipynb (of the
images: in nbs/16_image_trials.ipynb) and run
`python tests/test_golden.py` to write the new values.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from modbook import image_trials as images
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
    "pursuit, taught": replace(modular, start="pursuit", distilled=5, search="first"),
    "pursuit, whole search": replace(modular, start="pursuit", distilled=5, n=100),
    "ensemble": replace(base, ensemble=3),
    "modules see all": replace(base, K=4, sees="all"),
    "best checkpoint": replace(modular, checkpoints=5, held_out=20),
}

IMAGE_MEASURES = ("train_loss", "test_loss", "start_share", "start_rank", "share")

digits = images.ImageTrial("digits", 2, 640, 0, hidden=(32, 16), n_test=200)
looking = replace(digits, network="modular", modules=2, width=16, start="random")
printed = replace(looking, start="rule", rule=images.PRINTED)
IMAGE_TRIALS = {
    "monolithic": digits,
    "ensemble": replace(digits, network="ensemble", members=2),
    "one an image": replace(digits, network="one an image"),
    "found modules": replace(digits, network="found modules"),
    "random": looking,
    "class covariances": replace(looking, start="spectral"),
    "class covariances, not told": replace(looking, start="spectral, not told"),
    "told its image, noise": replace(looking, start="oracle", noise=1.0),
    "told its image, shared": replace(looking, start="oracle, shared"),
    "algorithm 1": printed,
    "algorithm 1, variant A": replace(printed, rule=images.VARIANT_A, gauge=True),
    "algorithm 1, variant B, summed": replace(
        printed, rule=images.VARIANT_B, combine="sum", combinations=True
    ),
}


def measure(trial: Trial) -> dict[str, float]:
    (row,) = run([trial])
    return {name: row[name] for name in MEASURES if name in row}


def measure_image(trial: images.ImageTrial) -> dict[str, float]:
    row = images.run_image_trial(trial)
    return {name: float(row[name]) for name in IMAGE_MEASURES if name in row}


@pytest.fixture(scope="module")
def golden() -> dict:
    return json.loads(GOLDEN.read_text())


def test_values_belong_to_this_protocol(golden):
    assert golden["protocol"] == PROTOCOL
    assert golden["image protocol"] == images.PROTOCOL


@pytest.mark.parametrize("name", TRIALS)
def test_losses_are_unchanged(golden, name):
    assert measure(TRIALS[name]) == pytest.approx(golden["rows"][name], rel=1e-6), (
        "losses changed: if that is meant, raise PROTOCOL and rewrite the golden values"
    )


@pytest.mark.parametrize("name", IMAGE_TRIALS)
def test_image_losses_are_unchanged(golden, name):
    """Losses are of float32 and differ between processors; starts do not."""
    found, wanted = measure_image(IMAGE_TRIALS[name]), golden["image rows"][name]
    assert found.keys() == wanted.keys()
    for measure, value in wanted.items():
        near = pytest.approx(value, rel=5e-3 if "loss" in measure else 1e-3)
        assert found[measure] == near, (
            f"{measure} changed: if meant, raise the images' PROTOCOL and rewrite"
        )


def test_image_trials_cover_every_network_and_start():
    trials = IMAGE_TRIALS.values()
    assert {trial.network for trial in trials} == set(images.NETWORKS)
    assert {t.start for t in trials} == {None, *images.IMAGE_STARTS}


def test_trials_cover_every_start_and_projection():
    kinds = {(t.start, t.projection) for t in TRIALS.values()}
    assert {start for start, _ in kinds} == {None, *STARTS}
    assert {projection for _, projection in kinds} == {"linear", "distance"}


if __name__ == "__main__":
    written = {
        "protocol": PROTOCOL,
        "rows": {name: measure(trial) for name, trial in TRIALS.items()},
        "image protocol": images.PROTOCOL,
        "image rows": {name: measure_image(t) for name, t in IMAGE_TRIALS.items()},
    }
    GOLDEN.write_text(json.dumps(written, indent=1) + "\n")
