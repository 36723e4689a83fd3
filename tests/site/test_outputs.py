"""What the tools show, in the programs that show notebooks: JupyterLab, not trusted and trusted, and nbconvert.

Like the site, tested by .ci/run; it needs ``pip install -e ".[site,notebooks]"`` and a browser.
"""

import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from urllib.error import URLError
from urllib.request import urlopen

import pytest

if "MINIDL_SITE" not in os.environ:
    pytest.skip("opens notebooks in JupyterLab where the site is tested: see .ci/run", allow_module_level=True)

import nbclient
import nbformat
from markdown_it import MarkdownIt
from nbconvert import HTMLExporter, LatexExporter, MarkdownExporter

from minidl.__main__ import main

ASKED = {  # the code of a cell, the heading of its page, a line of its text
    "x = md.tensor([[0.5, -1.0]], requires_grad=True)\nw = md.tensor([[2.0], [3.0]], requires_grad=True)\n"
    "loss = (x @ w).tanh().sum()\nmd.explain(loss)": ("explain: loss = sum(tanh(x @ w)) = -0.964028", "w     leaf"),
    "md.gradcheck(lambda x, w: (x @ w).tanh().sum(), [x, w])": ("gradcheck of <lambda>", "full Jacobian 1 x 4"),
    "md.receptive_field('c3 p2 c3')": ("Receptive field of c3 p2 c3 on 28 cells", "layer  kind"),
    "md.convmatrix([1, 2, 3], 5)": ("Convolution of 5 cells with a kernel of 3, stride 1, padding 0", "y0 1 2 3"),
}
TITLES = [title for title, _ in ASKED.values()]
SETTINGS = {
    "apputils-extension/themes": '{"theme": "JupyterLab Dark"}',
    "apputils-extension/notification": '{"fetchNews": "false"}',
    "notebook-extension/tracker": '{"windowingMode": "none"}',  # all cells at once, not those in view
}
PATIENCE = 300_000  # milliseconds, for a machine that does much else


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook of code, executed, and its path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIDL_NUM_THREADS", "1")
        cells = [nbformat.v4.new_code_cell(code) for code in ("import minidl as md", *ASKED)]
        made = nbformat.v4.new_notebook(cells=cells)
        nbclient.NotebookClient(made, timeout=PATIENCE / 1000).execute()
    path = tmp_path_factory.mktemp("notebooks") / "work.ipynb"
    nbformat.write(made, path)
    return made, path


@pytest.fixture(scope="module")
def lab(executed, tmp_path_factory):
    """The address of a JupyterLab, dark, with an untrusted.ipynb and a trusted.ipynb."""
    home = tmp_path_factory.mktemp("home")
    notebooks, settings = home / "notebooks", home / "settings" / "@jupyterlab"
    notebooks.mkdir()
    for name, text in SETTINGS.items():
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    kinds = {name: home / name for name in ("data", "config", "runtime")}
    environment = {**os.environ, **{f"JUPYTER_{name.upper()}_DIR": str(path) for name, path in kinds.items()}}
    environment |= {"JUPYTERLAB_SETTINGS_DIR": str(settings.parent), "JUPYTERLAB_WORKSPACES_DIR": str(home / "spaces")}
    made, _ = executed
    nbformat.write(made, notebooks / "untrusted.ipynb")
    other = nbformat.from_dict({**made, "cells": [*made.cells, nbformat.v4.new_raw_cell("trust goes by content")]})
    nbformat.write(other, notebooks / "trusted.ipynb")
    trust = [sys.executable, "-m", "nbformat.sign", str(notebooks / "trusted.ipynb")]
    subprocess.run(trust, env=environment, check=True, capture_output=True)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={notebooks}",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
    ]  # fmt: skip
    with open(home / "log", "wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api", server)
        yield f"http://127.0.0.1:{port}/doc/tree"
    finally:
        server.terminate()
        server.wait()


def wait_for(address, server):
    end = time.monotonic() + PATIENCE / 1000
    while server.poll() is None and time.monotonic() < end:
        try:
            return urlopen(address).close()
        except URLError:
            time.sleep(0.2)
    pytest.fail("JupyterLab does not answer")


def brightness(element):
    """Of the ground that an element stands on, 0 to 255: of the first around it that has one."""
    return element.evaluate("""e => {
        for (; e; e = e.parentElement) {
            const [red, , , alpha = 1] = getComputedStyle(e).backgroundColor.match(/[\\d.]+/g).map(Number);
            if (alpha > 0) return red;
        }
        return 255;
    }""")


def test_jupyterlab_not_trusted_and_trusted(browser, lab):  # one test: one server
    page = browser.chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    stills, frames = page.locator(".jp-OutputArea-output .minidl-still"), page.locator("iframe.minidl-page")

    page.goto(f"{lab}/untrusted.ipynb")
    for i, (title, line) in enumerate(ASKED.values()):
        image, text = stills.nth(i).locator("img"), stills.nth(i).locator("pre")
        image.wait_for()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 90
        assert image.get_attribute("alt") == title and line in text.inner_text()
        ink = text.evaluate("e => Number(getComputedStyle(e).color.match(/\\d+/)[0])")
        assert ink - brightness(text) > 150, "light letters on a dark ground"
    assert frames.count() == 0

    page.goto(f"{lab}/trusted.ipynb")
    for i, title in enumerate(TITLES):
        frames.nth(i).wait_for()
        inside = page.frame_locator("iframe.minidl-page").nth(i)
        assert inside.locator("h1").inner_text() == title and not stills.nth(i).is_visible()
        assert brightness(inside.locator("html")) < 60, "a dark page in a dark notebook"
    page.close()


def test_html_and_paper(browser, executed, tmp_path):
    """On paper, which is how nbconvert makes PDF out of HTML, are the picture and the text."""
    made, _ = executed
    (tmp_path / "work.html").write_text(HTMLExporter().from_notebook_node(made)[0], encoding="utf-8")
    context = browser.chromium.new_context(offline=True)
    page = context.new_page()
    page.goto((tmp_path / "work.html").as_uri(), wait_until="domcontentloaded")
    frames = page.frame_locator("iframe.minidl-page")
    page.locator("iframe.minidl-page").nth(len(ASKED) - 1).wait_for(state="attached")
    assert [frames.nth(i).locator("h1").inner_text() for i in range(len(ASKED))] == TITLES
    page.emulate_media(media="print")
    texts = page.locator(".minidl-still pre").all()
    assert all(image.is_visible() for image in page.locator(".minidl-still img").all())
    assert [line in text.inner_text() for text, (_, line) in zip(texts, ASKED.values(), strict=True)] == [True] * 4
    assert not any(frame.is_visible() for frame in page.locator("iframe.minidl-page").all())
    context.close()


def test_markdown(executed):
    """GitHub prints frames, scripts and styles that stand in Markdown: there are none; an empty line ends no tag."""
    text, _ = MarkdownExporter().from_notebook_node(executed[0])
    shown = MarkdownIt("commonmark").render(text)
    outputs = [cell.outputs[0].data["text/html"] for cell in executed[0].cells[1:]]
    assert [shown.count(output.replace(">\n\n<pre>", ">\n<pre>")) for output in outputs] == [1] * 4
    assert not any(word in text for word in ("<iframe", "<script", "<style"))


def test_markdown_of_the_copy_has_files_and_no_html(executed):
    _, path = executed
    assert main(["notebook", str(path), "--out", str(path.parent), "--overwrite"]) == 0
    copy = nbformat.read(path.with_name("work-still.ipynb"), as_version=4)
    nbformat.validate(copy)
    text, resources = MarkdownExporter().from_notebook_node(copy)
    assert [f"![svg]({name})" in text for name in resources["outputs"]] == [True] * 4
    assert all(picture.lstrip().startswith(b"<svg") for picture in resources["outputs"].values())
    shown = MarkdownIt("commonmark").parse(text)
    assert not any(part.type.startswith("html") for token in shown for part in [token, *(token.children or [])])
    assert all(line in text for _, line in ASKED.values())


def test_latex_needs_no_program_for_pictures(executed):
    text, _ = LatexExporter().from_notebook_node(executed[0])
    assert all(line in text for _, line in ASKED.values())
