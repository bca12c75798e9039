"""The main job as its users run it: nbs/sweep.ipynb through papermill."""

import json
import re
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import nbformat
import pytest
from helpers import ROOT, run

NOTEBOOK = ROOT / "nbs" / "sweep.ipynb"
PARAMETERS = dict(
    m="int",
    tau="int",
    scale="str",
    methods="str",
    seeds="int",
    store="str",
    workers="int",
    device="str",
    recorded="bool",
)


def papermill(*paths, store, passed="", check=True):
    """Run the notebook in the folder of `store`, at the smallest scale.

    What is `passed` besides, as "name value", comes last and so wins.
    """
    parameters = [("scale", "smoke"), ("store", store)]
    if passed:
        parameters.append(passed.split())
    options = [word for pair in parameters for word in ("-p", *pair)]
    return run("papermill", NOTEBOOK, *paths, *options, cwd=store.parent, check=check)


def rows(store) -> int:
    with closing(sqlite3.connect(store)) as database:
        tables = database.execute("select name from sqlite_master where type = 'table'")
        return sum(
            database.execute(f'select count(*) from "{name}"').fetchone()[0]
            for (name,) in tables.fetchall()
        )


def outputs(notebook) -> list:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> SimpleNamespace:
    """Two runs on one store: without an output path, then again with one."""
    store = tmp_path_factory.mktemp("sweep") / "rows.sqlite"
    printed = papermill(store=store).stdout
    rows_before = rows(store)
    papermill(store.with_name("executed.ipynb"), store=store)
    return SimpleNamespace(
        printed=printed,
        executed=nbformat.read(store.with_name("executed.ipynb"), as_version=4),
        rows=(rows_before, rows(store)),
    )


def test_without_an_output_path_the_rows_are_kept(runs):
    assert outputs(nbformat.from_dict(json.loads(runs.printed)))
    assert runs.rows[0] > 0


def test_with_an_output_path_there_are_a_figure_and_a_table(runs):
    shown = [output.get("data", {}) for output in outputs(runs.executed)]
    assert any({"image/png", "image/svg+xml"} & data.keys() for data in shown)
    assert any("<table" in data.get("text/html", "") for data in shown)


def test_a_second_run_trains_nothing(runs):
    said = "".join(output.get("text", "") for output in outputs(runs.executed))
    assert "nothing to train" in said
    assert runs.rows[0] == runs.rows[1]


# What is passed, and a pattern for the sentence that it has to end with.
BAD = {
    "mm 8": r"\bmm is not\b(?=.*\bscale\b)(?=.*\bm\b)(?=.*\btau\b)",
    "m 0": r"\bm must be .*\b1\b.*\bgot 0\b",
    "m eight": r"\bm must be a whole number\b.*eight",
    "scale huge": r"\bscale\b.*\bsmoke\b.*\blaptop\b.*\bpaper\b.*\bhuge\b",
    "methods nonsense": r"\bmethods\b.*\ball\b.*\boracle\b",
    "seeds -1": r"\bseeds must be .*\b0\b.*\bgot -1\b",
}


@pytest.mark.parametrize("passed", BAD)
def test_a_bad_parameter_ends_the_run_before_any_training(passed, tmp_path):
    store = tmp_path / "rows.sqlite"
    done = papermill(store=store, passed=passed, check=False)
    assert done.returncode != 0
    assert re.search(BAD[passed], done.stderr.strip().splitlines()[-1])
    assert not store.exists()


def test_help_shows_every_parameter(tmp_path):
    shown = run("papermill", "--help-notebook", NOTEBOOK, cwd=tmp_path).stdout
    for name, type_ in PARAMETERS.items():
        assert re.search(rf"^  {name}: {type_} \(default .*\)\s+\w.* ", shown, re.M), (
            f"{name}: {type_} with its default and comment is not in\n{shown}"
        )
    assert len(re.findall(r"\(default ", shown)) == len(PARAMETERS)
