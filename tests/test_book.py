"""The built book as a reader sees it: in headless Chromium, from disk, offline."""

from urllib.parse import urlsplit

import pytest
import yaml
from helpers import ROOT


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
