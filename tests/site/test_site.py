"""The built site: nothing missing, no dead link, quiet in a browser, readable at both widths and in both schemes.

Built and tested by .ci/run: ``sphinx-build -W docs build/site``, then this with MINIDL_SITE=build/site.
"""

import inspect
import os
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import minidl
from minidl import data, functional, nn, optim, train
from minidl.study import notebook
from tests.support.browser import SCHEMES, WIDTHS

SITE = Path(os.environ.get("MINIDL_SITE", "."))
PAGES = sorted(set(SITE.rglob("*.html")) - set(SITE.glob("_static/*"))) if "MINIDL_SITE" in os.environ else []
WRITTEN = [page for page in PAGES if "_modules" not in page.parts]  # without the sources
FEW = (
    "index", "course", "chapters/04-convolution-as-a-matrix", "chapters/16-where-frameworks-disagree", "tasks",
    "detect",
    "labs/depth", "api/index", "api/F-conv", "api/md", "api/results", "search",
)  # fmt: skip

pytestmark = pytest.mark.skipif(not PAGES, reason="tests a built site: see MINIDL_SITE in .ci/run")


class Links(HTMLParser):
    """What a page asks for, where its links lead, and its ids."""

    def __init__(self, page: Path):
        super().__init__()
        self.links, self.loads, self.ids = [], [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        self.loads += [found[key] for key in ("src", "href") if tag != "a" and found.get(key)]


@pytest.fixture(scope="module")
def parsed():
    return {page.resolve(): Links(page) for page in PAGES}


def test_no_link_is_broken(parsed):
    broken = []
    for page, found in parsed.items():
        for link in [*found.links, *found.loads]:
            address = urlsplit(link)
            if address.scheme in ("https", "http", "mailto", "data"):
                continue
            target = (page.parent / unquote(address.path)).resolve() if address.path else page
            ids = parsed[target].ids if target in parsed else {unquote(address.fragment)}
            if not target.exists() or (address.fragment and unquote(address.fragment) not in ids):
                broken.append((page.name, link))
    assert broken == []


def test_no_page_loads_from_a_network(parsed):
    loads = [(page.name, load) for page, found in parsed.items() for load in found.loads]
    assert [(page, load) for page, load in loads if re.match(r"(https?:)?//", load)] == []


def inventory():
    lines = zlib.decompress((SITE / "objects.inv").read_bytes().split(b"zlib.\n", 1)[1]).decode().splitlines()
    return {line.split(" ")[0] for line in lines if " py:" in line}


def test_every_public_name_is_in_the_reference():
    described = {name.rpartition(".")[2] for name in inventory()}
    for module in (minidl, functional, nn, optim, data, train):
        names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
        values = {name: getattr(module, name) for name in names}
        of_ours = {
            name
            for name, value in values.items()
            if (inspect.isclass(value) or inspect.isroutine(value) or hasattr(value, "__wrapped__"))
            and getattr(value, "__module__", "").startswith("minidl") and name != "missing"
        }  # fmt: skip
        assert of_ours - described == set(), module.__name__
    assert {"minidl.functional.conv", "minidl.nn.Module.load_state_dict", "minidl.Tensor.backward"} <= inventory()


def test_there_is_a_page_and_a_notebook_for_each_chapter(parsed):
    for chapter in notebook.chapters():
        assert (SITE / "chapters" / f"{chapter.stem}.html").exists()
        assert (SITE / "notebooks" / f"{chapter.stem}.ipynb").exists()


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(SITE))[:-5])
def test_a_page_opens_without_network_or_complaint(browser, page):
    with browser.open(page) as shown:
        assert shown.title()


@pytest.mark.parametrize("chapter", [page.stem for page in notebook.chapters()])
def test_formulas_are_set_without_network(browser, chapter):
    with browser.open(SITE / "chapters" / f"{chapter}.html", width=390, scheme="dark") as shown:
        shown.wait_for_function("MathJax.startup.promise.then(() => true)")
        formulas = shown.locator("article .math").count()
        assert formulas == shown.locator("article .math mjx-container > svg").count() > 0
        assert shown.locator("mjx-merror, [data-mjx-error]").count() == 0
        assert "$" not in shown.locator("article").inner_text()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", FEW)
def test_a_page_fits_the_window_and_follows_the_scheme(browser, name, width, scheme):
    with browser.open(SITE / f"{name}.html", width=width, scheme=scheme) as shown:
        red, green, blue = re.findall(r"\d+", shown.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
        assert (int(red) + int(green) + int(blue) > 382) == (scheme == "light")


def test_the_search_finds_without_network(browser):
    with browser.open(SITE / "search.html") as shown:
        shown.locator("form.bd-search input[name=q], #search-input, input[name=q]").last.fill("transposed convolution")
        shown.keyboard.press("Enter")
        shown.wait_for_selector("ul.search li a", timeout=20_000)
        titles = shown.locator("ul.search li a").all_inner_texts()
        assert any("Convolution as a matrix" in title for title in titles), titles


def test_names_in_a_chapter_lead_to_the_reference(parsed):
    links = parsed[(SITE / "chapters/02-checking-gradients.html").resolve()].links
    assert any("api/md.html#minidl.gradcheck" in link or "#minidl.gradcheck" in link for link in links)
