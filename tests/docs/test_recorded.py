"""Walk-throughs and notebooks run, and show what running them gives."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.docs import notebooks, walkthroughs


@pytest.mark.parametrize("page", walkthroughs.PAGES, ids=lambda page: page.stem)
def test_walk_through(page: Path) -> None:
    # A call that cog does not see as one would show nothing, and nothing would be compared.
    assert "]]] -->\n<!-- [[[end" not in page.read_text(encoding="utf-8")
    done = walkthroughs.cog(page, "--check", "--diff")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


@pytest.mark.parametrize("path", notebooks.NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path: Path) -> None:
    recorded, found = nbformat.read(path, 4), notebooks.executed(path)
    assert notebooks.texts_of(found) == notebooks.texts_of(recorded)


def test_a_page_that_rots_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('<!-- [[[cog run("echo 7") ]]] -->\n<!-- [[[end]]] -->\n')
    assert walkthroughs.cog(page, "-r").returncode == 0
    assert "\n```console\n$ echo 7\n7\n```\n" in page.read_text()
    assert walkthroughs.cog(page, "--check").returncode == 0
    page.write_text(page.read_text().replace("\n7\n", "\n8\n"))
    assert walkthroughs.cog(page, "--check").returncode != 0
    page.write_text('<!-- [[[cog run("exit 3") ]]] -->\n<!-- [[[end]]] -->\n')
    assert "exit 3: ended with 3" in walkthroughs.cog(page, "-r").stderr
