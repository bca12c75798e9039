"""Every experiment at the smallest scale: run, resumed, recorded."""

import pytest

from modbook import scaling
from modbook.__main__ import EXPERIMENTS
from modbook.experiments import (
    record,
    recorded,
    recorded_trials,
    run_experiment,
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_runs_resumes_and_records(name, tmp_path):
    how = dict(scale="smoke", store=str(tmp_path / "rows.sqlite"), workers=1)
    settings = EXPERIMENTS[name](**how, device="cpu")
    first = run_experiment(settings, show=False)
    again = run_experiment(settings, show=False)
    assert len(first) > 0
    assert list(again.id) == list(first.id)
    assert list(again.seconds) == list(first.seconds), "trained twice"
    record(name, first, tmp_path)
    kept = recorded(name, tmp_path, scale="smoke")
    assert set(kept.id) == set(first.id)
    known = recorded_trials(settings, kept)
    ids = {trial.id for trials in known.values() for trial in trials}
    assert ids == set(first.id)


def test_searches_are_replayed_from_recorded_rows(tmp_path):
    how = dict(scale="smoke", store=str(tmp_path / "rows.sqlite"), workers=1)
    settings = scaling.Figure4a(**how, device="cpu", methods="monolithic,oracle")
    rows = run_experiment(settings, show=False)
    record("fig4a", rows, tmp_path)
    whole = scaling.search_table(settings, recorded("fig4a", tmp_path, scale="smoke"))
    assert len(whole) == len(settings.grid())
    gone = rows[rows.id != rows.id.iloc[0]]
    assert len(scaling.search_table(settings, gone)) == len(whole) - 1
