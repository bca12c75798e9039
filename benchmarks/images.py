"""Training on composed images: samples a second, against plain torch.

    python benchmarks/images.py                # the laptop's sizes, one thread
    python benchmarks/images.py --threads 0    # the same, a thread a core
    python benchmarks/images.py --paper        # the paper's sizes, a few steps (20 GB)
    python benchmarks/images.py --memory       # what a pass over 10^6 inputs holds

For every method at k = 4 and 6: samples a second of training (the start apart), those
of the same network written plainly in torch with a DataLoader over inputs written out,
their ratio (above 1: ours is faster), and the share of a step that goes into gathering
its images, without noise and with (Table 4). Random pixels: speed does not depend on
what they show. With a GPU it runs there. Of all methods, the table goes to
`results/speed/images.csv` (`images_gpu.csv`), with the share of the measured
matrix-product rate that training reaches. Of the memory, the peak of the process before
and after a pass goes to `results/speed/images_memory.csv`.
"""

import argparse
import itertools
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

if "OMP_NUM_THREADS" not in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
import torch
from torch import nn

from modbook.experiments import results_folder
from modbook.image_results import IMAGE_SCALES, image_trial
from modbook.image_trials import (
    apply_rule,
    build_image_network,
    fit,
    image_operations,
    random_start,
    spectral_start,
)
from modbook.images import Base, ImageTask, batches, draw_rows
from modbook.store import provenance
from modbook.tasks import stream

METHODS = (
    *("monolithic", "random", "algorithm1", "variant-a", "spectral"),
    *("oracle", "one-an-image"),
)
IDENTITY = ("threads", "k", "method")
IMAGES = 30_000  # in each part, 60,000 together


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], device: str, repeats: int) -> float:
    """Median seconds of a call, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def made_up_task(k: int, n: int, side: int, device: str) -> ImageTask:
    """n inputs of k images of random pixels: bytes at full size, floats if averaged."""
    D = 3 * (side or 32) ** 2
    rng = stream("benchmark", k)
    pixels = rng.integers(0, 256, (IMAGES, D), np.uint8)
    pixels = torch.from_numpy(pixels if not side else pixels.astype(np.float32))
    moments = (torch.full((D,), 127.5), torch.full((D,), 1 / 73.9))
    labels = torch.from_numpy(rng.integers(0, 10, IMAGES))
    base = Base(*(part.to(device) for part in (pixels, labels, *moments)))
    rows = draw_rows(rng, n, k, IMAGES)
    return ImageTask(base, base, rows, rows[:1000])


class PlainModules(nn.Module):
    """The modular network as one would write it: module after module."""

    def __init__(self, k: int, D: int, M: int, H: int, hidden: tuple, told: bool):
        super().__init__()
        self.k, self.told, size = k, told, D if told else k * D
        self.projections = nn.ModuleList(
            [nn.Linear(size, H, bias=False) for _ in range(M)]
        )
        self.shared = plain_stack((H, *hidden), last_relu=True)
        self.out = nn.Linear(M * hidden[-1], 10 * k)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        seen = X.chunk(self.k, 1) if self.told else (X,)
        outs = [
            self.shared(U(seen[j % len(seen)])) for j, U in enumerate(self.projections)
        ]
        return self.out(torch.cat(outs, 1))


class PlainOneAnImage(nn.Module):
    """A network an image, one after the other."""

    def __init__(self, k: int, sizes: tuple):
        super().__init__()
        self.networks = nn.ModuleList([plain_stack(sizes) for _ in range(k)])

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        images = X.chunk(len(self.networks), 1)
        pairs = zip(self.networks, images, strict=True)
        return torch.cat([network(x) for network, x in pairs], 1)


def plain_stack(sizes: tuple, last_relu: bool = False) -> nn.Sequential:
    layers = []
    for layer, (i, o) in enumerate(itertools.pairwise(sizes)):
        layers.append(nn.Linear(i, o))
        if last_relu or layer < len(sizes) - 2:
            layers += [nn.BatchNorm1d(o), nn.ReLU()]
    return nn.Sequential(*layers)


def plain_network(trial, D: int) -> nn.Module:
    """The same network in plain torch."""
    if trial.network == "monolithic":
        return plain_stack((trial.k * D, *trial.hidden, 10 * trial.k))
    if trial.network == "one an image":
        return PlainOneAnImage(trial.k, (D, *trial.hidden, 10))
    told = trial.start == "oracle"
    shape = trial.modules, trial.width, trial.hidden
    return PlainModules(trial.k, D, *shape, told)


def written_out(task: ImageTask) -> torch.utils.data.TensorDataset:
    """All inputs of a task as arrays."""
    rows = torch.from_numpy(task.rows).long()
    device = task.train.labels.device
    parts = [row.to(device) for row in rows.split(512)]
    X = torch.cat([task.train.gather(r).flatten(1).cpu() for r in parts])
    classes = torch.cat([task.train.classes(r).cpu() for r in parts])
    return torch.utils.data.TensorDataset(X, classes)


def train_plainly(net, data, batch: int, rate: float, device: str) -> None:
    loader = torch.utils.data.DataLoader(data, batch, shuffle=True, drop_last=True)
    adam = torch.optim.Adam(net.parameters(), lr=rate)
    net.train()
    for X, classes in loader:
        adam.zero_grad()
        logits = net(X.to(device)).view(-1, 10)
        nn.functional.cross_entropy(logits, classes.to(device).flatten()).backward()
        adam.step()


def peak_rate(device: str, repeats: int) -> float:
    """Operations a second of one large matrix product in float32."""
    size = 1024 if device == "cpu" else 8192
    A = torch.randn(size, size, device=device)
    return 2 * size**3 / seconds(lambda: A @ A, device, repeats)


def plain_seconds(trial, task, repeats: int, device: str) -> float:
    """Seconds of a pass of the same network, written plainly."""
    data = written_out(task)
    net = plain_network(trial, task.train.pixels.shape[1]).to(device)
    one_pass = lambda: train_plainly(net, data, trial.batch, 1e-4, device)  # noqa: E731
    return seconds(one_pass, device, repeats)


def start_of(trial, task, device: str):
    """The projections before any rule, and what makes the start's from batches."""
    U = random_start(trial, task.train.pixels.shape[1]).to(device)
    shape = trial.modules, trial.width
    if trial.start == "spectral":
        return U, lambda steps: spectral_start(steps, *shape, told=True)
    if trial.rule is None:
        return U, None
    return U, lambda steps: apply_rule(U, steps, trial.rule, stream("c"))


def measure(method, k, scale, steps, repeats, device, plainly) -> dict:
    """Samples a second of a method, and of the same network written plainly."""
    trial = image_trial(method, scale, "CIFAR-10", k, 0, n=128 * steps)
    D = trial.pixels()
    task = made_up_task(k, trial.n, scale.side, device)
    noisy = replace(task, noise=1.0)
    a_pass = lambda task: batches(task, trial.batch, 1, stream("order"))  # noqa: E731
    count = lambda task: sum(1 for _ in a_pass(task))  # noqa: E731
    modular = trial.network == "modular"
    U, start = start_of(trial, task, device) if modular else (None, None)
    model = build_image_network(trial, D, U).to(device)
    ours = seconds(lambda: fit(model, a_pass(task), 1e-4), device, repeats)
    gathering = seconds(lambda: count(task), device, repeats)
    with_noise = seconds(lambda: count(noisy), device, repeats)
    line = dict(k=k, method=method, samples_per_second=trial.n / ours)
    line |= dict(gathering=gathering / ours, ms_per_step=1e3 * ours / steps)
    line |= dict(gathering_noisy=with_noise / (ours + with_noise - gathering))
    work = image_operations(trial)
    if start is not None:
        ready = list(a_pass(task))
        took = seconds(lambda: start(ready), device, repeats)
        line |= dict(rule_samples_per_second=trial.n / took)
    if trial.rule is not None:
        work -= 4.0 * trial.k * D * trial.modules * trial.width
    line |= dict(gflops=work * trial.n / ours / 1e9)
    if plainly:
        del model, U, start  # the paper's sizes leave no room for two
        plain = plain_seconds(trial, task, repeats, device)
        line |= dict(plain_samples_per_second=trial.n / plain, faster=plain / ours)
    return line


def record(lines: list[dict], scale: str, device: str) -> None:
    """Write the lines of a scale, in place of its lines of as many threads."""
    name = "images.csv" if device == "cpu" else "images_gpu.csv"
    path, about = results_folder() / "speed" / name, provenance(device)
    table = pd.DataFrame([dict(scale=scale) | line | about for line in lines])
    if path.exists():
        old = pd.read_csv(path)
        same = (old.scale == scale) & (old.threads == torch.get_num_threads())
        table = pd.concat([old[~same], table]).sort_values(
            ["scale", "threads", "k"], kind="stable"
        )
    table.to_csv(path, index=False, float_format="%.4g")


def peak() -> float:
    """Bytes that this process has held at most so far."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def record_memory(k: int = 6, n: int = 1_000_000, batch: int = 128) -> None:
    """What a pass over n inputs of k full images adds to the process, and record it."""
    task = made_up_task(k, n, 0, "cpu")
    images, before = 2 * task.train.bytes, peak()
    steps = sum(1 for _ in batches(task, batch, 1, stream("order")))
    inputs = 4 * k * task.train.pixels.shape[1]  # bytes of one, written out
    line = dict(k=k, n=n, steps=steps, images=images, rows=task.bytes - images)
    line |= dict(batch=batch * inputs, before=before, after=peak())
    line |= dict(written_out=n * inputs) | provenance("cpu")
    path = results_folder() / "speed" / "images_memory.csv"
    pd.DataFrame([line]).to_csv(path, index=False, float_format="%.6g")
    print(f"peak before a pass {before / 2**20:,.0f} MiB, after {peak() / 2**20:,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--paper", action="store_true", help="the paper's sizes")
    parser.add_argument("--steps", type=int, default=0, help="of a measurement")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--no-plain", action="store_true", help="ours alone")
    parser.add_argument("--threads", type=int, default=1, help="0: one a core")
    parser.add_argument("--memory", action="store_true", help="of a pass, no speed")
    options = parser.parse_args()
    if options.memory:
        record_memory()
        return
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scale = IMAGE_SCALES["paper" if options.paper else "laptop"]
    few = options.paper and device == "cpu"
    steps = options.steps or (3 if few else 40)
    repeats = 1 if few else 3
    rate = peak_rate(device, 5) / 1e9
    print(f"{device}, {torch.get_num_threads()} threads, {rate:,.0f} Gflop/s")
    lines = []
    for k in (4, 6):
        for method in options.methods.split(","):
            line = measure(
                method, k, scale, steps, repeats, device, not options.no_plain
            )
            line["share_of_products"] = line["gflops"] / rate
            line = dict(threads=torch.get_num_threads()) | line
            lines.append(line)
            items = (
                f"{name} {v:,.3g}" for name, v in line.items() if name not in IDENTITY
            )
            print(f"k = {k}, {method}: {'; '.join(items)}", flush=True)
    if options.methods == ",".join(METHODS):
        record(lines, "paper" if options.paper else "laptop", device)


if __name__ == "__main__":
    main()
