import os
import shutil
from pathlib import Path

import pytest
from helpers import copy_tree, run
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_REQUIRED = os.environ.get("MODBOOK_REQUIRE_BROWSER", "0") != "0"


@pytest.fixture
def tree(tmp_path) -> Path:
    """A copy of the repository that a test may change."""
    return copy_tree(tmp_path / "tree")


@pytest.fixture(scope="session")
def book(tmp_path_factory) -> Path:
    """The folder of pages of the book, built once, from nothing, warnings as errors."""
    tree = copy_tree(tmp_path_factory.mktemp("book"))
    build = ("jupyter-book", "build", ".", "-W", "-n", "--keep-going")
    run(*build, cwd=tree, timeout=1800)
    return tree / "_build" / "html"


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium: without one, skipped, or failed if it is required."""
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        program = next(filter(None, map(shutil.which, (*BROWSERS, own))), None)
        if program is None:
            stop = pytest.fail if BROWSER_REQUIRED else pytest.skip
            stop("no Chromium is here to show the book: playwright install chromium")
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-background-networking"],
        )
        yield browser
        browser.close()
