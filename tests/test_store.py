"""The store and the commands on it: what is refused, joined, told."""

import json
import math
import os
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass, replace
from typing import ClassVar

import pandas as pd
import pytest

import modbook.__main__ as cli
from modbook.experiments import Cell, Sweep, cost_table, recorded, state_of
from modbook.sample_complexity import SampleSearch
from modbook.store import SCHEMA, Reader, Store, check, lock_path, merge, true_trial
from modbook.sweeps import run_sweep
from modbook.trials import PROTOCOL, Trial

TRIALS = [
    Trial(m=2, k=2, n=30, seed=seed, iterations=5, n_test=50, width=width)
    for width in (4, 8)
    for seed in range(3)
]
FEW = ("sweep", "--scale", "smoke", "--set", "m=2", "--set", "methods=random")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A store with a row for each trial; copy it before changing anything."""
    path = tmp_path_factory.mktemp("finished") / "rows.sqlite"
    with Store(path) as store:
        run_sweep(TRIALS, store, workers=1, show=False)
    return path


@pytest.fixture
def path(finished, tmp_path):
    return shutil.copy(finished, tmp_path / "rows.sqlite")


def ids(path) -> set:
    with Reader(path) as store:
        return store.ids()


def rows(path) -> list[dict]:
    with Reader(path) as store:
        return [row for _, row in store.records()]


def old_store(path, kept: list[dict]):
    """A store of schema 1, as the first modbook wrote it."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, row TEXT)")
        pairs = [(row["id"], json.dumps(row)) for row in kept]
        db.executemany("INSERT INTO rows VALUES (?, ?)", pairs)
        db.execute("PRAGMA user_version = 1")
    return path


# What is in the file


def test_rows_come_back_as_they_were_in_the_order_asked_for(path):
    asked = [TRIALS[4], TRIALS[1], TRIALS[4], Trial(m=2, k=2, n=31, seed=0)]
    with Reader(path) as store:
        table = store.rows(asked)
    assert list(table.id) == [TRIALS[4].id, TRIALS[1].id]
    kept = {row["id"]: row for row in rows(path)}
    for row in table.to_dict("records"):
        for name, value in kept[row["id"]].items():
            assert row[name] == value or (value is None and pd.isna(row[name]))


@pytest.mark.parametrize("count", [1, 499, 2500])
def test_few_and_many_rows_are_found_alike(tmp_path, count):
    class Named:
        def __init__(self, id):
            self.id = id

    many = [{"id": f"{i}", "n": i} for i in range(3000)]
    with Store(tmp_path / "rows.sqlite") as store:
        store.add(many)
        table = store.rows([Named(f"{i}") for i in range(count)])
    assert list(table.n) == list(range(count))


def test_a_row_that_json_cannot_hold_leaves_nothing_behind(tmp_path):
    with Store(tmp_path / "rows.sqlite") as store:
        for bad in ({"id": "b", "value": {1, 2}}, {"value": 1}, {"id": 7}):
            with pytest.raises((TypeError, ValueError)):
                store.add([{"id": "a"}, bad])
        assert store.ids() == set()
        store.add([{"id": "a"}])
        assert store.ids() == {"a"}


def test_nothing_is_left_beside_a_closed_store(path, tmp_path):
    with Store(path):
        assert lock_path(path).exists()
    assert [p.name for p in tmp_path.iterdir()] == ["rows.sqlite"]


def test_a_link_to_a_store_is_the_same_store(path, tmp_path):
    link = tmp_path / "link.sqlite"
    link.symlink_to(path)
    with Store(path), pytest.raises(OSError, match="in use"):
        Store(link)


def test_a_reader_cannot_write(path):
    with Reader(path) as store, pytest.raises(sqlite3.OperationalError):
        store.db.execute("DELETE FROM rows")
    assert len(ids(path)) == len(TRIALS)


def test_a_reader_does_not_make_a_store(tmp_path):
    with pytest.raises(OSError, match="there is no file"):
        Reader(tmp_path / "rows.sqlite")
    assert list(tmp_path.iterdir()) == []


# Files that are not as they should be


def damaged(path, how):
    """Spoil a store, and return what the error has to say."""
    data = path.read_bytes()
    if how == "cut short":
        path.write_bytes(data[: len(data) // 2])
        return ValueError, "damaged"
    if how == "cut within the header":
        path.write_bytes(data[:50])
        return ValueError, "damaged"
    if how == "cut to nothing":
        path.write_bytes(b"")
        return ValueError, "is empty"
    if how == "not a database":
        path.write_text("a list of things to buy\n" * 100)
        return ValueError, "no modbook store"
    if how == "another database":
        path.unlink()
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("CREATE TABLE purchases (item TEXT)")
        return ValueError, "no modbook store"
    if how == "newer schema":
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
        return ValueError, f"schema {SCHEMA + 1}.*use the modbook that made it"
    path.unlink()
    path.mkdir()
    return OSError, "folder|no file"


HOW = (
    "cut short",
    "cut within the header",
    "cut to nothing",
    "not a database",
    "another database",
    "newer schema",
    "a folder",
)


@pytest.mark.parametrize("how", HOW)
def test_a_file_that_is_no_good_is_refused_and_left_alone(path, how, capsys):
    error, words = damaged(path, how)
    before = None if path.is_dir() else path.read_bytes()
    for opened in (Store, Reader):
        with pytest.raises(error, match=words) as caught:
            opened(path)
        assert str(path) in str(caught.value)
    assert cli.main(["run", *FEW, "--workers", "1", "--store", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("modbook: store: ")
    assert said.count("\n") == 1
    if before is not None:
        assert path.read_bytes() == before
    assert not lock_path(path).exists()


def test_a_page_overwritten_is_found(path):
    with Store(path) as store:
        store.add({"id": f"{i}", "text": "x" * 500} for i in range(100))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    try:
        with Reader(path) as store:
            found = check(store, {Trial: PROTOCOL})
    except ValueError as error:
        found = [str(error)]
    assert any("the file:" in text or "damaged" in text for text in found)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        Store(tmp_path / "nowhere" / "rows.sqlite")


@pytest.fixture
def unchangeable(path):
    """A store whose file nobody may write, not even root."""
    if os.geteuid() != 0:
        path.chmod(0o444)
        yield path
        return
    done = subprocess.run(["chattr", "+i", path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"root may write anything here: {done.stderr.strip()}")
    yield path
    subprocess.run(["chattr", "-i", path], check=True)


def test_a_read_only_file_is_refused_to_a_driver_and_read_by_others(unchangeable):
    with pytest.raises(OSError, match="read-only") as caught:
        Store(unchangeable)
    assert str(unchangeable) in str(caught.value)
    assert len(ids(unchangeable)) == len(TRIALS)
    assert not lock_path(unchangeable).exists()


# Schema 1


def test_an_old_store_is_read_as_it_is_and_upgraded_by_a_driver(finished, tmp_path):
    kept = rows(finished)
    kept[1]["test_loss"], kept[2]["only_here"] = math.nan, [1, 2]
    path = old_store(tmp_path / "old.sqlite", kept)
    before = path.read_bytes()
    with Reader(path) as store:
        assert store.failures().empty
        assert store.asked() == []
        read = store.all_rows()
    assert path.read_bytes() == before
    with Store(path) as store:
        pd.testing.assert_frame_equal(store.all_rows(), read)
        assert store.schema == SCHEMA
        store.fail(TRIALS[0], "Traceback")
    assert json.dumps(rows(path)) == json.dumps(kept)


def test_an_old_store_that_cannot_be_upgraded_stays_old(finished, tmp_path):
    path = old_store(tmp_path / "old.sqlite", rows(finished))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO rows VALUES ('x', '[not json')")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="damaged: a row has Expecting value"):
        Store(path)
    assert path.read_bytes() == before


# Failures


def test_a_failure_is_kept_until_the_trial_has_a_row(path):
    other = replace(TRIALS[0], n=31)
    with Store(path) as store:
        store.fail(other, "Traceback: first")
        store.fail(other, "Traceback: second")
        (failure,) = store.failures().to_dict("records")
        assert failure["id"] == other.id not in store.ids()
        assert failure["traceback"] == "Traceback: second"
        assert failure["parameters"] == other.parameters()
        store.add([{"id": other.id}])
        assert store.failures().empty


# Joining


def test_merge_adds_what_is_missing_and_keeps_the_first(path, tmp_path):
    kept = rows(path)
    changed = kept[0] | {"test_loss": kept[0]["test_loss"] * 1.5, "seconds": 99}
    slower = kept[1] | {"seconds": 99, "hardware": "an abacus"}
    new = kept[2] | {"id": "new"}
    failed = replace(TRIALS[0], n=31)
    with Store(tmp_path / "b.sqlite") as store:
        store.add([changed, slower, new])
        store.fail(failed, "Traceback")
        store.fail(TRIALS[5], "Traceback")
        store.ask("sweep", {"scale": "smoke"})
    with Store(path) as into, Reader(tmp_path / "b.sqlite") as source:
        for added in (1, 0):
            merged = merge(source, into)
            assert merged.added == merged.failures == added
            assert merged.common == 3 - added
        assert merged.differing == 1
        assert merged.largest == pytest.approx(1 / 3)
        assert list(into.failures().id) == [failed.id]
        assert into.asked() == [("sweep", {"scale": "smoke"})]
    assert json.dumps(rows(path)) == json.dumps([*kept, new])


def test_merge_command_joins_several_old_and_new(path, finished, tmp_path, capsys):
    other = [row | {"id": f"{i}", "protocol": 1} for i, row in enumerate(rows(path))]
    old = old_store(tmp_path / "old.sqlite", other)
    both = tmp_path / "both.sqlite"
    assert cli.main(["merge", str(path), str(old), "--into", str(both)]) == 0
    said = capsys.readouterr().out
    assert ids(both) == ids(finished) | {row["id"] for row in other}
    assert f"{both}: 12 rows" in said
    assert "6 rows of protocol 1, left out" in said
    assert cli.main(["merge", str(path), str(old)]) == 0
    assert ids(path) == ids(both)
    with Reader(old) as store:
        assert store.schema == 1


def test_merge_command_touches_nothing_if_a_store_is_no_good(path, tmp_path, capsys):
    before = path.read_bytes()
    for other in ("missing.sqlite", "notes.txt"):
        (tmp_path / "notes.txt").write_text("eggs, milk\n" * 100)
        assert cli.main(["merge", str(path), str(tmp_path / other)]) == 2
        assert other in capsys.readouterr().err
    assert cli.main(["merge", str(path)]) == 2
    assert path.read_bytes() == before


# Checking


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"n": 31}, "id is not that of the parameters"),
        ({"K": 0, "start": "random"}, "the parameters make no trial"),
        ({"protocol": 1}, "of protocol 1, while this modbook has"),
        ({"test_loss": math.nan}, "test_loss is not finite"),
        ({"train_loss": math.inf}, "train_loss is not finite"),
        ({"id": "another"}, "filed under another id"),
    ],
)
def test_verify_finds(path, change, finding, capsys):
    assert cli.main(["verify", str(path)]) == 0
    first, *rest = rows(path)
    with closing(sqlite3.connect(path)) as db, db:
        text = json.dumps(list((first | change).values()))
        db.execute("UPDATE rows SET row = ? WHERE id = ?", [text, first["id"]])
    assert rest
    capsys.readouterr()
    assert cli.main(["verify", str(path)]) == 1
    said = capsys.readouterr().out
    assert finding in said
    assert first["id"] in said
    assert "1 findings" in said


@pytest.mark.parametrize("name", cli.EXPERIMENTS)
def test_trials_of_every_experiment_can_be_told_from_their_rows(name):
    kinds = cli.kinds()
    for trial in {c.method: c.trial for c in cli.EXPERIMENTS[name]().grid()}.values():
        row = json.loads(json.dumps({"id": trial.id, **trial.parameters()}))
        assert true_trial(row, kinds) == trial


def test_verify_finds_two_rows_for_one_trial(path):
    with Store(path) as store:
        store.add([rows(path)[0] | {"id": "twin"}])
        found = check(store, {Trial: PROTOCOL})
    assert any("several rows for one trial: 2" in text for text in found)


def test_verify_finds_a_row_that_is_not_readable(path):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE rows SET row = '[1, 2' WHERE id = ?", [TRIALS[0].id])
        db.execute("UPDATE rows SET layout = 7 WHERE id = ?", [TRIALS[1].id])
    with Reader(path) as store:
        (found,) = check(store, {Trial: PROTOCOL})
        with pytest.raises(ValueError, match="damaged: a row has"):
            store.rows(TRIALS[:1])
    assert found.startswith("the row is not readable: 2")


def test_verify_lets_a_diverged_row_be(path):
    wild = replace(TRIALS[0], learning_rate=1e30)
    with Store(path) as store:
        table = run_sweep([wild], store, workers=1, show=False)
        assert table.diverged.all()
        assert not math.isfinite(table.test_loss[0])
        assert check(store, {Trial: PROTOCOL}) == []


# Commands


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A checkout with nothing in it."""
    (tmp_path / "settings.ini").write_text("")
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run_status_export_verify(here, capsys):
    assert cli.main(["run", *FEW, "--workers", "1"]) == 0
    capsys.readouterr()
    assert cli.main(["status"]) == 0
    said = capsys.readouterr().out
    assert "modbook.sqlite: 2 rows" in said
    assert re.search(r"sweep +smoke +m=2, methods=random +2 +0 +0 +none", said)
    assert cli.main(["status", "sweep", "--scale", "smoke", "--set", "m=2"]) == 0
    assert re.search(r"sweep +smoke +m=2 +2 +0 +10 +\d+ ", capsys.readouterr().out)
    assert cli.main(["export", *FEW]) == 0
    table = recorded("sweep", here / "results")
    assert set(table.id) == ids("modbook.sqlite")
    provenance = ["hardware", "commit", "modbook", "python", "torch", "protocol"]
    assert table[provenance].drop(columns="commit").notna().all(axis=None)


def test_status_names_the_driver(path, capsys):
    with Store(path):
        assert cli.main(["status", str(path)]) == 0
    assert f"being written by process {os.getpid()} on " in capsys.readouterr().out


def test_export_says_what_is_left_and_leaves_old_rows_out(here, capsys):
    assert cli.main(["run", *FEW, "--workers", "1"]) == 0
    with Store("modbook.sqlite") as store:
        store.add([rows("modbook.sqlite")[0] | {"id": "old", "protocol": 1}])
    capsys.readouterr()
    all_methods = FEW[:-2]
    assert cli.main(["export", *all_methods]) == 0
    said = capsys.readouterr().out
    assert "1 rows of protocol 1, left out" in said
    assert "not complete: 10 trials are left" in said
    assert len(recorded("sweep", here / "results")) == 2


def test_recording_never_mixes_protocols(here, capsys):
    assert cli.main(["run", *FEW, "--workers", "1", "--record"]) == 0
    path = here / "results" / "sweep" / "rows.csv"
    table = pd.read_csv(path)
    table.assign(protocol=1, id=["old1", "old2"]).to_csv(path, index=False)
    before = path.read_text()
    for command in (("export", *FEW), ("run", *FEW, "--workers", "1", "--record")):
        assert cli.main(command) == 2
        assert f"protocols [1, {PROTOCOL}]" in capsys.readouterr().err
        assert path.read_text() == before
    assert cli.main(["export", *FEW, "--replace"]) == 0
    assert set(pd.read_csv(path).id) == set(table.id)


def test_exporting_nothing_is_refused(here, capsys):
    assert cli.main(["run", *FEW, "--workers", "1"]) == 0
    assert cli.main(["export", "sweep", "--scale", "laptop"]) == 2
    assert "has no rows of this experiment" in capsys.readouterr().err


def test_minutes_end_a_run_in_good_order(here, capsys):
    short = ["run", *FEW, "--set", "seeds=3", "--workers", "1"]
    assert cli.main([*short, "--minutes", "0.000001"]) == 0
    assert "6 of 6 trials left" in capsys.readouterr().out
    assert cli.main(short) == 0
    assert "trials left" not in capsys.readouterr().out
    assert len(ids("modbook.sqlite")) == 6
    assert cli.main([*short, "--minutes", "-1"]) == 2


def test_a_dry_run_measures_and_runs_nothing(here, capsys):
    assert cli.main(["run", *FEW, "--dry-run", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"random +2 +\d+ +\d\.\d+e\+\d+ +\d+ MiB", said)
    assert "2 trials" in said
    assert not (here / "modbook.sqlite").exists()


@dataclass(frozen=True)
class Fragile(Trial):
    """A trial that cannot be run with seed 1."""

    @staticmethod
    def run(trials, device="cpu"):
        if any(trial.seed == 1 for trial in trials):
            raise RuntimeError("seed 1 is not to my taste")
        return Trial.run(trials, device)


@dataclass(frozen=True)
class Failing(Sweep):
    name: ClassVar[str] = "failing"

    def grid(self):
        cells = super().grid()
        return [
            Cell(m, a, Fragile(**{f: getattr(t, f) for f in t.__dataclass_fields__}))
            for m, a, t in cells
        ]


def test_a_trial_that_raises_is_told_and_the_rest_go_on(here, monkeypatch, capsys):
    monkeypatch.setitem(cli.EXPERIMENTS, "failing", Failing)
    command = ["run", "failing", *FEW[1:], "--set", "seeds=3", "--workers", "1"]
    for _ in range(2):  # it is tried again, and fails again
        assert cli.main(command) == 1
        said = capsys.readouterr().err
        with Reader("modbook.sqlite") as store:
            failures = store.failures()
            assert len(store.ids()) == 4
        assert "2 failed" in said
        for failure in failures.itertuples():
            assert failure.id in said
            assert failure.parameters["seed"] == 1
            assert "Traceback" in failure.traceback
            assert "seed 1 is not to my taste" in failure.traceback
    assert cli.main(["status"]) == 0
    assert re.search(r"4 +2 +0 ", capsys.readouterr().out)
    monkeypatch.setattr(Fragile, "run", staticmethod(Trial.run))
    assert cli.main(command) == 0
    with Reader("modbook.sqlite") as store:
        assert store.failures().empty
        assert len(store.ids()) == 6


@dataclass(frozen=True)
class Searching(Sweep):
    """An experiment whose trials a search asks for."""

    def search(self):
        return SampleSearch(0.5, 5.0, limit=8.0)


def test_the_state_and_cost_of_searches(tmp_path):
    settings = Searching(m=2, scale="smoke", methods="random", device="cpu")
    costs = cost_table(settings, 0.1)
    with Store(tmp_path / "rows.sqlite") as store:
        (template,) = {replace(cell.trial, n=1) for cell in settings.grid()}
        assert state_of(settings, store)[:4] == (1, 0, 0, 1)
        search, asked = settings.search(), 0
        while (n := search.ask()) is not None:
            loss = 0.1 if n > 100 else 0.9
            store.add([{"id": replace(template, n=n).id, "n": n, "test_loss": loss}])
            search.tell(loss)
            asked += 1
            state = state_of(settings, store)
            assert state.done == asked
            assert state.left == (search.ask() is not None)
    assert costs.trials["random"] >= asked


@pytest.mark.parametrize("name", [*cli.COMMANDS, "list"])
def test_every_command_has_help_with_an_example(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    assert f"  modbook {name}" in capsys.readouterr().out.partition("examples:")[2]
