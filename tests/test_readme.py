"""What README and guides say works: their Python blocks run as they stand, anywhere."""

import re
import sys

import pytest
from helpers import ROOT, run

PAGES = [ROOT / "README.md", *sorted((ROOT / "nbs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_there_is_python_to_run():
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_python_block_runs_without_a_warning(block, tmp_path):
    run(sys.executable, "-W", "error", "-c", BLOCKS[block], cwd=tmp_path)
