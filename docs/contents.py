"""The site's navigation is what docs/index.md lists: a heading is a caption, the pages linked under it are entries."""

from __future__ import annotations

import posixpath
from typing import Any

from markdown_it import MarkdownIt


def contents(text: str, folder: str = "docs") -> dict[str, list[str]]:
    """The pages that a page links, by second-level heading, without their suffix and from the root of the checkout."""
    found: dict[str, list[str]] = {}
    pages: list[str] = []
    heading = ""
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "heading_open":
            heading = token.tag
        elif token.type == "heading_close":
            heading = ""
        elif heading == "h2":
            pages = found.setdefault(token.content, [])
        for child in token.children or ():
            stem, suffix = posixpath.splitext(str(child.attrGet("href") or ""))
            if suffix in (".md", ".rst", ".ipynb") and "://" not in stem:
                pages.append(posixpath.normpath(posixpath.join(folder, stem)))
    return {caption: pages for caption, pages in found.items() if pages}


def _append(app: Any, name: str, source: list[str]) -> None:
    if name == app.config.root_doc:
        for caption, pages in contents(source[0]).items():
            entries = "\n".join(f"/{page}" for page in pages)
            source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```\n"


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", _append)
    return {"parallel_read_safe": True}
