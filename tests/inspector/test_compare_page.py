"""The page of a comparison in a real browser: both themes, two widths, every number, markup as text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seats_ops.compare import Agreement, Comparison, PromptRecord
from seats_ops.compare.overall import differences, overall, worst_first
from seats_ops.compare.page import page
from tests.compare.example_records import record
from tests.inspector.conftest import WIDE, Open

NAMES = ["ten", "five"]
MARKUP = "<b onclick='x()'>bold</b>"


def comparison(prompts: int = 6) -> Comparison:
    records = [record(f"clip {number}", kl=0.1 * number, flops=100 + number) for number in range(prompts)]
    records[0] = replace(records[0], name=MARKUP, question=MARKUP)
    failed = [PromptRecord("broken", error="video: <i>broken.mp4</i> is damaged")]
    return Comparison(
        worst_first(records),
        failed,
        overall(records, NAMES),
        differences(records, NAMES),
        "CPU time",
        ("Random weights.",),
    )


def text_of(result: Comparison) -> str:
    return page(result, {"model": MARKUP, "schedules": {}}, lambda prompt, name: f"{prompt}/{name}.html")


@pytest.mark.parametrize("size", [WIDE, (390, 844)], ids=["desktop", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_opens_and_fits(opened: Open, size: tuple[int, int], theme: str) -> None:
    tab = opened(text_of(comparison()), size=size, theme=theme)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paper, ink = tab.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    bright = [sum(int(part) for part in colour[4:-1].split(",")) for colour in (paper, ink)]
    assert (bright[0] > bright[1]) == (theme == "light") and abs(bright[0] - bright[1]) > 400


def test_its_numbers_are_those_of_the_comparison(opened: Open) -> None:
    result = comparison()
    tab = opened(text_of(result))
    rows = tab.locator("section >> nth=0 >> css=tbody tr")
    cells = rows.nth(0).locator("td").all_inner_texts()
    # Of ten: half of the tokens are the same, both first tokens and every likeliest one; flops are 100 to 105 of 1000.
    assert [cell.splitlines()[0] for cell in cells[:3]] == ["50.0%", "100.0%", "100.0%"]
    mean, interval = cells[5].splitlines()
    low, high = map(float, interval.split("–"))
    assert mean == "10.2%" and 10.0 <= low < 10.25 < high <= 10.5
    assert "6 prompts, each with its runs (paired bootstrap)" in tab.inner_text("section >> nth=0")
    # The worst one first: its KL is 0.5, and its first run is the one with all tokens.
    assert tab.locator("article h3").all_inner_texts()[0] == "clip 5"
    first = tab.locator("article >> nth=0 >> css=tbody tr")
    assert first.nth(0).locator("td").all_inner_texts()[:6] == ["40", "40", "0.0", "0.00", "2,000", "4,000"]
    assert first.nth(1).locator("td").all_inner_texts()[7:11] == ["50%", "same", "100%", "0.500"]
    assert first.nth(1).locator("td").all_inner_texts()[11] == "video 12.5% (asked 10.0%)"
    assert "ten keeps, mean of all layers: video 12.5% (asked 10.0%)." in tab.inner_text("section >> nth=0")
    assert first.nth(1).locator("a").get_attribute("href") == "clip 5/ten.html"


def test_markup_is_text(opened: Open) -> None:
    tab = opened(text_of(comparison()))
    assert tab.locator("b, i").count() == 0
    assert MARKUP in tab.inner_text("header")
    assert tab.locator("article", has_text=MARKUP).locator("h3, p").all_inner_texts().count(MARKUP) == 2
    assert "video: <i>broken.mp4</i> is damaged" in tab.inner_text("body")


def test_nothing_could_be_compared(opened: Open) -> None:
    tab = opened(text_of(Comparison([], [PromptRecord("a", error="gone")], {}, {}, "CPU time")))
    assert tab.inner_text("h1") == "Pruned beside unpruned, 0 prompts" and "gone" in tab.inner_text("section")


def test_answers_without_words_are_shown_as_ids(opened: Open) -> None:
    one = record("a")
    said: Any = [replace(run, text=None, answer=(7, 8)) for run in one.runs]
    assert all(run.agreement is None or isinstance(run.agreement, Agreement) for run in said)
    records = [replace(one, runs=tuple(said))]
    tab = opened(text_of(Comparison(records, [], overall(records, NAMES), differences(records, NAMES), "")))
    assert tab.locator("article dd").all_inner_texts() == ["7 8"] * 3
