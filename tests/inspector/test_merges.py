"""Merges on the page are those of the trace: in pictures, in what is said of a stage and of a token, row by row."""

from __future__ import annotations

import base64
import dataclasses
from collections import defaultdict
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from seats_ops import Merge, Modality, PruneTrace
from seats_ops.cli.app import app
from seats_ops.inspector import page
from seats_ops.inspector.facts import keys_of, run_of
from seats_ops.testing import layout_of_runs
from seats_ops.trace.records import StageRecord
from tests.inspector.conftest import WIDE, Open, until
from tests.inspector.example import example, media_of, merged_example
from tests.inspector.test_page import data_of

LARGEST = 8
LISTS = """() => [...document.querySelectorAll('#token h4')].map((title) => [title.textContent,
    [...title.nextSibling.querySelectorAll('tbody tr')].map((row) => [...row.children].map((cell) => cell.textContent)),
    title.nextSibling.nextSibling?.className === 'note' ? title.nextSibling.nextSibling.textContent : ''])"""


@pytest.fixture
def tab(opened: Open) -> Any:
    config, trace = merged_example()
    return opened(page(trace, media=media_of(trace), config=config))


def entries(trace: PruneTrace, number: int) -> dict[tuple[int, int], float]:
    """Coefficient by (target, source) column, those of a pair added up."""
    found: dict[tuple[int, int], float] = defaultdict(float)
    merge = trace.stages[number].merge
    assert merge is not None
    for (_, target), (_, source), value in zip(*(part.tolist() for part in merge), strict=True):
        found[target, source] += value
    return found


def tokens(number: int) -> str:
    return f"{number} token{'' if number == 1 else 's'}"


def largest_first(pairs: list[tuple[int, float]]) -> list[tuple[int, float]]:
    return sorted(pairs, key=lambda pair: (-abs(pair[1]), pair[0]))


def check_list(found: list[Any], title: str, pairs: list[tuple[int, float]], own: int) -> None:
    trace = merged_example()[1]
    assert trace.layout is not None
    assert found[0].endswith(title), found
    assert [row[0] for row in found[1]] == [str(column) for column, _ in pairs[:LARGEST]]
    for row, (column, value) in zip(found[1], pairs, strict=False):
        kind = Modality(int(trace.layout.modality[column])).name.lower()
        assert row[1] == ("itself" if column == own else kind)
        assert float(row[4]) == pytest.approx(value, rel=1e-3)
    rest = len(pairs) - LARGEST
    assert found[2] == (f"and {rest} more" if rest > 0 else "")


def test_every_token_says_what_it_went_into_and_is_a_sum_of(tab: Any) -> None:
    _, trace = merged_example()
    merged, more = [entries(trace, number) for number in (0, 1)], 0
    kept = [set(stage.kept_indices[0].tolist()) for stage in trace.stages]
    assert any(1 for _ in kept[0] - kept[1]) and trace.layout is not None
    for column in range(trace.prompt_lengths[0]):
        tab.evaluate(f"select({column})")
        lists = iter(tab.evaluate(LISTS))
        for number, pairs in enumerate(merged):
            if number and column not in kept[0]:
                break
            into = largest_first([(t, c) for (t, s), c in pairs.items() if s == column and t != column])
            parts = largest_first([(s, c) for (t, s), c in pairs.items() if t == column and s != column])
            if into:
                verb = "stays, and is part of" if column in kept[number] else "went into"
                check_list(next(lists), f"{verb} {tokens(len(into))}", into, column)
            if parts or (column, column) in pairs:
                rows = [(column, pairs.get((column, column), 0.0)), *parts]
                title = f"a sum of itself and {tokens(len(parts))}, coefficients add up to "
                found = next(lists)
                assert float(found[0].rsplit(" ", 1)[1]) == pytest.approx(sum(c for _, c in rows), rel=1e-3)
                check_list([found[0].rsplit(" ", 1)[0] + " ", *found[1:]], title, rows, column)
                more += bool(found[2])
        assert next(lists, None) is None
    assert more


def test_states_tell_merged_from_thrown_away(tab: Any) -> None:
    _, trace = merged_example()
    kept = [set(stage.kept_indices[0].tolist()) for stage in trace.stages]
    went = [{source for target, source in entries(trace, number) if source != target} for number in (0, 1)]
    for step in (1, 2):
        tab.evaluate(f"showStep({step})")
        expected = []
        for column in range(trace.prompt_lengths[0]):
            by = next((number for number, columns in enumerate(kept) if column not in columns), 9)
            merged = 6 if by < 2 and column in went[by] else 0
            expected.append(0 if by >= step else merged + (1 if by == step - 1 else 2))
        assert tab.evaluate("[...TOKENS.column].map((_, i) => stateOf(i))") == expected
        assert {1, 7} <= set(expected) and (step == 1 or {2, 8} <= set(expected))
    assert tab.inner_text("#states").endswith("pale: left earlier · plus +: went into another token")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_plus_stands_out_from_its_cell(opened: Open, theme: str) -> None:
    """The middle of a cell is the plus, a pixel in the corner is not; where it was thrown away a stroke is there."""
    _, trace = merged_example()
    tab = opened(page(trace), WIDE, theme)
    tab.evaluate("showStep(1)")
    until(tab, "prompt_.key !== undefined")
    tab.wait_for_timeout(100)
    states, places, inner = tab.evaluate(
        "[...[stateOf, (i) => placeOf(i, 0)].map((f) => [...TOKENS.column.keys()].map(f)), sheet.size - 1]"
    )
    picture = pixels(tab)
    for state, differs in ((7, True), (0, False)):
        token = next(i for i, each in enumerate(states) if each == state and trace.layout and trace.layout.modality[i])
        centre, corner = (picture[tuple(round(p + part * inner) for p in places[token][::-1])] for part in (0.5, 0.15))
        assert (int((centre.int() - corner.int()).abs().sum()) > 150) == differs


def pixels(tab: Any) -> torch.Tensor:
    """uint8 [height, width, 4] of the picture of the prompt."""
    shot = tab.evaluate(
        """() => {
            const { width, height } = prompt_, { data } = prompt_.getContext("2d").getImageData(0, 0, width, height);
            let text = "";
            for (let i = 0; i < data.length; i += 8192) text += String.fromCharCode(...data.subarray(i, i + 8192));
            return [height, width, btoa(text)];
        }"""
    )
    return torch.frombuffer(bytearray(base64.b64decode(shot[2])), dtype=torch.uint8).view(*shot[:2], 4)


def test_a_partner_is_gone_to(tab: Any) -> None:
    _, trace = merged_example()
    target, source = next((t, s) for t, s in entries(trace, 0) if t != s and s not in trace.stages[0].kept_indices[0])
    tab.evaluate(f"select({source})")
    tab.evaluate("show(0, 0.5)")
    tab.click(f"#token .partners button:text-is('{target}')")
    assert tab.evaluate("view.token") == target
    assert tab.evaluate("document.activeElement.id") == "token"
    assert tab.locator("#token .partners button[disabled]").first.inner_text() == str(target)
    tab.click(f"#token .partners button:text-is('{source}')")
    assert tab.evaluate("view.token") == source
    video = next(t for t, s in entries(trace, 0) if trace.layout and trace.layout.modality[t] == 1 and t > 100)
    tab.evaluate(f"reach({video})")
    assert tab.evaluate("view.from <= timeOf(view.token) && timeOf(view.token) <= view.to && view.to - view.from < 1")


def test_what_is_said_of_a_stage(tab: Any) -> None:
    _, trace = merged_example()
    before = set(range(trace.prompt_lengths[0]))
    assert tab.inner_text("#facts") == ""
    for number, stage in enumerate(trace.stages):
        tab.evaluate(f"showStep({number + 1})")
        pairs, kept = entries(trace, number), set(stage.kept_indices[0].tolist())
        sums: dict[int, float] = defaultdict(float)
        for (target, _), value in pairs.items():
            sums[target] += value
        words = tab.inner_text("#facts")
        assert words.startswith(f"{len(sums)} kept tokens are sums, whose coefficients add up to ")
        low, high = (float(word) for word in words.split("add up to ")[1].split(";")[0].split(" to "))
        assert (low, high) == (pytest.approx(min(sums.values()), rel=1e-3), pytest.approx(max(sums.values()), rel=1e-3))
        went = {source for target, source in pairs if source != target} & (before - kept)
        thrown = len(before - kept) - len(went)
        assert f"of those that leave {len(went)} went into others, {thrown} into none" in words
        assert stage.multiplicity is not None
        assert words.endswith(f"a kept token stands for 1 to {int(stage.multiplicity.max())}.")
        before = kept


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_side_by_side(opened: Open, theme: str) -> None:
    (_, a), (_, b) = merged_example(), merged_example(6)
    tab = opened(page(a, other=b, media=media_of(a), names=("four", "six")), (390, 844), theme)
    tab.click("#runs button:nth-child(4)")
    tab.evaluate("showStep(1)")
    said = tab.inner_text("#facts")
    assert said.startswith("four, Gathering: 27 kept tokens are sums") and " six, Gathering: " in said
    went = [{source for target, source in entries(trace, 0) if source != target} for trace in (a, b)]
    kept = [set(trace.stages[0].kept_indices[0].tolist()) for trace in (a, b)]
    for lane in (0, 1):
        states = tab.evaluate(f"(view.lane = {lane}, [...TOKENS.column].map((_, i) => stateOf(i)))")
        assert {i for i, state in enumerate(states) if state == 8} == went[lane] - kept[lane]
    dropped = min(went[0] - kept[0])
    tab.evaluate(f"select({dropped})")
    assert tab.locator("#token h4").count() == 1 + (dropped in went[1] - kept[1])
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.click("#runs button:nth-child(3)")
    assert "plus" not in tab.inner_text("#states")


def test_a_page_of_a_trace_that_merges_nothing_says_nothing_of_it(opened: Open) -> None:
    config, trace = example()
    text = page(trace, config=config)
    names = {"name", "layer", "budgets", "left", "scores", "tokens", "asked"}
    assert all(set(stage) == names for stage in data_of(text)["runs"][0]["stages"])
    tab = opened(text)
    tab.evaluate("showStep(1); select(TOKENS.modality.indexOf(1))")
    assert tab.inner_text("#facts") == "" and not tab.locator("#facts").is_visible()
    assert tab.inner_text("#states") == "full: there · stroke: leaves at this stage · pale: left earlier"
    assert "merged" not in tab.inner_text("#token") and tab.locator("#token h4").count() == 0


def batch() -> PruneTrace:
    layout = layout_of_runs([[(Modality.VIDEO, 3), (Modality.TEXT, 1)], [(Modality.VIDEO, 4), (Modality.TEXT, 1)]])
    # Padding: the first prompt begins at column 1.
    layout = dataclasses.replace(layout, position=torch.tensor([1, 2, 3, 4, 0, 1, 2, 3, 4]))
    ends = [[0, 2], [1, 0], [0, 2], [1, 0]], [[0, 3], [1, 0], [0, 2], [1, 3]]
    merge = Merge(*map(torch.tensor, ends), torch.tensor([0.5, 0.25, 1.5, -0.25]))
    kept = [torch.tensor([2, 4]), torch.tensor([0, 2, 4])]
    counts = {"text": 2, "video": 3, "audio": 0, "image": 0}
    stage = StageRecord("Merging", 1, kept, 5, counts, merge=merge, multiplicity=torch.tensor([3.0, 1, 5, 4, 1]))
    return PruneTrace([stage], [4, 5], {"text": 2, "video": 7}, [3, 3], layout, kv_policy="uniform")


def test_the_merge_of_a_row_is_cut_out(opened: Open) -> None:
    trace = batch()
    for row, (low, high) in enumerate(([1, 3], [1, 5])):
        assert run_of(trace, row)["stages"][0]["multiplicity"] == [low, high]
    tab = opened(page(trace, row=0))
    tab.evaluate("showStep(1); select(1)")
    ((title, rows, _),) = tab.evaluate(LISTS)
    assert title == "Merging after layer 1: a sum of itself and 1 token, coefficients add up to 2.000"
    assert [[row[0], row[4]] for row in rows] == [["2", "1.500"], ["3", "0.5000"]]
    tab = opened(page(trace, row=1))
    tab.evaluate("showStep(1); select(3)")
    ((title, rows, _),) = tab.evaluate(LISTS)
    assert title == "Merging after layer 1: went into 1 token" and rows[0][0] == "0"
    # What stays nought is nought: float32 sums leave no dust.
    tab.evaluate("select(0)")
    assert tab.evaluate(LISTS)[0][0].endswith("add up to 0")


def test_merges_across_prompts_and_of_other_columns_are_refused() -> None:
    for end in (0, 1):
        trace = batch()
        merge = trace.stages[0].merge
        assert merge is not None
        merge.source[0, end] = 1 if end == 0 else 77
        with pytest.raises(ValueError, match=r"Merging: expected merge\.source to be tokens of prompt 0, got others"):
            page(trace)


def test_keys_that_stay_are_counted(opened: Open) -> None:
    trace = batch()
    trace.stages[0] = dataclasses.replace(trace.stages[0], kv_rule="long", positions="renumbered", values=True)
    assert [keys_of(trace, row) for row in (0, 1)] == [[4, 2], [5, 3]]
    tab = opened(page(trace))
    tab.evaluate("showStep(1); select(0)")
    assert tab.evaluate("layersHolding(DATA.runs[0], 0)") == "1"
    assert tab.inner_text("#facts").endswith(
        "positions are counted anew; earlier layers go on holding keys of what leaves; "
        "kept tokens get values that the trace does not hold."
    )


def test_a_very_long_prompt_has_a_texture(opened: Open) -> None:
    total = 21_000
    layout = layout_of_runs([[(Modality.VIDEO, total), (Modality.TEXT, 1)]])
    column = torch.arange(total)
    gone = column[column % 4 != 0]
    went = gone[gone % 2 == 0]
    merge = Merge(torch.stack([went * 0, went - went % 4], 1), torch.stack([went * 0, went], 1), torch.ones(len(went)))
    kept = [torch.cat([column[::4], torch.tensor([total])])]
    stage = StageRecord("Merging", 0, kept, len(kept[0]), {"video": total // 4, "text": 1}, merge=merge)
    tab = opened(page(PruneTrace([stage], [total + 1], {"video": total, "text": 1}, [], layout)))
    tab.evaluate("showStep(1)")
    until(tab, "prompt_.key?.startsWith('1,')")
    tab.wait_for_timeout(100)
    picture = pixels(tab)[..., 3]
    found = {}
    for i in (4, 5, 6):
        x, y = tab.evaluate(f"placeOf({i}, 0)")
        found[i] = picture[y : y + 4 : 2, x : x + 4 : 2].flatten().tolist()
    assert found == {4: [255] * 4, 5: [110] * 4, 6: [220, 110, 110, 220]}


def test_inspect_says_it(tmp_path: Any) -> None:
    _, trace = merged_example()
    trace.save(tmp_path / "trace.json")
    said = CliRunner().invoke(app, ["inspect", str(tmp_path / "trace.json")]).output
    assert "Gathering (before layer 1): 27 kept tokens are sums, whose coefficients add up to 0.5426 to 1" in said
    short = CliRunner().invoke(app, ["inspect", str(tmp_path / "trace.json"), "--json"]).output
    assert '"merge"' not in short and '"kept_indices"' not in short
