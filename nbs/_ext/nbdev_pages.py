"""Show nbdev notebooks as pages of the book.

A Sphinx extension. On reading a notebook it

- strips the `#|` lines that speak to nbdev, not to the reader;
- drops cells marked `#| hide`;
- adds the comments beside parameters, with their shapes, to the API reference;
- gives a notebook that has a `parameters` cell the parameter `recorded = True`, as
  papermill would: the page shows what is recorded under results/ and trains nothing.

It also leaves out thebe, which Jupyter Book puts on every page: running code in the
page needs a server and the network, and its script is declared twice.
"""

import json
from pathlib import Path

import nbformat
from fastcore.docments import docments
from papermill.parameterize import parameterize_notebook
from sphinx_thebe import init_thebe_core, update_thebe_context


def visible(cell: dict) -> dict | None:
    """The cell as a reader should see it, or None."""
    if cell["cell_type"] == "raw":
        return None
    lines = cell["source"].splitlines()
    directives = [line for line in lines if line.startswith("#|")]
    if any("hide" in line.split() for line in directives):
        return None
    cell["source"] = "\n".join(
        line for line in lines if not line.startswith("#|")
    ).strip("\n")
    return cell if cell["source"] else None


def is_parameterised(notebook) -> bool:
    return any("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells)


def on_source_read(app, docname: str, source: list[str]) -> None:
    if Path(app.env.doc2path(docname)).suffix != ".ipynb":
        return
    notebook = nbformat.reads(source[0], as_version=4)
    notebook.cells = [cell for cell in map(visible, notebook.cells) if cell is not None]
    if is_parameterised(notebook):
        notebook.metadata["papermill"] = {}
        for cell in notebook.cells:
            cell.metadata.setdefault("tags", [])
        notebook = parameterize_notebook(notebook, {"recorded": True})
    source[0] = json.dumps(notebook)


def parameter_lines(obj) -> list[str]:
    """The comments beside an object's parameters, with their shapes, as fields."""
    try:
        comments = docments(obj, returns=True)
    except (OSError, TypeError, ValueError):  # no source, or no signature
        return []
    fields = [
        (":returns:" if name == "return" else f":param {name}:", text)
        for name, text in comments.items()
        if text and name != "self"
    ]
    return ["", *(f"{field} {' '.join(text.split())}" for field, text in fields), ""]


def on_docstring(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are plain text, and the comments beside parameters belong to them."""
    if what in ("function", "method", "class"):
        lines += parameter_lines(obj)
    lines[:] = [line.replace("|", r"\|").replace("*", r"\*") for line in lines]


def without_thebe(app, config) -> None:
    for listeners in app.events.listeners.values():
        listeners[:] = [
            listener
            for listener in listeners
            if listener.handler not in (init_thebe_core, update_thebe_context)
        ]


def setup(app) -> dict:
    app.connect("config-inited", without_thebe)
    app.connect("source-read", on_source_read)
    app.connect("autodoc-process-docstring", on_docstring, priority=100)
    return {"version": "1", "parallel_read_safe": True}
