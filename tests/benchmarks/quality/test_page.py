"""docs/quality.md and its tables say what the committed results say, and the generator says what any results say."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("statsmodels")

from benchmarks.quality import costs, page, steps, versus
from benchmarks.quality.layers import file_of
from benchmarks.quality.ledger import RIGHT, pack
from benchmarks.quality.losses import lost
from benchmarks.quality.outcomes import Cost, Results
from benchmarks.quality.pictures import accuracy_by_flops, errors_by_position, knock_out
from benchmarks.report.marks import replaced
from tests.benchmarks.quality.results import MODELS, REVISION, cell, first, last, write

PACKED = steps.COMMITTED.results / f"{steps.ITEMS}.gz"
committed = pytest.mark.skipif(not PACKED.exists(), reason="no results are committed")
TASKS = ("needle-1", "needle-2", "menu", "bind-apart", "gist", "needle-1/windows=12")
SHARES = {"layer_average": 0.2, "flops": 0.17, "kv": 0.03}


@pytest.mark.parametrize("name", page.PAGES, ids=lambda path: path.stem)
def test_the_pages_are_those_of_the_results(name: Path) -> None:
    """Without results nothing stands between the marks."""
    text = name.read_text(encoding="utf-8")
    if PACKED.exists():
        made = page.made(page.read(steps.COMMITTED), name)
    else:
        made = replaced(text, {part: () for part in page.PAGES[name]})
    assert made == text, "run `python -m benchmarks quality page`"


def test_the_page_says_whether_there_are_results() -> None:
    text = next(path for path in page.PAGES if path.stem == "quality").read_text(encoding="utf-8")
    assert ("Nothing is published yet" in text) != PACKED.exists()


@committed
@pytest.mark.parametrize("task", ["needle-1", "gist", "bind-sound-to-object"])
@pytest.mark.parametrize("name", ["seats-even", "omnipack", "uniform"])
def test_cells_are_right_answers_over_items(name: str, task: str) -> None:
    """Counted anew with nothing of ours but the code of a right answer."""
    right, items = 0, 0
    with gzip.open(PACKED, "rt", encoding="utf-8") as file:
        next(file)
        for row in map(json.loads, file):
            found = row["cells"].get(f"{name}|layer-average|0.2", ["no"])
            if row["task"] == task and len(found) > 1:
                right += sum(int(digit, 16) & RIGHT for digit in found[0])
                items += len(found[0])
    text = next(path for path in page.PAGES if path.stem == "quality_tables").read_text(encoding="utf-8")
    table = text.partition("**R = 20 %**")[2].partition("**R = 10 %**")[0].splitlines()
    heads = next(line for line in table if "| needle-1 |" in line).split(" | ")
    [row] = [line for line in table if line.startswith(f"| {name} |")]
    assert row.split(" | ")[heads.index(task)].startswith(f"{100 * right / items:.1f} ±")


@committed
def test_costs_are_those_of_the_contenders() -> None:
    """Of two that are quick to find, on the first model."""
    read = page.read(steps.COMMITTED)
    every = json.loads((steps.COMMITTED.results / costs.FILE).read_text(encoding="utf-8"))["costs"]
    said = every[read.results.models[0]]
    assert said["uniform|layer-average|0.2"]["layer_average"] == pytest.approx(0.2, abs=0.004)
    assert said["seats-even|layer-average|0.2"]["layer_average"] == pytest.approx(0.2, abs=0.004)


@committed
def test_layers_are_those_of_the_results() -> None:
    read = page.read(steps.COMMITTED)
    for model, found in read.passed.items():
        acting = read.results.revision["layers"][model]
        assert (found.layers["late"], found.layers["drops"]) == (acting["late"], acting["drops"])
        assert found.layers["model"] == read.results.revision["models"][model]


def some(model: str, task: str, chunk: int) -> dict[str, list[Any]]:
    """SEATS is right on the first items, and loses the gist to evenly spaced tokens by its saliency weights."""
    own = 20 if task == "gist" else 90
    answers = {f"random-{seed}": first(30 + seed) for seed in range(5)} | {
        "uniform": last(60),
        "oracle": first(100),
        "seats-even": first(own),
        "seats": first(own - 5),
        "omnipack": first(95),
        "seats-selector": first(own - 10),
        "seats/unweighted": first(70 if task == "gist" else 60),
        "seats/temperature 1.0": first(own),
        "fault/scores shuffled": first(own // 2),
        "fault/windows shuffled": first(own),
    }
    cells: dict[str, list[Any]] = {}
    for cost in ("layer-average|0.4", "layer-average|0.2", "layer-average|0.1", "flops|0.2", "kv|0.2"):
        cells |= {f"{name}|{cost}": cell(right) for name, right in answers.items()}
        cells[f"fastv|{cost}"] = ["ratio: costs 0.5212 of the whole prompt at least, more than 0.2"]
    return cells


def packed(place: steps.Place) -> Path:
    return place.results / f"{steps.ITEMS}.gz"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> steps.Place:
    """A folder with all that a page is made of."""
    found = steps.Place(tmp_path_factory.mktemp("quality"))
    items = write(found.results / steps.ITEMS, some, tasks=TASKS)
    pack(items, packed(found))
    keys = {key: SHARES for key, one in some("", "", 0).items() if len(one) > 1}
    costs.write(found.results, REVISION, {model: keys for model in MODELS})
    gate = {"name": "oracle", "task": "menu", "right": 280, "items": 300, "bound": 0.95, "at_most": False}
    rows = 2 * len(TASKS[:5])
    labels = [task for task in TASKS[:5] for _ in range(2)]
    cells = [
        {
            "way": "media",
            "layer": layer,
            "rows": list(range(rows)),
            "agreement": [float(layer > 5)] * rows,
            "kl": [0.0] * rows,
            "tokens": [1] * rows,
        }
        for layer in range(9)
    ]
    horizon = {"num_layers": 8, "layers": list(range(9)), "modalities": ["video"], "share": 0.2, "answer_tokens": 1}
    horizon |= {"seed": 0, "tokens": [1] * rows, "labels": labels, "cells": cells}
    chosen = {"model": "0", "threshold": 0.95, "late": 7, "drops": [3, 4], "drops_are": "chosen", "reasons": []}
    found.models.mkdir()
    for model in MODELS:
        (found.results / f"gates-{model}.json").write_text(json.dumps([{**gate, "passed": model == MODELS[0]}]))
        (found.results / f"horizon-{model}.json").write_text(json.dumps(horizon))
        file_of(found.models / f"{model}.safetensors").write_text(json.dumps(chosen))
    return found


@pytest.fixture(scope="module")
def read(place: steps.Place) -> page.Read:
    return page.read(place)


def part(read: page.Read, name: str) -> str:
    makes: dict[str, Callable[[page.Read], list[str]]] = {**page.STORY, **page.TABLES}
    return "\n".join(makes[name](read))


def test_losses_say_where_and_why(read: page.Read) -> None:
    said = part(read, "losses")
    assert said.startswith("Asked of seats-even and seats against random and uniform")
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("| ") and "gist" in line]
    assert [row[0] for row in rows].count("| 20 %") == 4  # Two of SEATS against two rivals.
    [against_uniform] = [row for row in rows if row[0] == "| 20 %" and row[2:4] == ["seats-even", "uniform"]]
    assert against_uniform[4].startswith("**-40.0**")
    assert "20.0 % of needles there, against 60.0 %" in against_uniform[5]
    assert "unweighted gains +50.0" in against_uniform[5]
    assert "| needle-1 |" not in said and "on gist (3 of task and R)" in said


def test_without_a_loss_it_says_so(tmp_path: Path) -> None:
    results = Results(write(tmp_path / "items.jsonl", some, tasks=("needle-1",)))
    [said] = lost(results, [Cost("layer-average", 0.2)])
    assert said.endswith("nowhere surely worse.")


def test_knobs_that_change_nothing_are_named(read: page.Read) -> None:
    lines = part(read, "knobs").splitlines()
    assert lines[0] == "- unweighted: +50.0 on everything at R = 20 %"
    assert lines[-1] == "- no sure difference anywhere: temperature 1.0"
    assert "seats-selector alone: -10.0" in "\n".join(lines)


def test_idle_parts_show_by_their_faults(read: page.Read) -> None:
    lines = part(read, "faults").splitlines()
    assert lines[0].startswith("- scores shuffled: -45.0 on one thing")
    assert lines[-1] == "- no sure difference anywhere: windows shuffled"


def test_omnipack_and_seats_are_paired_at_every_retention(read: page.Read) -> None:
    said = part(read, "omnipack")
    assert said.count("omnipack is better, **+5.0**") == 3
    assert "| omnipack less seats-even | R = 40 % | R = 20 % | R = 10 % |" in said
    assert "| gist | **+75.0** (" in said and "| omnipack less seats |" in said


def test_three_axes_stand_side_by_side(read: page.Read) -> None:
    table = part(read, "axes")
    assert "| uniform | 20 / 17 / 3 | 60.0 ±" in table and table.splitlines()[0].count("layers / FLOPs / KV") == 3
    assert "fastv" not in table  # It reaches none of them.


def test_positions_are_those_of_the_questions(read: page.Read) -> None:
    """The first items of a chunk are right, wherever in the clip their things are: errors are near 10 % everywhere."""
    [row] = [line for line in part(read, "positions").splitlines() if line.startswith("| seats-even |")]
    errors = [float(one.split(" ±")[0]) for one in row.split(" | ")[1:5]]
    assert all(5 < error < 15 for error in errors) and sum(errors) / 4 == pytest.approx(10, abs=1)


def test_curves_have_the_usual_value_of_the_task_itself(read: page.Read) -> None:
    table = part(read, "curves")
    assert table.startswith("| needle-1, windows | 8, R = 20 % | 12, R = 20 % | 8, R = 10 % | 12, R = 10 % |")
    assert "| fastv | cannot | cannot |" in table


def test_gates_that_fail_are_named(read: page.Read) -> None:
    said = part(read, "gates")
    assert f"- {MODELS[1]} fails oracle on menu: 280 of 300 right, at least 95.0 % expected" in said
    assert "| oracle | 1 of 1; menu 93.3, at least 95.0 | 0 of 1; menu 93.3, at least 95.0 |" in said


def test_the_least_flops_need_the_whole_interval(read: page.Read) -> None:
    assert "oracle" not in versus.least_flops(read.results, read.costs, read.asked)
    assert "| omnipack |" not in part(read, "least")  # 95 % right, but not surely 95 %.


def test_pages_are_written_with_their_pictures(place: steps.Place, read: page.Read) -> None:
    written = page.write(place.folder)
    assert written == place.folder / "quality.md"
    text = written.read_text(encoding="utf-8")
    assert "2 models" in text and "in points" in text
    for name in page.PICTURES:
        assert f"(images/quality-{name}.png)" in text
        assert (place.folder / "images" / f"quality-{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert (place.folder / "quality_tables.md").exists()


def test_pictures_show_what_was_measured(read: page.Read) -> None:
    flops = accuracy_by_flops(read.results, read.costs)
    [needle] = [axes for axes in flops.axes if axes.get_title() == "needle-1"]
    lines = {one.get_label(): one for one in needle.containers}
    assert lines["seats-even"].lines[0].get_xydata().ravel().tolist() == pytest.approx([17, 90] * 3)
    assert "fastv-om" not in lines
    out = knock_out(read.passed)
    assert [axes.get_title() for axes in out.axes] == list(MODELS)
    assert [line.get_ydata()[-1] for line in out.axes[0].lines[:2]] == [100, 100]
    assert errors_by_position(read.results, Cost("layer-average", 0.2)).axes[0].get_title() == "full"


def test_costs_of_another_revision_are_refused(place: steps.Place) -> None:
    with pytest.raises(ValueError, match=r"costs\.json: costs of another revision, never mixed: rules is 1, of the"):
        costs.Costs(place.results, {**REVISION, "rules": 2})


def test_what_is_missing_is_named(tmp_path: Path, place: steps.Place) -> None:
    with pytest.raises(ValueError, match=r"items\.jsonl\.gz: expected results, got none; python -m benchmarks"):
        page.read(steps.Place(tmp_path))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "items.jsonl.gz").write_bytes(packed(place).read_bytes())
    with pytest.raises(ValueError, match=r"gates-.*: expected what was found of .*, got none; python -m benchmarks"):
        page.read(steps.Place(tmp_path))


def test_a_page_without_a_mark_is_refused() -> None:
    with pytest.raises(ValueError, match="page: expected the marks <!-- facts -->"):
        replaced("# Page\n", {"facts": ["one"]})
