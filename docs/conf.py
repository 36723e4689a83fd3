"""The site: ``pip install -e ".[site]"``, then ``sphinx-build -W docs build/site``. No network is needed.

The pages are the Markdown files of this folder; `reference.py` adds the reference, from docstrings, and links to it.
"""

import re
import sys
from importlib.metadata import files
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reference  # noqa: E402

import minidl  # noqa: E402
from minidl.study import notebook  # noqa: E402

project = "minidl"
author = "the authors of minidl"
release = version = minidl.__version__
html_title = "minidl"
root_doc = "index"
language = "en"

extensions = ["myst_parser", "sphinx.ext.viewcode"]
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
MATHJAX = next(file for file in files("sphinx-mathjax-offline") if file.name == "tex-svg.js")  # one file, no fonts
mathjax_path = MATHJAX.name
exclude_patterns = ["README.md"]  # its sections are on the pages of the same names
nitpicky = True
nitpick_ignore_regex = [("py:class", r".*")]  # in signatures; they are links where they are public
highlight_language = "none"
suppress_warnings = ["config.cache"]  # reference.py is imported, not a setting
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 100

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "logo": {"text": "minidl"},
    "show_prev_next": True,
    "navigation_with_keys": False,
    "search_bar_text": "Search",
    "header_links_before_dropdown": 7,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
    "article_header_start": ["breadcrumbs"],
}
html_sidebars = {"index": [], "api/index": ["sidebar-nav-bs"]}
html_context = {"default_mode": "auto"}
html_static_path = ["site", str(MATHJAX.locate())]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_show_search_summary = False  # would be fetched, which a page that is opened as a file must not
viewcode_line_numbers = True


def source_read(app, name, source):
    """Links to the course's contents lead to the site's; each chapter says where its notebook is."""
    up = "../" * name.count("/")
    text = source[0].replace("](README.md", "](index.md").replace("](../README.md", f"]({up}index.md")
    if name.startswith("chapters/"):
        title, _, rest = text.partition("\n")
        text = f"{title}\n\n{badges(name.partition('/')[2])}\n{rest}"
    source[0] = text


def badges(chapter):
    """The line under a chapter's title."""
    links = [f'<a href="../notebooks/{chapter}.ipynb" download>Download as a notebook</a>']
    if address := notebook.colab(chapter):
        links.append(f'<a href="{address}">Open in Colab</a>')
    command = f"<span>or write it: <code>minidl notebook {int(chapter[:2])}</code></span>"
    return f'<p class="badges">{" ".join(links)} {command}</p>'


def write_notebooks(app, error):
    """The chapters as notebooks, beside the pages."""
    if error is None and app.builder.format == "html":
        folder = Path(app.outdir) / "notebooks"
        folder.mkdir(exist_ok=True)
        for page in notebook.chapters():
            notebook.write(page, folder / f"{page.stem}.ipynb")


def page_context(app, name, template, context, doctree):
    """Sources are of files, the reference is by public names: viewcode's links back would be dead."""
    if name.startswith("_modules/") and "body" in context:
        dead = r'<a class="viewcode-back".*?</a>|<li><a href="builtins.html">.*?</li>'
        context["body"] = re.sub(dead, "", context["body"])


def setup(app):
    app.connect("html-page-context", page_context)
    app.connect("builder-inited", lambda app: reference.write(HERE / "api"))
    app.connect("source-read", source_read)
    app.connect("build-finished", write_notebooks)
    app.add_transform(reference.Links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
