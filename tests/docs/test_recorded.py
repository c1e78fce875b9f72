"""Walk-throughs and notebooks show what running them gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import walkthroughs


@pytest.mark.parametrize("page", walkthroughs.PAGES, ids=lambda page: page.stem)
def test_walk_through(page: Path) -> None:
    done = walkthroughs.cog(page, "--check", "--diff")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
