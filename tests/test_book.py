"""The built book as a reader sees it: in headless Chromium, from disk, offline."""

import re
from urllib.parse import urlsplit

import numpy as np
import pytest
import yaml
from helpers import ROOT

from modbook import theory


def files(entry) -> list[str]:
    """The pages that an entry of the table of contents names, in reading order."""
    if isinstance(entry, list):
        return [name for item in entry for name in files(item)]
    own = [entry[key] for key in ("root", "file") if key in entry]
    inner = [entry[key] for key in ("parts", "chapters", "sections") if key in entry]
    return own + files(inner)


PAGES = files(yaml.safe_load((ROOT / "_toc.yml").read_text()))


@pytest.fixture
def visit(book, browser):
    """Open a page and wait for its mathematics; `complaints` has what went wrong."""
    contexts = []

    def visit(name: str, query: str = "", **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.complaints = []
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("console", lambda said: note(page, said.type == "error", said.text))
        page.on("request", lambda asked: note(page, is_remote(asked.url), asked.url))
        page.goto((book / f"{name}.html").as_uri() + query)
        page.evaluate("window.MathJax?.startup?.promise.then(() => null)")
        return page

    yield visit
    for context in contexts:
        context.close()


def note(page, wrong: bool, what: str) -> None:
    if wrong:
        page.complaints.append(what)


def is_remote(url: str) -> bool:
    return urlsplit(url).scheme not in ("file", "data", "blob")


def test_every_page_of_the_contents_is_built(book):
    assert PAGES
    assert [name for name in PAGES if not (book / f"{name}.html").is_file()] == []


@pytest.mark.parametrize(
    ("name", "numbers"),
    {"06_kernel_init": ["1"], "10_sample_complexity": ["2"], "07_pursuit": []}.items(),
)
def test_algorithms_have_the_papers_numbers(book, name, numbers):
    page = (book / "nbs" / f"{name}.html").read_text()
    assert re.findall(r'caption-number">Algorithm (\d+)', page) == numbers


# Formulas that are not drawn, or drawn with an error in them (an unknown macro is red).
BAD_MATHS = """() => [
  ...[...document.querySelectorAll("main .math")].filter(
    (formula) => !formula.querySelector("mjx-container")),
  ...[...document.querySelectorAll("mjx-container")].filter(
    (drawn) => drawn.querySelector("[data-mml-node=merror], [fill=red]")),
].map((formula) => formula.textContent)"""

# Text that still shows the marks of mathematics that was never recognised.
RAW_MATHS = r"""() => {
  const walk = document.createTreeWalker(
    document.querySelector("main article"), NodeFilter.SHOW_TEXT);
  const found = [];
  while (walk.nextNode()) {
    const { parentElement, textContent } = walk.currentNode;
    if (parentElement.closest("pre, code, .math, script")) continue;
    if (/\$|\\[([]/.test(textContent)) found.push(textContent);
  }
  return found;
}"""

# Images that did not load, or that say nothing to who cannot see them.
BAD_IMAGES = r"""() => [...document.images].filter((image) =>
  image.naturalWidth === 0 || !image.alt.trim() || /\.(png|svg|jpe?g)$/.test(image.alt)
).map((image) => image.outerHTML.slice(0, 300))"""


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole(visit, name):
    page = visit(name)
    assert page.evaluate(BAD_MATHS) == []
    assert page.evaluate(RAW_MATHS) == []
    assert page.evaluate(BAD_IMAGES) == []
    assert page.complaints == []


PHONE = dict(
    viewport={"width": 390, "height": 844}, is_mobile=True, device_scale_factor=2
)


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_a_phone(visit, name):
    page = visit(name, **PHONE)
    width = page.evaluate("() => document.scrollingElement.scrollWidth")
    assert width <= PHONE["viewport"]["width"]  # innerWidth would grow with the page


def test_menu_opens_on_a_phone(visit):
    page = visit(PAGES[0], **PHONE)
    chapter = page.locator(f"a.reference[href$='{PAGES[1].split('/')[-1]}.html']").first
    assert not chapter.is_visible()
    page.locator("button.primary-toggle").first.click()
    chapter.wait_for(state="visible", timeout=5000)
    chapter.click()
    page.wait_for_url(f"**/{PAGES[1]}.html")


def test_search_finds_the_learning_rule(visit):
    page = visit("search", query="?q=Algorithm+1")
    results = page.locator("#search-results ul.search li > a")
    results.first.wait_for(timeout=10_000)
    for address in results.evaluate_all("links => links.map((link) => link.href)"):
        page.goto(address)
        if "Algorithm 1" in page.inner_text("main article"):
            return
    pytest.fail("no page that the search found has Algorithm 1 on it")


# --- The picture to play with: same numbers, no network, no errors

LEVELS = (0.05, 0.5, 0.95)
CLOSE = 4e-3  # of a loss: far less than a line is wide


@pytest.fixture
def page(book, browser):
    """The page, loaded, with what it logged and asked for."""
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.logged, page.asked = [], []
    page.on("console", lambda m: page.logged.append((m.type, m.text)))
    page.on("pageerror", lambda e: page.logged.append(("error", str(e))))
    page.on("request", lambda r: page.asked.append(r.url))
    page.goto((book / "nbs" / "theory_play.html").as_uri())
    page.wait_for_function("window.Bokeh && Bokeh.documents.length > 0")
    page.wait_for_selector("input[role=spinbutton], .noUi-handle", state="attached")
    yield page
    page.close()


def expected(n, p, m, b, Omega, d):
    """[train, test] of mean and quantiles, from modbook.theory."""
    if b:
        q, t1, t2 = theory.modular(p, m, b, theory.C, Omega)
    else:
        q, (t1, t2) = p, theory.traces(p, m, theory.C, Omega)
    mean = np.array(theory.losses(n, q, t1, t2, d))
    quantiles = np.array([theory.loss_quantiles(u, n, q, t1, t2, d) for u in LEVELS])
    low, median, high = quantiles
    return dict(mean=mean, low=low, median=median, high=high)


def drawn(value: np.ndarray) -> np.ndarray:
    """Zero and infinite losses are not drawn."""
    return np.where((value > 0) & np.isfinite(value), value, np.nan)


POINTS = [  # n, p, m, b, Omega, d
    (300, 100, 4, 0, 1.57, 1),
    (300, 100, 4, 1, 1.57, 1),
    (10, 100, 1, 0, 1.57, 3),
    (100, 100, 6, 0, 1.2, 1),
    (101, 100, 6, 0, 1.2, 1),
    (52, 100, 4, 1, 2.0, 2),
    (1, 1, 1, 0, 1.05, 1),
    (1, 3, 2, 1, 1.05, 1),
    (7, 10_000, 12, 1, 2.5, 10),
    (100_000, 10_000, 3, 1, 1.57, 1),
    (9990, 10_000, 3, 0, 1.57, 1),
]


@pytest.mark.parametrize("at", POINTS)
def test_formulas_in_the_browser_equal_the_package(page, at):
    n, p, m, b, Omega, d = at
    call = "([n, p, m, b, c, O, d]) => modbookTheory.point(n, p, m, b, c, O, d)"
    train, test = page.evaluate(call, [n, p, m, b, theory.C, Omega, d])
    right = expected(*at)
    for i, found in enumerate((train, test)):
        for name, value in right.items():
            here = np.inf if found[name] is None else found[name]
            assert here == pytest.approx(value[i], rel=CLOSE, abs=1e-12), (i, name)


def test_first_picture_is_the_one_that_the_sliders_redraw(page):
    first = page.evaluate(READ_SOURCES)
    move(page, m=5)
    move(page, m=4)
    again = page.evaluate(READ_SOURCES)
    for name, data in first.items():
        for key, values in data.items():
            left, right = (np.array(v, dtype=float) for v in (values, again[name][key]))
            np.testing.assert_allclose(left, right, rtol=CLOSE, err_msg=f"{name} {key}")


READ_SOURCES = """() => {
  const out = {};
  for (const [kind, fig] of ["test", "train"].map(
      (k) => [k, Bokeh.documents[0].get_model_by_name(`figure_${k}`)])) {
    const found = new Set(fig.renderers.map((r) => r.data_source));
    [...found].forEach((source, i) => {
      out[`${kind}_${["monolithic", "modular"][i]}`] = Object.fromEntries(
        Object.entries(source.data).map(([k, v]) => [k, Array.from(v)]));
    });
  }
  return out;
}"""


def move(page, **values) -> None:
    page.evaluate(
        """(values) => {
          const doc = Bokeh.documents[0];
          for (const [name, value] of Object.entries(values)) {
            doc.get_model_by_name(name).value = value;
          }
        }""",
        values,
    )


def test_moved_sliders_redraw_the_curves_of_the_package(page):
    move(page, m=7, d=2, Omega=1.3, p=1.5, n=3)
    sources = page.evaluate(READ_SOURCES)
    p = round(10**1.5)
    for name, b in (("monolithic", 0), ("modular", 1)):
        for i, kind in enumerate(("train", "test")):
            data = {
                k: np.array(v, dtype=float)
                for k, v in sources[f"{kind}_{name}"].items()
            }
            right = expected(data["x"].astype(int), p, 7, b, 1.3, 2)
            for key, value in right.items():
                np.testing.assert_allclose(data[key], drawn(value[i]), rtol=CLOSE)
    text = page.evaluate("Bokeh.documents[0].get_model_by_name('readout').text")
    here = expected(1000, p, 7, 1, 1.3, 2)["mean"][1]
    row = next(r for r in text.split("<tr>") if "test, modular" in r)
    shown = float(row.split("<td>")[1].split("</td>")[0].replace(",", ""))
    assert shown == pytest.approx(here, rel=5e-3)
    page.evaluate("Bokeh.documents[0].get_model_by_name('axis').active = 1")
    data = page.evaluate(READ_SOURCES)["test_monolithic"]
    right = expected(1000, np.array(data["x"], dtype=int), 7, 0, 1.3, 2)
    found = np.array(data["median"], dtype=float)
    np.testing.assert_allclose(found, right["median"][1], rtol=CLOSE)


def test_no_error_is_logged_and_nothing_is_fetched(page):
    move(page, m=9, d=10, p=4, n=0)
    page.wait_for_timeout(300)
    assert not [entry for entry in page.logged if entry[0] in ("error", "warning")]
    assert not [url for url in page.asked if not url.startswith(("file:", "data:"))]


def test_the_picture_fits_a_phone(book, browser):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((book / "nbs" / "theory_play.html").as_uri())
    page.wait_for_function("window.Bokeh && Bokeh.documents.length > 0")
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    widths = page.evaluate(
        "[...document.querySelectorAll('.bk-Column')].map((e) => e.clientWidth)"
    )
    assert widths
    assert 200 < max(widths) <= 390
    page.close()
