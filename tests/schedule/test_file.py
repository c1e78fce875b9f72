"""Schedules as files, and how they are printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner

MINE = Schedule(
    DiversitySelector({"video": 0.1, "audio": 0.5}, weighted=False),
    {2: StagePruner(0.8), 3: [StagePruner(0.5), ModalityDropper(["audio"])]},
)


@pytest.mark.parametrize("name", ["mine.json", "mine.yaml", "mine.yml"])
def test_what_is_saved_is_loaded(name: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    MINE.save(tmp_path / name)
    assert Schedule.load(tmp_path / name) == MINE
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_person_writes_numbers_for_layers(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    path = tmp_path / "mine.yaml"
    path.write_text("before_llm: []\nafter_layer:\n  3:\n  - type: ModalityDropper\n    modalities: [video]\n")
    assert Schedule.load(path) == Schedule(after_layer={3: ModalityDropper(["video"])})


def changed(change: Any) -> str:
    data = MINE.to_dict()
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "expected JSON, got a text that is none: .*line 1 column 2"),
        ("[]", "expected a mapping with before_llm and after_layer, got list"),
        ("{}", r"data: expected entries before_llm or after_layer, got \[\]"),
        ('{"after": {}}', r"data: expected entries before_llm or after_layer, got \['after'\]"),
        (changed(lambda d: d.update(late=1)), r"data: expected entries before_llm and after_layer, got \['late'\] too"),
        (changed(lambda d: d.update(after_layer=[])), "after_layer: expected a mapping from layer to stages, got"),
        (changed(lambda d: d["after_layer"].update({"x": []})), "after_layer: expected whole numbers as keys, got 'x'"),
        (changed(lambda d: d["after_layer"].update({"4": {}})), r"after_layer\[4\]: expected a list of stages, got"),
        (
            changed(lambda d: d["after_layer"]["3"][0].update(keep_ratio=1.4)),
            r"after_layer\[3\]\[0\]: keep_ratio.*1\.4",
        ),
        (
            changed(lambda d: d["after_layer"]["3"][0].pop("keep_ratio")),
            r"after_layer\[3\]\[0\]: StagePruner: expected an entry 'keep_ratio'",
        ),
        (
            changed(lambda d: d["before_llm"][0].update(wieghted=1)),
            r"before_llm\[0\]: Diversity.*wieghted too",
        ),
        (changed(lambda d: d["before_llm"][0].update(type="Mine")), r"before_llm\[0\]: type: expected one of .*'Mine'"),
    ],
)
def test_errors_point_at_the_entry(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^{path}: {said}"):
        Schedule.load(path)


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^path: expected a name that ends in \.json, \.yaml, \.yml, got mine\.txt"):
        MINE.save(tmp_path / "mine.txt")
    with pytest.raises(FileNotFoundError):
        Schedule.load(tmp_path / "mine.json")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match="takes the package pyyaml: pip install pyyaml"):
        MINE.save(tmp_path / "mine.yaml")
    assert list(tmp_path.iterdir()) == []


def test_equal_schedules_have_equal_hashes() -> None:
    again = Schedule.from_dict(json.loads(json.dumps(MINE.to_dict())))
    assert again == MINE and len({again, MINE}) == 1
    assert len({MINE, Schedule()}) == 2


def test_a_schedule_prints_as_a_diagram() -> None:
    assert str(MINE).splitlines() == [
        "* prompt          all tokens",
        "* before the LLM  DiversitySelector(video 0.1, audio 0.5, weighted=False)",
        "| layers 1 to 2",
        "* after layer 2   StagePruner(0.8)",
        "| layer 3",
        "* after layer 3   StagePruner(0.5)",
        "* after layer 3   ModalityDropper(modalities=audio)",
        "| layers 4 to the last",
    ]
    shown = MINE._repr_html_()
    assert shown.count("<tr>") == len(str(MINE).splitlines()) and "StagePruner(0.8)" in shown


class Mine:
    """A stage that is no dataclass."""

    inputs = ()

    def __call__(self, layout: Any, *, backend: str = "auto") -> Any:
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        return {}


def test_a_stage_of_ones_own_has_its_name() -> None:
    assert "* before the LLM  Mine" in str(Schedule(Mine()))


def test_what_acts_nowhere_may_be_left_out() -> None:
    stored = MINE.to_dict()
    assert Schedule.from_dict({"after_layer": stored["after_layer"]}) == Schedule(after_layer=MINE.after_layer)
    assert Schedule.from_dict({"before_llm": stored["before_llm"]}) == Schedule(before_llm=MINE.before_llm)


def test_settings_that_have_a_default_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "short.yaml"
    path.write_text(
        "before_llm: [{type: DiversitySelector, keep_ratio: 0.1}]\n"
        "after_layer: {3: [{type: StagePruner, keep_ratio: 0.5}]}"
    )
    assert Schedule.load(path) == Schedule(DiversitySelector(0.1), {3: StagePruner(0.5)})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "after_layer:\n  8: [{type: ModalityDropper}]\n  8: [{type: StagePruner, keep_ratio: 0.5}]\n"),
        ("a.json", '{"after_layer": {"8": [{"type": "ModalityDropper"}], "8": []}}'),
    ],
)
def test_a_layer_that_is_given_twice_loses_no_stage_in_silence(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"{name}: expected .*'?8'? is given twice"):
        Schedule.load(path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"a\.yaml: expected YAML, got a text that is none"):
        Schedule.load(path)
