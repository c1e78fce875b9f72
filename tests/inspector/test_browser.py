"""The page in a real browser: what it says is what the trace says, by pointer and by keyboard, in both themes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from seats_ops import Modality, PruneTrace
from seats_ops.inspector import page
from seats_ops.testing import layout_of_runs
from seats_ops.trace.records import MediaItem
from seats_ops.trace.retention import mean_asked_of, mean_retention
from tests.inspector.conftest import WIDE, Open, until
from tests.inspector.example import TITLE, example, media_of
from tests.inspector.long_trace import long_media, long_trace

PHONE = (390, 844)


@pytest.fixture
def tab(opened: Open) -> Any:
    config, trace = example()
    return opened(page(trace, media=media_of(trace), config=config))


def counts_said(trace: PruneTrace, number: int) -> list[str]:
    stage, whole = trace.stages[number], trace.prompt_counts
    present = [kind.name.lower() for kind in Modality if whole[kind.name.lower()]]
    asked = {
        kind: f", asked {100 * math.prod(each.asked[kind] for each in trace.stages[: number + 1]):.1f} %"
        for kind in stage.asked
    }
    return [
        f"{stage.counts[kind]} {kind} ({100 * stage.counts[kind] / whole[kind]:.1f} %{asked.get(kind, '')})"
        for kind in present
    ]


def test_means_of_all_layers_stand_beside_what_was_asked_for(tab: Any) -> None:
    config, trace = example()
    layers = config.text_config.num_hidden_layers
    kept, asked = mean_retention(trace, layers), mean_asked_of(trace, layers)
    said = "; ".join(f"{kind} {100 * kept[kind]:.1f} %, asked {100 * asked[kind]:.1f} %" for kind in kept)
    assert f"Kept, mean of all layers: {said}." in tab.inner_text("#layers")


def test_stages_are_steps(tab: Any) -> None:
    _, trace = example()
    assert tab.inner_text("#said") == f"The prompt: {trace.prompt_lengths[0]} tokens."
    for number, stage in enumerate(trace.stages):
        tab.keyboard.press("ArrowRight")
        where = f"after layer {stage.layer}" if stage.layer else "before the LLM"
        said = tab.inner_text("#said")
        assert said.startswith(f"{stage.name} {where}: ")
        assert said.endswith(f"there are {', '.join(counts_said(trace, number))}.")
        assert tab.get_attribute("#step", "aria-valuetext") == f"{stage.name} {where}"
    tab.keyboard.press("ArrowLeft")
    assert tab.inner_text("#said").startswith(trace.stages[-2].name)
    tab.click("#steps li:first-child button")
    assert tab.inner_text("#said").startswith("The prompt")
    tab.locator("#step").fill("2")
    assert tab.inner_text("#said").startswith(trace.stages[1].name)


def test_play_goes_from_stage_to_stage(tab: Any) -> None:
    tab.keyboard.press(" ")
    assert tab.inner_text("#play") == "Pause"
    until(tab, "view.step === 2")
    tab.click("#play")
    assert tab.get_attribute("#play", "aria-pressed") == "false"


def panel(tab: Any) -> tuple[dict[str, str], list[list[str]]]:
    """What is said of a token: by name, and line by line of its drops."""
    pairs, rows = tab.evaluate(
        """() => {
            const words = (list) => [...list].map((each) => each.textContent);
            const all = (it) => [...document.querySelectorAll(it)];
            const pairs = all("#token dt").map((name) => [name.textContent, name.nextSibling.textContent]);
            return [pairs, all("#token tbody tr").map((row) => words(row.children))];
        }"""
    )
    return dict(pairs), rows


def expected_facts(trace: PruneTrace, i: int) -> dict[str, str]:
    layout = trace.layout
    assert layout is not None and layout.block is not None and layout.window is not None and trace.saliency is not None
    kind = Modality(int(layout.modality[i])).name.lower()
    query = int((layout.modality == 0).nonzero().max())
    facts = {"column": str(int(layout.position[i])), "modality": kind + (", the query" if i == query else "")}
    if layout.block[i] >= 0:
        facts["block"] = str(int(layout.block[i]))
    if layout.window[i] >= 0:
        facts["window"] = str(int(layout.window[i]))
    gone = next((s for s in trace.stages if int(layout.position[i]) not in s.kept_indices[0].tolist()), None)
    facts["dropped by"] = "no stage" if gone is None else f"{gone.name} after layer {gone.layer}"
    if gone is not None and not gone.layer:
        facts["dropped by"] = f"{gone.name} before the LLM"
    facts["keys in layers"] = "none" if gone is not None else f"all {len(trace.kv_lengths)}"
    return facts


def test_every_token_is_explained_as_the_trace_has_it(tab: Any) -> None:
    _, trace = example()
    layout = trace.layout
    assert layout is not None and layout.window is not None and trace.saliency is not None
    for i in range(len(layout)):
        tab.evaluate(f"select({i})")
        facts, rows = panel(tab)
        for name, value in expected_facts(trace, i).items():
            assert facts[name] == value, (i, name)
        if int(layout.modality[i]):
            assert float(facts["saliency"]) == pytest.approx(float(trace.saliency[i]), rel=1e-3)
        check_drops(trace, i, rows)


def check_drops(trace: PruneTrace, i: int, rows: list[list[str]]) -> None:
    """Relevance, rank, budget and who stayed, at every stage the token came to, recomputed from the trace."""
    layout = trace.layout
    assert layout is not None and layout.window is not None and layout.block is not None
    here, found, kind = torch.arange(len(layout)), iter(rows), int(layout.modality[i])
    for stage in trace.stages:
        if i not in here.tolist():
            break
        drop, relevance, rank, budget, stayed = next(found)
        assert drop == (f"after {stage.layer}" if stage.layer else "before 1")
        place, window = here.tolist().index(i), int(layout.window[i])
        rivals = here[layout.modality[here] == kind]
        if stage.budgets is not None and window >= 0:
            rivals = rivals[layout.window[rivals] == window]
            assert budget == str(int(stage.budgets[window, kind - 1]))
        else:
            assert budget == "–"
            if not stage.layer and layout.block[i] >= 0:
                rivals = rivals[layout.block[rivals] == layout.block[i]]
        left = torch.isin(layout.position[rivals].long(), stage.kept_indices[0])
        assert stayed == f"{int(left.sum())} of {len(rivals)}"
        if stage.scores is None:
            assert (relevance, rank) == ("–", "–")
        else:
            assert float(relevance) == pytest.approx(float(stage.scores[place]), rel=1e-3)
            if window < 0:
                assert rank == "–"
            else:
                scores = stage.scores[torch.isin(here, rivals)]
                order = rivals[scores.argsort(descending=True, stable=True)].tolist()
                assert rank == f"{order.index(i) + 1} of {len(order)}"
        here = here[torch.isin(layout.position[here].long(), stage.kept_indices[0])]
    assert next(found, None) is None


def test_times_and_places_on_the_grid(tab: Any) -> None:
    """The third frame of the first clip, second row, third patch; the second clip begins where the first one ends."""
    _, trace = example()
    layout = trace.layout
    assert layout is not None
    video = (layout.modality == Modality.VIDEO).nonzero().squeeze(1).tolist()
    tab.evaluate(f"select({video[2 * 6 + 5]})")
    facts, _ = panel(tab)
    assert (facts["(t, h, w)"], facts["time"], facts["video"]) == ("(2, 1, 2)", "1.00 s", "1 of 2")
    tab.evaluate(f"select({video[36]})")
    facts, _ = panel(tab)
    first = max(3.0, sum(item.num_tokens for item in trace.items if item.modality == "audio") / 25)
    assert (facts["(t, h, w)"], facts["time"], facts["video"]) == ("(0, 0, 0)", f"{first:.2f} s", "2 of 2")


def test_pointer_and_keyboard_reach_tokens(tab: Any) -> None:
    box = tab.locator("#prompt").bounding_box()
    tab.mouse.move(box["x"] + 4, box["y"] + 4)
    until(tab, "view.token === 0")
    assert panel(tab)[0]["column"] == "0"
    tab.locator("#prompt").focus()
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    assert panel(tab)[0]["column"] == "3" and tab.evaluate("view.step") == 0
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("view.token") == 3 + tab.evaluate("sheet.columns")
    tab.keyboard.press("Escape")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("view.step") == 1
    box = tab.locator("#timeline").bounding_box()
    tab.mouse.move(box["x"] + 10, box["y"] + 40)
    until(tab, "TOKENS.modality[view.token] === 1")
    assert panel(tab)[0]["(t, h, w)"].startswith("(0, ")


def test_time_zooms_and_is_scrubbed(tab: Any) -> None:
    whole = tab.evaluate("view.to - view.from")
    tab.click("#in")
    assert tab.evaluate("view.to - view.from") == pytest.approx(whole / 1.5)
    tab.locator("#scrub").fill("1000")
    assert tab.evaluate("view.to") == pytest.approx(whole)
    tab.click("#fit")
    assert tab.evaluate("view.to - view.from") == pytest.approx(whole)
    assert tab.locator("#scrub").is_disabled()


def test_zooming_keeps_the_chosen_token_in_view(tab: Any) -> None:
    tab.evaluate("select(TOKENS.modality.lastIndexOf(1))")
    for _ in range(6):
        tab.click("#in")
    time, start, end = tab.evaluate("[timeOf(view.token), view.from, view.to]")
    assert start <= time <= end < tab.evaluate("DURATION") + 1e-9


def test_a_token_is_let_go_of(tab: Any) -> None:
    before = tab.inner_text("#token")
    tab.evaluate("select(7)")
    assert tab.inner_text("#token h2").startswith("Token 7")
    tab.click("#token button")
    assert tab.inner_text("#token") == before and tab.evaluate("view.token") == -1
    assert not tab.evaluate("document.getElementById('token').classList.contains('chosen')")


def test_budgets_and_layers_are_those_of_the_trace(tab: Any) -> None:
    _, trace = example()

    def cells(selector: str) -> list[list[str]]:
        rows = "[...document.querySelectorAll(it + ' tbody tr')]"
        found = tab.evaluate(
            f"(it) => {rows}.map((row) => [...row.children].map((each) => each.textContent))", selector
        )
        return [list(map(str, row)) for row in found]

    budgets = [stage.budgets for stage in trace.stages if stage.budgets is not None]
    expected = [[str(n) for budget in budgets for n in budget[window].tolist()] for window in range(len(budgets[0]))]
    assert [row[1:] for row in cells("#budgets")] == expected
    layers = cells("#layers")
    seen = [trace.prompt_lengths[0]] * len(trace.kv_lengths)
    for stage in trace.stages:
        seen[stage.layer :] = [stage.num_tokens] * (len(seen) - stage.layer)
    assert [int(row[1].replace(",", "")) for row in layers] == seen
    assert [int(row[5]) for row in layers] == trace.kv_lengths


def test_markup_in_a_title_is_text(tab: Any) -> None:
    assert tab.inner_text("#title") == f"What was kept of {TITLE}" == tab.title()
    assert tab.locator("#title b").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_themes_and_widths(opened: Open, theme: str, size: tuple[int, int]) -> None:
    config, trace = example()
    tab = opened(page(trace, media=media_of(trace), config=config), size, theme)
    paper = "getComputedStyle(document.body).backgroundColor"
    first = tab.evaluate(paper)
    assert (sum(map(int, first[4:-1].split(","))) < 200) == (theme == "dark")
    tab.click("#theme")
    assert tab.evaluate(paper) != first
    assert tab.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert tab.evaluate("document.getElementById('timeline').clientWidth") > 0.75 * min(size[0], 1000)


def test_two_traces_and_their_difference(opened: Open) -> None:
    (_, a), (_, b) = example(), example(7)
    tab = opened(page(a, other=b, names=("early", "late")))
    pairs = list(zip(a.stages, b.stages, strict=True))
    kept = [[set(stage.kept_indices[0].tolist()) for stage in pair] for pair in pairs]
    number = next(n for n, (first, second) in enumerate(kept) if first - second and second)
    for run, trace in enumerate((a, b)):
        tab.click(f"#runs button:nth-child({run + 1})")
        tab.click(f"#steps li:nth-child({number + 2}) button")
        assert ", ".join(counts_said(trace, number)) in tab.inner_text("#said")
    tab.click("#runs button:nth-child(3)")
    first, second = kept[number]
    both, one, other = len(first & second), len(first - second), len(second - first)
    assert tab.inner_text("#said").endswith(f"{both} tokens in both, {one} only in early, {other} only in late.")


def test_two_traces_side_by_side(opened: Open) -> None:
    """Lanes on one axis; a line for every layer after which either drops, stages that only one has included."""
    (_, a), (_, b) = example(), example(7)
    tab = opened(page(a, other=b, media=media_of(a), names=("early", "late")))
    alone = tab.evaluate("timeline.clientHeight")
    tab.click("#runs button:nth-child(4)")
    until(tab, f"timeline.clientHeight > 1.8 * {alone}")
    found = "[...document.querySelectorAll('#comparison tbody tr')]"
    rows = tab.evaluate(f"{found}.map((row) => [...row.children].map((cell) => cell.textContent))")
    places = sorted({stage.layer for trace in (a, b) for stage in trace.stages})
    assert [row[0] for row in rows[1:]] == [f"After layer {n}" if n else "Before the LLM" for n in places]
    columns = set(range(a.prompt_lengths[0]))
    for layer, row in zip(places, rows[1:], strict=True):
        first, second = (
            set(([columns] + [set(s.kept_indices[0].tolist()) for s in t.stages if s.layer <= layer])[-1])
            for t in (a, b)
        )
        counts = [([t.prompt_counts] + [s.counts for s in t.stages if s.layer <= layer])[-1] for t in (a, b)]
        cells = [str(n) for c in counts for n in (sum(c.values()), c["video"], c["audio"], c["image"])]
        assert row[1:] == [*cells, *map(str, (len(first & second), len(first - second), len(second - first)))]
    tab.click("#steps li:nth-child(4) button")
    states = {0: tab.evaluate("(view.lane = 0, [...TOKENS.column].map((_, i) => stateOf(i)))")}
    states[1] = tab.evaluate("(view.lane = 1, [...TOKENS.column].map((_, i) => stateOf(i)))")
    kept = [set(t.stages[2].kept_indices[0].tolist()) for t in (a, b)]
    for lane, mark in ((0, 5), (1, 6)):
        mine, theirs = kept[lane], kept[1 - lane]
        assert states[lane] == [2 if c not in mine else 0 if c in theirs else mark for c in sorted(columns)]


def test_the_second_lane_is_pointed_at(opened: Open) -> None:
    (_, a), (_, b) = example(), example(7)
    tab = opened(page(a, other=b))
    tab.click("#runs button:nth-child(4)")
    until(tab, "sheet.named > 0")
    tab.wait_for_timeout(100)
    tab.locator("#prompt").scroll_into_view_if_needed()
    box = tab.locator("#prompt").bounding_box()
    tab.mouse.move(box["x"] + 4, box["y"] + box["height"] / 2 + 24)
    until(tab, "view.token === 0")
    tab.evaluate("scrollTo(0, 0)")
    box = tab.locator("#timeline").bounding_box()
    tab.mouse.move(box["x"] + 10, box["y"] + box["height"] / 2 + 44)
    until(tab, "TOKENS.modality[view.token] === 1")
    assert panel(tab)[0]["(t, h, w)"].startswith("(0, ")


def test_measured_time_is_that_which_was_given(opened: Open) -> None:
    config, trace = example()
    seconds = [0.00125 * (layer + 1) for layer in range(7)]
    tab = opened(page(trace, config=config, layer_seconds=[seconds], layer_clock="<i>CPU</i> time"))
    cells = tab.evaluate("[...document.querySelectorAll('#layers tr')].map((row) => row.lastChild.textContent)")
    assert cells == ["ms, measured", *(f"{1e3 * each:.2f}" for each in seconds), "35.00"]
    assert tab.inner_text("#clock") == "Milliseconds: <i>CPU</i> time."


@pytest.mark.parametrize("kind", ["pictures", "text", "sound"])
def test_prompts_of_one_kind(opened: Open, kind: str) -> None:
    """What a prompt does not have is not there; every picture is reached and left by keyboard."""
    runs = {"pictures": [(Modality.IMAGE, 6)], "text": [], "sound": [(Modality.AUDIO, 9)]}[kind]
    layout = layout_of_runs([[(Modality.TEXT, 3), *runs, (Modality.TEXT, 2)]])
    items = [MediaItem(0, "image", 6, (1, 2, 3))] if kind == "pictures" else []
    items += [MediaItem(0, "audio", 9, None, 0.04)] if kind == "sound" else []
    trace = PruneTrace([], [len(layout)], {"text": 5}, [], layout, items)
    tab = opened(page(trace))
    assert [tab.locator(name).is_visible() for name in ("#time", "#stills")] == [kind == "sound", kind == "pictures"]
    focus = "[getComputedStyle(document.activeElement).outlineStyle, document.activeElement.id]"
    for name in {"pictures": ("gallery", "prompt"), "text": ("prompt",), "sound": ("timeline", "prompt")}[kind]:
        for _ in range(12):
            tab.keyboard.press("Tab")
            if tab.evaluate(focus)[1] == name:
                break
        assert tab.evaluate(focus) == ["solid", name]
        tab.evaluate("select(-1)")
        tab.keyboard.press("ArrowRight")
        assert tab.evaluate("view.token") == (0 if name == "prompt" else 3)
        for _ in range(20):
            tab.keyboard.press("ArrowRight")
        assert tab.evaluate("view.token") == (len(layout) if name == "prompt" else 3 + runs[0][1]) - 1


def test_two_minutes_are_small_and_quick(opened: Open) -> None:
    trace = long_trace(seconds=120, tokens_per_second=77)
    text = page(trace, media=long_media(120))
    assert trace.prompt_lengths[0] > 12_000 and len(text.encode()) < 6e6
    tab = opened(text)
    until(tab, "performance.getEntriesByType('paint').length > 1")
    assert tab.evaluate("Math.max(...performance.getEntriesByType('paint').map((each) => each.startTime))") < 1000
    for act in ("showStep(1 + (view.step + 1) % 3)", "select((view.token + 997) % TOTAL)"):
        assert min(milliseconds(tab, act) for _ in range(5)) < 100, act


def test_an_hour_opens_and_says_how_it_is_thinned_out(opened: Open) -> None:
    tab = opened(page(long_trace(seconds=3600, tokens_per_second=25), media=long_media(3600)))
    assert "180,0" in tab.inner_text("#summary")
    assert "The page holds the frame of every 15th grid; tokens are all there." in tab.inner_text("#thinned")


def milliseconds(tab: Any, act: str) -> float:
    """From a call until the frame after it is drawn."""
    program = """async (act) => {
        const start = performance.now();
        eval(act);
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        return performance.now() - start;
    }"""
    return float(tab.evaluate(program, act))
