"""Where media stand in a prompt, and their positions, against Hugging Face's model and processor."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seats_ops.integrations.vllm import channels
from seats_ops.integrations.vllm.clocks import Clock
from seats_ops.integrations.vllm.features import SECONDS, SOUND_FRAMES, seconds_as_int, unit_of
from seats_ops.integrations.vllm.items import Item
from seats_ops.integrations.vllm.positions import Placed, prompt_positions
from seats_ops.integrations.vllm.units import Unit
from seats_ops.layout import Modality
from tests.integrations.vllm.cases import CASES
from tests.integrations.vllm.checkpoint import IDS, config
from tests.integrations.vllm.references import inputs

pytest.importorskip("transformers", minversion="5.20")  # the processor of older versions is taken apart otherwise


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration

    with torch.device("meta"):
        return Qwen2_5OmniThinkerForConditionalGeneration._from_config(config()).model


def placed(case: Any, made: dict[str, Any]) -> list[Placed]:
    """The units of a prompt, found by its ids."""
    fields: dict[str, list[dict[str, Any]]] = {"video": [], "audio": [], "image": []}
    for name in ("video", "image"):
        grids = made.get(f"{name}_grid_thw", ())
        fields[name] = [{f"{name}_grid_thw": grid, SECONDS: seconds_as_int([2 / case.fps])} for grid in grids]
    if "feature_attention_mask" in made:
        fields["audio"] = [{"audio_feature_lengths": n} for n in made["feature_attention_mask"].sum(-1)]
    kinds = {IDS[name]: name for name in fields}
    found, ids, column = [], made["input_ids"][0].tolist(), 0
    while column < len(ids):
        together = case.together and ids[column] == IDS["audio_bos"]
        if not together and ids[column] not in kinds:
            column += 1
            continue
        name = "video" if together else kinds[ids[column]]
        data = fields[name].pop(0)
        if together:
            data[SOUND_FRAMES] = fields["audio"].pop(0)["audio_feature_lengths"]
        unit = unit_of(config(), name, data)
        found.append(Placed(column, unit.num_tokens + 2 * together, unit))
        column += found[-1].length
    return found


@pytest.mark.parametrize("name", CASES)
def test_positions_are_those_of_the_model(name: str, model: Any) -> None:
    case = CASES[name]
    made = inputs(case)
    masks = made.get("feature_attention_mask")
    expected, _ = model.get_rope_index(
        made["input_ids"],
        made.get("image_grid_thw"),
        made.get("video_grid_thw"),
        made["attention_mask"],
        case.together,
        None if masks is None else masks.sum(-1),
        made.get("video_second_per_grid"),
    )
    units = placed(case, made)
    found, ahead = prompt_positions(made["input_ids"].shape[1], units)
    for offset, _, unit in units:
        begin = offset + (len(unit.items) > 1)
        found[:, begin : begin + unit.num_tokens] += unit.positions()
    assert torch.equal(found, expected[:, 0])
    assert made["input_ids"].shape[1] + ahead == int(expected[0, 0, -1]) + 1  # as `generate` goes on


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.together])
def test_a_video_and_its_sound_take_turns_as_the_processor_says(name: str) -> None:
    made = inputs(CASES[name])
    ((offset, length, unit),) = placed(CASES[name], made)
    kinds = torch.empty(unit.num_tokens, dtype=torch.int64)
    for item, columns in zip(unit.items, unit.columns(), strict=True):
        kinds[columns] = IDS[item.modality.name.lower()]
    assert torch.equal(kinds, made["input_ids"][0, offset + 1 : offset + length - 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_positions_ride_on_any_dtype(dtype: torch.dtype) -> None:
    positions = torch.tensor(
        [[0, 255, 256, 257, 511, 65_535], [1, 2, 3, 4, 5, 6], [999, 1000, 1001, 4097, 300, 12_345]]
    )
    rows = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    plain, found = channels.unload(channels.load(rows, positions))
    assert torch.equal(plain, rows)
    assert torch.equal(found, positions)


def test_an_item_that_starts_late_in_a_chunk_leaves_no_empty_one() -> None:
    # A grid lasts two chunks: every one but the first opens the next chunk, as the processor counts them.
    unit = Unit((Item(Modality.VIDEO, 3, 1, 1, 4.0), Item(Modality.AUDIO, 120)), Clock())
    assert [(index, len(part)) for index, part in unit.runs()] == [(0, 1), (1, 50), (0, 1), (1, 50), (0, 1), (1, 20)]


@pytest.mark.parametrize("seconds", [-2.0, 0.0, float("nan"), float("inf")])
def test_frames_without_a_time_are_refused(seconds: float) -> None:
    assert seconds_as_int([1.0, 0.5]).view(torch.float64).tolist() == [1.0, 0.5]
    with pytest.raises(ValueError, match="fps: expected a number above 0, got one by which"):
        seconds_as_int([1.0, seconds])
