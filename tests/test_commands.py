"""The commands of the book make the rows that it shows: no fewer, and no others."""

import json
import re
from pathlib import Path

import pytest
from helpers import ROOT

from modbook.claims import CLAIMS
from modbook.directions import DIRECTIONS
from modbook.experiments import Experiment, Sweep, read_parameters, recorded
from modbook.figures import command
from modbook.scaling import SCALING, search_table

EXPERIMENTS = (Sweep, *SCALING.values(), *DIRECTIONS.values())
BY_CLASS = {kind.__name__: kind for kind in EXPERIMENTS}
COMMAND = re.compile(r"papermill nbs/(\w+)\.ipynb(?: nbs/_runs/\S+)?([^\n`]*)")
WRITTEN = re.compile(r"papermill nbs/\w+\.ipynb (\S+\.ipynb)")
KIND = re.compile(r"read_parameters\(\w+\.(\w+), globals\(\)\)")


def cells(page: str, kind: str) -> list[dict]:
    notebook = json.loads((ROOT / "nbs" / f"{page}.ipynb").read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def kind_of(page: str) -> type[Experiment] | None:
    """The experiment that a page of results shows; None of other pages."""
    text = "".join("".join(cell["source"]) for cell in cells(page, "code"))
    found = KIND.search(text)
    return BY_CLASS.get(found.group(1)) if found else None


def test_folders_that_commands_write_to_are_in_a_clone():
    texts = [path.read_text() for path in (ROOT / "nbs").glob("*.[im][pd]*")]
    folders = {str(Path(out).parent) for text in texts for out in WRITTEN.findall(text)}
    assert folders == {".", "nbs/_runs"}
    kept = ROOT / "nbs" / "_runs" / ".gitignore"
    assert "!.gitignore" in kept.read_text(), "papermill makes no folders"


PAGES = [p.stem for p in sorted((ROOT / "nbs").glob("*.ipynb")) if kind_of(p.stem)]


def settings_of(page: str, given: str) -> list[Experiment]:
    """What a command with the given text makes of a page: one settings a run."""
    for each in re.findall(r"-p m M for M in ([\d, ]+)", given):
        runs = [re.sub(r"M for M.*", m, given) for m in each.split(", ")]
        return [settings for run in runs for settings in settings_of(page, run)]
    tagged = [c for c in cells(page, "code") if c["metadata"].get("tags")]
    source = next(c["source"] for c in tagged if "parameters" in c["metadata"]["tags"])
    values = {}
    exec("".join(source), values)
    names = [name for name in values if not name.startswith("__")]
    parameters = {name: values[name] for name in names}
    for name, value in re.findall(r"-p (\w+) (\S+)", given):
        parameters[name] = type(parameters[name])(value)  # KeyError: not the page's
    return [read_parameters(kind_of(page), parameters)]


def makes_recorded_rows(settings: Experiment) -> None:
    rows = recorded(settings.name, scale=settings.scale)
    grid = settings.grid()
    rows = rows[rows.method.isin({cell.method for cell in grid})]
    rows = rows[rows.m.isin({cell.trial.m for cell in grid})]
    if hasattr(settings, "search"):  # what it trains depends on what it finds
        assert len(search_table(settings, rows)) == len(grid)
        assert set(rows.seed) == {cell.trial.seed for cell in grid}
    else:
        assert set(rows.id) == {cell.trial.id for cell in grid}


def told() -> dict[str, tuple[str, str]]:
    """(page, what is given) of commands in the table of claims and on pages."""
    texts = [claim.command for claim in CLAIMS]
    for page in PAGES:
        texts.append("".join(cells(page, "markdown")[0]["source"]))
    found = [match.groups() for text in texts for match in COMMAND.finditer(text)]
    return {" ".join(pair): pair for pair in found if pair[0] in PAGES}


@pytest.mark.parametrize("line", told())
def test_a_command_of_the_book_makes_the_rows_that_are_recorded(line):
    for settings in settings_of(*told()[line]):
        makes_recorded_rows(settings)


@pytest.mark.parametrize("page", PAGES)
def test_the_line_under_a_figure_makes_all_rows_of_its_scale(page):
    kind = kind_of(page)
    every = recorded(kind.name)
    for scale, rows in every.groupby("scale"):
        line = command(page, kind(scale=scale), rows)
        made = settings_of(*COMMAND.fullmatch(line).groups())
        methods = set()
        for settings in made:
            makes_recorded_rows(settings)
            methods |= {cell.method for cell in settings.grid()}
        assert methods == set(rows.method)
        assert {settings.scale for settings in made} == {scale}
