"""The theory room: its imports, its range, its errors, and the published Figure 3."""

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from modbook import theory

ROOT = Path(__file__).resolve().parent.parent
FAR_M = np.array([1, 2, 5, 10, 30, 100])
FAR_P = np.array([1, 10, 10**4, 10**8, 10**12])[:, None]


def test_theory_needs_no_torch():
    code = "import sys, modbook.theory; print('torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


# Figure 3 ---------------------------------------------------------------------

FIGURE_3 = {  # (width, layers): {m: n}, read off the published figure to 2 %
    (8, 3): {2: 99, 9: 736},
    (128, 7): {2: 71_000, 9: 336_000},
}


@pytest.mark.parametrize(("network", "published"), FIGURE_3.items())
def test_figure_3_equals_the_published_curves(network, published):
    width, layers = network
    units = [1, *[width] * (layers - 1), 1]
    count = sum(b * (a + 1) for a, b in pairwise(units))
    m = np.array(list(published))
    n = theory.sample_complexity(1.2, theory.effective_p(count), m, branch="above")
    np.testing.assert_allclose(n, list(published.values()), rtol=0.02)


# The proofs ---------------------------------------------------------------------


def test_every_equation_of_the_paper_is_there_in_its_order():
    cells = json.loads((ROOT / "nbs" / "theory_proofs.ipynb").read_text())["cells"]
    text = "\n".join(
        "".join(c["source"]) for c in cells if c["cell_type"] == "markdown"
    )
    labels = re.findall(r"^:label: eq-(.*)$", text, re.MULTILINE)
    assert labels == [f"paper-{i}" for i in range(1, 69)]  # their numbers in the book


# Far ends ---------------------------------------------------------------------


def exact_rest(p, m):
    """(p+1)^-s and its complement, in 60 digits."""
    import mpmath

    with mpmath.workdps(60):
        s = mpmath.mpf(theory.OMEGA) ** -int(m)
        rest = mpmath.mpf(int(p) + 1) ** -s
        return float(1 - rest), float(rest)


def test_traces_keep_their_digits_at_the_far_ends():
    t1, t2 = theory.traces(FAR_P, FAR_M)
    for (i, j), value in np.ndenumerate(t1):
        low, high = exact_rest(FAR_P[i, 0], FAR_M[j])
        assert value == pytest.approx(theory.C * low, rel=1e-12)
        assert t2[i, j] == pytest.approx(theory.C * high, rel=1e-12)
    lam = theory.lambdas(FAR_P, FAR_M)
    assert np.all(lam > 0)
    step = np.expm1(theory.decay(FAR_M) * np.log1p(1.0 / FAR_P))
    np.testing.assert_allclose(lam, t2 * step, rtol=1e-12)


def test_losses_are_sound_at_the_far_ends():
    for n in (1, 10**3, 10**12):
        for d in (1, 7):
            train, test = theory.theorem1(n, FAR_P, FAR_M, d=d)
            assert np.all(train >= 0)
            assert np.all(test > 0)
            assert not np.any(np.isnan(test))
            train, test = theory.theorem2(n, FAR_P, FAR_M, 1, d=d)
            assert np.all(train >= 0)
            assert np.all(test > 0)


def test_everything_stays_finite_where_it_should():
    assert np.all(np.isfinite(theory.effective_dimension(FAR_M)))
    assert np.all(np.isfinite(theory.log_n_star_best(0.5, FAR_M)))
    assert np.all(np.isfinite(theory.bayes_loss(FAR_P, FAR_M)))
    t1, t2 = theory.traces(FAR_P, FAR_M)
    for level in (0.05, 0.5, 0.95):
        _, test = theory.loss_quantiles(level, 1000, FAR_P, t1, t2)
        assert np.all(np.isfinite(test))
    _, peak = theory.loss_quantiles(0.5, 10**6, 10**6, 0.3, 0.7)
    assert np.isfinite(peak)


def test_broadcasting_is_the_same_as_one_at_a_time():
    n, p, m = np.array([3, 40, 41])[:, None, None], np.array([[5], [40]]), [1, 4]
    together = theory.theorem1(n, p, m, c=2.0, d=2)
    for i, j, k in np.ndindex(3, 2, 2):
        alone = theory.theorem1(int(n[i, 0, 0]), int(p[j, 0]), m[k], c=2.0, d=2)
        assert [float(v[i, j, k]) for v in together] == [float(v) for v in alone]
    t1, t2 = theory.traces(p, m)
    together = theory.loss_quantiles(0.9, n, p, t1, t2)[1]
    alone = theory.loss_quantiles(0.9, 40, 5, float(t1[0, 1]), float(t2[0, 1]))[1]
    assert together[1, 0, 1] == pytest.approx(float(alone), rel=1e-12)


# Bad input --------------------------------------------------------------------

BAD = [
    (ValueError, "n", lambda: theory.theorem1(0, 5, 2)),
    (ValueError, "p", lambda: theory.theorem1(5, 0, 2)),
    (ValueError, "p", lambda: theory.theorem1(5, [3, -1], 2)),
    (TypeError, "p", lambda: theory.theorem1(5, 2.5, 2)),
    (TypeError, "n", lambda: theory.theorem1(True, 2, 2)),
    (TypeError, "m", lambda: theory.theorem1(5, 2, "3")),
    (ValueError, "Omega", lambda: theory.theorem1(5, 2, 2, Omega=1.0)),
    (ValueError, "Omega", lambda: theory.traces(5, 2, Omega=np.inf)),
    (ValueError, "c", lambda: theory.theorem1(5, 2, 2, c=0.0)),
    (ValueError, "c", lambda: theory.theorem1(5, 2, 2, c=np.nan)),
    (ValueError, "d", lambda: theory.theorem1(5, 2, 2, d=0)),
    (ValueError, "noise", lambda: theory.theorem1(5, 2, 2, noise=-0.1)),
    (TypeError, "n", lambda: theory.F(np.nan, 3)),
    (ValueError, "b", lambda: theory.theorem2(5, 2, 2, b=3)),
    (ValueError, "reading", lambda: theory.theorem2(5, 2, 2, reading="other")),
    (ValueError, "k", lambda: theory.theorem2(5, 2, 2, reading="total", k=2)),
    (ValueError, "n (2,), p (3,)", lambda: theory.theorem1([1, 2], [1, 2, 3], 2)),
    (ValueError, "t2", lambda: theory.losses(5, 2, 1.0, np.nan)),
    (ValueError, "level", lambda: theory.loss_quantiles(1.0, 5, 2, 1.0, 1.0)),
    (ValueError, "eps", lambda: theory.sample_complexity(0.0, 5, 2)),
    (ValueError, "branch", lambda: theory.sample_complexity(1.0, 5, 2, branch="up")),
    (ValueError, "eps", lambda: theory.linear_bound(2.0, 3)),
    (ValueError, "ridge", lambda: theory.ridge_losses(5, 2, 1.0, 1.0, -1.0)),
    (ValueError, "variances", lambda: theory.simulate(5, [-1.0], 1.0, None)),
    (ValueError, "alpha", lambda: theory.effective_p(97, 0.0)),
    (ValueError, "train", lambda: theory.fit([1] * 4, [1] * 4, [1] * 4)),
    (ValueError, "test", lambda: theory.fit([1] * 4, 1, 1, test=[1.0, 1.0, 1.0, 0.0])),
    (ValueError, "b", lambda: theory.n_star_best(0.5, 2, b=3)),
    (ValueError, "b", lambda: theory.linear_bound(0.5, 2, b=3)),
    (ValueError, "b", lambda: theory.bayes_loss(5, 2, b=3)),
    (ValueError, "b", lambda: theory.log_n_star_best(0.5, [2, 5], b=3)),
    (ValueError, "b", lambda: theory.modular_variances(4, 2, b=3)),
]


@pytest.mark.parametrize(("error", "word", "call"), BAD)
def test_bad_input_is_named(error, word, call):
    with pytest.raises(error) as caught:
        call()
    assert word in str(caught.value)


# Reproducibility --------------------------------------------------------------


def test_simulation_belongs_to_its_generator():
    rows = [
        theory.simulate(6, [1.0, 0.5], 0.3, np.random.default_rng(5), draws=7)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*rows)
    other = theory.simulate(6, [1.0, 0.5], 0.3, np.random.default_rng(6), draws=7)
    assert not np.array_equal(rows[0], other)
