"""What the benchmarks ask of each other still fits."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from modbook.experiments import read_table

ROOT = Path(__file__).parents[1]


def test_a_peer_climbs_the_ladder(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "pursuit.py", "complexity"]
    options = ["2", "1", "--methods", "kernel ridge", "--folder", tmp_path]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    made = subprocess.run(
        [*command, *options], env=env, capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr
    rows = read_table(tmp_path / "pursuit_complexity" / "rows.csv")
    assert len(rows) == made.stdout.count("kernel ridge") > 1
    assert np.isfinite(rows.nmse).all()
    assert rows.nmse.iloc[-1] < rows.nmse.iloc[0]
