"""Methods and stages of other packages: found when asked for; one that is broken costs none of the others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seats_ops import Schedule
from seats_ops.methods import method, methods
from seats_ops.methods.method import _METHODS
from seats_ops.operators.registry import REGISTERED

NEIGHBOUR = """
from dataclasses import dataclass
from seats_ops import Modality, Schedule
from seats_ops.methods import Protocol, register_method
from seats_ops.operators.stored import Stored

@dataclass(frozen=True)
class TextOnly(Stored):
    inputs = ()
    def __call__(self, layout, *, backend="auto"):
        return layout.is_modality(Modality.TEXT)

@register_method("text-only", Protocol("-", "-", "-"), "a neighbour")
def text_only(config, ratio):
    return Schedule(TextOnly())
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with a method and a stage, and one that cannot be imported."""
    for name, points in (
        ("aaa_broken", "[seats_ops.methods]\nodd = aaa_broken\n[seats_ops.stages]\nOdd = aaa_broken:Odd\n"),
        ("neighbour", "[seats_ops.methods]\nfine = neighbour\n[seats_ops.stages]\nTextOnly = neighbour:TextOnly\n"),
    ):
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(points)
    (tmp_path / "aaa_broken.py").write_text("import a_package_that_is_not_there\n")
    (tmp_path / "neighbour.py").write_text(NEIGHBOUR)
    monkeypatch.syspath_prepend(tmp_path)
    method("evs")
    known, classes = dict(_METHODS), dict(REGISTERED._classes)
    yield
    for registered, before in ((_METHODS, known), (REGISTERED._classes, classes)):
        registered.clear()
        registered.update(before)
    sys.modules.pop("neighbour", None)


@pytest.mark.usefixtures("packages")
def test_a_broken_neighbour_costs_its_own_methods_alone() -> None:
    assert method("text-only")(None, 0.5).before_llm[0].inputs == ()
    with pytest.warns(UserWarning, match=r"entry point 'odd' of seats_ops\.methods: .*a_package_that_is_not_there"):
        assert "text-only" in methods()
    with pytest.raises(ValueError, match=r"expected one of .*text-only.*, got 'odder'; entry point 'odd' of"):
        method("odder")


@pytest.mark.usefixtures("packages")
def test_a_stage_of_a_neighbour_is_imported_when_a_schedule_names_it() -> None:
    found = Schedule.from_dict({"before_llm": [{"type": "TextOnly"}]})
    assert type(found.before_llm[0]).__name__ == "TextOnly"
    with pytest.raises(ImportError, match=r"entry point 'Odd' of seats_ops\.stages: .*a_package_that_is_not_there"):
        Schedule.from_dict({"before_llm": [{"type": "Odd"}]})
