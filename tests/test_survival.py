"""Sweeps that are killed, starved of disk, shut out and interrupted, for real.

Five kills by default; `make release-test` does fifty.
"""

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from driver import TRIALS
from helpers import ROOT

import modbook.__main__ as cli
from modbook.store import Reader, Store, driver_of, lock_path
from modbook.sweeps import run_sweep

IDS = {trial.id for trial in TRIALS}


def start(*command, **options) -> subprocess.Popen:
    """A process of this Python and this modbook; its output can be read meanwhile."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        **dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) | options,
    )


def drive(path, mode) -> subprocess.Popen:
    """A driver, once it has said that it is ready."""
    process = start(ROOT / "tests" / "driver.py", path, mode)
    if mode != "half":
        assert process.stdout.readline() == "ready\n"
    return process


def kill(process) -> list[str]:
    """Kill a driver; the ids of the rows that it had said to be kept."""
    process.kill()
    said = process.communicate()[0].splitlines()
    return [id for line in said if line.startswith("kept") for id in line.split()[1:]]


@pytest.fixture
def driver():
    """Starts a sweep into the store of each line that it reads."""
    command = ROOT / "tests" / "driver.py", "", "again"
    with start(*command, stdin=subprocess.PIPE) as process:
        yield process


def killed_after(seconds, driver, path) -> tuple[int, list[str]]:
    """Have a sweep started and killed: its exit status, and the ids said to be kept."""
    print(path, file=driver.stdin, flush=True)
    said = [driver.stdout.readline().split()]
    while said[-1][0] != "child":
        said.append(driver.stdout.readline().split())
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):  # it was faster
        os.kill(int(said[-1][1]), signal.SIGKILL)
    while said[-1][0] != "over":
        said.append(driver.stdout.readline().split())
    return int(said[-1][1]), [id for word, *ids in said if word == "kept" for id in ids]


def ids(path) -> set:
    with Reader(path) as store:
        return store.ids()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> pd.DataFrame:
    """The rows of a sweep that was left alone, which takes `attrs["took"]` seconds."""
    started = time.perf_counter()
    with Store(tmp_path_factory.mktemp("undisturbed") / "rows.sqlite") as store:
        table = run_sweep(TRIALS, store, workers=1, show=False)
    table.attrs["took"] = time.perf_counter() - started
    return table


def complete(path, undisturbed) -> None:
    """Resume in this process, and compare with the sweep that was left alone."""
    with Store(path) as store:
        resumed = run_sweep(TRIALS, store, workers=1, show=False)
        assert store.db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert store.failures().empty
    assert list(resumed.id) == [trial.id for trial in TRIALS]
    for measure in ("test_loss", "train_loss"):
        np.testing.assert_allclose(
            resumed[measure], undisturbed[measure], rtol=1e-5, err_msg=measure
        )


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path, undisturbed, driver, kills):
    """Until so many have struck: one that comes when all rows are there is none."""
    rng, struck = np.random.default_rng(kills), 0
    for number in range(kills):
        path, kept = tmp_path / f"{number}.sqlite", []
        for _ in range(min(3, kills - struck)):  # then the rest in peace
            missing = 1 - len(kept) / len(IDS)
            moment = rng.uniform(0, missing * undisturbed.attrs["took"])
            status, said = killed_after(moment, driver, path)
            kept += said
            there = ids(path) if path.exists() else set()
            assert set(kept) <= there <= IDS
            struck += status == -signal.SIGKILL and there < IDS
        assert len(kept) == len(set(kept))  # what was committed was not run again
        complete(path, undisturbed)
        if struck == kills:
            break
    assert struck == kills


def test_killed_with_workers(tmp_path, undisturbed):
    path = tmp_path / "rows.sqlite"
    process = drive(path, "pool")
    assert process.stdout.readline().startswith("kept")
    workers = children(process.pid)
    assert workers
    kill(process)
    deadline = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))
    assert 0 < len(ids(path)) <= len(IDS)
    complete(path, undisturbed)


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    if not path.exists():
        pytest.skip("this system does not say which processes a process has started")
    return [int(child) for child in path.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except OSError:
        return False


def test_killed_in_the_middle_of_a_commit(tmp_path):
    path = tmp_path / "rows.sqlite"
    process = drive(path, "half")
    said = process.communicate()[0].splitlines()
    assert process.returncode == -signal.SIGKILL
    assert len(said) == 1
    journal = path.with_name(path.name + "-journal")
    assert journal.exists()
    assert path.stat().st_size > 100_000  # what was not committed is on the disk
    for name in ("read", "written"):
        shutil.copy(path, tmp_path / name)
        shutil.copy(journal, tmp_path / f"{name}-journal")
    first = {f"{i}" for i in range(10)}
    assert ids(tmp_path / "read") == first
    with Store(tmp_path / "written") as store:
        assert store.ids() == first
        store.add([{"id": "new"}])
        assert store.db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert store.ids() == {*first, "new"}


def test_a_second_driver_is_refused_until_the_first_is_killed(tmp_path, capsys):
    path = tmp_path / "rows.sqlite"
    process = drive(path, "hold")
    try:
        words = rf"process {process.pid} on {socket.gethostname()}, since 2.*merge"
        started = time.perf_counter()
        with pytest.raises(OSError, match=words):
            Store(path)
        assert time.perf_counter() - started < 5
        assert driver_of(path).pid == process.pid
        run = ["run", "sweep", "--scale", "smoke", "--store", str(path)]
        assert cli.main(run) == 2
        assert re.search(words, capsys.readouterr().err)
        assert ids(path) == set()
        assert cli.main(["status", str(path)]) == 0
        assert f"process {process.pid}" in capsys.readouterr().out
    finally:
        kill(process)
    assert lock_path(path).exists()  # it had no time to clean up
    assert driver_of(path) is None
    with Store(path) as store:
        store.add([{"id": "a"}])
    assert not lock_path(path).exists()


# Disks


@pytest.fixture
def disk(tmp_path):
    """A disk of 256 kB, and a function that mounts it anew with other options."""
    where = tmp_path / "disk"
    where.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", where]
        return subprocess.run(command, capture_output=True, text=True)

    try:
        done = mount("size=256k")
    except OSError as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield where, lambda options: mount(f"remount,{options}").check_returncode()
    finally:
        subprocess.run(["umount", where], check=True)


def fill(store) -> tuple[set[str], str]:
    """Add groups of rows until that fails: the ids that were kept, and the error."""
    kept = set()
    for group in range(1000):
        rows = [{"id": f"{group} {i}", "text": "x" * 300} for i in range(20)]
        try:
            store.add(rows)
        except OSError as error:
            return kept, str(error)
        kept |= {row["id"] for row in rows}
    raise AssertionError("the disk was never full")


def test_a_full_disk_loses_nothing_that_was_committed(disk, undisturbed, capsys):
    where, remount = disk
    path = where / "rows.sqlite"
    with Store(path) as store:
        kept, error = fill(store)
        assert f"store: cannot use {path}: no space is left" in error
        assert "the rows committed before are kept" in error
        assert store.ids() == kept
    assert len(kept) >= 20
    ballast = where / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(b"x" * 300_000)
    run = ["run", "sweep", "--scale", "smoke", "--set", "m=2", "--workers", "1"]
    assert cli.main([*run, "--store", str(path)]) == 2
    said = capsys.readouterr().err
    assert re.search(r"^modbook: store: .*no space|No space", said)
    assert "Traceback" not in said
    assert ids(path) == kept
    remount("size=4m")
    ballast.unlink()
    with Store(path) as store:
        run_sweep(TRIALS[:4], store, workers=1, show=False)
    assert ids(path) == kept | {trial.id for trial in TRIALS[:4]}


def test_a_file_that_may_not_grow_loses_nothing(tmp_path):
    path = tmp_path / "rows.sqlite"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store(path) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
        try:
            kept, error = fill(store)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert f"store: cannot use {path}" in error
        assert store.ids() == kept
        assert len(kept) >= 20
        store.add([{"id": "later"}])
    assert ids(path) == kept | {"later"}


def test_a_read_only_disk(disk, capsys):
    where, remount = disk
    path = where / "rows.sqlite"
    with Store(path) as store:
        store.add([{"id": "a", "protocol": 2}])
    remount("ro")
    with pytest.raises(OSError, match=r"[Rr]ead-only"):
        Store(path)
    assert ids(path) == {"a"}
    assert cli.main(["status", str(path)]) == 0
    assert "1 rows" in capsys.readouterr().out
    remount("rw")
    with Store(path) as store:
        assert store.ids() == {"a"}


# Interruptions


def modbook(*arguments, cwd, **options) -> subprocess.Popen:
    return start("-m", "modbook", *arguments, cwd=cwd, **options)


def hear_ctrl_c() -> None:
    """A shell starts what runs in its background deaf to it, and so would tests be."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    lines = ["from driver import TRIALS", "from modbook.store import Store"]
    lines += ["from modbook.sweeps import run_sweep"]
    lines += ["run_sweep(TRIALS, Store('s.sqlite'), workers=2, show=False)"]
    (tmp_path / "script.py").write_text("\n".join(lines))
    (tmp_path / "driver.py").write_text((ROOT / "tests" / "driver.py").read_text())
    process = start("script.py", cwd=tmp_path, stderr=subprocess.PIPE)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    last = error[error.rindex("RuntimeError") :]
    assert last.startswith("RuntimeError: executor: no worker process could start")
    assert 'if __name__ == "__main__":' in last
    assert ids(tmp_path / "s.sqlite") == set()


def test_ctrl_c_says_how_to_go_on(tmp_path):
    run = ["run", "sweep", "--scale", "smoke", "--set", "m=2", "--workers", "1"]
    run += ["--set", "methods=random", "--set", "seeds=1500"]
    options = dict(cwd=tmp_path, stderr=subprocess.PIPE, preexec_fn=hear_ctrl_c)
    process = modbook(*run, **options)
    path, deadline = tmp_path / "modbook.sqlite", time.monotonic() + 60
    while not (path.exists() and ids(path)) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in error
    kept = len(ids(path))
    assert f"{kept} finished rows are kept in modbook.sqlite" in error
    assert f"To go on from there: modbook {' '.join(run)}" in error
    assert not lock_path(path).exists()


@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_ctrl_c_while_workers_start(tmp_path, seconds):
    """It goes to all processes, as from a terminal, and one of them answers."""
    run = ["run", "sweep", "--scale", "smoke", "--workers", "2", "--set", "seeds=300"]
    options = dict(cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    process = modbook(*run, **options, preexec_fn=hear_ctrl_c)
    assert "to train" in process.stdout.readline()
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    out, error = process.communicate(timeout=60)  # workers that stay keep the pipe open
    assert process.returncode == 130
    assert "Traceback" not in out
    assert re.fullmatch(
        r"\nmodbook: stopped; .* go on from there: modbook run.*\n", error
    )


def test_a_pipe_that_closes_does_not_lose_the_recording(tmp_path):
    (tmp_path / "settings.ini").write_text("")
    (tmp_path / "results").mkdir()
    run = ["run", "sweep", "--scale", "smoke", "--set", "m=2", "--workers", "1"]
    process = modbook(*run, "--record", cwd=tmp_path, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0, error
    assert error == ""
    table = pd.read_csv(tmp_path / "results" / "sweep" / "rows.csv")
    assert set(table.id) == ids(tmp_path / "modbook.sqlite")
    assert len(table) == 12
