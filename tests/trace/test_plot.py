"""A trace as a figure: its heights are the trace's counts."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

import matplotlib
import pytest
import torch

from seats_ops import PruneTrace
from seats_ops.trace.records import StageRecord


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    with matplotlib.rc_context({"backend": "Agg"}):
        yield
    from matplotlib import pyplot

    pyplot.close("all")


def stage(name: str, layer: int, **counts: int) -> StageRecord:
    kept = sum(counts.values())
    return StageRecord(name, layer, [torch.arange(kept)], kept, counts)


def trace() -> PruneTrace:
    stages = [stage("A", 0, text=4, video=6, audio=2), stage("B", 2, text=4, video=3), stage("C", 2, text=4)]
    return PruneTrace(stages, [30], {"text": 4, "video": 20, "audio": 6, "image": 0}, [12, 12, 4, 4])


def heights(axes: Any) -> dict[str, list[float]]:
    """Of every modality, above what it stands on, and of the keys."""
    found = {}
    for patch in axes.patches:
        values, _, base = patch.get_data()
        found[patch.get_label()] = list(values) if base is None else (values - base).tolist()
    return found


def test_heights_are_the_counts_of_prompt_and_layers() -> None:
    assert heights(trace().plot()) == {
        "text": [4, 4, 4, 4, 4],
        "video": [20, 6, 6, 0, 0],
        "audio": [6, 2, 2, 0, 0],
        "keys held afterwards": [12, 12, 4, 4],
    }


def test_a_batch_shows_all_its_prompts() -> None:
    batch = PruneTrace([], [30, 20], {"text": 10, "video": 40}, [30, 30])
    assert heights(batch.plot()) == {"text": [10] * 3, "video": [40] * 3, "keys held afterwards": [60, 60]}


def test_axes_of_the_caller_are_drawn_on() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert trace().plot(axes) is axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["prompt", "2", "4"]


def test_without_a_cache_the_layers_are_asked_for() -> None:
    uncached = trace()
    uncached.kv_lengths = []
    assert "keys held afterwards" not in heights(uncached.plot(num_layers=5))
    for wrong in (None, 1, 0, "5"):
        with pytest.raises(ValueError, match="num_layers: expected the model's number of layers, from 2, got"):
            uncached.plot(num_layers=wrong)
    with pytest.raises(ValueError, match="trace: expected one of a prefill, got an empty one"):
        PruneTrace().plot()


def test_matplotlib_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'seats_ops\[media\]'"):
        trace().plot()
