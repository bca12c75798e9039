"""Training many networks: the engine and its peers, on all cores, measured in one run.

    python benchmarks/training.py                # the table, printed and recorded
    python benchmarks/training.py --jax PYTHON   # with JAX from another environment
    python benchmarks/training.py --gpu          # the same contenders on a GPU
    python benchmarks/training.py --few          # what folding gains there

Every contender trains networks of one shape with full-batch Adam in float32. Each is
measured twice, as one process with a thread a core and as one process a core, and the
better way counts, by the median of five runs; `networks_per_second` is how many take a
step in a second, with the least and the most of these runs. On a GPU there is one
process, TF32 is off, and all contenders that train many networks train the same number.
Run it on an idle machine. JAX and optax are installed for the benchmark alone, into an
environment under _build/.
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
from typing import NamedTuple

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


class Times(NamedTuple):
    """Milliseconds a network and step."""

    median: float
    least: float
    most: float


def columns(times: Times, plain: float) -> dict[str, float]:
    """What a row says of its times, beside the time of one network at a time."""
    return dict(
        ms=times.median,
        faster=plain / times.median,
        networks_per_second=1e3 / times.median,
        networks_per_second_least=1e3 / times.most,
        networks_per_second_most=1e3 / times.least,
    )


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

    jax.config.update("jax_default_matmul_precision", "highest")  # on a GPU: not TF32
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
    X, y = torch.randn(R, n, M), torch.randn(R, n, 1)
    model = Monolithic(rngs, M, width, layers).to(X.device)
    if X.is_cuda:
        return replays(model, X, y)
    return lambda k: train(model, X, y, k)


def replays(model, X, y) -> Callable[[int], None]:
    """The steps of `train` on a GPU, without what it does once."""
    from modbook.training import WARM_UP, _adam_step, captured

    step = _adam_step(model, X, y, 0.01)
    for _ in range(WARM_UP):
        step()
    step = captured(step)

    def steps(k):
        for _ in range(k):
            step()

    return steps


def milliseconds(
    steps: Callable[[int], None],
    R: int,
    least: float = 0.25,
    wait: Callable[[], None] = lambda: None,
) -> Times:
    """Milliseconds a network and step, of runs that take `least` seconds."""
    steps(1)
    wait()
    start = time.perf_counter()
    steps(3)
    wait()
    k = max(3, round(least * 3 / (time.perf_counter() - start)))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        steps(k)
        wait()
        times.append(1e3 * (time.perf_counter() - start) / k / R)
    return Times(statistics.median(times), min(times), max(times))


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


# On a GPU


def replicas_on_gpu(n: int, width: int) -> int:
    """Networks at once: the most of a few numbers for which memory is large enough."""
    return max(R for R in (128, 1024, 8192) if R == 128 or R * n * width <= 2**27.5)


def bytes_moved(n: int, width: int, layers: int) -> int:
    """Bytes of a step's activations, each read and written as often as our step does.

    A hidden layer of a network: products write H, read it for the next layer and for
    the slope, write D, read it twice; ReLU reads and writes H; its slope reads H and D
    and writes D. Weights and inputs are left out.
    """
    return 11 * (layers - 1) * 4 * n * width


def gpu_rate() -> tuple[float, float]:
    """Operations a second of large float32 products, and bytes a second of a copy."""
    import torch

    A = torch.randn(8192, 8192, device="cuda")
    out, long = torch.empty_like(A), torch.randn(2**29, device="cuda")
    to = torch.empty_like(long)

    def waited(call):
        call()
        torch.cuda.synchronize()

    products = median_seconds(lambda: waited(lambda: torch.mm(A, A, out=out)))
    copies = median_seconds(lambda: waited(lambda: to.copy_(long)))
    return 2 * 8192**3 / products, 8 * 2**29 / copies


def measure_on_gpu(name: str) -> None:
    """In a process of its own: print the time at every shape, and R."""
    import torch

    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    torch.set_num_threads(1)
    torch.set_default_device("cuda")
    torch.backends.cuda.matmul.allow_tf32 = False
    for shape in SHAPES:
        R = 1 if name == "plain" else replicas_on_gpu(*shape[:2])
        try:
            steps = globals()[name](*shape, R)
            found = milliseconds(steps, R, wait=torch.cuda.synchronize)
        except Exception as error:
            print(f"{name} {shape}: {error!r:.200}", file=sys.stderr)
            found = None
        print(json.dumps([found, R]), flush=True)
        steps = None
        torch.cuda.empty_cache()


def on_gpu() -> None:
    """The table on a GPU, printed and recorded."""
    rate, bandwidth = gpu_rate()
    print(f"{rate / 1e12:.1f} TFLOP/s, copies {bandwidth / 1e12:.2f} TB/s", flush=True)
    lines, plain_ms = [], {}
    for name in CONTENDERS:
        code = [sys.executable, __file__, "--measure-gpu", name]
        done = subprocess.run(code, stdout=subprocess.PIPE, text=True)
        for shape, line in zip(SHAPES, done.stdout.splitlines(), strict=False):
            ms, R = json.loads(line)
            if ms is None:
                continue
            times = Times(*ms)
            ms = times.median
            plain_ms.setdefault(shape, ms)
            row = dict(zip(("n", "width", "layers"), shape, strict=True), name=name)
            row |= dict(R=R) | columns(times, plain_ms[shape])
            row["share"] = operations(*shape) / ms * 1e3 / rate
            row["bandwidth"] = bytes_moved(*shape) / ms * 1e3 / bandwidth
            lines.append(row)
            print(
                f"n={shape[0]:6} width={shape[1]:3} layers={shape[2]}  "
                f"{CONTENDERS[name]:32} {1e3 * ms:9.3f} us {row['faster']:9.1f} x "
                f"{row['share']:6.1%} of products {row['bandwidth']:6.1%} of copies",
                flush=True,
            )
    about = dict(tbytes=bandwidth / 1e12) | versions(sys.executable)
    record(lines, rate, "training_gpu", device="cuda", **about)


FEW = {
    (1000, 8, 7): [64],
    (1000, 32, 5): [16, 64, 512],
    (1000, 128, 7): [16],
    (10_000, 32, 5): [16, 64, 256],
    (10_000, 128, 7): [8, 32],
    (100_000, 32, 5): [5],
    (100_000, 128, 7): [5],
}  # networks at once by n, width, layers


def few_on_gpu() -> None:
    """A network's step where few networks share a GPU: samples whole, and folded."""
    import torch

    torch.set_num_threads(1)
    torch.set_default_device("cuda")
    (rate, bandwidth), lines = gpu_rate(), []
    for shape, R in [(shape, R) for shape, tried in FEW.items() for R in tried]:
        line = dict(zip(("n", "width", "layers"), shape, strict=True), R=R)
        line["whole_ms"] = folded_ms(2**62, *shape, R)
        line["folded_ms"] = folded_ms(1, *shape, R)
        line["faster"] = line["whole_ms"] / line["folded_ms"]
        line["share"] = operations(*shape) / line["folded_ms"] * 1e3 / rate
        lines.append(line)
        print(line, flush=True)
    record(lines, rate, "few_gpu", device="cuda", tbytes=bandwidth / 1e12)


def folded_ms(least: int, n: int, width: int, layers: int, R: int) -> float:
    """Milliseconds a network and step, if so many samples or more are folded."""
    from unittest import mock

    import torch

    from modbook import training

    with mock.patch.object(training, "FOLD_SAMPLES", least):
        steps = modbook(n, width, layers, R)
    found = milliseconds(steps, R, 0.05, torch.cuda.synchronize)
    torch.cuda.empty_cache()
    return found.median


def run(
    python: str, name: str, shape: tuple, cores: list[int | None]
) -> tuple[Times, int]:
    """The times with one process for each of `cores`, and R."""
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
    ways = zip(*(times for times, _ in found), strict=True)
    return Times(*(1 / sum(1 / time for time in way) for way in ways)), found[0][1]


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


def versions(python: str) -> dict[str, str]:
    """Of JAX and what it was run with, in an environment of its own or not."""
    names = ("jax", "jaxlib", "optax", "numpy", "scipy")
    code = "import json, sys; from importlib.metadata import version; "
    code += "print(json.dumps([version(name) for name in sys.argv[1:]]))"
    told = subprocess.check_output([python, "-c", code, *names], text=True)
    found = dict(zip(names, json.loads(told), strict=True))
    jax, theirs = ("jax", "jaxlib", "optax"), ("numpy", "scipy")
    return {n: found[n] for n in jax} | {f"{n} of jax": found[n] for n in theirs}


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jax", metavar="PYTHON", help="an environment with JAX")
    parser.add_argument("--gpu", action="store_true", help="on a GPU")
    parser.add_argument("--few", action="store_true", help="few networks on a GPU")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--measure-gpu", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.few:
        few_on_gpu()
        return
    if given.measure_gpu or given.gpu:
        measure_on_gpu(given.measure_gpu) if given.measure_gpu else on_gpu()
        return
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
            times, R = min(ways)
            line = dict(zip(("n", "width", "layers"), shape, strict=True), name=name)
            threads, processes = (times.median for times, _ in ways)
            line |= dict(threads_ms=threads, processes_ms=processes, R=R)
            plain_ms = plain_ms or times.median
            line |= columns(times, plain_ms)
            line["share"] = operations(*shape) / times.median * 1e3 / rate
            lines.append(line)
            print(
                f"n={shape[0]:6} width={shape[1]:3} layers={shape[2]}  "
                f"{CONTENDERS[name]:32} {line['ms']:9.4f} ms {line['faster']:6.1f} x "
                f"{line['share']:5.0%} of the processor",
                flush=True,
            )
    record(lines, rate, **versions(pythons["jax"]))


def record(lines: list[dict], rate: float, name="training", device="cpu", **about):
    from modbook.store import provenance

    folder = FOLDER / "results" / "speed"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, lines[0])
        table.writeheader()
        table.writerows(
            {
                k: float(f"{v:.5g}") if isinstance(v, float) else v
                for k, v in line.items()
            }
            for line in lines
        )
    about |= provenance(device) | dict(gflops=round(rate / 1e9, 1))
    (folder / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
