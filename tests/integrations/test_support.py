"""docs/support.md says what happens, cell by cell, and what was run with which versions."""

from __future__ import annotations

import re

import pytest
import transformers

from tests.integrations import version_records
from tests.integrations.support import FEATURES, PAGE, SMALL, outcome

WRITE = "run `python -m tests.integrations.support`"

pytestmark = [
    pytest.mark.filterwarnings("ignore:attach. no forward of the model came by"),
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
    pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask"),
]


def cells() -> dict[str, list[str]]:
    """Feature -> one word per family."""
    table, _, _ = PAGE.read_text(encoding="utf-8").partition("## Versions")
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in rows}


def test_the_table_is_complete() -> None:
    table = cells()
    assert table.pop("") == [f"`{family}`" for family in SMALL]
    table.pop("---")
    assert list(table) == list(FEATURES), WRITE


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("feature", FEATURES)
def test_cell(family: str, feature: str) -> None:
    """With the version of the table, and with those whose cells were written down."""
    table = cells() | version_records.cells().get(transformers.__version__, {})
    expected = dict(zip(SMALL, table[feature], strict=True))[family]
    assert outcome(family, feature) == expected, f"run `python -m tests.integrations.version_matrix --cells`, {WRITE}"


def test_what_was_run_is_what_was_written_down() -> None:
    table = {feature: row for feature, row in cells().items() if feature in FEATURES}
    assert PAGE.read_text(encoding="utf-8").endswith("\n".join(version_records.section(table, list(SMALL)))), WRITE


def test_the_table_is_of_the_pinned_version() -> None:
    pins = (PAGE.parents[1] / "constraints.txt").read_text(encoding="utf-8")
    (pinned,) = re.findall(r"^transformers==(\S+)$", pins, re.MULTILINE)
    assert f"with transformers {pinned};" in PAGE.read_text(encoding="utf-8"), WRITE
    table = {feature: row for feature, row in cells().items() if feature in FEATURES}
    assert version_records.cells().get(pinned, table) == table, WRITE
