"""The site's navigation shows every page of docs, and its lists of what the code has are complete."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CHANGES = re.split(r"^## ", (DOCS / "changelog.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]


def module_of_the_site(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


contents = module_of_the_site("contents").contents


def test_the_navigation_has_every_page_once() -> None:
    listed = [page for pages in contents((DOCS / "index.md").read_text(encoding="utf-8")).values() for page in pages]
    found = [path for path in DOCS.rglob("*") if path.suffix in (".md", ".rst", ".ipynb")]
    written = [path for path in found if "_build" not in path.parts]
    pages = {path.relative_to(ROOT).with_suffix("").as_posix() for path in written} - {"docs/index"}
    assert sorted(listed) == sorted(pages | {"README", "CONTRIBUTING"})


def test_headings_are_captions_and_linked_pages_are_entries() -> None:
    text = (
        "# Title\n[early](a.md)\n## One\n- [b](b.md) of [c](sub/c.rst#part), [web](https://x.org/d.md)\n"
        "## Two\n[e](../E.rst)"
    )
    assert contents(text) == {"One": ["docs/b"], "Two": ["E"]}
    assert contents(text.replace("## Two", "### Two\n## Three")) == {"One": ["docs/b"], "Three": ["E"]}


ASKED = re.compile(r'environ(?:\.get\(|\[)\s*"(\w+)"|getenv\(\s*"(\w+)"|"(\w+)" in os\.environ')
# Where a file asks for what a name of Python holds, that stands elsewhere in it.
ASKED_BY_NAME = re.compile(r"environ(?:\.get\(|\[)\s*[A-Za-z_]")
LIKE_A_VARIABLE = re.compile(r'"([A-Z]+(?:_[A-Z]+)+)"')


def variables_read() -> set[str]:
    """Of the environment, by any Python of the project."""
    found: set[str] = set()
    for folder in ("seats_ops", "integrations", "benchmarks", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if path != Path(__file__):
                found |= {name for names in ASKED.findall(text) for name in names if name}
                found |= set(LIKE_A_VARIABLE.findall(text) if ASKED_BY_NAME.search(text) else ())
    return found


def test_every_variable_of_the_environment_is_on_its_page() -> None:
    page = (DOCS / "environment_variables.md").read_text(encoding="utf-8")
    read = variables_read()
    assert {"SEATS_OPS_TILES", "TRITON_INTERPRET", "CI"} <= read, "the search finds what is known to be read"
    assert sorted(read - set(re.findall(r"`([A-Z_]+)[`=]", page))) == []
    rows = {
        name for row in re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert sorted(rows - read) == [], "read by nobody"


@pytest.mark.parametrize("section", CHANGES, ids=lambda section: section.partition("\n")[0])
def test_every_section_of_the_changelog_says_which_golden_selections_changed(section: str) -> None:
    assert re.match(r"[^\n]+\n\*\*numerics\*\*: \w", section)
