"""docs/support.md says what happens, cell by cell."""

from __future__ import annotations

import pytest

from tests.integrations.support import FEATURES, PAGE, SMALL, outcome

pytestmark = [
    pytest.mark.filterwarnings("ignore:attach. no forward of the model came by"),
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
    pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask"),
]


def cells() -> dict[str, list[str]]:
    """Feature -> one word per family."""
    rows = [
        line.strip("|").split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")
    ]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in rows}


def test_the_table_is_complete() -> None:
    table = cells()
    assert table.pop("") == [f"`{family}`" for family in SMALL]
    table.pop("---")
    assert list(table) == list(FEATURES), "run `python -m tests.integrations.support`"


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("feature", FEATURES)
def test_cell(family: str, feature: str) -> None:
    expected = dict(zip(SMALL, cells()[feature], strict=True))[family]
    assert outcome(family, feature) == expected, "run `python -m tests.integrations.support`"
