"""A driver for tests to kill: it runs small trials into a store and tells of it.

python driver.py STORE MODE. A line `kept ID ID ...` follows every commit.
"""

import os
import signal
import sys

from modbook.store import Store
from modbook.sweeps import run_sweep
from modbook.trials import Trial

TRIALS = [
    Trial(m=2, k=2, n=30, seed=seed, iterations=5, n_test=50, width=width)
    for width in range(2, 42)
    for seed in range(2)
]


def tell(*words) -> None:
    """A line, whole or not at all: several processes write to one pipe."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Telling(Store):
    """A store that says which rows it has committed, when it has."""

    def add(self, rows):
        rows = list(rows)
        super().add(rows)
        tell("kept", *(row["id"] for row in rows))


def sweep(path: str, workers: int = 1) -> None:
    """Run all trials."""
    tell("ready")
    with Telling(path) as store:
        run_sweep(TRIALS, store, workers=workers, show=False)


def again_and_again() -> None:
    """A sweep into the store of each line that is read, in a process that is forked.

    So that a kill does not wait for imports. Tells the process, and how it ended.
    """
    for line in sys.stdin:
        if not (child := os.fork()):
            sweep(line.strip())
            os._exit(0)
        tell("child", child)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        tell("over", status)


def hold(path: str) -> None:
    """Keep the store and wait to be killed."""
    with Telling(path):
        tell("ready")
        signal.pause()


def half_a_commit(path: str) -> None:
    """Die at the last moment of a large transaction, with part of it on the disk."""

    def last_moment(statement):
        if statement == "COMMIT":
            os.kill(os.getpid(), signal.SIGKILL)

    with Telling(path) as store:
        store.add({"id": f"{i}", "n": i} for i in range(10))
        store.db.execute("PRAGMA cache_size = 10")
        store.db.set_trace_callback(last_moment)
        store.add({"id": f"{i}", "text": "x" * 1000} for i in range(10, 2000))


if __name__ == "__main__":
    modes = dict(
        sweep=sweep,
        pool=lambda path: sweep(path, 2),
        hold=hold,
        half=half_a_commit,
        again=lambda _: again_and_again(),
    )
    modes[sys.argv[2]](sys.argv[1])
