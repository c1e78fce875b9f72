"""Code, tests and data that a page links to are pages of the site too, a folder is a list; links go by titles."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

LANGUAGES = {".py": "python", ".json": "json", ".jsonl": "json"}
# A longer file says no more to a reader, and would be most of the site.
MOST_CHARACTERS = 200_000


class LinkToPage(SphinxTransform):
    """Such links lead to the page of the file, where Sphinx would have it downloaded."""

    default_priority = 10

    def apply(self, **_: Any) -> None:
        root, page = Path(self.env.srcdir), self.env.docname
        for kind in (addnodes.download_reference, addnodes.pending_xref):
            for node in list(self.document.findall(kind)):
                target = (root / page).parent / node["reftarget"].partition("#")[0]
                shown = target.is_file() if kind is addnodes.download_reference else target.is_dir()
                if not shown:
                    # A link that is called after its file is called after its page.
                    if kind is addnodes.pending_xref and node.astext() == f"{target.name}.md":
                        node["refexplicit"] = False
                    continue
                name = target.resolve().relative_to(root).as_posix()
                self.env.metadata[page].setdefault("linked_files", set()).add(name)
                uri = self.app.builder.get_relative_uri(page, f"files/{name}")
                node.replace_self(nodes.reference("", "", *node.children, internal=True, refuri=uri))


def _pages(app: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    names = {name for metadata in app.env.metadata.values() for name in metadata.get("linked_files", ())}
    for name in sorted(names):
        path = Path(app.srcdir) / name
        body = _listed(path) if path.is_dir() else _coloured(app, path)
        title = html.escape(name)
        yield f"files/{name}", {"title": title, "body": f"<h1>{title}</h1>{body}", "display_toc": False}, "page.html"


def _listed(folder: Path) -> str:
    entries = "".join(f"<li><code>{html.escape(path.name)}</code></li>" for path in sorted(folder.iterdir()))
    return f"<p>A folder of the repository:</p><ul>{entries}</ul>"


def _coloured(app: Any, path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    cut = f"<p>The first of {len(text):,} characters.</p>" if len(text) > MOST_CHARACTERS else ""
    language = LANGUAGES.get(path.suffix, "text")
    return cut + app.builder.highlighter.highlight_block(text[:MOST_CHARACTERS], language)


def setup(app: Any) -> dict[str, bool]:
    app.add_transform(LinkToPage)
    app.connect("html-collect-pages", _pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
