"""The page of methods says what the code, the counts and the records say."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path

import pytest
import torch

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("launches are counted, which needs the compiler", allow_module_level=True)

from benchmarks.methods import Clip, given, run_stages
from seats_ops.testing.stand_in_device import Device
from tests.methods.table import CONFIG, PAGE, PAPER, device_work, lines_of_code, made, numbers, own_methods

CONSTRAINTS = (Path(__file__).parents[2] / "constraints.txt").read_text(encoding="utf-8")
PINNED = re.findall(r"^torch==(\S+)$", CONSTRAINTS, re.MULTILINE)[0]


@pytest.mark.skipif(torch.__version__.split("+")[0] != PINNED, reason="another torch may launch other kernels")
def test_the_page_is_what_the_code_says() -> None:
    assert made() == PAGE.read_text(encoding="utf-8"), "run `python -m tests.methods.table`"


def test_every_row_is_full() -> None:
    """Nothing but what is recorded elsewhere, an own ratio and further inputs may be missing in a row."""
    rows = [line.strip("| \n").split(" | ") for line in numbers()[2:]]
    assert [re.findall(r"\[(.*)\]", row[0])[0] for row in rows] == list(own_methods())
    for row in rows:
        assert "-" not in (row[1], row[2], row[4], row[5], row[7], row[8]), row


def test_launches_are_those_of_the_papers_size() -> None:
    """DivPrune's large segment: one step a pick beyond the first, 2,400 of 9,600."""
    for name, many in (("divprune", True), ("evs", False)):
        launches, _ = device_work(own_methods()[name](CONFIG, 0.25), PAPER)
        assert (launches >= 2399) == many and f"| {launches:,} |" in "\n".join(numbers())


@pytest.mark.parametrize("name", ["divprune", "fastvid", "holitom"])
def test_insides_of_operators_ask_for_nothing(name: str) -> None:
    clip, schedule = Clip(frames=8, height=4, width=4, audio=100, text=12), own_methods()[name](CONFIG, 0.25)
    reads = []
    for insides in (True, False):
        layout, device = clip.layout(), Device(insides=insides)
        tensors = device.put(given(layout, schedule, 32))
        with device:
            run_stages(schedule, layout.to(torch.device("meta")), tensors, "triton")
        reads.append((device.all_reads, device.reads))
    assert reads[0] == reads[1] and (name == "divprune" or reads[0][0] > 0)


def test_every_method_has_a_section() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^### (\S+)$", text, re.MULTILINE) == list(own_methods())


def test_lines_of_code_are_those_of_statements() -> None:
    source = '"""Text,\nlong."""\n\nfrom a import (\n    b,\n)\n\n# Why.\nX = """\nthree\n"""\n"""What X is."""\n\n\n'
    source += 'def f(\n    x,\n):\n    """One."""\n    import os\n\n    return x  # so\n'
    assert lines_of_code(source) == 3 + 4


@pytest.mark.parametrize("name", list(own_methods()))
def test_every_method_fits_on_a_screen(name: str) -> None:
    module = inspect.getmodule(own_methods()[name].build)
    assert module is not None and lines_of_code(inspect.getsource(module)) <= 80
