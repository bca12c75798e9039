"""On a GPU, and as on a GPU: the same training as on a processor.

What needs a GPU is skipped where there is none.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from modbook import training
from modbook.estimator import ModularRegressor
from modbook.pursuit import Settings, predict, pursue
from modbook.tasks import sample_inputs, sample_sine_tasks, stream
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


def sines(projection: str) -> tuple[torch.Tensor, ...]:
    """Inputs and targets to learn from, and to test on."""
    rng = stream("on a GPU", projection)
    task = sample_sine_tasks([rng], 3, 3, 3, projection)
    X = sample_inputs([rng], 1500, 3)
    X, y = torch.as_tensor(X[0]), torch.as_tensor(task(X)[0])
    return X[:500], y[:500], X[500:], y[500:]


@needs_gpu
@pytest.mark.parametrize("kind", ["linear", "distance"])
def test_a_gpu_finds_the_modules_that_a_processor_does(kind):
    found, errors = {}, {}
    for device in ("cpu", "cuda"):
        X, y, X_test, y_test = (part.to(device) for part in sines(kind))
        rng, settings = np.random.default_rng(0), Settings(kind=kind)
        found[device] = one = pursue(X, y, rng, settings)
        left = predict(one, X_test) - y_test
        errors[device] = (left.square().mean() / y_test.var()).item()
    on_cpu, on_gpu = (one.directions for one in found.values())
    assert len(on_cpu) == len(on_gpu)
    if kind == "linear":
        assert (np.abs(on_cpu @ on_gpu.T).max(1) > 0.999).all()
    else:
        gaps = np.linalg.norm(on_cpu[:, None] - on_gpu, axis=2).min(1)
        assert gaps.max() < 0.05
    assert errors["cpu"] < 0.1
    assert abs(np.log(errors["cuda"] / errors["cpu"])) < np.log(1.2)


@needs_gpu
def test_the_estimator_on_a_gpu_predicts_as_on_a_processor():
    X, y, X_test, y_test = (part.numpy() for part in sines("linear"))
    guesses, counts = [], []
    for device in ("cpu", "cuda"):
        model = ModularRegressor(random_state=0, device=device).fit(X, y[:, 0])
        guesses.append(model.predict(X_test))
        counts.append((model.n_modules_, model.form_))
    assert counts[0] == counts[1]
    assert np.square(guesses[0] - guesses[1]).mean() < 0.005 * y_test.var()
