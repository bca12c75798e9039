"""How fast the theory is. `python benchmarks/theory.py` prints three figures.

The import of modbook.theory in a fresh interpreter, a 1000 x 1000 grid of Theorem 1
on one core, and the verification table (recorded; `--table` makes it again).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_threads] = "1"

import numpy as np  # noqa: E402

from modbook import theory  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


def report(name: str, seconds: float, limit: float, rate: str) -> None:
    print(f"{name}: {seconds:.3f} s, {seconds / limit:.2f} of its limit; {rate}")


def import_seconds(repeats: int = 5) -> float:
    """The import alone, in a fresh interpreter: least of some runs."""
    code = (
        "import time; t = time.perf_counter(); import modbook.theory; "
        "print(time.perf_counter() - t)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return min(
        float(subprocess.check_output([sys.executable, "-c", code], env=environment))
        for _ in range(repeats)
    )


def grid_seconds(repeats: int = 7) -> float:
    """A 1000 x 1000 grid of train and test loss, one core: least of some runs."""
    axis = np.arange(1, 1001)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        theory.theorem1(axis[:, None], axis, 5)
        times.append(time.perf_counter() - start)
    return min(times)


def table_seconds(run: bool) -> tuple[float, int, int]:
    """Seconds, settings and draws of the verification table."""
    if run:
        with tempfile.TemporaryDirectory() as folder:
            notebook = "nbs/theory_verification.ipynb"
            command = ["papermill", notebook, f"{folder}/out.ipynb"]
            subprocess.run(command, cwd=ROOT, check=True)
    folder = ROOT / "results" / "theory"
    provenance = json.loads((folder / "verification.json").read_text())
    settings = len((folder / "verification.csv").read_text().splitlines()) - 1
    return provenance["seconds"], settings, provenance["draws"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="make the table again")
    options = parser.parse_args()
    seconds = import_seconds()
    report("import modbook.theory", seconds, 0.5, f"{1 / seconds:.1f} a second")
    seconds = grid_seconds()
    report(
        "Theorem 1, 1000 x 1000",
        seconds,
        0.1,
        f"{1 / seconds:.0f} million points a second",
    )
    seconds, settings, draws = table_seconds(options.table)
    rate = f"{settings * draws / seconds:.0f} training sets a second"
    report("verification table", seconds, 180, rate)


if __name__ == "__main__":
    main()
