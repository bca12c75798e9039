"""On a GPU, and as on a GPU: the same training as on a processor.

What needs a GPU is skipped where there is none.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from modbook import training
from modbook.trials import Rule, Trial, run

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU on this machine"
)
MODULAR = dict(K=6, width=8, layers=3)
KINDS = {
    "monolithic": dict(width=32, layers=4),
    "random": dict(**MODULAR, start="random"),
    "distance": dict(**MODULAR, start="random", projection="distance"),
    "oracle": dict(**MODULAR, start="oracle", fixed=True),
    "rule": dict(**MODULAR, start="algorithm1", rule=Rule(steps=20)),
    "batches": dict(width=8, layers=3, batch=32),
    "folded": dict(width=8, layers=3, n=4500),
    "folded, modular": dict(**MODULAR, start="random", n=4500),
    "folded, distance": dict(**MODULAR, start="random", projection="distance", n=4500),
}


SETTINGS = dict(m=3, k=3, n=200, iterations=50, n_test=500)


@needs_gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_computes_what_a_processor_does(kind):
    settings = SETTINGS | dict(dtype="float64") | KINDS[kind]
    trials = [Trial(seed=seed, **settings) for seed in range(3)]
    on_cpu, on_gpu = run(trials), run(trials, "cuda")
    for a, b in zip(on_cpu, on_gpu, strict=True):
        np.testing.assert_allclose(a["test_loss"], b["test_loss"], rtol=1e-6)
        assert a["id"] == b["id"]


@needs_gpu
@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 0.02), ("tf32", 0.2)])
def test_single_precision_on_a_gpu_is_near_double(dtype, rtol):
    exact = [
        Trial(seed=seed, dtype="float64", width=32, **SETTINGS) for seed in range(3)
    ]
    on_gpu = run([replace(trial, dtype=dtype) for trial in exact], "cuda")
    for a, b in zip(run(exact), on_gpu, strict=True):
        np.testing.assert_allclose(a["test_loss"], b["test_loss"], rtol=rtol)


@pytest.mark.parametrize("kind", KINDS)
def test_folded_samples_train_the_same_networks(kind, monkeypatch):
    settings = SETTINGS | dict(dtype="float64") | KINDS[kind]
    trials = [Trial(seed=seed, **settings) for seed in range(3)]
    usual, made = run(trials), []
    monkeypatch.setattr(training, "fold_count", lambda *_: 7)
    real = training.Folded.__init__
    count = lambda *given: made.append(given) or real(*given)  # noqa: E731
    monkeypatch.setattr(training.Folded, "__init__", count)
    for a, b in zip(usual, run(trials), strict=True):
        np.testing.assert_allclose(a["test_loss"], b["test_loss"], rtol=1e-6)
    assert made
