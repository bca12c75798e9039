"""Images: what needs a server, or real images, which are not always there."""

import hashlib
import io
import os
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from helpers import ROOT, run

from modbook import __main__ as cli
from modbook import images
from modbook.image_results import Fig4b
from modbook.image_trials import VARIANT_A, ImageTrial, run_image_trial
from modbook.sweeps import plan
from modbook.tasks import stream


def archive() -> bytes:
    """A tar.gz in the layout of the official one, of random images."""
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name in images.BATCHES:
            data = np.zeros((images.RECORDS, images.RECORD), np.uint8)
            data[:, 0] = rng.permutation(np.arange(images.RECORDS) % 10)
            data[:, 1:9] = rng.integers(0, 256, (images.RECORDS, 8))
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = data.nbytes
            tar.addfile(entry, io.BytesIO(data.tobytes()))
    return buffer.getvalue()


@contextmanager
def server(content: bytes, break_off: int):
    """An address that serves `content`, once only up to `break_off` bytes."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            span = self.headers.get("Range")
            asked.append(span)
            start = int(span[6:-1]) if span else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if span else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = break_off if len(asked) == 1 else len(content)
            self.wfile.write(content[start:end])

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}/cifar.tar.gz", asked
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def swap_labels(path) -> None:
    """Swap the first two labels of a file that differ."""
    data = np.fromfile(path, np.uint8).reshape(-1, images.RECORD)
    other = np.flatnonzero(data[:, 0] != data[0, 0])[0]
    data[[0, other], 0] = data[[other, 0], 0]
    data.tofile(path)


@pytest.fixture(scope="module")
def packed() -> bytes:
    return archive()


def test_a_broken_download_is_continued_and_an_altered_one_refused(packed, tmp_path):
    known, half = f"sha256:{hashlib.sha256(packed).hexdigest()}", len(packed) // 2
    with server(packed, half) as (url, asked):
        with pytest.raises(OSError, match=f"{url} could not be fetched, the connect"):
            images.download_cifar10(tmp_path, url, known, progress=False)
        have = (tmp_path / "cifar-10-binary.part").stat().st_size
        assert 0 < have <= half
        folder = images.download_cifar10(tmp_path, url, known, progress=False)
        assert asked == [None, f"bytes={have}-"]
        assert images.read_cifar10(folder).pixels.shape == (50_000, 3, 32, 32)
        assert images.download_cifar10(tmp_path, url, known, progress=False) == folder
        (tmp_path / "cifar-10-binary.tar.gz").unlink()
        assert images.download_cifar10(tmp_path, url, known, progress=False) == folder
        assert len(asked) == 2  # what is there is not fetched again
        swap_labels(folder / "data_batch_3.bin")
        with pytest.raises(ValueError, match=r"^data_batch_3\.bin in .* differ"):
            images.read_cifar10(folder)
        (folder / "test_batch.bin").unlink()
        with pytest.raises(FileNotFoundError, match=r"lacks test_batch\.bin"):
            images.read_cifar10(folder)
        assert images.download_cifar10(tmp_path, url, known, progress=False) == folder
        assert len(asked) == 3  # what is not whole is fetched
        assert images.read_cifar10(folder).name == images.OTHER_VERSION
    other = tmp_path / "other"
    with server(packed, len(packed)) as (url, _):
        with pytest.raises(ValueError, match="checksum is another: call this again"):
            images.download_cifar10(other, url, "sha256:" + "0" * 64, progress=False)


def test_no_server_is_one_sentence_with_what_to_do(tmp_path):
    with server(b"", 0) as (url, _):
        pass  # closed again: nobody answers there
    with pytest.raises(OSError, match="could not be fetched") as caught:
        images.download_cifar10(tmp_path, url, progress=False)
    said = str(caught.value)
    assert said.startswith(f"{url} could not be fetched, no connection: call this")
    assert "set MODBOOK_CIFAR10" in said
    assert "\n" not in said


def test_the_original_is_known_by_its_sums(packed, tmp_path, monkeypatch):
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(tmp_path, filter="data")
    folder = images.cifar10_folder(tmp_path)
    records = [images.read_batch(folder / name) for name in images.BATCHES]
    sums = np.array([images.channel_sums(part) for part in records])
    monkeypatch.setattr(images, "TRAIN_SUMS", tuple(sums[:5, 0].sum(0)))
    monkeypatch.setattr(images, "TRAIN_SQUARES", tuple(sums[:5, 1].sum(0)))
    monkeypatch.setattr(images, "TEST_SUMS", tuple(sums[5, 0]))
    images.check_known("CIFAR-10", records, folder)
    records[2][7, 5] ^= 1  # one pixel of one image, by one level
    with pytest.raises(ValueError, match=r"^the training images in"):
        images.check_known("CIFAR-10", records, folder)


def test_nothing_is_downloaded_unasked(monkeypatch):
    monkeypatch.delenv(images.VARIABLE, raising=False)
    assert images.source_name("auto") == "digits"
    with pytest.raises(FileNotFoundError, match="download_cifar10"):
        images.read_images("cifar10")


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        ("data mnist", "data must be one of"),
        ("methods cnn", "methods must be one of"),
        ("folder nowhere", "there is no CIFAR-10 in nowhere"),
    ],
)
def test_a_bad_parameter_ends_a_page_before_any_training(passed, said, tmp_path):
    notebook = ROOT / "nbs" / "fig4b_compositional.ipynb"
    options = ["-p", "store", tmp_path / "rows.sqlite", "-p", *passed.split()]
    done = run("papermill", notebook, *options, cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert said in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "rows.sqlite").exists()


@pytest.fixture(scope="module")
def cifar() -> images.Images:
    if not os.environ.get(images.VARIABLE):
        pytest.skip(f"no real images: {images.VARIABLE} names no folder")
    return images.read_cifar10()


def test_real_images_are_whole_and_natural(cifar):
    assert cifar.pixels.shape == (50_000, 3, 32, 32)
    assert cifar.name != "CIFAR-10, unknown version"
    means = cifar.pixels[::10].mean((0, 2, 3)) / 255
    assert np.abs(means - (0.491, 0.482, 0.447)).max() < 0.02
    right, down = (
        np.corrcoef(cifar.pixels[:, 1, a, b], cifar.pixels[:, 1, c, d])
        for a, b, c, d in ((8, 8, 8, 9), (8, 8, 9, 8))
    )
    assert min(right[0, 1], down[0, 1]) > 0.85  # neighbours of either direction agree


def test_altered_real_images_are_refused(cifar, tmp_path):
    source = images.cifar10_folder()
    if cifar.name == "CIFAR-10":
        pytest.skip("labels of the original are known by a download's note alone")
    for name in images.BATCHES:
        (tmp_path / name).symlink_to(source / name)
    target = tmp_path / "data_batch_3.bin"
    for change in (swap_labels, blacken):
        target.unlink()
        target.write_bytes((source / target.name).read_bytes())
        change(target)
        with pytest.raises(ValueError, match=r"^data_batch_3\.bin in .* differ from"):
            images.read_cifar10(tmp_path)


def blacken(path) -> None:
    """Set all pixels of a file to zero."""
    data = np.fromfile(path, np.uint8).reshape(-1, images.RECORD)
    data[:, 1:] = 0
    data.tofile(path)


def test_a_learned_start_sees_its_image_on_real_images(cifar):
    shape = dict(modules=4, width=64, hidden=(32, 16), side=8, learning_rate=1e-3)
    trial = ImageTrial(
        cifar.name,
        k=2,
        n=12_800,
        seed=0,
        network="modular",
        start="rule",
        rule=VARIANT_A,
        n_test=2000,
        **shape,
    )
    row = run_image_trial(trial)
    assert row["data"] == cifar.name
    assert row["start_share"] > 0.6
    assert row["test_accuracy"] > 0.15


def test_trials_on_images_never_share_a_group():
    trials = [ImageTrial("digits", 2, 1000, seed, hidden=(5, 4)) for seed in range(3)]
    for free in (None, 70 * 2**30):  # a processor, and a GPU with much memory
        assert [len(group) for group in plan(trials, free)] == [1, 1, 1]


def test_methods_that_are_named_twice_count_once():
    asked = Fig4b(scale="smoke", methods="random, oracle,random", data="digits")
    assert asked.method_names() == ["random", "oracle"]


def test_missing_images_are_asked_for_by_no_store(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(images.VARIABLE, raising=False)
    store = str(tmp_path / "rows.sqlite")
    run = ["run", "fig4b", "--scale", "smoke", "--store", store, "--set"]
    assert (
        cli.main([*run, "data=digits", "--set", "methods=random", "--minutes", "1"])
        == 0
    )
    assert cli.main([*run, "data=cifar10"]) != 0
    assert "set folder or MODBOOK_CIFAR10" in capsys.readouterr().err
    with cli.Store(store) as rows:
        assert len(rows.asked()) == 1
        rows.ask("fig4b", {"scale": "smoke", "data": "cifar10"})  # of another machine
    assert cli.main(["status", store]) == 0
    assert "its data are not here" in capsys.readouterr().out


def test_sets_that_never_come_up_are_an_error():
    labels, nothing = np.arange(10), np.zeros(1024, bool)
    with pytest.raises(ValueError, match=r"allowed: none of its sets .* k = 2 images"):
        images.compose(stream("none"), 5, 2, labels, nothing)


def test_what_is_seen_has_one_k():
    train, test = np.zeros((3, 2), int), np.zeros((3, 1), int)
    with pytest.raises(ValueError, match=r"of one k, got \(3, 2\) and \(3, 1\)"):
        images.seen(train, test)


def test_a_garbled_note_of_checksums_is_named(tmp_path):
    (tmp_path / images.NOTED).write_text("only-one-word\n")
    with pytest.raises(ValueError, match=r"has a line that is no checksum: delete it"):
        images.noted_hashes(tmp_path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (dict(hidden=()), "hidden must have the width"),
        (dict(k=19), "k must be at most 18, got 19"),
        (dict(batch=1), "batch must be at least 2"),
    ],
)
def test_image_trials_that_cannot_be_are_refused_when_made(fields, said):
    with pytest.raises(ValueError, match=said):
        ImageTrial(**dict(data="digits", k=1, n=9, seed=0) | fields)


def test_all_methods_stand_alone():
    with pytest.raises(ValueError, match="methods must be 'all', or some names"):
        Fig4b(scale="smoke", methods="all,random")
