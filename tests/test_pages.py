"""Every page of results runs as papermill runs it, at the smallest scale."""

import json

import nbformat
import pytest
from helpers import ROOT, run


def parameters(path) -> str:
    """The source of a notebook's parameters."""
    for cell in json.loads(path.read_text())["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            return "".join(cell["source"])
    return ""


PAGES = [
    p.stem for p in sorted((ROOT / "nbs").glob("*.ipynb")) if "scale:" in parameters(p)
]


@pytest.mark.parametrize("page", PAGES)
def test_page_runs_from_nothing_and_complains_of_nothing(page, tmp_path):
    given = dict(scale="smoke", workers=1, store=tmp_path / "rows.sqlite")
    options = [word for name, v in given.items() for word in ("-p", name, v)]
    executed = tmp_path / "executed.ipynb"
    how = ("--no-progress-bar", "--cwd", ROOT)  # pages show what is recorded, too
    run("papermill", ROOT / "nbs" / f"{page}.ipynb", executed, *options, *how, cwd=ROOT)
    cells = nbformat.read(executed, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert outputs
    assert [x.text for x in outputs if x.get("name") == "stderr"] == []
    assert (tmp_path / "rows.sqlite").exists(), "nothing was trained"
