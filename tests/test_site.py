"""The site's navigation shows every page of docs, once."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def module_of_the_site(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


contents = module_of_the_site("contents").contents


def test_the_navigation_has_every_page_once() -> None:
    listed = [page for pages in contents((DOCS / "index.md").read_text(encoding="utf-8")).values() for page in pages]
    written = [path for path in DOCS.rglob("*") if path.suffix in (".md", ".rst") and "_build" not in path.parts]
    pages = {path.relative_to(ROOT).with_suffix("").as_posix() for path in written} - {"docs/index"}
    assert sorted(listed) == sorted(pages | {"README", "CONTRIBUTING"})


def test_headings_are_captions_and_linked_pages_are_entries() -> None:
    text = (
        "# Title\n[early](a.md)\n## One\n- [b](b.md) of [c](sub/c.rst#part), [web](https://x.org/d.md)\n"
        "## Two\n[e](../E.rst)"
    )
    assert contents(text) == {"One": ["docs/b"], "Two": ["E"]}
    assert contents(text.replace("## Two", "### Two\n## Three")) == {"One": ["docs/b"], "Three": ["E"]}
