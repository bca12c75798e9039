"""Training many networks: the engine and its peers, on all cores, measured in one run.

    python benchmarks/training.py                # the table, printed and recorded
    python benchmarks/training.py --jax PYTHON   # with JAX from another environment

Every contender trains networks of one shape with full-batch Adam in float32. Each is
measured twice, as one process with a thread a core and as one process a core, and the
better way counts. Run it on an idle machine. JAX and optax are installed for the
benchmark alone, into an environment under _build/.
"""

import argparse
import csv
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SHAPES = [
    (100, 8, 3),
    (1000, 8, 7),
    (1000, 32, 5),
    (1000, 128, 7),
    (10_000, 32, 5),
    (10_000, 128, 7),
]  # n, width, layers
M = 5  # inputs
CONTENDERS = {
    "plain": "torch.nn, one network at a time",
    "func": "torch.func, vmap",
    "jax": "JAX, vmap and jit, optax",
    "modbook": "modbook",
}
FOLDER = Path(__file__).parents[1]


def sizes(width: int, layers: int) -> list[int]:
    return [M, *[width] * (layers - 1), 1]


def operations(n: int, width: int, layers: int) -> int:
    """Floating-point operations of the matrix products of one training step."""
    products = [2 * n * i * o for i, o in itertools.pairwise(sizes(width, layers))]
    return 3 * sum(products) - products[0]


def replicas(n: int, width: int) -> list[int]:
    """Numbers of networks at once to try, as far as a large cache goes."""
    return [R for R in (1, 4, 16, 64, 256) if R == 1 or R * n * width <= 2**21]


# Each contender: (n, width, layers, R) -> a function that makes k training steps.


def plain(n: int, width: int, layers: int, R: int) -> Callable[[int], None]:
    import torch
    from torch import nn

    parts = [
        part
        for i, o in itertools.pairwise(sizes(width, layers))
        for part in (nn.Linear(i, o), nn.ReLU())
    ]
    net = nn.Sequential(*parts[:-1])
    X, y = torch.randn(n, M), torch.randn(n, 1)
    adam = torch.optim.Adam(net.parameters(), lr=0.01)

    def steps(k):
        for _ in range(k):
            adam.zero_grad()
            nn.functional.mse_loss(net(X), y).backward()
            adam.step()

    return steps


def func(n: int, width: int, layers: int, R: int) -> Callable[[int], None]:
    import torch
    from torch import nn
    from torch.func import functional_call, grad, stack_module_state, vmap

    def network():
        parts = [
            part
            for i, o in itertools.pairwise(sizes(width, layers))
            for part in (nn.Linear(i, o), nn.ReLU())
        ]
        return nn.Sequential(*parts[:-1])

    parameters, _ = stack_module_state([network() for _ in range(R)])
    X, y, base = torch.randn(R, n, M), torch.randn(R, n, 1), network().to("meta")

    def loss(parameters, X, y):
        return nn.functional.mse_loss(functional_call(base, parameters, (X,)), y)

    slopes = vmap(grad(loss))
    adam = torch.optim.Adam(parameters.values(), lr=0.01, fused=True)

    def steps(k):
        for _ in range(k):
            for name, slope in slopes(parameters, X, y).items():
                parameters[name].grad = slope
            adam.step()

    return steps


def jax(n: int, width: int, layers: int, R: int) -> Callable[[int], None]:
    import jax
    import optax
    from jax import numpy as jnp

    keys = jax.random.split(jax.random.key(0), 2 * layers)
    shapes = itertools.pairwise(sizes(width, layers))
    parameters = [
        (jax.random.normal(k, (R, i, o)) * i**-0.5, jnp.zeros((R, o)))
        for k, (i, o) in zip(keys, shapes, strict=False)
    ]
    X, y = jax.random.normal(keys[-1], (R, n, M)), jnp.ones((R, n, 1))

    def loss(parameters, X, y):
        for layer, (W, b) in enumerate(parameters):
            X = X @ W + b
            if layer < len(parameters) - 1:
                X = jax.nn.relu(X)
        return ((X - y) ** 2).mean()

    adam = optax.adam(0.01)
    state = adam.init(parameters)
    slopes = jax.vmap(jax.grad(loss))

    def step(_, carried):
        parameters, state = carried
        updates, state = adam.update(slopes(parameters, X, y), state)
        return optax.apply_updates(parameters, updates), state

    many = jax.jit(lambda k, carried: jax.lax.fori_loop(0, k, step, carried))

    def steps(k):
        jax.block_until_ready(many(k, (parameters, state)))

    return steps


def modbook(n: int, width: int, layers: int, R: int) -> Callable[[int], None]:
    import numpy as np
    import torch

    from modbook.models import Monolithic
    from modbook.training import train

    rngs = [np.random.default_rng(r) for r in range(R)]
    model = Monolithic(rngs, M, width, layers)
    X, y = torch.randn(R, n, M), torch.randn(R, n, 1)
    return lambda k: train(model, X, y, k)


def milliseconds(steps: Callable[[int], None], R: int, least: float = 0.25) -> float:
    """Median milliseconds a network and step, of runs that take `least` seconds."""
    steps(1)
    start = time.perf_counter()
    steps(3)
    k = max(3, round(least * 3 / (time.perf_counter() - start)))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        steps(k)
        times.append((time.perf_counter() - start) / k / R)
    return 1e3 * statistics.median(times)


def measure(name: str, shape: tuple[int, int, int], core: int | None) -> None:
    """In a process of its own: print the best time over numbers of replicas."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    if name != "jax":
        import torch

        torch.set_num_threads(len(os.sched_getaffinity(0)))
    tried = [1] if name == "plain" else replicas(*shape[:2])
    times = {R: milliseconds(globals()[name](*shape, R), R) for R in tried}
    best = min(times, key=times.get)
    print(json.dumps([times[best], best]))


def run(python: str, name: str, shape: tuple, cores: list[int | None]) -> tuple:
    """Milliseconds a network and step with one process for each of `cores`, and R."""
    code = [python, __file__, "--measure", name, *map(str, shape)]
    tasks = [
        subprocess.Popen(
            code + ([] if core is None else [str(core)]),
            stdout=subprocess.PIPE,
            text=True,
        )
        for core in cores
    ]
    found = [json.loads(task.communicate()[0].splitlines()[-1]) for task in tasks]
    return 1 / sum(1 / time for time, _ in found), found[0][1]


def environment(python: str | None) -> str:
    """A Python that has JAX and optax."""
    if python:
        return python
    folder = FOLDER / "_build" / "benchmark-env"
    if not folder.exists():
        venv.create(folder, with_pip=True)
        install = [folder / "bin" / "python", "-m", "pip", "install", "-q"]
        subprocess.run([*install, "jax", "optax"], check=True)
    return str(folder / "bin" / "python")


def processor_rate() -> float:
    """Operations a second of large float32 matrix products, on all cores.

    The faster of torch's product on all threads and of one product a core.
    """
    import torch

    from modbook.products import Product

    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    A = torch.randn(1, 3000, 3000)
    own = [Product(A, A, torch.empty_like(A)) for _ in range(cores)]

    def together():
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(lambda product: product(), own))

    operations = 2 * 3000**3
    one = operations / median_seconds(lambda: torch.bmm(A, A))
    if own[0].call is None:  # torch's product again, and already on all cores
        return one
    return max(one, cores * operations / median_seconds(together))


def median_seconds(call: Callable[[], object], repeats: int = 7) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jax", metavar="PYTHON", help="an environment with JAX")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        name, n, width, layers, *core = given.measure
        measure(name, (int(n), int(width), int(layers)), int(*core) if core else None)
        return
    pythons = {name: sys.executable for name in CONTENDERS}
    pythons["jax"] = environment(given.jax)
    cores, rate, lines = sorted(os.sched_getaffinity(0)), processor_rate(), []
    print(f"matrix products: {rate / 1e9:.0f} GFLOP/s on {len(cores)} cores")
    for shape in SHAPES:
        plain_ms = None
        for name in CONTENDERS:
            ways = [run(pythons[name], name, shape, way) for way in ([None], cores)]
            best = min(ways)
            line = dict(zip(("n", "width", "layers"), shape, strict=True), name=name)
            line |= dict(threads_ms=ways[0][0], processes_ms=ways[1][0], R=best[1])
            plain_ms = plain_ms or best[0]
            line |= dict(ms=best[0], faster=plain_ms / best[0])
            line["share"] = operations(*shape) / best[0] * 1e3 / rate
            lines.append(line)
            print(
                f"n={shape[0]:6} width={shape[1]:3} layers={shape[2]}  "
                f"{CONTENDERS[name]:32} {best[0]:9.4f} ms {line['faster']:6.1f} x "
                f"{line['share']:5.0%} of the processor",
                flush=True,
            )
    record(lines, rate)


def record(lines: list[dict], rate: float) -> None:
    from modbook.store import provenance

    folder = FOLDER / "results" / "speed"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "training.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, lines[0])
        table.writeheader()
        table.writerows(
            {k: round(v, 5) if isinstance(v, float) else v for k, v in line.items()}
            for line in lines
        )
    about = provenance() | dict(gflops=round(rate / 1e9, 1))
    (folder / "training.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
