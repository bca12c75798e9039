"""Parts of the engine against plain torch, one thread, as ratios.

    python benchmarks/parts.py

Each line gives the median time of both sides and their ratio (above 1: ours is faster).
Run it on an idle machine. Both sides compute the same thing; the notebooks check that.
"""

import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from modbook.kernel_init import DirectionKernel, MinimumNorm, gradient
from modbook.models import Modular, random_projections
from modbook.training import train


def median_ms(step: Callable[[], object], repeats: int = 7) -> float:
    """Median milliseconds of a call, after one to warm up."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def report(name: str, plain: float, ours: float) -> None:
    print(f"{name:58} {plain:9.3f} ms {ours:9.3f} ms {plain / ours:7.1f}", flush=True)


def plain_network(m: int, width: int, layers: int) -> nn.Sequential:
    sizes = [m, *[width] * (layers - 1), 1]
    parts = [
        part
        for i, o in itertools.pairwise(sizes)
        for part in (nn.Linear(i, o), nn.ReLU())
    ]
    return nn.Sequential(*parts[:-1])


def train_plainly(net: nn.Module, X, y, iterations: int) -> None:
    adam = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(iterations):
        adam.zero_grad()
        nn.functional.mse_loss(net(X), y).backward()
        adam.step()


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


def modular(n: int, K: int, iterations: int = 5) -> None:
    """A list of K modules against one batched program, per iteration."""
    X, y, rngs = torch.randn(1, n, 8), torch.randn(1, n, 1), [np.random.default_rng(0)]
    net = PlainModular(8, K, 8, 3)
    model = Modular(rngs, random_projections(rngs, K, 8), 8, 3)
    plain = median_ms(lambda: train_plainly(net, X[0], y[0], iterations)) / iterations
    ours = median_ms(lambda: train(model, X, y, iterations)) / iterations
    report(f"modular, n={n}, {K} modules of width 8", plain, ours)


def plain_kernel(U: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
    """Eqn 73 for one module, left to automatic differentiation."""
    u, v = U
    s = X @ u / (v @ u)
    rest = X - s[:, None] * v
    across = (rest[:, None] - rest[None]).square().sum(-1)
    return (-0.5 * (s[:, None] - s) ** 2).exp() + (-0.5 * across).exp()


def rule(K: int, b: int = 128, m: int = 10) -> None:
    """A step of Algorithm 1 on K modules: autograd module by module, against ours."""
    rng = np.random.default_rng(0)
    U = torch.as_tensor(np.stack([[DirectionKernel().start(rng, m)] for _ in range(K)]))
    X = torch.as_tensor(rng.standard_normal((K, b, m)))
    y = torch.as_tensor(rng.standard_normal((K, b, 1)))

    def plainly():
        for j in range(K):
            u = U[j, 0].clone().requires_grad_()
            kernel = plain_kernel(u, X[j]) + 1e-3 * torch.eye(b, dtype=u.dtype)
            (y[j] * torch.linalg.solve(kernel, y[j])).sum().backward()

    def automatic():
        u = U.clone().requires_grad_()
        kernels = torch.stack([plain_kernel(u[j, 0], X[j]) for j in range(K)])
        MinimumNorm.apply(kernels, y, 1e-3)[0].sum().backward()

    ours = median_ms(lambda: gradient(DirectionKernel(), U, X, y, 1e-3))
    report(f"Algorithm 1, {K} modules: autograd all the way", median_ms(plainly), ours)
    report(f"Algorithm 1, {K} modules: only our solve", median_ms(automatic), ours)


def layout(n: int = 2000, copies: int = 40, width: int = 8) -> None:
    """A hidden layer and its gradient, samples first against features first."""
    W = torch.randn(copies, width, width, requires_grad=True)
    last = torch.randn(copies, n, width, requires_grad=True)
    first = torch.randn(copies, width, n, requires_grad=True)
    plain = median_ms(lambda: torch.bmm(last, W).relu().sum().backward())
    ours = median_ms(lambda: torch.bmm(W.mT, first).relu().sum().backward())
    report(f"layout: {copies} layers of width {width}, n={n}", plain, ours)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{'per network and iteration':58} {'plain':>12} {'ours':>12} {'ratio':>7}")
    modular(1000, 40)
    modular(10_000, 40)
    layout()
    rule(5)
    rule(50)
