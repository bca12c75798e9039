"""ModularRegressor as one of scikit-learn's: its checks, pandas, search, saving."""

import json
import warnings
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_estimator,
    estimator_checks_generator,
)

from modbook import processes, pursuit
from modbook.estimator import (
    FORMS,
    FUNCTIONS,
    ModularRegressor,
    ModuleFunction,
    fit_form,
    fit_modules,
    load,
)
from modbook.planes import Fit, PlaneFunction
from modbook.products import one_thread
from modbook.pursuit import Settings
from modbook.tasks import sample_inputs, sample_sine_tasks, stream

# No check is expected to fail. One is skipped unless SCIPY_ARRAY_API is set.
EXPECTED_FAILURES: dict[str, str] = {}
CHECKS = 53


@pytest.fixture(autouse=True)
def with_one_thread():
    with one_thread():
        yield


def light(**settings) -> ModularRegressor:
    return ModularRegressor(
        **dict(n_modules=2, fallback=False, max_starts=1000, random_state=0) | settings
    )


def data(n=150, m=4):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, m))
    return X, np.sin(X[:, 0] + X[:, 1]) + X[:, 2] ** 2 + 0.1 * rng.standard_normal(n)


whole = pytest.param(ModularRegressor(random_state=0), marks=pytest.mark.slow)


@pytest.mark.parametrize("estimator", [light(), whole], ids=["light", "default"])
def test_all_of_scikit_learns_checks(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks provoke warnings
        results = check_estimator(
            estimator,
            expected_failed_checks=EXPECTED_FAILURES,
            on_fail=None,
            on_skip=None,
        )
    wrong = [
        (one["check_name"], one["exception"])
        for one in results
        if one["status"] not in ("passed", "skipped")
    ]
    assert not wrong
    assert len(results) == CHECKS
    assert Counter(one["status"] for one in results)["passed"] >= CHECKS - 1


PART = (  # all of them take minutes where other forms are tried, and are marked slow
    "check_regressors_train",
    "check_fit_idempotent",
    "check_fit_check_is_fitted",
)


@pytest.mark.parametrize("name", PART)
def test_some_of_the_checks_where_other_forms_are_tried(name):
    checks = estimator_checks_generator(ModularRegressor(random_state=0))
    chosen = [(one, check) for one, check in checks if check.func.__name__ == name]
    assert chosen
    for estimator, check in chosen:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(estimator)


def test_warnings_name_the_line_that_called_fit():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 4))
    X[:, 2], X[:, 3] = 1, 7 - 2 * X[:, 0]  # constant, and there twice
    with pytest.warns() as told:
        light(n_modules=30).fit(X, np.zeros(40))
    assert {warning.filename for warning in told} == {__file__}
    said = [
        "columns [2] of X are constant",
        "the same but for shift and scale, [[0, 3]]",
    ]
    said += ["y is constant, and so is", "n_modules=30: modules of 4 features"]
    assert len(told) == len(said)
    for text in said:
        assert sum(text in str(warning.message) for warning in told) == 1, text


def test_warnings_of_the_fallback_name_that_line_too():
    rng = np.random.default_rng(1)
    for n, text in ((12, "too few to cross-validate"), (40, "nothing that was tried")):
        with pytest.warns(UserWarning, match=text) as told:
            light(fallback=True).fit(
                rng.standard_normal((n, 3)), rng.standard_normal(n)
            )
        assert {warning.filename for warning in told} == {__file__}


def test_a_constant_column_is_not_used_by_distances():
    X, y = data()
    X[:, 1] = 1
    with pytest.warns(UserWarning, match=r"columns \[1\] of X are constant"):
        model = light(kind="distance").fit(X, y)
    moved = X + np.array([0, 1, 0, 0])
    np.testing.assert_array_equal(model.predict(moved), model.predict(X))
    np.testing.assert_allclose(model.directions_[:, 1], 1)
    for function in model.functions_:
        np.testing.assert_allclose(function.project(moved), function.project(X))


def test_functions_take_frames_and_say_what_shape_they_want():
    X, y = data()
    model = light().fit(X, y)
    function, frame = model.functions_[0], pd.DataFrame(X)
    z = function.project(frame)
    np.testing.assert_allclose(z, function.project(X))
    np.testing.assert_array_equal(function(pd.Series(z)), function(z))
    with pytest.raises(ValueError, match=r"z must be a number or \(n,\), got"):
        function(X)
    with pytest.raises(ValueError, match=r"X must be \(n, 4\), got \(4,\)"):
        function.project(X[0])


def test_plots_are_of_one_output():
    X, y = data()
    figure = light().fit(X, y[:, None]).plot(X, y[:, None])
    assert figure.axes
    plt.close(figure)
    both = np.column_stack([y, -y])
    with pytest.raises(ValueError, match="plot draws one output"):
        light().fit(X, both).plot(X, both)


@pytest.mark.parametrize("device", [None, 0, "tpu"])
def test_devices_that_are_none_are_named(device):
    with pytest.raises(ValueError, match="device must be"):
        light(device=device).fit(*data())


def spoilt(path, arrays=None, numbers=None, **about):
    """The file of an estimator, with some of it changed."""
    with np.load(path) as file:
        parts = {name: file[name] for name in file.files}
    told = json.loads(str(parts.pop("about"))) | about
    told["numbers"] |= numbers or {}
    np.savez(path, about=np.array(json.dumps(told)), **parts | (arrays or {}))


@pytest.mark.parametrize(
    "change",
    [
        dict(numbers=dict(kind="x")),
        dict(form="x"),
        dict(form="trees"),
        dict(parameters={}),
        dict(parameters=dict(kind="linear", what=1)),
        dict(arrays=dict(U=np.full((1, 4), np.nan))),
        dict(arrays=dict(U=np.ones((1, 3)))),
        dict(arrays=dict(alpha=np.ones((2, 2)))),
        dict(arrays=dict(mean=np.ones(3))),
        dict(arrays=dict(chol=np.full((2, 2), np.nan))),
        dict(arrays=dict(root=np.ones(2))),
        dict(arrays=dict(low=np.array([-np.inf]))),
        dict(arrays=dict(trace=np.full((1, 3), np.inf))),
        dict(features=7),
    ],
)
def test_altered_files_are_refused(tmp_path, change):
    path = tmp_path / "model.npz"
    light(n_modules=1).fit(*data()).save(path)
    assert load(path).n_modules_ == 1
    spoilt(path, **change)
    with pytest.raises(ValueError, match=r"path: .*model\.npz is no estimator"):
        load(path)


@pytest.mark.parametrize("column", [1 + 1e-12 * np.arange(40), 1e14 + np.arange(40)])
def test_columns_that_hardly_vary_are_named(column):
    X, y = data()
    X = np.column_stack([X[:40], column])
    with pytest.warns(UserWarning, match=r"columns \[4\] of X are constant, or vary"):
        light().fit(X, y[:40])


def test_inputs_beyond_float64_are_refused():
    X, y = data()
    with pytest.raises(ValueError, match="X is too large for float64: scale it"):
        light().fit(1e200 * X, y)


def test_numbers_of_modules_may_be_numpy_integers():
    X, y = data()
    counts = {"n_modules": np.arange(1, 3)}
    search = GridSearchCV(light(), counts, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_["n_modules"] in (1, 2)


def test_constant_outputs_are_named():
    X, y = data()
    with pytest.warns(UserWarning, match=r"y is constant in outputs \[1\], and"):
        light().fit(X, np.column_stack([y, np.ones(len(y))]))


def test_pandas_names_reach_the_picture():
    X, y = data()
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = light().fit(frame, y)
    assert list(model.feature_names_in_) == list("abcd")
    labels = [
        text.get_text() for text in model.plot(frame, y).axes[1].get_yticklabels()
    ]
    assert set(labels) == set("abcd")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a", "c", "d"]])


def test_pipeline_search_and_cross_validation():
    X, y = data()
    pipeline = make_pipeline(StandardScaler(), light())
    search = GridSearchCV(pipeline, {"modularregressor__n_modules": [1, 2]}, cv=2)
    search.fit(X, y)
    assert search.best_params_ == {"modularregressor__n_modules": 2}
    assert cross_val_score(light(), X, y, cv=3).min() > 0.8


def test_same_seed_same_answer():
    X, y = data()
    first, again = light().fit(X, y), clone(light()).fit(X, y)
    np.testing.assert_array_equal(first.predict(X), again.predict(X))


def test_several_outputs():
    X, y = data()
    both = light().fit(X, np.c_[y, -2 * y])
    prediction, deviation = both.predict(X, return_std=True)
    assert prediction.shape == deviation.shape == (150, 2)
    np.testing.assert_allclose(prediction[:, 1], -2 * prediction[:, 0], atol=1e-6)
    assert both.noise_.shape == (2,)


@pytest.fixture
def planes_seen(monkeypatch):
    """A space of three dimensions and a line are seen, whatever there is."""
    P, logs = torch.eye(4).double().split([3, 1], 1), [0.0, 0.0, -3.0, -4.0]
    fit = Fit(0.0, 60, P, torch.tensor(logs).double())
    monkeypatch.setattr("modbook.planes.best_planes", lambda *a: fit)


@pytest.mark.usefixtures("planes_seen")
@pytest.mark.parametrize("form", FORMS)
def test_saved_without_pickle(form, tmp_path, monkeypatch):
    import modbook.estimator as estimator

    scores = dict.fromkeys(estimator.FORMS, np.ones((150, 1)))
    scores |= {form: np.full((150, 1), 0.01)}
    monkeypatch.setattr(estimator, "cross_validate", lambda *a: scores)
    monkeypatch.setattr(estimator, "LEFT_OVER", -1.0)
    monkeypatch.setattr(estimator, "CLEAR", np.inf)  # whatever the evidence says
    monkeypatch.setattr(estimator, "SURE", np.inf)
    X, y = data()
    model = light(fallback=True).fit(pd.DataFrame(X, columns=list("abcd")), y)
    assert model.form_ == form
    model.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        assert all(array.dtype != object for array in map(file.__getitem__, file.files))
    same = load(tmp_path / "m.npz")
    frame = pd.DataFrame(X, columns=list("abcd"))
    for before, after in zip(
        model.predict(frame, return_std=True), same.predict(frame, return_std=True),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(before, after)
    assert same.get_params() == model.get_params()
    assert same.n_modules_ == model.n_modules_
    assert [len(one.directions) for one in same.planes_] == [3, 1] * (form == "planes")
    for plane, other in zip(same.planes_, model.planes_, strict=True):
        z = plane.project(X)
        np.testing.assert_array_equal(plane(z), other(z))
    plt.close(same.plot(frame, y))
    assert same.noise_ == model.noise_


@pytest.mark.usefixtures("planes_seen")
def test_planes_that_evidence_is_against_are_not_taken(monkeypatch):
    X, y = data(60)
    scores = dict.fromkeys(FORMS, np.ones((60, 1)))
    scores |= dict(planes=np.full((60, 1), 0.01))
    monkeypatch.setattr("modbook.estimator.cross_validate", lambda *a: scores)
    monkeypatch.setattr("modbook.estimator.LEFT_OVER", -1.0)
    assert light(fallback=True).fit(X, y).form_ != "planes"


@pytest.mark.usefixtures("planes_seen")
@pytest.mark.parametrize("form", ["smooth", "planes", *FUNCTIONS])
def test_many_inputs_are_answered_in_pieces(form, monkeypatch):
    X, y = data(60)
    rng = np.random.default_rng(0)
    modules = fit_modules(X, y[:, None], rng, Settings(2, most_starts=1000), "cpu")
    process = fit_form(form, modules, X, y[:, None], rng)
    whole = process.predict(X), process.deviation(X)
    monkeypatch.setattr("modbook.pursuit.CHUNK", 8 * 60 * 7)  # bytes of seven rows
    seen, kernel = [], type(process).kernel
    monkeypatch.setattr(
        type(process), "kernel", lambda self, Q: seen.append(len(Q)) or kernel(self, Q)
    )
    np.testing.assert_allclose(process.predict(X), whole[0], rtol=1e-9)
    np.testing.assert_allclose(process.deviation(X), whole[1], rtol=1e-6)
    assert max(seen) == 7


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, x=np.ones(3))
    with pytest.raises(ValueError, match="no estimator"):
        load(path)


def test_planes_are_found_shown_and_only_taken_where_they_predict():
    rng = np.random.default_rng(0)
    P = np.linalg.qr(rng.standard_normal((6, 2)))[0]
    X = rng.standard_normal((900, 6))
    y = np.cos(2 * np.linalg.norm(X @ P, axis=1)) + 0.05 * rng.standard_normal(900)
    model = ModularRegressor(8, random_state=0, max_starts=5000).fit(X[:400], y[:400])
    assert model.form_ == "planes"
    (plane,) = model.planes_
    assert np.linalg.svd(plane.directions @ P)[1].min() > 0.99
    assert model.score(X[400:], y[400:]) > 0.97
    assert model.cv_errors_["planes"] < model.cv_errors_["modules"] / 1.5
    assert len(model.plot(X, y).axes) == 3
    lines = light(fallback=True, n_modules=4).fit(X, X[:, 0] ** 2 + np.sin(2 * X[:, 1]))
    assert lines.form_ == "modules"
    assert lines.planes_ == []


def test_arrays_may_run_backwards():
    X, y = data()
    fitted = light().fit(X[::-1], y[::-1])
    np.testing.assert_allclose(fitted.predict(X[::-1]), fitted.predict(X)[::-1])
    mirrored = light().fit(np.fliplr(X), y)
    assert mirrored.score(np.fliplr(X), y) > 0.5


def test_a_deviation_knows_where_predictions_stop():
    X = np.random.default_rng(0).standard_normal((200, 5))
    y = X @ [1.0, 2, 3, 4, 5]
    far = np.full((1, 5), 2.0)
    guess, deviation = light().fit(X, y).predict(far, return_std=True)
    assert guess < 28, "a tenth beyond what was seen"
    assert abs(guess - 30) < deviation + 1e-3


def test_noise_is_not_learned():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 5)), rng.standard_normal(200)
    with pytest.warns(UserWarning, match="better than the mean"):
        fitted = light(fallback=True).fit(X, y)
    assert (fitted.form_, fitted.n_modules_) == ("modules", 0)
    guess, deviation = fitted.predict(X, return_std=True)
    np.testing.assert_allclose(guess, y.mean())
    np.testing.assert_allclose(deviation, y.std(), rtol=0.01)
    assert fitted.cv_errors_


def test_more_features_than_samples():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((560, 100))
    y = X[:, :3].sum(1) + rng.standard_normal(560)
    with pytest.warns(UserWarning, match="60 samples of 100 features"):
        fitted = light(n_modules="auto", fallback=True).fit(X[:60], y[:60])
    assert 0.5 < fitted.noise_ < 4
    guess, deviation = fitted.predict(X[60:], return_std=True)
    assert np.mean(np.abs(guess - y[60:]) < 2 * deviation) > 0.7


def test_too_few_samples_for_other_forms_are_told():
    X, y = np.random.default_rng(0).standard_normal((2, 20, 3))
    with pytest.warns(UserWarning, match="fewer than 30 samples"):
        assert light(fallback=True).fit(X, y[:, 0]).form_ == "modules"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        light(fallback=False).fit(X, y[:, 0])


@pytest.mark.parametrize("where", ["X", "y"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_is_refused(where, value):
    X, y = data()
    (X if where == "X" else y).flat[7] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        light().fit(X, y)
    fitted = light().fit(*data())
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        fitted.predict(np.full((1, 4), value))


def test_sparse_inputs_are_refused():
    X, y = data()
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        light().fit(sparse.csr_array(X), y)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        light().fit(X, y).predict(sparse.csr_array(X))


def test_a_module_that_is_asked_for_is_not_kept_out_by_a_wrong_one():
    rng = stream("aud", 1)
    task, X = sample_sine_tasks([rng], 3, 3, 3), sample_inputs([rng], 2300, 3)
    X, y = X[0], task(X)[0, :, 0]
    scores = {}
    for K in (2, 3, 4, "auto"):
        fitted = light(n_modules=K, max_starts=None).fit(X[:300], y[:300])
        scores[K] = 1 - fitted.score(X[300:], y[300:])
    assert scores[2] > 0.05 > 0.02 > max(scores[3], scores[4], scores["auto"])


@pytest.mark.parametrize("scales", [(1e-8, 1.0), (1.0, 1e-9), (1e100, 1e20)])
def test_trees_do_not_depend_on_units(scales):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (400, 3))
    y = np.where(X[:, 0] > 0.3, np.where(X[:, 1] > 0, 2.0, -1), X[:, 2] > -0.4)
    forms, a, b = [], *scales
    for x_scale, y_scale in ((1.0, 1.0), (a, b)):
        fitted = light(fallback=True).fit(X[:200] * x_scale, y[:200] * y_scale)
        assert fitted.score(X[200:] * x_scale, y[200:] * y_scale) > 0.9
        forms.append(fitted.form_)
    assert forms == ["trees", "trees"]


def test_errors_name_what_is_wrong():
    X, y = data()
    for settings, match in (
        (dict(fallback="no"), "fallback must be True or False"),
        (dict(n_modules=2.0), "n_modules must be 'auto' or a whole number"),
        (dict(n_modules=None), "n_modules must be 'auto' or a whole number"),
        (dict(kind=None), "kind must be one of"),
    ):
        with pytest.raises((TypeError, ValueError), match=match):
            light(**settings).fit(X, y)
    for scale in (1e200, 1e-200):
        with pytest.raises(ValueError, match="y is too"):
            light().fit(X, y * scale)
    fitted = light().fit(X, y)
    for names in ("ab", "abcde"):
        with pytest.raises(ValueError, match="names must be 4"):
            fitted.plot(X, y, names=list(names))
    plt.close(fitted.plot(X, y, names=["$x", "$\\foo$", "c", "d"]))
    assert fitted.functions_[0](0.0).shape == (1,)
    assert fitted.functions_[0]([0.0, 1.0]).shape == (2,)


@pytest.mark.parametrize("again", ["a third", "all", "bootstrap"])
def test_copies_of_samples_count_once(again):
    X, y = data(150)
    rows = {"a third": np.r_[:150, :50], "all": np.r_[:150, :150]}
    rows["bootstrap"] = np.random.default_rng(1).integers(0, 150, 150)
    rows = rows[again]
    with pytest.warns(UserWarning, match="samples are copies of others") as told:
        several = light().fit(X[rows], y[rows])
    assert {warning.filename for warning in told} == {__file__}
    first = rows[np.sort(np.unique(rows, return_index=True)[1])]
    once = light().fit(X[first], y[first])
    np.testing.assert_array_equal(several.predict(X), once.predict(X))


def test_measurements_of_the_same_inputs_are_no_copies():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (300, 2)).astype(float)
    y = X[:, 0] + rng.integers(0, 2, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = light().fit(X, y)
    assert 0.4 < fitted.noise_ < 0.6


def test_as_many_modules_as_still_lower_the_error():
    rng = np.random.default_rng(0)
    U = np.linalg.qr(rng.standard_normal((8, 8)))[0][:5]
    links = np.tanh, np.abs, np.sin, lambda z: np.cos(1.5 * z), lambda z: z.clip(0)
    X = rng.standard_normal((1150, 8))
    y = sum(f(1.5 * z) for f, z in zip(links, (X @ U.T).T, strict=True))
    y = y + 0.02 * rng.standard_normal(len(y))
    fitted = light(n_modules="auto", max_starts=8000, fallback=True)
    fitted.fit(X[:150], y[:150])
    assert fitted.n_modules_ >= 5 > 150 // (8 + 2) // 4, "a quarter of what they say"
    assert fitted.form_ in ("modules", *FUNCTIONS)
    assert fitted.score(X[150:], y[150:]) > 0.98


def test_a_device_may_be_an_object_and_is_saved_by_name(tmp_path):
    X, y = data()
    light(device=torch.device("cpu")).fit(X, y).save(tmp_path / "m.npz")
    assert load(tmp_path / "m.npz").fit(X, y).device == "cpu"


def test_fits_where_no_slopes_are_wanted():
    X, y = data(60)
    with torch.no_grad():
        guess = light(fallback=True).fit(X, y).predict(X)
    np.testing.assert_array_equal(guess, light(fallback=True).fit(X, y).predict(X))


@pytest.mark.parametrize("level", [1e13, -1e13])
def test_targets_that_hardly_vary_are_named(level):
    X, y = data()
    with pytest.warns(UserWarning, match="y is constant, and so is the prediction, or"):
        light().fit(X, level + y)


def test_functions_are_evaluated_in_pieces(monkeypatch):
    X, y = data(90)
    modules = fit_modules(X, y[:, None], np.random.default_rng(0), Settings(2), "cpu")
    process = fit_form(
        "spline modules", modules, X, y[:, None], np.random.default_rng(0)
    )
    functions = [ModuleFunction(modules.found, 0, one) for one in (None, process)]
    z = np.linspace(-2, 2, 50)
    whole = [function(z, return_std=True) for function in functions]
    monkeypatch.setattr("modbook.pursuit.CHUNK", 8 * 90 * 7)
    seen = []
    for module, name, at in (
        (pursuit, "_module_function", 2),
        (processes, "_centred", 3),
    ):
        inner = getattr(module, name)
        spy = lambda *a, inner=inner, at=at: seen.append(len(a[at])) or inner(*a)  # noqa: E731
        monkeypatch.setattr(module, name, spy)
    for function, expected in zip(functions, whole, strict=True):
        for part, same in zip(function(z, return_std=True), expected, strict=True):
            np.testing.assert_allclose(part, same, rtol=1e-9, atol=1e-12)
    assert max(seen) <= 7


def test_planes_say_what_shape_they_want():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 5))
    y = np.cos(2 * np.linalg.norm(X[:, :2], axis=1))
    modules = fit_modules(X, y[:, None], rng, Settings(6, most_starts=4000), "cpu")
    plane = PlaneFunction(fit_form("planes", modules, X, y[:, None], rng), 0)
    b = len(plane.directions)
    assert b > 1
    assert plane(plane.project(X)).shape == (300,)
    for z in (0.0, np.zeros(b + 1), np.zeros((4, b + 1)), np.full((4, b), np.nan)):
        with pytest.raises(ValueError, match=rf"z must be finite and \(n, {b}\)"):
            plane(z)
    with pytest.raises(ValueError, match=r"X must be \(n, 5\)"):
        plane.project(X[:, :4])


def test_the_straight_part_is_all_that_is_left():
    X, y = data()
    two = np.column_stack([y + X[:, 3], 3 - 2 * X[:, 1]])
    for targets in (y + 5, two):
        fitted = light().fit(X, targets)
        rest = fitted.intercept_ + X @ fitted.coef_.T
        rest = rest + sum(f(f.project(X)) for f in fitted.functions_)
        np.testing.assert_allclose(rest, fitted.predict(X), atol=1e-6)
