"""The page of methods says what the code, the counts and the records say."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("launches are counted, which needs the compiler", allow_module_level=True)

from seats_ops import methods as method_package
from tests.methods.table import PAGE, lines_of_code, made, own_methods

CONSTRAINTS = (Path(__file__).parents[2] / "constraints.txt").read_text(encoding="utf-8")
METHODS = Path(method_package.__path__[0])
PINNED = re.findall(r"^torch==(\S+)$", CONSTRAINTS, re.MULTILINE)[0]


@pytest.mark.skipif(torch.__version__.split("+")[0] != PINNED, reason="another torch may launch other kernels")
def test_the_page_is_what_the_code_says() -> None:
    assert made() == PAGE.read_text(encoding="utf-8"), "run `python -m tests.methods.table`"


def test_every_method_has_a_section() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^### (\S+)$", text, re.MULTILINE) == list(own_methods())


def test_lines_of_code_are_those_of_statements() -> None:
    source = '"""Text,\nlong."""\n\nfrom a import (\n    b,\n)\n\n# Why.\nX = """\nthree\n"""\n"""What X is."""\n\n\n'
    source += 'def f(\n    x,\n):\n    """One."""\n    import os\n\n    return x  # so\n'
    assert lines_of_code(source) == 3 + 4


@pytest.mark.parametrize("path", sorted(METHODS.glob("*.py")), ids=lambda path: path.stem)
def test_every_method_fits_on_a_screen(path: Path) -> None:
    assert lines_of_code(path.read_text(encoding="utf-8")) <= 80
