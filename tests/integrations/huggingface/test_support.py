"""docs/support.md says what happens, cell by cell, and what was run with which versions."""

from __future__ import annotations

import pytest
import transformers

from tests.integrations.huggingface import version_records
from tests.integrations.huggingface.support import FEATURES, PAGE, SMALL, outcome, page

WRITE = "run `python -m tests.integrations.huggingface.support`"

pytestmark = [
    pytest.mark.filterwarnings("ignore:attach. no forward of the model came by"),
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
    pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask"),
]


def test_the_table_is_complete() -> None:
    for version, table in version_records.cells().items():
        assert list(table) == list(FEATURES), f"{version}: {WRITE}"
        assert all(len(row) == len(SMALL) for row in table.values())


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("feature", FEATURES)
def test_cell(family: str, feature: str) -> None:
    """With the version of the table, and with those whose cells were written down."""
    table = version_records.cells().get(transformers.__version__)
    if table is None:
        pytest.skip(f"no cells were written down for this version of transformers; {WRITE}")
    assert outcome(family, feature) == dict(zip(SMALL, table[feature], strict=True))[family], WRITE


def test_the_page_is_what_was_written_down() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), WRITE
