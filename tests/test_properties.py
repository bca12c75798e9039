"""Bad input to a public function raises an error that names the argument.

Each function of the package stands in CASES, with a kind for each argument that can be
bad, or in EXEMPT, with the reason why the values of its arguments are not tried. A new
function has to be entered in one of them. The types of its arguments are tried even so,
where it has type hints: they are kept at each call but in modbook.UNHINTED.
"""

import functools
import importlib
import inspect
import pkgutil
import re
import signal
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from beartype.door import is_bearable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modbook
from modbook import experiments, models, scaling, sweeps, tasks, theory
from modbook.beyond import METHODS as PURSUED
from modbook.experiments import (
    BEYOND,
    METHODS,
    NAMES,
    Comparison,
    Experiment,
    Sweep,
)
from modbook.images import bases, read_digits
from modbook.kernel_init import Descent, DirectionKernel
from modbook.models import Monolithic
from modbook.pursuit import Settings
from modbook.sample_complexity import SampleSearch
from modbook.store import Store
from modbook.sweeps import Here, Screen
from modbook.trials import Rule, Trial

# --- Kinds of arguments: a good value, and the bad ones


class Kind(NamedTuple):
    """A kind of argument."""

    good: Callable[[], object]  # makes a value that is allowed
    bad: st.SearchStrategy  # values that are not

    def such_as(self, value) -> "Kind":
        """The same kind with another good value."""
        return self._replace(good=lambda: value)

    def but(self, *allowed) -> "Kind":
        """The same kind where these values, too, are allowed."""
        return self._replace(
            bad=self.bad.filter(lambda v: not any(v is a for a in allowed))
        )


NOTHING, TEXT, NUMBER = st.none(), st.text(max_size=5), st.integers(-9, 9)
NOT_FINITE = st.sampled_from([np.nan, np.inf, -np.inf])
TRIAL = Trial(m=2, k=2, n=4, seed=0, iterations=1, n_test=4, width=2)
MODULAR = Trial(m=2, k=2, n=4, seed=0, iterations=1, n_test=4, K=2, start="random")


def number(good, *bad) -> Kind:
    """A finite number; complex ones, words and truth values are none."""
    others = (NOT_FINITE, TEXT, NOTHING, st.booleans(), st.complex_numbers())
    return Kind(lambda: good, st.one_of(*bad, *others))


def above(limit: float, good: float) -> Kind:
    return number(good, st.floats(max_value=limit, allow_nan=False))


def at_least(limit: float, good: float) -> Kind:
    return number(good, st.floats(max_value=limit, exclude_max=True, allow_nan=False))


def choice(*names) -> Kind:
    bad = st.one_of(TEXT, st.integers(), NOTHING).filter(lambda v: v not in names)
    return Kind(lambda: names[0], bad)


def array(*shape: int) -> Kind:
    """An array of a shape; others are of one axis too many, or hold words."""
    good = lambda: np.arange(1.0, 1 + np.prod(shape)).reshape(shape)  # noqa: E731
    larger = st.just(np.ones((*shape, 1)))
    words = st.just(np.full(shape, "one"))
    return Kind(good, st.one_of(TEXT, NUMBER, NOTHING, larger, words, st.lists(TEXT)))


def tensor(*shape: int) -> Kind:
    """A tensor of a shape; others are of one axis too many."""
    larger = st.just(torch.ones(*shape, 1))
    return a(lambda: torch.ones(shape), larger)


def vector_with_slope() -> torch.Tensor:
    vector = torch.ones(2)
    vector.grad = torch.ones(2)
    return vector


def a(good: Callable[[], object], *bad) -> Kind:
    """A thing that numbers, words and nothing are not."""
    return Kind(good, st.one_of(NUMBER, TEXT, NOTHING, *bad))


WORD = Kind(lambda: 1.0, st.one_of(TEXT, NOTHING))  # any number is allowed
WON = Kind(lambda: 1, st.one_of(st.integers(max_value=-1), st.integers(10), TEXT))
NAN = st.just(torch.full((3, 2), torch.nan))
POINTS = dict.fromkeys(
    "AB", a(lambda: torch.ones(3, 2), NAN, st.just(torch.ones(3, 2, 1)))
)
COUNT = number(2, st.integers(max_value=0), st.floats())
COUNT_OR_NONE = COUNT.but(None)
WORKERS = Kind(lambda: 1, st.one_of(st.integers(max_value=-1), st.floats(), TEXT))
SECONDS, POSITIVE = at_least(0, 1.0), above(0, 0.5)
OMEGA, VARIANCE = above(1, 1.5), above(0, 1.0)
FLAG = Kind(lambda: False, st.one_of(TEXT, st.floats(2, 9), NOTHING))
RNG = a(lambda: np.random.default_rng(0), st.just(np.random))
RNGS = a(lambda: [np.random.default_rng(0)], st.lists(NUMBER), st.just([np.random]))
JOB = a(lambda: TRIAL, st.just(Trial))
JOBS = a(lambda: [TRIAL], st.lists(NUMBER, min_size=1), st.just([Trial]))
DEVICE = Kind(
    lambda: "cpu", st.one_of(TEXT, NUMBER, NOTHING).filter(lambda v: v != "cpu")
)
OPEN: list[Store] = []  # the store of the test that now runs


@pytest.fixture(autouse=True)
def open_store(tmp_path):
    with Store(tmp_path / "rows.sqlite") as store:
        OPEN.append(store)
        yield store
        assert not store.ids(), "something was run"
    OPEN.clear()


STORE = a(lambda: OPEN[-1])
WHERE = dict(
    store=STORE,
    workers=WORKERS,
    device=DEVICE,
    executor=a(Here).but(None),
    show=FLAG,
    minutes=POSITIVE.but(None),
)
READING = choice("consistent", "total", "printed")
BRANCH = choice("any", "below", "above")
SPECTRUM = dict(c=VARIANCE, Omega=OMEGA)
TRACES = dict(p=COUNT, t1=at_least(0, 0.5), t2=at_least(0, 0.5), d=COUNT)
NOISE = at_least(0, 0.0)
BEST = dict(eps=POSITIVE, m=COUNT, b=COUNT_OR_NONE, **SPECTRUM, d=COUNT)

SCALE = choice("smoke", "laptop", "paper")
EXPERIMENT = dict(
    **dict(scale=SCALE, seeds=WORKERS, workers=WORKERS, device=DEVICE),
    **dict(
        store=Kind(lambda: "rows.sqlite", st.one_of(NUMBER, NOTHING)),
        minutes=SECONDS,
        recorded=FLAG,
    ),
)
SETTINGS = a(lambda: Sweep(scale="smoke"))
COLUMNS = {name: [1] for name in "m n scale architecture id seed test_loss".split()}
TABLE = a(
    lambda: pd.DataFrame({"method": ["none"], **COLUMNS}), st.just(pd.DataFrame())
)
NAME = Kind(lambda: "none", st.one_of(NUMBER, NOTHING))
FOLDER = Kind(lambda: OPEN[-1].path.parent, NUMBER)
NEW_PATH = Kind(
    lambda: OPEN[-1].path.with_name("new.sqlite"), st.one_of(NUMBER, NOTHING)
)
NO_PATH = Kind(lambda: "", st.one_of(NUMBER, NOTHING))
SIDE = at_least(0, 0)
FOUND = Comparison(0.5, 0.4, 0.6, 9)

# --- The table

CASES: dict[str, dict[str, Kind]] = {
    # theory
    "theory.decay": dict(m=COUNT, Omega=OMEGA),
    "theory.lambdas": dict(i=COUNT, m=COUNT, **SPECTRUM),
    "theory.power_traces": dict(p=COUNT, s=POSITIVE, c=VARIANCE),
    "theory.traces": dict(p=COUNT, m=COUNT, **SPECTRUM),
    "theory.flat_traces": dict(p=COUNT, D=POSITIVE, c=VARIANCE),
    "theory.square_traces": dict(p=COUNT, m=COUNT, **SPECTRUM),
    "theory.effective_dimension": dict(m=COUNT, Omega=OMEGA),
    "theory.F": dict(n=COUNT, p=COUNT),
    "theory.F_tail_exponent": dict(n=COUNT, p=COUNT),
    "theory.pinv_norms": dict(n=COUNT, p=COUNT, rng=RNG, trials=COUNT),
    "theory.F_hundred_trials": dict(n=COUNT, p=COUNT, rng=RNG, trials=COUNT),
    "theory.losses": dict(n=COUNT, **TRACES, noise=NOISE),
    "theory.theorem1": dict(
        n=COUNT, p=COUNT, m=COUNT, **SPECTRUM, d=COUNT, noise=NOISE
    ),
    "theory.modular": dict(
        p=COUNT, m=COUNT, b=COUNT, **SPECTRUM, reading=READING, k=COUNT
    ),
    "theory.theorem2": dict(
        **dict(n=COUNT, p=COUNT, m=COUNT, b=COUNT, **SPECTRUM, d=COUNT),
        **dict(reading=READING, k=COUNT, noise=NOISE),
    ),
    "theory.simulate": dict(
        **dict(n=COUNT, variances=at_least(0, [0.5]), t2=at_least(0, 0.5), rng=RNG),
        **dict(d=COUNT, draws=COUNT, ridge=NOISE, noise=NOISE),
        weights=choice("gaussian", "signs"),
    ),
    "theory.modular_variances": dict(p=COUNT, m=COUNT, b=COUNT, **SPECTRUM, k=COUNT),
    "theory.summarise": dict(rows=array(3, 2)),
    "theory.loss_quantiles": dict(
        level=above(0, 0.5), n=COUNT, **TRACES | dict(t2=above(0, 0.5))
    ),
    "theory.loss_variances": dict(n=COUNT, **TRACES, v1=NOISE, v2=NOISE),
    "theory.n_star": dict(eps=POSITIVE, **TRACES, branch=BRANCH, relative=FLAG),
    "theory.sample_complexity": dict(
        **dict(eps=POSITIVE, p=COUNT, m=COUNT, b=COUNT_OR_NONE, **SPECTRUM, d=COUNT),
        **dict(branch=BRANCH, relative=FLAG, reading=READING, k=COUNT),
    ),
    "theory.log_n_star_best": BEST,
    "theory.n_star_best": BEST | dict(branch=BRANCH, relative=FLAG, reading=READING),
    "theory.linear_bound": BEST,
    "theory.n_star_limit": dict(
        eps=POSITIVE, p=COUNT, b=COUNT_OR_NONE, **SPECTRUM, d=COUNT
    ),
    "theory.log_n_star_limit": BEST,
    "theory.ridge_losses": dict(n=COUNT, **TRACES, ridge=NOISE, noise=NOISE),
    "theory.best_ridge": dict(
        p=COUNT, t1=above(0, 0.5), t2=at_least(0, 0.5), noise=NOISE
    ),
    "theory.bayes_loss": dict(
        n=COUNT, m=COUNT, b=COUNT_OR_NONE, **SPECTRUM, d=COUNT, noise=NOISE
    ),
    "theory.effective_p": dict(parameters=COUNT, alpha=POSITIVE),
    "theory.fit": dict(
        n=COUNT.such_as([10, 20, 40, 80]),
        parameters=COUNT.such_as([50, 50, 50, 50]),
        m=COUNT.such_as([2, 2, 3, 3]),
        train=NOISE.such_as([0.5, 0.6, 0.7, 0.8]),
        d=COUNT.such_as(1),
        starts=POSITIVE.such_as((0.85,)),
    ),
    "theory.check_bottleneck": dict(m=COUNT, b=COUNT_OR_NONE),
    # tasks
    "tasks.sample_directions": dict(rng=RNG, k=COUNT, m=COUNT),
    "tasks.sample_sine_tasks": dict(
        rngs=RNGS, m=COUNT, k=COUNT, tau=COUNT, projection=choice("linear", "distance")
    ),
    "tasks.sample_inputs": dict(rngs=RNGS, n=COUNT, m=COUNT),
    "tasks.SineTask": dict(
        u=array(1, 2, 3),
        a=array(1, 2, 4),
        omega=array(1, 2, 4),
        phi=array(1, 2, 4),
        projection=choice("linear", "distance"),
    ),
    # metrics
    "metrics.mse": dict(y=array(1, 3, 2), y_hat=array(1, 3, 2)),
    "metrics.nmse": dict(y=array(1, 3, 2), y_hat=array(1, 3, 2)),
    "metrics.abs_cosines": dict(learned=array(1, 2, 3), true=array(1, 2, 3)),
    "metrics.similarity": dict(learned=array(1, 2, 3), true=array(1, 2, 3)),
    "metrics.coverage": dict(learned=array(1, 2, 3), true=array(1, 2, 3)),
    "metrics.chance": dict(m=COUNT, candidates=COUNT),
    # models
    "models.layer_sizes": dict(m=COUNT, width=COUNT, layers=COUNT, d=COUNT),
    "models.network_size": dict(m=COUNT, width=COUNT, layers=COUNT, d=COUNT),
    "models.modular_size": dict(
        m=COUNT, K=COUNT, width=COUNT, layers=COUNT, b=COUNT, d=COUNT
    ),
    "models.matching_width": dict(
        size=COUNT.such_as(50), m=COUNT, layers=COUNT, d=COUNT
    ),
    "models.random_projections": dict(rngs=RNGS, K=COUNT, m=COUNT, b=COUNT),
    "models.Monolithic": dict(rngs=RNGS, m=COUNT, width=COUNT, layers=COUNT, d=COUNT),
    "models.Modular": dict(
        rngs=RNGS,
        U=tensor(1, 2, 3, 1),
        **dict(width=COUNT, layers=COUNT, d=COUNT),
        projection=choice("linear", "distance"),
        fixed=FLAG,
    ),
    "models.minibatch_rows": dict(
        rngs=RNGS, n=COUNT, batch=COUNT.such_as(1), steps=COUNT
    ),
    "models.check_sets": dict(
        X=tensor(1, 2, 3), y=tensor(1, 2, 1), replicas=COUNT.such_as(1)
    ),
    # kernel_init
    "kernel_init.DirectionKernel": dict(
        **dict(sigma=POSITIVE, u_length=POSITIVE, v_length=POSITIVE, aligned=FLAG),
        handed=choice("unit", "raw", "kernel"),
    ),
    "kernel_init.DistanceKernel": dict(sigma=POSITIVE, u_length=POSITIVE),
    "kernel_init.SubspaceKernel": dict(width=COUNT, sigma=POSITIVE),
    "kernel_init.gaussians": dict(
        points=a(lambda: [torch.ones(1, 2, 2)]), sigma=POSITIVE
    ),
    "kernel_init.groups_together": dict(
        device=a(lambda: torch.device("cpu")), modules=COUNT, batch=COUNT
    ),
    "kernel_init.find_projections": dict(
        X=tensor(1, 3, 2),
        y=tensor(1, 3, 1),
        K=COUNT,
        kernel=a(DirectionKernel),
        rngs=RNGS,
        how=a(lambda: Descent(steps=1)),
    ),
    "kernel_init.learn_projections": dict(
        X=array(3, 2),
        y=array(3, 1),
        modules=COUNT,
        kernel=a(DirectionKernel).but(None),
        seed=WORKERS,
        **dict(steps=COUNT, rate=POSITIVE, batch=COUNT, jitter=POSITIVE),
        optimiser=choice("sgd", "adam"),
    ),
    "kernel_init.Descent": dict(
        **dict(steps=COUNT, rate=POSITIVE, batch=COUNT, jitter=POSITIVE),
        optimiser=choice("sgd", "adam"),
    ),
    # training
    "training.train": dict(
        model=a(lambda: Monolithic([np.random.default_rng(0)], 2, 2, 2)),
        X=tensor(1, 3, 2),
        y=tensor(1, 3, 1),
        iterations=COUNT,
        learning_rate=POSITIVE,
        batch=COUNT_OR_NONE,
        rngs=RNGS,
    ),
    "training.Adam": dict(vector=a(vector_with_slope), learning_rate=POSITIVE),
    "training.sample_chunks": dict(
        model=a(lambda: Monolithic([np.random.default_rng(0)], 2, 2, 2)), n=COUNT
    ),
    "training.in_pieces": dict(pieces=COUNT),
    # trials
    "trials.Rule": dict(
        **dict(steps=COUNT, rate=POSITIVE, batch=COUNT, jitter=POSITIVE),
        **dict(optimiser=choice("sgd", "adam"), sigma=POSITIVE),
    ),
    "trials.Trial": dict(
        **dict(m=COUNT, k=COUNT, n=COUNT, seed=WORKERS, K=COUNT_OR_NONE),
        **dict(start=choice("random", "oracle"), rule=a(Rule).but(None).such_as(None)),
        **dict(width=COUNT, layers=COUNT, iterations=COUNT, learning_rate=POSITIVE),
        **dict(batch=COUNT_OR_NONE, tau=COUNT, n_test=COUNT, fixed=FLAG),
        **dict(ensemble=COUNT.such_as(1), checkpoints=WORKERS, held_out=WORKERS),
        **dict(
            projection=choice("linear", "distance"), sees=choice("projection", "all")
        ),
        dtype=choice("float32", "float64", "tf32"),
    ),
    "trials.run": dict(trials=JOBS, device=DEVICE),
    "trials.products_in": dict(dtype=choice("float32", "float64", "tf32")),
    "trials.check_alike": dict(trials=JOBS),
    # sample_complexity
    "sample_complexity.SampleSearch": dict(
        **dict(epsilon=POSITIVE, step=POSITIVE, tolerance=POSITIVE, budget=COUNT),
        **dict(c=at_least(0, 2.0), limit=above(12, 22.0), l=at_least(0, 0.0)),
        r=number(3.0).but(np.inf),
    ),
    # store
    "store.Store": dict(path=NEW_PATH),
    "store.Reader": dict(path=NEW_PATH),
    "store.merge": dict(source=STORE, into=STORE),
    "store.check": dict(store=STORE, kinds=a(lambda: {Trial: 1})),
    "store.hardware": dict(device=DEVICE),
    "store.provenance": dict(device=DEVICE),
    # sweeps
    "sweeps.shape": dict(trial=JOB),
    "sweeps.group_size": dict(trial=JOB, free=COUNT_OR_NONE),
    "sweeps.cost": dict(group=JOBS),
    "sweeps.plan": dict(trials=JOBS, free=COUNT_OR_NONE),
    "sweeps.check_device": dict(device=DEVICE),
    "sweeps.choose_device": dict(device=DEVICE),
    "sweeps.free_memory": dict(device=DEVICE),
    "sweeps.default_workers": dict(device=DEVICE),
    "sweeps.out_of_memory": dict(error=a(MemoryError)),
    "sweeps.run_group": dict(group=JOBS, device=DEVICE),
    "sweeps.set_up_worker": dict(driver=a(object)),
    "sweeps.Pool": dict(workers=WORKERS),
    "sweeps.check_address": dict(address=a(lambda: "tcp://first:8786")),
    "sweeps.Cluster": dict(address=a(lambda: "").but(None), workers=WORKERS),
    "sweeps.make_executor": dict(
        executor=choice("none", "process", "dask"), workers=WORKERS
    ),
    "sweeps.on_executor": dict(
        executor=choice("none", "", "process", "dask"), workers=WORKERS
    ),
    "sweeps.describe": dict(group=JOBS),
    "sweeps.clock": dict(seconds=SECONDS),
    "sweeps.pace": dict(number=SECONDS, seconds=POSITIVE),
    "sweeps.make_screen": dict(show=FLAG),
    "sweeps.Progress": dict(groups=a(lambda: [[TRIAL]]), screen=a(Screen)),
    "sweeps.run_sweep": dict(trials=JOBS, **WHERE),
    "sweeps.run_searches": dict(
        templates=JOBS, search=a(lambda: SampleSearch(1.0)), **WHERE
    ),
    # experiments
    "experiments.paper_iterations": dict(m=COUNT),
    "experiments.start_by_pursuit": dict(method=choice(*BEYOND)),
    "experiments.method_trial": dict(
        **dict(method=choice(*NAMES), m=COUNT, n=COUNT, seed=WORKERS, tau=COUNT),
        scale=a(lambda: experiments.SCALES["smoke"]),
        arch=a(lambda: (8, 3)),
    ),
    "experiments.Sweep": EXPERIMENT
    | dict(m=COUNT, tau=COUNT, methods=choice("oracle", "all", *METHODS)),
    "experiments.run_experiment": dict(settings=SETTINGS, show=FLAG),
    "experiments.cost_table": dict(settings=SETTINGS, seconds=POSITIVE),
    "experiments.planned_costs": dict(settings=SETTINGS, seconds=POSITIVE),
    "experiments.state_of": dict(settings=SETTINGS, store=STORE),
    "experiments.record": dict(name=NAME, table=TABLE, folder=FOLDER, replace=FLAG),
    "experiments.recorded": dict(name=NAME, folder=FOLDER),
    "experiments.compare": dict(table=TABLE, method=NAME, other=NAME),
    "experiments.verdict": dict(found=a(lambda: FOUND), scale=SCALE, bound=number(1.0)),
    "experiments.summarise": dict(table=TABLE),
    "experiments.readable": dict(summary=TABLE),
    "experiments.origins": dict(rows=TABLE),
    # figures
    "figures.loss_against_n": dict(summary=TABLE),
    "figures.directions_against_n": dict(summary=TABLE, modules_per_k=COUNT),
    "figures.speed": dict(table=TABLE),
    "figures.costs": dict(settings=SETTINGS),
    "figures.styled": dict(table=a(lambda: pd.DataFrame({"a": [1]})), precision=COUNT),
    "figures.parameters_of": dict(settings=SETTINGS, rows=TABLE),
    # images and image_trials
    "images.choose_source": dict(source=choice("digits", "auto", "cifar10")),
    "images.source_name": dict(source=choice("digits", "auto", "cifar10")),
    "images.read_images": dict(source=choice("digits", "auto", "cifar10")),
    "images.read_cifar10": dict(folder=NO_PATH),
    "images.cifar10_folder": dict(folder=NO_PATH),
    "images.shrink": dict(pixels=array(1, 1, 2, 2), side=COUNT),
    "images.draw_rows": dict(rng=RNG, n=COUNT, k=COUNT, N=COUNT.such_as(9)),
    "images.compose": dict(
        rng=RNG, n=COUNT, k=COUNT, labels=array(9), allowed=array(1024).but(None)
    ),
    "images.class_sets": dict(k=COUNT),
    "images.held_out_sets": dict(
        k=COUNT, seed=WORKERS, test_share=Kind(lambda: 0.5, number(0, NUMBER).bad)
    ),
    "images.shares_table": dict(ks=COUNT.such_as([2]), seed=WORKERS),
    "images.compose_task": dict(
        parts=a(lambda: bases(read_digits())),
        **dict(k=COUNT, n=COUNT, n_test=COUNT, seed=WORKERS, noise=NOISE),
        combinations=FLAG,
    ),
    "image_trials.ImageTrial": dict(
        data=choice("digits", "cifar10"),
        **dict(k=COUNT, n=COUNT.such_as(500), seed=WORKERS),
        network=choice("monolithic", "modular", "ensemble", "one-each"),
        hidden=COUNT.such_as((8,)),
        **dict(modules=COUNT, width=COUNT, epochs=COUNT, batch=COUNT, n_test=COUNT),
        combine=choice("concatenate", "sum"),
        **dict(members=COUNT.such_as(1), side=SIDE, learning_rate=POSITIVE),
        **dict(noise=NOISE, combinations=FLAG, gauge=FLAG, keep=FLAG),
    ),
    "image_trials.ImageRule": dict(
        rate=POSITIVE,
        batch=COUNT,
        sigma=NOISE,
        ridge=POSITIVE,
        centred=FLAG,
        relative=FLAG,
        measured=FLAG,
        length=NOISE,
    ),
    # pursuit
    "pursuit.Settings": dict(
        **dict(modules=COUNT, kind=choice("linear", "distance"), quiet=POSITIVE),
        **dict(starts=COUNT_OR_NONE, most_starts=COUNT_OR_NONE, modes=COUNT),
        **dict(most_modes=COUNT, sought=COUNT, refined=COUNT, kept=COUNT),
    ),
    "pursuit.pursue": dict(
        X=tensor(9, 2), y=tensor(9, 1), rng=RNG, settings=a(Settings)
    ),
    "pursuit.pursued_projections": dict(
        X=array(9, 2), y=array(9, 1), K=COUNT, rng=RNG, settings=a(Settings)
    ),
    "pursuit.true_model": dict(
        X=tensor(9, 2), y=tensor(9, 1), U=array(2, 2), rng=RNG, settings=a(Settings)
    ),
    "pursuit.prepare": dict(
        X=a(lambda: torch.arange(18.0).view(9, 2)),
        kind=choice("linear", "distance"),
        modes=COUNT,
        rng=RNG,
    ),
    # the estimator's processes and planes
    "processes.squares": POINTS,
    "processes.matern": POINTS,
    "processes.gaussian": POINTS,
    "processes.standardise": dict(y=array(3, 2)),
    "processes.deviations": dict(y=array(3, 2)),
    "planes.chance": dict(distance2=a(lambda: np.ones(2)), m=COUNT, b=COUNT),
    # claims and what is beyond the paper
    "claims.deviations": dict(theorem=choice(1, 2)),
    "claims.from_sweep": dict(claim=choice(*experiments.SWEEP_QUESTIONS)),
    "scaling.share": dict(won=WON, pairs=WORD.such_as(9)),
    "beyond.starts_for": dict(snr=WORD, frequency=WORD, m=COUNT),
    "beyond.PursuitTrial": dict(
        method=choice(*PURSUED), m=COUNT, n=COUNT, tau=COUNT, seed=WORKERS
    ),
    "beyond.PatientTrial": dict(
        method=choice("more starts"), m=COUNT, n=COUNT, tau=COUNT, seed=WORKERS
    ),
}
EXEMPT: dict[str, str] = {}


def exempt(module: str, why: str, names: str) -> None:
    """Leave functions of a module out, with the reason."""
    EXEMPT.update({f"{module}.{name}": why for name in names.split()})


RECORD = "a record of what was computed: takes what it is given"
ITSELF = "names its argument itself: tested below"
INSIDE = "a step of the chapter: takes what the steps before it made"
TABLES = "between a table and a page: takes rows that the package made"
exempt("theory", RECORD, "Fit")
exempt("theory", ITSELF, "check_counts check_above check_from check_choice")
exempt("theory", ITSELF, "check_shapes check_flags check_arrays check_generators")
exempt("tasks", ITSELF, "check_seed stream")
exempt(
    "products",
    INSIDE,
    "wide_amd variable declare layout Product prepared typed",
)
exempt("models", INSIDE, "MLP uniform count_parameters check_projections")
exempt("kernel_init", RECORD, "Found")
exempt(
    "kernel_init",
    INSIDE,
    "posv posv_each posv_at_once solve mirrored stacked Gaussian unit springs "
    "MinimumNorm objective gradient descend",
)
exempt("training", RECORD, "Trained")
exempt(
    "training",
    INSIDE,
    """
    Buffers Chunk Folded Gradient Packed Products Samples captured
    check_model pitch planned check_steps fold fold_count fold_slices minibatch predict
    projection_slopes relu_backward views""",
)
exempt("trials", RECORD, "Data")
exempt(
    "trials",
    "called with a trial that was checked when it was made",
    """
    check_trial check_watch check_pursued estimate_seconds together memory
    expected_starts pursuit_seconds
    parameter_count rule_flops training_flops checkpoint_steps with_compute""",
)
exempt(
    "trials",
    INSIDE,
    """
    streams draw_data apply_rule starting_projections pursue_modules distil build
    spread outputs directions check_place of_the_start
    evaluate train_networks Watch best_checkpoint as_texts changed
    around_seed tensors_of""",
)
exempt("sweeps", ITSELF, "check_jobs check_workers check_drive")
exempt("sweeps", INSIDE, "progress_lines")
exempt("sample_complexity", ITSELF, "check_search check_running")
exempt("sample_complexity", INSIDE, "higher")
exempt("sweeps", "an interface: nothing is called", "Job Weighed")
exempt(
    "store",
    INSIDE,
    """
    create read_schema upgrade insert packed joined columns_of table_of connect
    read_rows marks
    tried_records difference rebuild shape_of true_trial outdated faults say
    plain_errors lock_path driver_of take_lock free_lock""",
)
exempt("store", ITSELF, "check_open check_there")
exempt("store", INSIDE, "failure_table")
exempt(
    "experiments",
    "tells of an argument by its name",
    """
    check_type check_types check_range check_parameters read_parameters""",
)
ABSTRACT = "what several experiments share: they are in the table"
exempt("experiments", ABSTRACT, "Experiment")
exempt("directions", ABSTRACT, "Directions")
exempt("scaling", ABSTRACT, "SearchExperiment")
exempt("experiments", ITSELF, "check_settings check_table")
exempt("models", ITSELF, "check_tensors")
exempt("experiments", RECORD, "Scale")
exempt(
    "experiments",
    INSIDE,
    """
    plan_table trial_line label own_settings known_cells
    pace_of shortened split_names run_time step_cost representative calibrate
    difference agreed operations memory
    costly_cells longest_path results_folder rows_path rank one_protocol
    newest_protocol""",
)
exempt(
    "experiments",
    TABLES,
    "reach answer sweep_claims by_rule mean_and_error plus_minus with_error",
)
exempt(
    "figures",
    TABLES,
    """
    command draw_methods legend_below not_run choices_drawn constants_beside_paper
    distance_against_tau
    draw_ends draw_samples draw_series embeddings loss_against_m loss_against_modules
    losses_beside_published module_drawn provenance ratios samples_against_m
    samples_by_setting
    settings_ratios similarity_in_training trend_panels""",
)
exempt("directions", RECORD, "Size")
exempt(
    "directions",
    TABLES,
    """
    against_published agrees angles answers ask beside_nearest best_scale choice_table
    closer
    describe difference draw_module embed exceeds family judge_claimed judge_closer met
    judge_question
    kept_directions module_curve own_words plan_directions published_module small_trial
    split_modules start_of that_fit trace_summary traces weakest without_modules""",
)
exempt("scaling", RECORD, "SearchScale SettingsScale Trends")
exempt(
    "scaling",
    TABLES,
    """
    bend best_rows calibrate claim_growth calibration_points choice
    clearly_better combinations contrast exponential fewer figure2_answers
    figure2_curves figure2_table
    figure4a_answers figure8_answers figure8_means fit_quality fit_table fit_training
    growth growth_laws interval joint judge_calibration judge_figure2 judge_figure4a
    judge_figure8 judge_fit judge_growth judge_settings label_searches log_distances
    median_interval named needs_fewer network_settings panels plain points predicted
    published_point
    ratios_to_paper readable_means replay resampled_distances resampled_ratios
    rule_settings said same sample_means search_table settings_table shorter trend
    worth_learning by_desired_loss judge_search judgements means_by_desired_loss
    search_checks searched_trial side_by_side effects_table finished in_batches
    beside_the_papers agreement figure4a_beside over_desired_losses figure8_by_loss
    figure2_beside steps_averaged slower""",
)
exempt(
    "__main__",
    "a step of main, which tells of bad input on standard error",
    """
    parse_settings as_python summary run_command report print_failures
    processes span amount work list_names print_costs cost_lines status_command
    describe state_line
    as_settings merge_command merged_line outdated_lines export_command verify_command
    Unread main stopped""",
)

exempt(
    "beyond",
    TABLES,
    """
    climbs complexity_table count_verdicts draw_complexity draw_errors_by_size
    draw_fates draw_medians draw_peers errors_by_size judge_peers judge_targets
    shared_draws why_missed""",
)
exempt(
    "estimator",
    RECORD,
    "Additive ModuleFunction Modules Smooth Trees",
)
exempt("processes", RECORD, "Process")
exempt("planes", RECORD, "Fit PlaneFunction Planes")
exempt(
    "estimator",
    INSIDE,
    """
    additive additive_start apart bell bends check_size choose_form cost cross_validate
    draw draw_curve draw_line names_for
    draw_map draw_modules draw_planes draw_weights firsts fit_additive fit_as_many
    fit_form fit_modules
    fit_smooth fit_trees for_folds free_numbers left_over likeliest most_modules
    of_the_mean pack
    passes power product read rebuild rows_of_two spreads straight_part surest
    with_noise
    shares_of slopes_and_bells some_of spline twins unpack warn_about weights_of
    warn_about_columns write_whole""",
)
exempt(
    "processes",
    INSIDE,
    """
    centred condition evidence_of explained factorise handed_out
    tune_in_turn tune_process""",
)
exempt(
    "planes",
    INSIDE,
    """
    axes_of best_plane best_planes drop find_planes fit_planes free_in_planes
    guess_planes
    joined merge over_planes pair_scores share_out spans tune_planes""",
)
exempt(
    "figures",
    TABLES,
    """
    accuracy_against_k accuracy_against_noise accuracy_panels as_picture
    column_pictures draw_images draw_published example_input projection_columns""",
)
exempt("image_results", RECORD, "ImageScale")
exempt(
    "image_results",
    TABLES,
    """
    asked_rows best_scale choices_claims choices_table drop_with_k drops_table
    error_difference image_answer image_claims image_origins image_summary
    image_table image_trial image_verdict in_short interval judge_figure12 judge_more
    little_noise more_claims samples_needed samples_table seen_table share_answer
    about captioned column_share gap_closed of_images judge_samples judge_seen
    published_table
    samples_by_seed samples_growth samples_text seen_answer shares_judged with_rule""",
)
exempt(
    "image_trials",
    INSIDE,
    """
    FoundModules OneAnImage OneForAll SharedModules Stack apply_rule bandwidth
    build_image_network find_modules seen_by starting_point
    check_image_trial columns covariances draw_uniform effective_rank
    estimate_image_seconds fit fix_gauge groups_of_classes image_loss
    image_memory image_operations kept_column loaded looks matrices order_stream
    own_targets random_start rescaled rule_step score share_of_strongest
    spectral_projection
    spectral_start starting_projections whole""",
)
exempt("images", RECORD, "Base ImageTask Images")
exempt(
    "images",
    INSIDE,
    """
    Resuming bases batches check_allowed check_balance check_share fillings k_hot
    channel_sums check_known noise_generator noted_hashes read_batch scoring_batches
    seen sha256 side_shares told_what_to_do unpack version why_not""",
)
exempt(
    "pursuit",
    RECORD,
    """
    Alone Ascent Axis Bins Model Moments Posterior Priors Products Pursuit Scene
    Whitening""",
)
exempt(
    "pursuit",
    INSIDE,
    """
    add assuming basin bin_index bin_sums binned block bounds build by_priors cap
    central_weights centres check_data chunks climbs damped design distinct
    equations evidence_slopes explain factor finish gram grow hand_out importance
    inverse_of_lower jacobian keep keep_some leave_one_out lessons leverage
    least_squares likeness
    log_density log_spectrum mean module_axis module_function moments
    normal_equations places posterior predict price prune refine rounds run
    scan scorer see settle simplify slope_weights squared solve spectrum subset tangent
    prices steepness teach tune uphill variances waves weed whiten widen
    seek seek_rare with_samples""",
)
exempt("directions", TABLES, "twice")
exempt("directions", "called with trials that were checked", "with_search")
exempt("image_trials", "called with a trial that was checked", "run_image_trial")
exempt(
    "pursuit",
    INSIDE,
    """
    among_all exchange free_parameters may_be_finer offer search_finer some_vary
    stretch windows without_least""",
)
exempt(
    "beyond",
    INSIDE,
    """
    measured rungs needed median_interval module_fates pursuit_data reached
    relative_error telling""",
)
exempt(
    "image_results",
    TABLES,
    "at_paper_size beside_published equal_compute equivalent_noise "
    "fewer_samples looks_table "
    "more_epochs rows_or_smoke",
)
exempt(
    "experiments",
    TABLES,
    """
    asked_cells compare_costs costs_path in_words read_table record_costs recorded_costs
    recorded_trials run_minutes
    write_table""",
)
exempt(
    "estimator", "scikit-learn's way: arguments are checked by fit", "ModularRegressor"
)
exempt("estimator", INSIDE, "additive_function describe load plain save settings_of")
exempt("images", "would download: its own chapter checks it", "download_cifar10")

# What is known not to be checked. A gap that is closed fails the test: delete it.
GAPS: set[str] = set()

# --- Walking the package


def modules() -> dict[str, ModuleType]:
    names = sorted(info.name for info in pkgutil.iter_modules(modbook.__path__))
    return {
        name: importlib.import_module(f"modbook.{name}")
        for name in names
        if name != "_modidx"
    }


def public() -> dict[str, Callable]:
    """Every function and class that a module of the package exports."""
    return {
        f"{name}.{key}": getattr(module, key)
        for name, module in modules().items()
        for key in getattr(module, "__all__", [])
        if callable(getattr(module, key))
    }


def plain(thing) -> bool:
    """Whether there is nothing to check: no arguments, or fields of a plain tuple."""
    record = inspect.isclass(thing) and issubclass(thing, tuple)
    return record or not inspect.signature(thing).parameters


PUBLIC = {name: thing for name, thing in public().items() if not plain(thing)}
CASES |= {
    name: EXPERIMENT
    for name, thing in PUBLIC.items()
    if inspect.isclass(thing)
    and issubclass(thing, Experiment)
    and name not in {*CASES, *EXEMPT}
}
PAIRS = [(name, argument) for name in CASES for argument in CASES[name]]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_is_in_the_table(name):
    assert (name in CASES) != (name in EXEMPT), (
        f"enter {name}{inspect.signature(PUBLIC[name])} in CASES, or in EXEMPT with "
        "the reason"
    )


def test_the_table_has_no_function_that_is_gone():
    assert {*CASES, *EXEMPT} <= {*PUBLIC}


@pytest.mark.parametrize("name", CASES)
def test_the_table_names_real_arguments(name):
    parameters = inspect.signature(PUBLIC[name]).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    assert CASES[name].keys() <= parameters.keys() or open_ended


@pytest.mark.parametrize("name", CASES)
def test_the_good_values_are_of_their_types(name):
    for parameter in inspect.signature(PUBLIC[name]).parameters.values():
        if (
            parameter.name in CASES[name]
            and parameter.annotation is not parameter.empty
        ):
            good = CASES[name][parameter.name].good()
            assert is_bearable(good, parameter.annotation, conf=modbook.HOW), parameter


# --- The property


class alarm:
    """Fails what is inside if it takes longer than a minute: it hangs."""

    def __enter__(self):
        signal.signal(signal.SIGALRM, self.ring)
        signal.alarm(60)

    def __exit__(self, *_):
        signal.alarm(0)

    def ring(self, *_):
        raise TimeoutError("this has hung for a minute")


def begin(result) -> object:
    """Let a generator or a context begin: they run no line before."""
    return list(result) if inspect.isgenerator(result) else enter(result)


def enter(result):
    if hasattr(result, "__exit__") and not hasattr(result, "shutdown"):
        with result:
            return result
    return result


def generators(value) -> list[np.random.Generator]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, np.random.Generator)]


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        pytest.param(*pair, marks=[pytest.mark.xfail(strict=True)])
        if ".".join(pair) in GAPS
        else pair
        for pair in PAIRS
    ],
)
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_bad_input_is_refused(name, argument, data):
    kinds = CASES[name]
    arguments = {key: kind.good() for key, kind in kinds.items()}
    arguments[argument] = data.draw(kinds[argument].bad)
    rngs = [rng for value in arguments.values() for rng in generators(value)]
    before = [rng.bit_generator.state for rng in rngs]
    with alarm(), pytest.raises((TypeError, ValueError)) as caught:
        begin(PUBLIC[name](**arguments))
    assert re.search(rf"\b{argument}\b", str(caught.value)), caught.value
    assert [rng.bit_generator.state for rng in rngs] == before, "numbers were drawn"


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (theory.check_counts, 1, [0, 1.5, "1", None, True]),
        (
            functools.partial(theory.check_above, 0),
            1,
            [0, -1, np.nan, np.inf, "1", None],
        ),
        (functools.partial(theory.check_from, 0), 0, [-1, np.nan, np.inf, "1", None]),
        (functools.partial(theory.check_choice, ("a", "b")), "a", ["c", None, 1]),
        (theory.check_flags, True, [1, "yes", None]),
        (
            functools.partial(theory.check_arrays, 1),
            np.ones(2),
            [1.0, [1], np.ones((1, 1))],
        ),
        (
            theory.check_generators,
            np.random.default_rng(0),
            [0, None, [], [1], np.random],
        ),
        (models.check_tensors, torch.ones(1), [1.0, None, np.ones(1)]),
        (experiments.check_settings, Sweep(scale="smoke"), [None, "sweep", Sweep]),
        (
            functools.partial(experiments.check_table, ["m"]),
            pd.DataFrame({"m": []}),
            [None, pd.DataFrame(), {"m": []}],
        ),
        (sweeps.check_jobs, [TRIAL], [TRIAL, [1], None, "trials", [Trial]]),
        (sweeps.check_workers, 0, [-1, 1.0, True, None, "2"]),
        (tasks.check_seed, 0, [-1, 1.0, True, None, "2"]),
    ],
)
def test_checks_name_the_argument(check, good, bad):
    check(something=good)
    for value in bad:
        with pytest.raises((TypeError, ValueError), match=r"\bsomething\b"):
            check(something=value)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"\bone\b.*\bother\b"):
        theory.check_shapes(one=np.ones(2), other=np.ones(3))


@pytest.mark.parametrize("key", [(object(),), (), ([1],), (np.arange(2),)])
def test_the_key_of_a_stream_is_checked(key):
    with pytest.raises((TypeError, ValueError), match=r"\bkey\b"):
        tasks.stream(*key)


# --- Types: what no function asks for


class Stranger:
    """A thing that no function takes."""


ANYTHING = ("object", "typing.Any")
UNTYPED = {
    "estimator.ModularRegressor": "scikit-learn's way: arguments are checked by fit",
    "experiments.check_types.settings": "any record of settings",
    "training.relu_backward.args": "torch's own name: an alias of its function",
}


def parameters_of(name: str) -> list[inspect.Parameter]:
    """The arguments that can be given by name."""
    parameters = inspect.signature(PUBLIC[name]).parameters.values()
    return [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def type_of(parameter: inspect.Parameter) -> str:
    return inspect.formatannotation(parameter.annotation)


HINTED = [name for name in EXEMPT if name.partition(".")[0] not in modbook.UNHINTED]
TYPED = [
    (name, p)
    for name in HINTED
    for p in parameters_of(name)
    if p.annotation is not p.empty and type_of(p) not in ANYTHING
]


@pytest.mark.parametrize("name", HINTED)
def test_every_argument_has_a_type(name):
    for parameter in parameters_of(name):
        if not {name, f"{name}.{parameter.name}"} & UNTYPED.keys():
            assert parameter.annotation is not parameter.empty, parameter


@pytest.mark.parametrize("name", PUBLIC)
def test_no_type_is_private(name):
    """The reference of the book has no page for it, and a reader no way to it."""
    signature = str(inspect.signature(PUBLIC[name]))
    assert not re.search(r"[:\[ .>|]_[A-Za-z]\w*[\], )|]", signature), signature


@pytest.mark.parametrize(
    ("name", "parameter"), [pytest.param(*t, id=f"{t[0]}.{t[1].name}") for t in TYPED]
)
def test_what_is_not_of_its_type_is_refused(name, parameter):
    arguments = {parameter.name: Stranger()}
    if parameter.kind is parameter.POSITIONAL_ONLY:
        place = [p.name for p in parameters_of(name)].index(parameter.name)
        arguments, given = {}, [Stranger()] * (place + 1)
    else:
        given = []
    with alarm(), pytest.raises(TypeError, match=rf"parameter \*?{parameter.name}="):
        begin(PUBLIC[name](*given, **arguments))


def test_numbers_of_numpy_are_numbers():
    assert experiments.rank(pd.Series([1], name="m")).tolist() == [1]
    one = np.float32(1), np.int64(1)
    assert scaling.same(Comparison(*one, np.float64(1), 3), "paper") == "[Re]"
    assert scaling.named((np.int64(8), 3)) == "8x3"


if __name__ == "__main__":  # what has to be entered in CASES or EXEMPT
    for missing in sorted(PUBLIC.keys() - CASES.keys() - EXEMPT.keys()):
        print(f"{missing}{inspect.signature(PUBLIC[missing])}")
