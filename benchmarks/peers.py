"""ModularRegressor and its peers on the same data, tuned alike.

The peers are not requirements of modbook; install them where the benchmark runs:

    python -m venv --system-site-packages peers && . peers/bin/activate
    pip install lightgbm==4.7.0 interpret-core==0.7.8 xrfm==0.4.5
    pip install --no-deps projection-pursuit==1.1
    apt-get install r-base-core        # R, for its ppr
    python benchmarks/peers.py [SEEDS [N]]

on N samples (400). Every peer with settings to choose gets four candidates and the same
three folds; Gaussian processes and modules choose theirs by evidence, the paper's
method has the settings that the paper found best. Error is on 2000 new samples, free of
noise, over the variance of the target. Every fit has a process of its own, whose memory
is what it takes beyond the data and the libraries (R is a process more, and counts as a
whole). Where a method has directions and the task too, `recovered` is the share of the
task's that lie within a cosine of .95 of one of the method's.

Rows go to results/peers/rows.csv; those that are there are not run again. A peer that
is not installed is left out, and named. Smaller sets of samples are inside larger ones.

Seeds count from 13000: those below were seen while this and the estimator were written.
results/peers/first.csv: seeds 1000 and 1001, before the estimator's fallback changed;
second.csv: seed 3000, before its Gaussian process could see as little noise as it may;
third.csv: seeds 4000 to 4002, before its modules could go on beyond the data;
fourth.csv: seed 5000, before free directions counted in what modules leave over, and
before evidence could speak against a change of functions;
fifth.csv: seeds 6000 to 6002, before lines in one plane could share a function.
sixth.csv: seeds 7000 to 7002, before evidence had a say on planes and on what is level.
seventh.csv: seeds 8000 to 8002, before its smooth form was partly linear and rough;
eighth.csv: seeds 9000 and 9001, before planes that only the folds show were dropped.
ninth.csv: seeds 10000 to 10002, before processes ended their tuning on more samples.
tenth.csv: seeds 11000 to 11002, before steep directions cost more, before functions
could be polynomials, and before decisive evidence outweighed the folds.
eleventh.csv: seeds 12000 to 12002, before Gaussian functions of modules were bounded.
twelfth.csv: seeds 13000 to 13002, before a first module began with the noise that its
climb assumed; rows.csv has its peers, and the estimator anew.
"""

import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn import datasets
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from modbook import models, training
from modbook.estimator import ModularRegressor
from modbook.experiments import read_table
from modbook.kernel_init import learn_projections
from modbook.pursuit import predict, true_model
from modbook.store import provenance
from modbook.tasks import sample_sine_tasks, stream

N, TEST, FIRST = 400, 2000, 13000
MOST = 3000  # samples of a task that there are to learn from
RESULTS = Path(__file__).resolve().parent.parent / "results" / "peers" / "rows.csv"


# --- tasks: a generator -> inputs (MOST + TEST, m), clean targets, noise, directions


def unit(rng, k, m):
    u = rng.standard_normal((k, m))
    return u / np.linalg.norm(u, axis=1, keepdims=True)


def sine(rng, noise=0.0, m=4, projection="linear"):
    task = sample_sine_tasks([rng], m, m, 3, projection)
    X = rng.standard_normal((MOST + TEST, m))
    directions = task.u[0] if projection == "linear" else None
    return X, task(X[None])[0, :, 0], noise, directions


def links(rng, X, functions, noise=0.0):
    U = unit(rng, len(functions), X.shape[1])
    Z = X @ U.T
    Z = Z / Z.std(0)
    return X, sum(f(z) for f, z in zip(functions, Z.T, strict=True)), noise, U


SMOOTH = (np.tanh, lambda z: np.exp(-(z**2)), lambda z: np.log1p(np.exp(2 * z)))
CUBIC = (lambda z: z**2, lambda z: z**3 / 3 - z)
STEPS = (lambda z: np.sign(z - 0.3), lambda z: 2.0 * (z > 0.8), np.abs)
WAVES = (lambda z: np.sin(3 * z), lambda z: np.cos(2 * z))


def correlated(rng, m):
    covariance = 0.8 * np.ones((m, m)) + 0.2 * np.eye(m)
    return rng.standard_normal((MOST + TEST, m)) @ np.linalg.cholesky(covariance).T


def normal(rng, m):
    return rng.standard_normal((MOST + TEST, m))


def friedman(which):
    def draw(rng):
        make = getattr(datasets, f"make_friedman{which}")
        X, y = make(MOST + TEST, noise=0.0, random_state=int(rng.integers(2**31)))
        return X, y, 0.1 * y.std(), None

    return draw


def plane(rng):
    X = normal(rng, 6)
    A = np.linalg.qr(rng.standard_normal((6, 3)))[0]
    a, b, c = (X @ A).T
    return X, a * b + np.sin(2 * c), 0.1, None


def fields(rng, m, b, count=2):
    """A sum of random functions, each of b projections."""
    X, y = normal(rng, m), 0.0
    for _ in range(count):
        P = np.linalg.qr(rng.standard_normal((m, b)))[0]
        W, phase = rng.standard_normal((b, 200)), rng.uniform(0, 2 * np.pi, 200)
        y = y + np.cos(X @ P @ W + phase) @ rng.standard_normal(200) / 10
    return X, y, 0.05, None


def tree(rng):
    X = rng.uniform(-1, 1, (MOST + TEST, 5))
    inner = np.where(X[:, 1] > 0, 2.0, -1.0), np.where(X[:, 2] > -0.4, 0, 1.5)
    return X, np.where(X[:, 0] > 0.3, *inner), 0.1, None


def bump(rng):
    X = rng.uniform(-1, 1, (MOST + TEST, 5))
    return X, np.exp(-2 * ((X - 0.2) ** 2).sum(1)), 0.01, None


def largest(rng):
    X = normal(rng, 6)
    return X, X.max(1), 0.1, None


def signs(rng):
    X = rng.uniform(-1, 1, (MOST + TEST, 4))
    return X, np.sign(X[:, 0] * X[:, 1]) * (1 + np.abs(X[:, 2])), 0.1, None


def rough(rng):
    X = rng.standard_normal((MOST + TEST, 3))
    W, b = 1.5 * rng.standard_normal((3, 500)), rng.uniform(0, 2 * np.pi, 500)
    waves = np.cos(X @ W + b) @ rng.standard_normal(500)
    return X, waves / np.sqrt(250), 0.1, None


MODULAR = {
    "sine": sine,
    "sine, noisy": lambda rng: sine(rng, 0.2),
    "smooth links": lambda rng: links(rng, normal(rng, 6), SMOOTH, 0.1),
    "polynomials": lambda rng: links(rng, normal(rng, 5), CUBIC, 0.1),
    "steps and kinks": lambda rng: links(rng, normal(rng, 5), STEPS, 0.1),
    "much noise": lambda rng: links(rng, normal(rng, 6), WAVES, 0.7),
    "correlated inputs": lambda rng: links(rng, correlated(rng, 6), WAVES, 0.1),
    "heavy tails": lambda rng: links(
        rng, rng.standard_t(3, (MOST + TEST, 5)), SMOOTH, 0.1
    ),
    "discrete inputs": lambda rng: links(
        rng, rng.integers(0, 4, (MOST + TEST, 6)).astype(float), WAVES, 0.1
    ),
    "a plane and a line": plane,
    "two planes": lambda rng: fields(rng, 8, 2),
    "two spaces": lambda rng: fields(rng, 6, 3),
    "distances": lambda rng: sine(rng, 0.0, 3, "distance"),
    "Friedman 1": friedman(1),
    "Friedman 2": friedman(2),
    "Friedman 3": friedman(3),
}
OTHERS = {
    "decision tree": tree,
    "bump": bump,
    "largest input": largest,
    "product of signs": signs,
    "isotropic field": rough,
}


# --- methods: data and a seed -> a function that predicts, and directions or None


def searched(estimator, candidates, directions=lambda fitted: None):
    """Four candidates, three folds."""

    def fit(X, y, seed, U):
        folds = KFold(3, shuffle=True, random_state=seed)
        scaled = make_pipeline(StandardScaler(), estimator(seed))
        name = scaled.steps[-1][0]
        grid = [
            {f"{name}__{key}": [value] for key, value in one.items()}
            for one in candidates
        ]
        search = GridSearchCV(scaled, grid, cv=folds, scoring="neg_mean_squared_error")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search.fit(X, y)
        return search.predict, directions(search.best_estimator_)

    return fit


def gaussian_process(X, y, seed, U):
    scale, m = StandardScaler().fit(X), X.shape[1]
    kernel = ConstantKernel() * RBF([2.0] * m, (0.05, 1e4)) + WhiteKernel(
        0.1, (1e-6, 10)
    )
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        process.fit(scale.transform(X), y)
    return lambda Q: process.predict(scale.transform(Q)), None


def pursuit_regression(X, y, seed, U):
    """Projection pursuit regression: our own short reference, not a package.

    Terms are added one at a time: spline fit and Gauss-Newton in turn, best of five
    random starts, then two rounds of backfitting. The number of terms is the candidate.
    """
    rng, folds = np.random.default_rng(seed), KFold(3, shuffle=True, random_state=seed)
    scale = StandardScaler().fit(X)
    Z = scale.transform(X)

    def spline(z, r):
        smoother = make_pipeline(SplineTransformer(8), RidgeCV(np.logspace(-3, 2, 6)))
        return smoother.fit(z[:, None], r)

    def ridge_term(Z, r, u=None):
        best = None
        for start in [u] if u is not None else unit(rng, 5, Z.shape[1]):
            v = start
            for _ in range(4):
                z = Z @ v
                f = spline(z, r)
                slope = (
                    f.predict(z[:, None] + 0.01) - f.predict(z[:, None] - 0.01)
                ) / 0.02
                J = slope[:, None] * (Z - z[:, None] * v)
                left = r - f.predict(z[:, None])
                H = (
                    J.T @ J
                    + 1e-2 * len(Z) * np.eye(len(v)) * (slope**2).mean()
                    + 1e-9 * np.eye(len(v))
                )
                v = v + np.linalg.solve(H, J.T @ left)
                v = v / np.linalg.norm(v)
            f = spline(Z @ v, r)
            error = np.mean((r - f.predict((Z @ v)[:, None])) ** 2)
            if best is None or error < best[0]:
                best = (error, v, f)
        return best[1:]

    def value(terms, Z):
        return sum((f.predict((Z @ v)[:, None]) for v, f in terms), np.zeros(len(Z)))

    def fit(Z, y, count):
        terms, centre = [], y.mean()
        for _ in range(count):
            terms.append(ridge_term(Z, y - centre - value(terms, Z)))
        for _ in range(2):
            for j, (v, _) in enumerate(terms):
                rest = terms[:j] + terms[j + 1 :]
                terms[j] = ridge_term(Z, y - centre - value(rest, Z), v)
        return lambda Q: centre + value(terms, Q), [v for v, _ in terms]

    def error(count):
        return sum(
            np.sum((y[b] - fit(Z[a], y[a], count)[0](Z[b])) ** 2)
            for a, b in folds.split(Z)
        )

    best, directions = fit(Z, y, min((1, 2, 4, 6), key=error))
    return lambda Q: best(scale.transform(Q)), np.array(directions) / scale.scale_


def packaged_pursuit(seed):
    """The package of that name; its functions are polynomials of degree three."""
    from skpp import ProjectionPursuitRegressor

    return ProjectionPursuitRegressor(random_state=seed)


def packaged_directions(fitted):
    return fitted[-1]._alpha_.T / fitted[0].scale_


PPR = """
data <- read.csv("train.csv"); new <- read.csv("test.csv")
fit <- function(rows, terms) ppr(y ~ . - fold, data = data[rows, ],
                                 nterms = terms, max.terms = terms + 4)
candidates <- c(1, 2, 4, 6)
errors <- sapply(candidates, function(terms) sum(sapply(0:2, function(f) {
  out <- data$fold == f
  sum((data$y[out] - predict(fit(!out, terms), data[out, ]))^2)
})))
best <- fit(rep(TRUE, nrow(data)), candidates[which.min(errors)])
write.csv(data.frame(y = predict(best, new)), "guess.csv", row.names = FALSE)
write.csv(best$alpha, "alpha.csv", row.names = FALSE)
"""


def r_pursuit(X, y, seed, U):
    """R's ppr, with four numbers of terms and the same folds; R runs once a call."""
    if shutil.which("Rscript") is None:
        raise ImportError("no Rscript")
    scale = StandardScaler().fit(X)
    train = pd.DataFrame(scale.transform(X)).add_prefix("x").assign(y=y, fold=0)
    folds = KFold(3, shuffle=True, random_state=seed).split(X)
    for i, (_, test) in enumerate(folds):
        train.loc[test, "fold"] = i

    def guess(Q):
        with tempfile.TemporaryDirectory() as folder:
            new = pd.DataFrame(scale.transform(Q)).add_prefix("x").assign(fold=0)
            train.to_csv(f"{folder}/train.csv", index=False)
            new.to_csv(f"{folder}/test.csv", index=False)
            subprocess.run(["Rscript", "-e", PPR], cwd=folder, check=True)
            alpha = pd.read_csv(f"{folder}/alpha.csv").to_numpy().T
            return pd.read_csv(f"{folder}/guess.csv").y.to_numpy(), alpha

    _, alpha = guess(X[:1])  # R fits when it predicts; this call is for the clock
    return lambda Q: guess(Q)[0], alpha / scale.scale_


def paper(X, y, seed, U):
    """Algorithm 1 as printed, then a modular network; K = 5 m, as k is not known."""
    scale, centre, spread = StandardScaler().fit(X), y.mean(), y.std()
    Z, t = scale.transform(X), (y - centre) / spread
    start = learn_projections(Z, t, 5 * X.shape[1], seed=seed)
    rngs = [np.random.default_rng(seed)]
    network = models.Modular(rngs, torch.as_tensor(start[None]).float(), 32, 3)
    Z, t = torch.as_tensor(Z)[None].float(), torch.as_tensor(t)[None, :, None].float()
    training.train(network, Z, t, 1000)

    def guess(Q):
        Q = torch.as_tensor(scale.transform(Q))[None].float()
        return centre + spread * training.predict(network, Q)[0, :, 0].numpy()

    return guess, network.U[0, :, :, 0].detach().numpy() / scale.scale_


def feature_machine(X, y, seed, U):
    """xRFM, with four candidates and the same folds, then fitted on everything."""
    from xrfm import xRFM

    scale = StandardScaler().fit(X)
    Z = scale.transform(X).astype(np.float32)
    t = ((y - y.mean()) / y.std()).astype(np.float32)[:, None]

    def fit(train, valid, bandwidth, reg):
        params = {
            "model": {"kernel": "l2", "bandwidth": bandwidth, "exponent": 1.0},
            "fit": {"reg": reg, "iters": 4, "verbose": False, "early_stop_rfm": True},
        }
        machine = xRFM(
            params, device="cpu", tuning_metric="mse", random_state=seed, verbose=False
        )
        machine.fit(Z[train], t[train], Z[valid], t[valid])
        return machine

    folds = list(KFold(3, shuffle=True, random_state=seed).split(Z))

    def error(candidate):
        return sum(
            np.sum(
                (t[b] - np.reshape(fit(a, b, *candidate).predict(Z[b]), (-1, 1))) ** 2
            )
            for a, b in folds
        )

    best = min(product((3.0, 10.0), (1e-3, 1e-1)), key=error)
    machines = [fit(a, b, *best) for a, b in folds]  # it stops early on held-out data

    def guess(Q):
        Q = scale.transform(Q).astype(np.float32)
        mean = np.mean([np.ravel(machine.predict(Q)) for machine in machines], 0)
        return y.mean() + y.std() * mean

    return guess, None


def boosting(seed):
    from lightgbm import LGBMRegressor

    return LGBMRegressor(random_state=seed, n_jobs=1, verbose=-1, min_child_samples=10)


def explainable(seed):
    # without interactions, which made a fit take minutes
    from interpret.glassbox import ExplainableBoostingRegressor

    return ExplainableBoostingRegressor(
        random_state=seed, n_jobs=1, outer_bags=1, interactions=0
    )


def modular(X, y, seed, U):
    model = ModularRegressor(random_state=seed).fit(X, y)
    return model.predict, model.directions_


def modules_only(X, y, seed, U):
    model = ModularRegressor(random_state=seed, fallback=False).fit(X, y)
    return model.predict, model.directions_


def seeing_distances(X, y, seed, U):
    """Told that modules see distances, on the task where they do."""
    model = ModularRegressor(kind="distance", random_state=seed).fit(X, y)
    return model.predict, None  # centres, not directions


def oracle(X, y, seed, U):
    if U is None:
        return None
    X, y = torch.as_tensor(X), torch.as_tensor(y)[:, None]
    found = true_model(X, y, U, np.random.default_rng(seed))
    return lambda Q: predict(found, torch.as_tensor(Q))[:, 0].numpy(), U


def pairs(**values):
    return [dict(zip(values, one, strict=True)) for one in product(*values.values())]


METHODS = {
    "ModularRegressor": modular,
    "modules only": modules_only,
    "projection pursuit": pursuit_regression,
    "kernel ridge": searched(
        lambda seed: KernelRidge(kernel="rbf"),
        pairs(gamma=(0.03, 0.2), alpha=(1e-3, 0.1)),
    ),
    "Gaussian process": gaussian_process,
    "LightGBM": searched(
        boosting, pairs(n_estimators=(100, 400), learning_rate=(0.03, 0.1))
    ),
    "explainable boosting": searched(
        explainable, pairs(learning_rate=(0.02, 0.1), min_samples_leaf=(2, 10))
    ),
    "MLP": searched(
        lambda seed: MLPRegressor(max_iter=400, random_state=seed),
        pairs(hidden_layer_sizes=((64,), (64, 64)), alpha=(1e-4, 1e-1)),
    ),
    "xRFM": feature_machine,
    "R's ppr": r_pursuit,
    "projection-pursuit (PyPI)": searched(
        packaged_pursuit, pairs(r=(1, 2, 4, 6)), packaged_directions
    ),
    "paper's method": paper,
    "told distances": seeing_distances,
    "oracle": oracle,
}
ONLY = {"told distances": "distances"}  # of one task alone


def recovered(directions, U):
    """The share of (k, m) true directions that are near one of (j, m)."""
    if directions is None or U is None:
        return np.nan
    found = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    true = U / np.linalg.norm(U, axis=1, keepdims=True)
    return float((np.abs(true @ found.T).max(1, initial=0) > 0.95).mean())


def peak():
    """MiB of memory of this process and of the largest of its children."""
    who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return np.array([resource.getrusage(one).ru_maxrss for one in who]) / 1024


def measure(name, draw, method, seed, n):
    rng = stream("peers", name, seed)
    X, clean, noise, U = draw(rng)
    y = (clean + noise * rng.standard_normal(len(clean)))[:n]
    before, wall, cpu = peak(), time.perf_counter(), sum(os.times()[:4])  # R: a child
    fitted = METHODS[method](X[:n], y, seed, U)
    if fitted is None:
        return None
    wall, cpu = time.perf_counter() - wall, sum(os.times()[:4]) - cpu
    memory = (peak() - before).sum()
    guess, directions = fitted
    new = slice(MOST, None)
    error = np.mean((np.ravel(guess(X[new])) - clean[new]) ** 2) / clean[new].var()
    found = dict(nmse=error, recovered=recovered(directions, U), m=X.shape[1])
    return found | dict(seconds=wall, cpu_seconds=cpu, mib=memory)


def tell(answers, *task):
    """For a process of its own: what was measured, or what is not installed."""
    torch.set_num_threads(1)
    try:
        answers.put(measure(*task))
    except ImportError as error:
        answers.put(str(error))


def run(kind, name, draw, method, seed, n):
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=tell, args=(answers, name, draw, method, seed, n))
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit(f"{method} on {name}, seed {seed}: see the error above")
    found = answers.get()
    if not isinstance(found, dict):
        return found
    row = dict(kind=kind, task=name, n=n, seed=seed, method=method)
    return row | found | provenance()


def main(seeds: int, n: int) -> None:
    if not 30 <= n <= MOST:
        raise SystemExit(f"N must be from 30 to {MOST}, got {n}")
    torch.set_num_threads(1)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    rows = read_table(RESULTS).to_dict("records") if RESULTS.exists() else []
    done = {(row["task"], row["method"], row["seed"], row["n"]) for row in rows}
    tasks = [("modular", *pair) for pair in MODULAR.items()]
    tasks += [("other", *pair) for pair in OTHERS.items()]
    tasks = [
        task for i in range(3) for task in tasks[i::3]
    ]  # both kinds from the start
    numbers = range(FIRST, FIRST + seeds)
    for seed, (kind, name, draw), method in product(numbers, tasks, METHODS):
        if (name, method, seed, n) in done or ONLY.get(method, name) != name:
            continue
        row = run(kind, name, draw, method, seed, n)
        if isinstance(row, str):
            print(f"left out: {method}: {row}", flush=True)
        if not isinstance(row, dict):
            continue
        rows.append(row)
        pd.DataFrame(rows).to_csv(RESULTS, index=False, float_format="%.5g")
        shown = f"{row['nmse']:.4f} {row['cpu_seconds']:.1f} s {row['mib']:.0f} MiB"
        print(seed, name, "|", method, shown, flush=True)


if __name__ == "__main__":
    asked = [int(word) for word in sys.argv[1:3]]
    main(*asked, *(2, N)[len(asked) :])
