"""Sweeps on workers that are lost, trials that fail, memory that runs out: no row less.

And none that differs: what a trial draws and learns does not depend on where, when and
in what company it is run.
"""

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import run
from jobs import Fake, Heavy, Long, surroundings
from scipy import stats

from modbook import kernel_init, sweeps, training, trials
from modbook.sample_complexity import SampleSearch
from modbook.store import Store
from modbook.sweeps import (
    Cluster,
    Here,
    Log,
    Outcome,
    Pool,
    Progress,
    Terminal,
    default_workers,
    make_executor,
    plan,
    run_group,
    run_searches,
    run_sweep,
)
from modbook.trials import Rule, Trial

TINY = Trial(m=2, k=2, n=20, seed=0, iterations=20, n_test=50, dtype="float64")
KINDS = [
    TINY,
    replace(TINY, width=5),
    replace(TINY, K=4, start="random"),
    replace(TINY, K=2, start="oracle", fixed=True, batch=8),
]
GRID = [replace(trial, seed=seed) for trial in KINDS for seed in range(4)]
LOSSES = ["id", "train_loss", "test_loss", "test_nmse", "similarity", "coverage"]


@pytest.fixture(autouse=True)
def forget_what_fitted():
    sweeps._fitted.clear()
    yield
    sweeps._fitted.clear()


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "rows.sqlite") as store:
        yield store


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> pd.DataFrame:
    """The rows of GRID, made in this process."""
    with Store(tmp_path_factory.mktemp("here") / "rows.sqlite") as store:
        return run_sweep(GRID, store, workers=1, show=False)


@pytest.fixture(scope="module")
def cluster():
    """Two separate worker processes of Dask."""
    with make_executor("dask", 2) as executor:
        yield executor


def assert_same(rows: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(rows[LOSSES], expected[LOSSES], check_exact=True)


# --- The same rows everywhere


def test_a_pool_of_processes_gives_the_same_rows(store, expected):
    with Pool(2) as pool:
        assert_same(run_sweep(GRID, store, executor=pool, show=False), expected)


def test_a_cluster_gives_the_same_rows(store, expected, cluster):
    assert_same(run_sweep(GRID, store, executor=cluster, show=False), expected)
    pids = {here["pid"] for here in cluster.client.run(surroundings).values()}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_a_scheduler_is_joined_by_its_address(store, expected, cluster):
    address = cluster.client.scheduler.address
    with make_executor(f"dask:{address}") as joined:
        assert joined.workers == 2
        assert_same(run_sweep(GRID, store, executor=joined, show=False), expected)
    assert cluster.submit(max, 1, 2).result() == 2  # leaving has not ended it


def test_the_command_line_runs_on_a_named_executor(cluster, tmp_path):
    where = f"dask:{cluster.client.scheduler.address}"
    command = ("-m", "modbook", "run", "sweep", "--scale", "smoke", "--set", "m=2")
    done = run(sys.executable, *command, "--executor", where, cwd=tmp_path)
    assert " 0 failed, 0 left" in done.stdout
    bad = run(sys.executable, *command, "--executor", "mpi", cwd=tmp_path, check=False)
    assert bad.returncode == 2
    assert "executor must be" in bad.stderr


@pytest.fixture
def draws(monkeypatch) -> Callable[[list[Trial]], dict[str, np.ndarray]]:
    """A function that runs trials, and says what they drew: a line a trial.

    In place of each pursuit stands one of targets that do not vary: it finds nothing.
    """
    seen, nothing = {}, []
    originals = {where: getattr(*where) for where in DRAWING}

    def note(name, part):
        seen.setdefault(name, []).append(np.asarray(part))

    def data(some):
        found = originals[trials, "draw_data"](some)
        for name in ("X", "y", "X_test", "y_test"):
            note(name, getattr(found, name))
        return found

    def network(some, U):
        model = originals[trials, "build"](some, U)
        for name, part in model.named_parameters():
            note(name, part.detach().clone())
        return model

    def descend(kernel, U, *rest):
        note("starts of the rule", U.clone())
        return originals[kernel_init, "descend"](kernel, U, *rest)

    def pursue(X, y, rng, settings):
        note("of a pursuit", [[*X.flatten(), *y.flatten(), *rng.random(5)]])
        if not nothing:
            nothing.append(originals[trials, "pursue"](X, 0 * y, rng, settings))
        return nothing[0]

    def rows(module, name):
        def noted(*given):
            drawn = [*originals[module, "minibatch_rows"](*given)]
            note(name, torch.stack(drawn, 1))
            return iter(drawn)

        return noted

    ways = [data, network, descend, pursue]
    ways += [rows(kernel_init, "points of the rule"), rows(training, "minibatches")]
    for where, way in zip(DRAWING, ways, strict=True):
        monkeypatch.setattr(*where, way)

    def drawn(some):
        seen.clear()
        trials.run(some)
        parts = {name: np.concatenate(found) for name, found in seen.items()}
        return {name: part.reshape(len(some), -1) for name, part in parts.items()}

    return drawn


DRAWING = [
    (trials, "draw_data"),
    (trials, "build"),
    (kernel_init, "descend"),
    (trials, "pursue"),
    (kernel_init, "minibatch_rows"),
    (training, "minibatch_rows"),
]
RULE = dict(K=2, start="algorithm1", rule=Rule(steps=3, batch=4))
OF_RULE = {"starts of the rule", "points of the rule"}


@pytest.mark.parametrize(
    ("kind", "besides"),
    [
        (dict(), {"minibatches"}),
        (dict(batch=None), set()),
        (dict(K=2, start="random"), {"minibatches", "U"}),
        (dict(K=2, start="random", projection="distance"), {"minibatches", "U"}),
        (dict(K=2, start="oracle", fixed=True), {"minibatches", "U"}),
        (dict(K=2, start="pursuit"), {"minibatches", "U", "of a pursuit"}),
        (RULE, {"minibatches", *OF_RULE}),
        (RULE | dict(projection="distance"), {"minibatches", *OF_RULE}),
    ],
)
def test_a_trial_draws_the_same_alone_and_in_a_thousand(kind, besides, draws):
    """Bit by bit, whatever it draws; U of the rule is computed, and not among it."""
    tiny = replace(TINY, n=6, n_test=3, iterations=3, width=2, **dict(batch=2) | kind)
    crowd = draws([replace(tiny, seed=seed) for seed in range(1000)])
    layers = {
        f"networks.{part}.{l}" for part in ("weights", "biases") for l in range(3)
    }
    assert {"X", "y", "X_test", "y_test", *layers, *besides} <= crowd.keys()
    if tiny.start == "algorithm1":
        del crowd["U"]
    for seed in (0, 1, 499, 999):
        alone = draws([replace(tiny, seed=seed)])
        for name, part in crowd.items():
            assert np.array_equal(alone[name][0], part[seed]), name
    for name, part in crowd.items():
        assert len(np.unique(part, axis=0)) > (1 if name == "minibatches" else 900)


@pytest.mark.parametrize("kind", [dict(), dict(K=3, start="random")])
def test_losses_do_not_depend_on_the_company(kind, store, cluster, tmp_path):
    base = replace(TINY, n=10, width=2, n_test=10, iterations=100, **kind)
    crowd = [replace(base, seed=seed) for seed in range(1000)]
    some = [crowd[seed] for seed in (0, 1, 500, 999)]
    assert len(plan(crowd)) == 1
    rows = run_sweep(crowd, store, workers=1, show=False).iloc[[0, 1, 500, 999]]

    def others():
        with Store(tmp_path / "alone.sqlite") as alone:
            yield pd.concat(
                run_sweep([trial], alone, workers=1, show=False) for trial in some
            )
        with Store(tmp_path / "resumed.sqlite") as resumed:
            run_sweep(some[1:2], resumed, workers=1, show=False)
            yield run_sweep(some, resumed, workers=1, show=False)
        with Store(tmp_path / "cluster.sqlite") as far:
            yield run_sweep(some, far, executor=cluster, show=False)

    for other in others():
        assert list(other.id) == list(rows.id)
        for name in ("train_loss", "test_loss"):
            np.testing.assert_allclose(other[name], rows[name], rtol=1e-8)


def two_sample(losses, others) -> float:
    """The p-value of the Kolmogorov-Smirnov test that both are of one distribution."""
    return stats.ks_2samp(losses, others, method="asymp").pvalue


def test_full_float32_runs_agree_in_distribution(store, tmp_path):
    """Rounding makes single networks part ways; what they are worth stays the same."""
    base = replace(TINY, n=100, iterations=1000, n_test=500, dtype="float32")
    trials = [replace(base, seed=seed) for seed in range(60)]
    grouped = run_sweep(trials, store, workers=1, show=False)
    with Store(tmp_path / "alone.sqlite") as other:
        for trial in trials:
            run_sweep([trial], other, workers=1, show=False)
        alone = other.rows(trials)
    for name in ("train_loss", "test_loss"):
        assert two_sample(grouped[name], alone[name]) > 0.05
    worse = run_sweep(
        [replace(t, iterations=100) for t in trials], store, workers=1, show=False
    )
    assert two_sample(grouped.train_loss, worse.train_loss) < 0.001


# --- Workers that are lost


def kill_in_the_middle(pid: int, marks: Path) -> threading.Thread:
    """Kill a worker when a third group has been started."""

    def kill():
        while len(list(marks.iterdir())) < 3:
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def slow(count: int, folder: Path, **settings) -> list[Fake]:
    folder.mkdir()
    settings = dict(seconds=0.2, size=2, folder=str(folder)) | settings
    return [Fake(seed=seed, **settings) for seed in range(count)]


def assert_complete(rows: pd.DataFrame, trials: list) -> None:
    assert rows.attrs == dict(failed={}, left=0)
    assert list(rows.id) == [trial.id for trial in trials]


def test_a_killed_cluster_worker_loses_nothing(store, cluster, tmp_path):
    trials = slow(16, tmp_path / "marks")
    before = {here["pid"] for here in cluster.client.run(surroundings).values()}
    thread = kill_in_the_middle(min(before), tmp_path / "marks")
    rows = run_sweep(trials, store, executor=cluster, show=False)
    thread.join()
    assert_complete(rows, trials)
    cluster.client.wait_for_workers(2, timeout=60)
    after = {here["pid"] for here in cluster.client.run(surroundings).values()}
    assert len(before & after) == 1


def test_a_killed_process_loses_nothing(store, tmp_path):
    trials = slow(16, tmp_path / "marks")
    with Pool(2) as pool:
        pid = pool.submit(surroundings).result()["pid"]
        thread = kill_in_the_middle(pid, tmp_path / "marks")
        rows = run_sweep(trials, store, executor=pool, show=False)
        thread.join()
    assert_complete(rows, trials)
    assert len(list((tmp_path / "marks").iterdir())) > 8  # some were run again


def test_a_group_that_took_its_worker_along_once_is_run_again(store, tmp_path):
    trials = slow(8, tmp_path / "marks", kind="kill once", seconds=0)
    with Pool(2) as pool:
        assert_complete(run_sweep(trials, store, executor=pool, show=False), trials)


def test_a_trial_that_kills_every_worker_has_failed_and_no_other(store, tmp_path):
    trials = slow(8, tmp_path / "marks", kind="kill", seconds=0)
    with Pool(2) as pool:
        rows = run_sweep(trials, store, executor=pool, show=False)
    assert set(rows.attrs["failed"]) == {trials[1].id}
    assert "BrokenProcessPool" in rows.attrs["failed"][trials[1].id]
    assert list(rows.seed) == [0, *range(2, 8)]


DRIVER = """
import sys
from jobs import Fake, surroundings
from modbook.store import Store
from modbook.sweeps import Pool, run_sweep

if __name__ == "__main__":
    with Store(sys.argv[1]) as store, Pool(2) as pool:
        print(pool.submit(surroundings).result()["pid"], flush=True)
        trials = [Fake(seed=seed, seconds=30, size=1) for seed in range(4)]
        run_sweep(trials, store, executor=pool, show=False)
"""


def test_workers_end_with_their_driver(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    driver = subprocess.Popen(
        [sys.executable, script, tmp_path / "rows.sqlite"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    driver.stdout.close()
    for _ in range(100):
        with contextlib.suppress(FileNotFoundError):
            if Path(f"/proc/{worker}/stat").read_text().split()[2] != "Z":
                time.sleep(0.1)
                continue
        return
    pytest.fail("the worker has outlived its driver by ten seconds")


# --- Processes, threads and devices


def test_threads_and_devices_of_workers(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with Pool() as pool:
        here = pool.submit(surroundings).result()
    assert here["torch"] == 1
    assert here["OMP_NUM_THREADS"] == here["OPENBLAS_NUM_THREADS"] == "1"
    assert here["CUDA_VISIBLE_DEVICES"] == os.environ["CUDA_VISIBLE_DEVICES"] == "7"
    assert os.environ["OMP_NUM_THREADS"] == "5"


def test_no_more_processes_than_cores(monkeypatch):
    with Pool(10_000) as pool:
        assert pool.workers == default_workers()


@pytest.mark.parametrize("text", ["", "dask:", "thread", "process:2", "Dask"])
def test_an_unknown_executor_is_refused(text):
    with pytest.raises(ValueError, match="executor must be"):
        make_executor(text)


@pytest.mark.parametrize("address", ["first", "tcp://first", "first:port", "a b:1"])
def test_what_cannot_be_an_address_is_refused_at_once(address):
    with pytest.raises(ValueError, match="address must be like tcp://HOST:8786"):
        make_executor(f"dask:{address}")


def test_without_dask_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"modbook\[cluster\]"):
        Cluster()


# --- Trials that raise, and time that is up


def test_a_trial_that_raises_is_recorded_and_the_rest_go_on(store):
    trials = [Fake(seed=seed, kind="raise") for seed in range(6)]
    rows = run_sweep(trials, store, workers=1, show=False)
    assert list(rows.seed) == [0, 2, 3, 4, 5]
    assert rows.attrs["failed"] == {trials[1].id: "ArithmeticError: the number one"}
    (failure,) = store.failures().itertuples()
    assert failure.id == trials[1].id
    assert "Traceback" in failure.traceback
    assert "jobs.py" in failure.traceback


def test_a_worker_with_other_ids_is_not_believed(store, monkeypatch):
    stray = Outcome([dict(id="another", test_loss=0.0)], [])
    monkeypatch.setattr(sweeps, "run_group", lambda group, device: stray)
    rows = run_sweep([Fake(seed=0)], store, workers=1, show=False)
    assert len(rows) == 0
    assert "another version" in rows.attrs["failed"][Fake(seed=0).id]


def test_no_group_is_started_when_time_is_up(store):
    trials = [Fake(seed=seed, size=1, seconds=0.05) for seed in range(100)]
    rows = run_sweep(trials, store, workers=1, show=False, minutes=0.2 / 60)
    assert 0 < len(rows) < 50
    assert rows.attrs["left"] == 100 - len(rows)
    store_ids = store.ids()
    assert set(rows.id) == store_ids


# --- Memory


def test_a_group_is_halved_until_it_fits_and_that_is_remembered(store, tmp_path):
    (tmp_path / "marks").mkdir()
    folder = str(tmp_path / "marks")
    trials = [Heavy(seed=seed, size=10, folder=folder) for seed in range(20)]
    assert_complete(run_sweep(trials, store, workers=1, show=False), trials)
    sizes = [int(path.name.split(".")[0]) for path in Path(folder).glob("?.?")]
    tried = {path.name.split(".")[0] for path in Path(folder).iterdir()}
    assert tried >= {"10", "5", "3"}
    assert len(list(Path(folder).glob("10.*"))) == 1, "what fitted was forgotten"
    assert sizes


def too_long(trial: Trial) -> Long:
    return Long(**{field.name: getattr(trial, field.name) for field in fields(trial)})


def test_the_full_batch_of_one_replica_is_cut():
    whole = replace(TINY, n=150, iterations=50)
    (row,), failed = run_group([too_long(whole)])
    (expected,), _ = run_group([whole])
    assert not failed
    for name in ("train_loss", "test_loss"):
        assert row[name] == pytest.approx(expected[name], rel=1e-8)
    assert sweeps._fitted == {sweeps.shape(whole): (1, 8)}


def test_a_trial_that_never_fits_has_failed():
    whole = replace(TINY, n=20_000, iterations=1, width=2)
    rows, ((trial, text),) = run_group([too_long(whole)])
    assert rows == []
    assert trial.n == 20_000
    assert "not enough memory" in text


def test_a_gpu_is_given_what_half_of_its_free_memory_holds():
    trials = [Heavy(seed=seed, size=2) for seed in range(100)]
    assert {len(group) for group in plan(trials)} == {2}
    assert [len(group) for group in plan(trials, free=80_000)] == [40, 40, 20]
    assert {len(group) for group in plan(trials, free=1)} == {1}
    real = [replace(TINY, seed=seed) for seed in range(8)]
    assert len(plan(real, free=8 * real[0].memory())) == 2


def test_on_a_gpu_rows_tell_the_peak_of_memory(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", asked.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 3 * 2**20)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5, 10))
    monkeypatch.setattr(sweeps, "_origin", lambda device: {"hardware": device})
    (row,), _ = run_group([Fake(seed=0)], "auto")
    assert (row["hardware"], row["peak_mib"]) == ("cuda", 3.0)
    assert asked == ["cuda"]
    assert sweeps.free_memory("auto") == 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_sweep_on_a_gpu(store):
    rows = run_sweep(GRID, store, device="cuda", show=False)
    assert_complete(rows, GRID)
    assert (rows.peak_mib > 0).all()


# --- Searches


SEARCH = SampleSearch(epsilon=0.1, c=6.0, limit=14.0)


def test_searches_find_what_each_finds_alone(store, tmp_path):
    (tmp_path / "marks").mkdir()
    templates = [Fake(seed=s, folder=str(tmp_path / "marks")) for s in range(3)]
    found, rows = run_searches(templates, SEARCH, store, workers=1, show=False)
    assert list(found.state) == ["found"] * 3
    assert (found.log2_lower <= np.log2(1000)).all()
    assert (found.log2_upper >= np.log2(1000)).all()
    assert (found.log2_upper - found.log2_lower < 0.3).all()
    assert (found.evaluations == len(rows) / 3).all()
    assert set(rows.template) == {t.id for t in templates}
    marks = [path.name for path in (tmp_path / "marks").iterdir()]
    assert all(name.startswith("0-2.") for name in marks)  # all three trained together
    assert SEARCH == SampleSearch(epsilon=0.1, c=6.0, limit=14.0)  # left as it was


def test_a_search_past_its_limit_is_censored(store):
    search = replace(SEARCH, limit=9.0)
    found, rows = run_searches([Fake(seed=0)], search, store, workers=1, show=False)
    (line,) = found.itertuples()
    assert (line.state, line.censored) == ("censored", True)
    assert np.isinf([line.samples, line.log2_upper]).all()
    assert list(rows.n) == [2**6, 2**8]


def test_a_search_out_of_time_is_unfinished_and_resumes(store):
    def seek(**limits):
        templates = [Fake(seed=0), Fake(seed=5)]
        return run_searches(templates, SEARCH, store, workers=1, show=False, **limits)

    asked = 0
    early, _ = seek(minutes=1e-9)
    assert list(early.state) == ["unfinished"] * 2
    assert early.samples.isna().all()
    for number in range(3):  # killed after so many evaluations
        trials = [Fake(seed=0, n=2 ** (6 + 2 * number))]
        asked += len(run_sweep(trials, store, workers=1, show=False))
    done, rows = seek()
    assert list(done.state) == ["found"] * 2
    assert len(store.ids()) == rows.id.nunique()
    again, _ = seek(executor=Nothing())
    pd.testing.assert_frame_equal(done, again)


class Nothing(Here):
    """An executor that must not be given anything."""

    def submit(self, *_):
        pytest.fail("this was run before")


def test_a_search_whose_trial_raises_has_failed_and_the_rest_go_on(store):
    templates = [Fake(seed=seed, kind="raise") for seed in range(3)]
    found, _ = run_searches(templates, SEARCH, store, workers=1, show=False)
    assert list(found.state) == ["found", "failed", "found"]
    assert found.attrs["failed"] == {templates[1].id: "ArithmeticError: the number one"}


def test_a_search_that_asks_for_an_impossible_trial_has_failed(store):
    template = replace(TINY, n=100, held_out=50, checkpoints=1, iterations=5, tau=1)
    search = replace(SEARCH, epsilon=1e9)
    found, _ = run_searches([template], search, store, workers=1, show=False)
    assert list(found.state) == ["failed"]
    assert "held_out must be" in found.attrs["failed"][template.id]


def test_each_template_may_have_a_search_of_its_own(store):
    templates = [Fake(seed=0), Fake(seed=1)]
    own = lambda t: replace(SEARCH, epsilon=0.1 * (1 + t.seed))  # noqa: E731
    found, _ = run_searches(templates, own, store, workers=1, show=False)
    assert list(found.epsilon) == [0.1, 0.2]
    assert found.samples[0] == pytest.approx(2 * found.samples[1], rel=0.25)


def test_a_measure_that_no_row_has_is_refused(store):
    with pytest.raises(ValueError, match="measure must be one of"):
        run_searches([Fake(seed=0)], SEARCH, store, 1, show=False, measure="los")


# --- What a sweep says


class Tty(io.StringIO):
    def isatty(self):
        return True


def halfway() -> Progress:
    groups = plan([Fake(seed=seed, n=n) for n in (1, 7) for seed in range(4)])
    progress = Progress(groups, sweeps.Screen())
    for group in groups:
        progress.start(group)
    rows = [dict(id=t.id) for t in groups[0][1:]]
    progress.finish(groups[0], Outcome(rows, [(groups[0][0], "")]))
    return progress


def test_lines_say_what_is_done_and_what_runs():
    first, second = sweeps.progress_lines(halfway())
    assert first.startswith("3 done, 1 failed, 4 left, ")
    assert " a second, about 0:00 to go" in first
    assert second == "  now Fake n=7 (4 together)"


def test_a_terminal_is_drawn_over(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Tty())
    screen = sweeps.make_screen()
    assert isinstance(screen, Terminal)
    screen.show(["one", "two"])
    screen.show(["three", "four"])  # too soon after the first
    screen.show(["five", "six"], now=True)
    screen.close(["seven"])
    drawn = sys.stdout.getvalue()
    assert "three" not in drawn
    assert drawn.endswith("five\nsix\n\x1b[2A\r\x1b[Jseven\n")


def test_a_log_gets_few_lines(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    screen = Log()
    for second in range(3600):
        now[0] = float(second)
        screen.show([f"at {second}", "never shown"])
    times = [int(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert times == [10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030]


def test_a_quick_sweep_in_a_log_is_two_lines(store, capsys):
    run_sweep([Fake(seed=seed) for seed in range(3)], store, workers=1)
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("3 trials, 0 of them in ")
    assert last.startswith("3 done, 0 failed, 0 left, ")


CELL = """
import sys
sys.path[:0] = {path!r}
from jobs import Fake
from modbook.store import Store
from modbook.sweeps import run_sweep
with Store("rows.sqlite") as store:
    run_sweep([Fake(seed=seed, seconds=0.6, size=1) for seed in range(4)], store, 1)
"""


def test_in_a_notebook_one_output_is_replaced_and_papermill_logs_it(tmp_path):
    cell = nbformat.v4.new_code_cell(CELL.format(path=sys.path))
    kernel = dict(name="python3", language="python", display_name="Python 3")
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata=dict(kernelspec=kernel))
    nbformat.write(notebook, tmp_path / "in.ipynb")
    done = run("papermill", "in.ipynb", "out.ipynb", "--log-output", cwd=tmp_path)
    assert "4 trials, 0 of them" in done.stderr
    assert "now Fake" in done.stderr
    outputs = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1].outputs
    shown = [o.data["text/plain"] for o in outputs if o.output_type == "display_data"]
    assert len(shown) == 1
    assert shown[0].startswith("4 done, 0 failed, 0 left, ")
    assert "\n" not in shown[0]
