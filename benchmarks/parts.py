"""What each idea in the engine is worth: two ways to the same thing, on one thread.

    python benchmarks/parts.py

Each line gives the median time of both, their ratio (above 1: the engine is faster),
and the least and the most of that ratio over five repetitions. Both take turns with
some calls in a row. Run it on an idle machine. The notebooks check that both agree.
"""

import csv
import inspect
import itertools
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from scipy.linalg import lapack
from torch import nn

from modbook import products, training
from modbook.kernel_init import (
    GROUPS,
    DirectionKernel,
    MinimumNorm,
    gradient,
    posv_at_once,
    posv_each,
)
from modbook.models import Modular, Monolithic, random_projections
from modbook.products import blas_pools
from modbook.pursuit import factor, gram, inverse_of_lower, pursue
from modbook.store import provenance
from modbook.training import Adam, Gradient, train

Way = Callable[[], object]
Pair = tuple[str, str, Way, Way]  # what, against what, the engine's way, the other


REPETITIONS, TURNS = 5, 5
ROW = 0.02  # seconds of calls in a row


def seconds(way: Way, calls: int = 1) -> float:
    """Of a call, over so many in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        way()
    return (time.perf_counter() - start) / calls


def by_turns(ways: Sequence[Way], turns: int) -> list[float]:
    """Median milliseconds of a call, of rows of calls that take turns.

    By turns, so that a machine that slows down for a while slows all of them down; in
    rows, as training makes its steps: what a way left in the cache is there again.
    """
    rows = [max(1, int(ROW / seconds(way))) for way in ways]
    times = [[] for _ in ways]
    for _ in range(turns):
        for way, calls, own in zip(ways, rows, times, strict=True):
            own.append(seconds(way, calls))
    return [1e3 * statistics.median(own) for own in times]


def compared(ours: Way, other: Way) -> dict[str, float]:
    """Milliseconds of both, and how many times faster ours is, after one of each."""
    by_turns([ours, other], 1)
    found = [by_turns([ours, other], TURNS) for _ in range(REPETITIONS)]
    ratios = [theirs / mine for mine, theirs in found]
    mine, theirs = (statistics.median(way) for way in zip(*found, strict=True))
    ratio = statistics.median(ratios)
    spread = dict(faster_least=min(ratios), faster_most=max(ratios))
    return dict(ms=mine, against_ms=theirs, faster=ratio) | spread


def generators(R: int) -> list[np.random.Generator]:
    return [np.random.default_rng(r) for r in range(R)]


def plain_network(m: int, width: int, layers: int) -> nn.Sequential:
    sizes = [m, *[width] * (layers - 1), 1]
    parts = [
        part
        for i, o in itertools.pairwise(sizes)
        for part in (nn.Linear(i, o), nn.ReLU())
    ]
    return nn.Sequential(*parts[:-1])


class PlainModular(nn.Module):
    """A modular network as one would write it: a list of networks and a sum."""

    def __init__(self, m: int, K: int, width: int, layers: int):
        super().__init__()
        self.nets = nn.ModuleList(plain_network(1, width, layers) for _ in range(K))
        self.U = nn.Parameter(torch.randn(m, K))

    def forward(self, X):
        Z = X @ self.U
        outputs = [net(Z[:, j, None]) for j, net in enumerate(self.nets)]
        return sum(outputs) / len(outputs) ** 0.5


def train_plainly(net: nn.Module, X, y, iterations: int) -> None:
    adam = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(iterations):
        adam.zero_grad()
        nn.functional.mse_loss(net(X), y).backward()
        adam.step()


def lines(R: int = 4, n: int = 1000, width: int = 32, layers: int = 5) -> Pair:
    ours = step_by_hand(R, n, width, layers)
    with mock.patch.object(training, "pitch", lambda length, like: length):
        other = step_by_hand(R, n, width, layers)
    name = f"rows that begin cache lines, n = {n}, width {width}"
    return name, "rows without gaps", ours, other


def modular(n: int, K: int = 40, iterations: int = 5) -> Pair:
    X, y, rngs = torch.randn(1, n, 8), torch.randn(1, n, 1), generators(1)
    net = PlainModular(8, K, 8, 3)
    model = Modular(rngs, random_projections(rngs, K, 8), 8, 3)
    return (
        f"{K} modules of width 8, n = {n}: one program",
        "a list of networks",
        lambda: train(model, X, y, iterations),
        lambda: train_plainly(net, X[0], y[0], iterations),
    )


@contextmanager
def products_by_torch():
    """Steps that are set up meanwhile leave the products to torch."""
    with (
        mock.patch.object(products, "openblas", return_value=None),
        mock.patch.object(training, "openblas", return_value=None),
    ):
        yield


def step_by_hand(R: int, n: int, width: int, layers: int) -> Way:
    X, y = torch.randn(R, n, 5), torch.randn(R, n, 1)
    slopes = Gradient(Monolithic(generators(R), 5, width, layers), n)
    pieces = slopes.cut(*slopes.arrange(X, y))
    return torch.no_grad()(lambda: slopes(pieces))


def by_hand(R: int = 4, n: int = 1000, width: int = 32, layers: int = 5) -> Pair:
    X, y = torch.randn(R, n, 5), torch.randn(R, n, 1)
    automatic = Monolithic(generators(R), 5, width, layers)
    with products_by_torch():
        ours = step_by_hand(R, n, width, layers)
    return (
        f"gradient by hand, n = {n}, width {width}",
        "automatic differentiation",
        ours,
        lambda: (automatic(X) - y).square().mean().backward(),
    )


def compiled(R: int = 4, n: int = 1000, width: int = 32, layers: int = 5) -> Pair:
    X, y = torch.randn(R, n, 5), torch.randn(R, n, 1)
    automatic = Monolithic(generators(R), 5, width, layers)
    loss = torch.compile(lambda: (automatic(X) - y).square().mean())
    return (
        f"the engine's step, n = {n}, width {width}",
        "torch.compile",
        step_by_hand(R, n, width, layers),
        lambda: loss().backward(),
    )


def library(R: int = 16, n: int = 1000, width: int = 32, layers: int = 5) -> Pair:
    ours = step_by_hand(R, n, width, layers)
    with products_by_torch():
        other = step_by_hand(R, n, width, layers)
    name = f"products by {products.kernels()}, n = {n}, width {width}"
    return name, "by torch", ours, other


def one_vector(R: int = 4) -> list[Pair]:
    model = Monolithic(generators(R), 5, 32, 5)
    pieces = [nn.Parameter(p.detach().clone()) for p in model.parameters()]
    for piece in pieces:
        piece.grad = torch.ones_like(piece)
    vector = Gradient(model, 100).vector
    whole, parts = torch.optim.Adam([vector], fused=True), torch.optim.Adam(pieces)
    idea, ours = "Adam on one vector, called directly", Adam(vector, 1e-3)
    return [
        (idea, "torch.optim.Adam on it", ours, whole.step),
        (idea, "torch.optim.Adam on a list of tensors", ours, parts.step),
    ]


def layout(n: int = 1000, copies: int = 16, width: int = 8) -> Pair:
    W, last = torch.randn(copies, width, width), torch.randn(copies, n, width)
    first = last.mT.contiguous()
    rows, columns = torch.empty_like(last), torch.empty_like(first)
    return (
        f"samples in columns, width {width}",
        "samples in rows",
        lambda: torch.bmm(W.mT, first, out=columns),
        lambda: torch.bmm(last, W, out=rows),
    )


def bias(n: int = 1000, copies: int = 16, width: int = 8) -> Pair:
    W, h = torch.randn(copies, width + 1, width), torch.ones(copies, width + 1, n)
    narrow, b = h[:, :-1].contiguous(), W[:, -1:].mT
    out = torch.empty_like(narrow)
    return (
        "a row of ones for the bias",
        "the bias added",
        lambda: torch.bmm(W.mT, h, out=out),
        lambda: torch.baddbmm(b, W[:, :-1].mT, narrow, out=out),
    )


def chunks(columns: int, n: int = 10_000, R: int = 4) -> Pair:
    def way(size):
        usual = training.COLUMNS, training.COLUMN_FLOATS
        training.COLUMNS, training.COLUMN_FLOATS = size, size
        step = step_by_hand(R, n, 32, 5)
        training.COLUMNS, training.COLUMN_FLOATS = usual
        return step

    usual = training.COLUMNS
    name = f"{usual} samples in one go, n = {n}, width 32"
    return name, str(columns), way(usual), way(columns)


def plain_kernel(U: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
    """Eqn 73 for one module, left to automatic differentiation."""
    u, v = U
    s = X @ u / (v @ u)
    rest = X - s[:, None] * v
    across = (rest[:, None] - rest[None]).square().sum(-1)
    return (-0.5 * (s[:, None] - s) ** 2).exp() + (-0.5 * across).exp()


def rule_data(K: int, b: int = 128, m: int = 10) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(0)
    starts = np.stack([[DirectionKernel().start(rng, m)] for _ in range(K)])
    draws = starts, rng.standard_normal((K, b, m)), rng.standard_normal((K, b, 1))
    return tuple(torch.as_tensor(draw) for draw in draws)


def rule_step(K: int, size: int) -> Way:
    """A gradient of Algorithm 1 for K modules, `size` at once, as `descend` has it."""
    U, X, y = rule_data(K)
    kernel, parts = DirectionKernel(), torch.arange(K).split(size)
    parts = [slice(int(part[0]), int(part[-1]) + 1) for part in parts]
    norms = {  # one for each size, as `descend` uses its own again at each step
        len(U[p]): MinimumNorm(kernel.points(U[p], X[p].mT[:, None]), kernel.sigma)
        for p in (parts[0], parts[-1])
    }

    def step():
        for p in parts:
            gradient(kernel, U[p], X[p], y[p], 1e-3, norms[len(U[p])])

    return step


def rule(K: int) -> Pair:
    U, X, y = rule_data(K)

    def plainly():
        eye = 1e-3 * torch.eye(X.shape[1], dtype=X.dtype)
        for j in range(K):
            u = U[j, 0].clone().requires_grad_()
            solved = torch.linalg.solve(plain_kernel(u, X[j]) + eye, y[j])
            (y[j] * solved).sum().backward()

    name = f"Algorithm 1, {K} modules"
    return name, "autograd, module by module", rule_step(K, GROUPS), plainly


def groups(K: int = 48) -> Pair:
    return (
        f"Algorithm 1, {GROUPS} modules at once",
        f"{K} at once",
        rule_step(K, GROUPS),
        rule_step(K, K),
    )


def solver(K: int = 8) -> Pair:
    U, X, y = rule_data(K)
    kernels = DirectionKernel()(U, X[:, None])[:, 0]
    kernels += 1e-3 * torch.eye(X.shape[1], dtype=X.dtype)
    return (
        "Cholesky by LAPACK from SciPy",
        "by torch",
        lambda: posv_each(kernels.clone(), y),
        lambda: posv_at_once(kernels, y),
    )


def pursuit_parts(n: int = 1000, p: int = 320) -> list[Pair]:
    """What a fit of five modules to a thousand samples does most often."""
    Phi = torch.randn(n, p, dtype=torch.float64)
    A = Phi.T @ Phi
    L, _ = factor(A.clone())
    return [
        (
            "Gram matrix by BLAS's own routine",
            "a product",
            lambda: gram(Phi),
            lambda: Phi.T @ Phi,
        ),
        (
            f"factor of {p} columns by LAPACK from SciPy",
            "by torch",
            lambda: factor(A.clone()),
            lambda: torch.linalg.cholesky_ex(A),
        ),
        (
            f"inverse of a triangle of {p}, in halves",
            "by LAPACK from SciPy",
            lambda: inverse_of_lower(L),
            lambda: lapack.dtrtri(L.numpy(), lower=1),
        ),
    ]


def one_thread(n: int = 400) -> Pair:
    """A fit of the pursuit, and the same with the pools that programs start with."""
    X = torch.randn(n, 5, dtype=torch.float64)
    y = (2 * X[:, :1]).sin() + X[:, 1:2] ** 2
    cores = len(os.sched_getaffinity(0))
    unlimited = inspect.unwrap(pursue)

    def with_pools():
        torch.set_num_threads(cores)
        with blas_pools().limit(limits=cores):
            unlimited(X, y, np.random.default_rng(0))
        torch.set_num_threads(1)

    return (
        f"a fit of the pursuit, n = {n}, with one thread",
        f"{cores} of torch and {cores} of BLAS",
        lambda: pursue(X, y, np.random.default_rng(0)),
        with_pools,
    )


def pairs() -> list[Pair]:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        print("left out, for want of a C++ compiler: torch.compile")
    return [
        library(),
        library(256, 100, 8, 3),
        layout(),
        bias(),
        lines(),
        by_hand(),
        by_hand(64, 100, 8, 3),
        *([compiled(), compiled(64, 100, 8, 3)] if compiler else []),
        *one_vector(),
        *(chunks(columns) for columns in (128, 2500, 10_000)),
        modular(1000),
        modular(10_000),
        rule(5),
        rule(50),
        groups(),
        solver(),
        *pursuit_parts(),
        one_thread(),
    ]


def main() -> None:
    torch.set_num_threads(1)
    lines = []
    for idea, other, ours, theirs in pairs():
        line = dict(idea=idea, against=other) | compared(ours, theirs)
        lines.append(line)
        print(
            "{idea:50} {ms:8.3f} ms   {against:28} {against_ms:8.3f} ms {faster:6.2f} x"
            " ({faster_least:.2f} to {faster_most:.2f})".format(**line),
            flush=True,
        )
    folder = Path(__file__).parents[1] / "results" / "speed"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "parts.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, lines[0])
        table.writeheader()
        table.writerows(
            {k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}
            for line in lines
        )
    (folder / "parts.json").write_text(json.dumps(provenance(), indent=1) + "\n")


if __name__ == "__main__":
    main()
