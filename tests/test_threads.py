"""What computes in SciPy and in torch by turns takes one thread of each."""

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed

from modbook import estimator, kernel_init, pursuit, training, trials
from modbook.estimator import ModularRegressor
from modbook.kernel_init import learn_projections
from modbook.models import Monolithic
from modbook.products import blas_pools
from modbook.pursuit import Settings, pursue, true_model
from modbook.sweeps import run_group
from modbook.training import train
from modbook.trials import Trial

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 2))
y = np.sin(X[:, :1])
SOME = torch.as_tensor(X), torch.as_tensor(y)

FITS = {  # where to look, and what comes past there
    (estimator, "left_over"): lambda: ModularRegressor(max_starts=99).fit(X, y[:, 0]),
    (pursuit, "prepare"): lambda: pursue(*SOME, rng, Settings(most_starts=100)),
    (pursuit, "widen"): lambda: true_model(*SOME, np.eye(2), rng),
    (kernel_init, "descend"): lambda: learn_projections(X, y, 2, steps=3),
    (training, "_adam_step"): lambda: train(
        Monolithic([rng], 2, 4, 3, dtype=torch.float64), SOME[0][None], SOME[1][None], 2
    ),
    (trials, "draw_data"): lambda: run_group([Trial(2, 2, 50, 0, iterations=2)]),
}


def threads() -> tuple[int, set[int]]:
    return torch.get_num_threads(), {p["num_threads"] for p in blas_pools().info()}


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with blas_pools().limit(limits=2):
        yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("place", FITS, ids=lambda place: place[1])
def test_one_thread_of_each(place, two_threads, monkeypatch):
    real, seen = getattr(*place), []
    looking = lambda *a, **k: (seen.append(threads()), real(*a, **k))[1]  # noqa: E731
    monkeypatch.setattr(*place, looking)
    FITS[place]()
    assert seen
    assert all(found == (1, {1}) for found in seen)
    assert threads() == (2, {2})


def directions(seed: int) -> np.ndarray:
    """What the pursuit finds in one of some data sets."""
    own = np.random.default_rng(seed)
    X = torch.as_tensor(own.standard_normal((200, 3)))
    return pursue(X, (2 * X[:, :1]).sin(), own, Settings(most_starts=200)).directions


def test_many_fits_in_processes_are_the_fits_one_by_one():
    alone = [directions(seed) for seed in range(4)]
    together = Parallel(2)(delayed(directions)(seed) for seed in range(4))
    assert all(map(np.array_equal, together, alone))
    assert not np.array_equal(alone[0], alone[1])
