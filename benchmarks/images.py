"""Training on composed images: samples a second, against plain torch.

    python benchmarks/images.py            # sizes of the laptop's scale, one core
    python benchmarks/images.py --paper    # the paper's sizes, a few steps (20 GB)

For every method at k = 4 and 6: samples a second of training (the rule apart), those of
the same network written plainly in torch with a DataLoader over inputs written out,
their ratio (above 1: ours is faster), and the share of a step that goes into gathering
its images. Random pixels: speed does not depend on what they show. With a GPU it runs
there. Of all methods, the table goes to `results/speed/images.csv` (`images_gpu.csv`),
with the share of the measured matrix-product rate that training reaches.
"""

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable

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
)
from modbook.images import Base, ImageTask, batches, draw_rows
from modbook.store import provenance
from modbook.tasks import stream

METHODS = ("monolithic", "random", "algorithm1", "oracle", "one-an-image")
IDENTITY = ("k", "method")
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

    def __init__(self, k: int, D: int, M: int, H: int, hidden: tuple):
        super().__init__()
        self.projections = nn.ModuleList(
            [nn.Linear(k * D, H, bias=False) for _ in range(M)]
        )
        self.shared = plain_stack((H, *hidden), last_relu=True)
        self.out = nn.Linear(M * hidden[-1], 10 * k)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.out(torch.cat([self.shared(U(X)) for U in self.projections], 1))


def plain_stack(sizes: tuple, last_relu: bool = False) -> nn.Sequential:
    layers = []
    for layer, (i, o) in enumerate(itertools.pairwise(sizes)):
        layers.append(nn.Linear(i, o))
        if last_relu or layer < len(sizes) - 2:
            layers += [nn.BatchNorm1d(o), nn.ReLU()]
    return nn.Sequential(*layers)


def plain_network(trial, D: int) -> nn.Module | None:
    """The same network in plain torch, for the paper's two."""
    if trial.network == "monolithic":
        return plain_stack((trial.k * D, *trial.hidden, 10 * trial.k))
    if trial.start in ("random", "rule"):
        return PlainModules(trial.k, D, trial.modules, trial.width, trial.hidden)
    return None


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


def measure(method, k, scale, steps, repeats, device, plainly) -> dict:
    """Samples a second of a method, and of the same network written plainly."""
    trial = image_trial(method, scale, "CIFAR-10", k, 0, n=128 * steps)
    D = trial.pixels()
    task = made_up_task(k, trial.n, scale.side, device)
    one_pass = lambda: batches(task, trial.batch, 1, stream("order"))  # noqa: E731
    U = random_start(trial, D).to(device) if trial.network == "modular" else None
    model = build_image_network(trial, D, U).to(device)
    ours = seconds(lambda: fit(model, one_pass(), 1e-4), device, repeats)
    gathering = seconds(lambda: sum(1 for _ in one_pass()), device, repeats)
    line = dict(k=k, method=method, samples_per_second=trial.n / ours)
    line |= dict(gathering=gathering / ours, ms_per_step=1e3 * ours / steps)
    work = image_operations(trial)
    if trial.rule is not None:
        ready, rule = (
            list(one_pass()),
            lambda some: apply_rule(U, some, trial.rule, stream("c")),
        )
        took = seconds(lambda: rule(ready), device, repeats)
        line |= dict(rule_samples_per_second=trial.n / took)
        work -= 4.0 * trial.k * D * trial.modules * trial.width
    net = plain_network(trial, D) if plainly else None
    if net is not None:
        net, data = net.to(device), written_out(task)
        plain = seconds(
            lambda: train_plainly(net, data, trial.batch, 1e-4, device), device, repeats
        )
        line |= dict(plain_samples_per_second=trial.n / plain, faster=plain / ours)
    return line | dict(gflops=work * trial.n / ours / 1e9)


def record(lines: list[dict], scale: str, device: str) -> None:
    """Write the lines of a scale, in place of what was there for it."""
    name = "images.csv" if device == "cpu" else "images_gpu.csv"
    path, about = results_folder() / "speed" / name, provenance(device)
    table = pd.DataFrame([dict(scale=scale) | line | about for line in lines])
    if path.exists():
        old = pd.read_csv(path)
        table = pd.concat([old[old.scale != scale], table])
    table.to_csv(path, index=False, float_format="%.4g")


def memory_line(k: int) -> None:
    task = made_up_task(k, 1_000_000, 0, "cpu")
    print(
        f"10^6 inputs of {k} full images: {task.bytes / 1e6:,.0f} MB held "
        f"({2 * task.train.bytes / 1e6:,.0f} of it images), "
        f"{1e6 * k * 3072 * 4 / 1e9:.0f} GB written out"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paper", action="store_true", help="the paper's sizes")
    parser.add_argument("--steps", type=int, default=0, help="of a measurement")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--no-plain", action="store_true", help="ours alone")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scale = IMAGE_SCALES["paper" if options.paper else "laptop"]
    few = options.paper and device == "cpu"
    steps = options.steps or (3 if few else 40)
    repeats = 1 if few else 3
    peak = peak_rate(device, 5) / 1e9
    print(f"{device}, {torch.get_num_threads()} threads, {peak:,.0f} Gflop/s")
    memory_line(6)
    lines = []
    for k in (4, 6):
        for method in options.methods.split(","):
            line = measure(
                method, k, scale, steps, repeats, device, not options.no_plain
            )
            line["share_of_products"] = line["gflops"] / peak
            lines.append(line)
            items = (
                f"{name} {v:,.3g}" for name, v in line.items() if name not in IDENTITY
            )
            print(f"k = {k}, {method}: {'; '.join(items)}", flush=True)
    if options.methods == ",".join(METHODS):
        record(lines, "paper" if options.paper else "laptop", device)


if __name__ == "__main__":
    main()
