"""What is drawn and written of a horizon is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import pytest
from matplotlib import pyplot

from seats_ops.horizon import Cell, Horizon

matplotlib.use("Agg")

KL = {0: 0.6, 2: 0.2, 5: 0.1}


@pytest.fixture
def found() -> Horizon:
    rows = tuple(range(6))
    ways = [(way, layer) for way in ("media", "audio") for layer in KL] + [("relevance", 2), ("shuffled", 2)]
    cells = {
        (way, layer): Cell(rows, (1.0,) * layer + (0.0,) * (6 - layer), (KL[layer],) * 6, rows) for way, layer in ways
    }
    return Horizon(6, tuple(KL), ("audio",), 0.25, 1, 0, rows, None, cells)


def test_a_curve_is_the_means_of_its_layers(found: Horizon) -> None:
    axes = found.plot(ways=["media", "relevance"], metric="kl")
    media, relevance = axes.get_lines()
    assert media.get_xdata().tolist() == [0, 2, 5] and media.get_ydata() == pytest.approx([0.6, 0.2, 0.1])
    assert relevance.get_xdata().tolist() == [2]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["without audio", "25% by relevance"]
    agreement = found.plot(pyplot.figure().subplots())
    assert agreement.get_lines()[0].get_ydata() == pytest.approx([0, 2 / 6, 5 / 6])
    assert len(agreement.get_lines()) == 3, "one modality is all media"
    pyplot.close("all")


def test_what_cannot_be_drawn(found: Horizon) -> None:
    with pytest.raises(TypeError, match="axes: expected matplotlib axes or None, got"):
        found.plot("here")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"ways: expected some of .*, got 'video'"):
        found.plot(ways=["video"])
    with pytest.raises(ValueError, match="metric: expected one of"):
        found.plot(metric="accuracy")
    assert pyplot.get_fignums() == []


def test_json_has_every_cell(found: Horizon, tmp_path: Path) -> None:
    path = tmp_path / "horizon.json"
    path.write_text(json.dumps(found.to_dict()))
    read = json.loads(path.read_text())
    assert read["layers"] == [0, 2, 5] and read["modalities"] == ["audio"] and len(read["cells"]) == len(found.cells)
    (cell,) = [cell for cell in read["cells"] if (cell["way"], cell["layer"]) == ("audio", 5)]
    assert cell["agreement"] == [1.0] * 5 + [0.0] and cell["kl"] == [0.1] * 6 and cell["tokens"] == list(range(6))
