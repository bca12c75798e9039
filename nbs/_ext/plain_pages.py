"""Leave out what the theme loads and the book does not use.

A Sphinx extension. The theme declares thebe's constants twice on every page, which is
an error in the browser's console, and points to a script on the network. No page of
this book runs code in the reader's browser through it.
"""


def is_thebe(script) -> bool:
    body = getattr(script, "attributes", {}).get("body") or ""
    return "thebe" in f"{script.filename} {body}".lower()


def on_page(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    scripts = context.get("script_files", [])
    context["script_files"] = [script for script in scripts if not is_thebe(script)]


def setup(app) -> dict:
    app.connect("html-page-context", on_page, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
