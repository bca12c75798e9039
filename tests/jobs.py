"""Trials that misbehave on purpose. Worker processes import them from here."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from modbook.models import Monolithic
from modbook.tasks import stream
from modbook.training import sample_chunks
from modbook.trials import Trial


@dataclass(frozen=True)
class Fake:
    """A trial that trains nothing, and does to seed 1 what its kind says."""

    seed: int
    kind: str = "fine"
    folder: str = ""  # where it leaves a file each time it is run
    n: int = 1
    size: int = 4  # how many train together
    seconds: float = 0.0

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.n}-{self.seed}"

    def parameters(self) -> dict:
        return asdict(self)

    def estimate_seconds(self) -> float:
        return 1.0

    def together(self) -> int:
        return self.size

    @staticmethod
    def run(trials: Sequence["Fake"], device: str = "cpu") -> list[dict]:
        seeds, kind = [trial.seed for trial in trials], trials[0].kind
        before = trials[0].leave_a_mark(f"{min(seeds)}-{max(seeds)}")
        time.sleep(trials[0].seconds)
        if 1 in seeds and (kind == "kill" or (kind == "kill once" and not before)):
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "raise" and 1 in seeds:
            raise ArithmeticError("the number one")
        return [
            {"id": t.id, "protocol": 1} | t.parameters() | {"test_loss": 100 / t.n}
            for t in trials
        ]

    def leave_a_mark(self, name: str) -> int:
        """Note that a group is run; returns how often it was run before."""
        if not self.folder:
            return 0
        before = len(list(Path(self.folder).glob(f"{name}.*")))
        Path(self.folder, f"{name}.{before}").touch()
        return before


@dataclass(frozen=True)
class Heavy(Fake):
    """A trial of which no more than three fit into the memory."""

    @staticmethod
    def run(trials: Sequence["Heavy"], device: str = "cpu") -> list[dict]:
        trials[0].leave_a_mark(f"{len(trials)}")
        if len(trials) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Fake.run(trials, device)

    def memory(self) -> int:
        return 1000


@dataclass(frozen=True)
class Long(Trial):
    """A trial whose memory does not hold more than 20 of its samples."""

    @staticmethod
    def run(trials: Sequence["Long"], device: str = "cpu") -> list[dict]:
        t = trials[0]
        model = Monolithic([stream(0)], t.m, t.width, t.layers)
        if max(c.stop - c.start for c in sample_chunks(model, t.n)) > 20:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")
        return Trial.run(trials, device)


def surroundings() -> dict:
    """What a worker process finds."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    return {name: os.environ.get(name) for name in names} | {
        "torch": torch.get_num_threads(),
        "pid": os.getpid(),
    }
