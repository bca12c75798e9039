"""What the README says works: its Python blocks run as they stand, anywhere."""

import re
import sys

import pytest
from helpers import ROOT, run

TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_there_is_python_to_run():
    assert BLOCKS


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_python_block_runs_without_a_warning(block, tmp_path):
    run(sys.executable, "-W", "error", "-c", BLOCKS[block], cwd=tmp_path)
