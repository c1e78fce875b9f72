"""Positions of media of further families against Hugging Face's models, and text between frames."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest
import torch
from torch import Tensor

from seats_ops.integrations.vllm.clocks import TokenClock
from seats_ops.integrations.vllm.features import SECONDS, SOUND_FRAMES, TEXT, seconds_as_int, unit_of
from seats_ops.integrations.vllm.frames import FRAME, TimedFrames
from seats_ops.integrations.vllm.items import Item
from seats_ops.integrations.vllm.positions import Placed, prompt_positions
from seats_ops.integrations.vllm.units import Unit
from seats_ops.layout import Modality
from tests.integrations.vllm.cases import Case
from tests.integrations.vllm.cases_families import cases
from tests.integrations.vllm.checkpoint import IDS, tokenizer
from tests.integrations.vllm.checkpoint_families import CLASSES, FAMILY_MARKS, config, model_class
from tests.integrations.vllm.references import order_of
from tests.integrations.vllm.references_families import inputs, timed

pytest.importorskip("transformers", minversion="5.20")  # the processor of older versions is taken apart otherwise


def placed(family: str, case: Case, made: dict[str, Any]) -> list[Placed]:
    """The units of a prompt, found by its ids."""
    ids, column, given = made["input_ids"][0].tolist(), 0, {"video": 0, "audio": 0, "image": 0}
    mel_frames = made["feature_attention_mask"].sum(-1) if case.sounds else ()
    found = []
    for kind in order_of(case.prompt, FAMILY_MARKS):
        index, given[kind] = given[kind], given[kind] + 1
        grids = f"{kind}_grid_thw"
        data = {"audio_feature_lengths": mel_frames[index]} if kind == "audio" else {grids: made[grids][index]}
        column = ids.index(IDS["audio_bos" if kind == "audio" else "vision_bos"], column) + 1
        pair = kind == "video" and case.together
        if pair:
            data[SOUND_FRAMES] = mel_frames[index]
        width = 2 * pair
        if kind == "video" and family == "qwen3_vl":
            written = tokenizer(FAMILY_MARKS)(timed(case, made, index))["input_ids"]
            runs = ((token, list(run)) for token, run in groupby(written))
            text = [each for token, run in runs for each in ([FRAME] if token == IDS["video"] else run)]
            data[TEXT] = torch.tensor(text, dtype=torch.int64)
            width = len(text) - text.count(FRAME)
        elif kind == "video":
            data[SECONDS] = seconds_as_int([2 / case.fps])
        unit = unit_of(config(family), kind, data)
        found.append(Placed(column, unit.num_tokens + width, unit))
        column += found[-1].length
    return found


def expected_positions(family: str, case: Case, made: dict[str, Any]) -> Tensor:
    with torch.device("meta"):
        model = model_class(family)._from_config(config(family)).model
    if family == "qwen3_omni":
        lengths = made["feature_attention_mask"].sum(-1) if case.sounds else None
        grids, seconds = (made.get("image_grid_thw"), made.get("video_grid_thw")), made.get("video_second_per_grid")
        more = (made["attention_mask"], case.together, lengths, seconds)
        return model.get_rope_index(made["input_ids"], *grids, *more)[0][:, 0].long()
    names = ("image_grid_thw", "video_grid_thw", "second_per_grid_ts", "attention_mask", "mm_token_type_ids")
    return model.get_rope_index(made["input_ids"], **{n: made[n] for n in names if n in made})[0][:, 0]


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family in CLASSES for name in cases(family) if name != "text"]
)
def test_positions_are_those_of_the_model(family: str, name: str) -> None:
    case = cases(family)[name]
    made = inputs(family, case)
    expected = expected_positions(family, case, made)
    units = placed(family, case, made)
    found, ahead = prompt_positions(made["input_ids"].shape[1], units)
    for offset, width, unit in units:
        pair = len(unit.items) > 1
        whole = torch.arange(unit.num_tokens, dtype=torch.int64)
        inside = unit.woven(whole)[1] if isinstance(unit, TimedFrames) else unit.positions()
        found[:, offset + pair : offset + width - pair] += inside
    assert torch.equal(found, expected)
    assert made["input_ids"].shape[1] + ahead == int(expected[0, -1]) + 1  # as `generate` goes on


@pytest.mark.parametrize("name", ["sound in video", "1 frame a second"])
def test_a_video_and_its_sound_stand_as_the_processor_says(name: str) -> None:
    case = cases("qwen3_omni")[name]
    made = inputs("qwen3_omni", case)
    ((offset, length, unit),) = placed("qwen3_omni", case, made)
    kinds = torch.empty(unit.num_tokens, dtype=torch.int64)
    for item, columns in zip(unit.items, unit.columns(), strict=True):
        kinds[columns] = IDS[item.modality.name.lower()]
    assert torch.equal(kinds, made["input_ids"][0, offset + 1 : offset + length - 1])


def test_positions_between_whole_ones_are_refused() -> None:
    video = Unit((Item(Modality.VIDEO, 4, 1, 1, 0.5),), TokenClock(13))
    with pytest.raises(ValueError, match=r"expected temporal grids that begin at whole positions.*got grids of 0\.5 s"):
        video.positions()


def test_kept_tokens_stand_in_their_frames() -> None:
    video = TimedFrames((Item(Modality.VIDEO, 3, 1, 4),), text=(50, 7, FRAME, 8, 51, 7, FRAME, 8, 52, 7, FRAME, 8))
    assert video.written([2, 1, 0], 9) == [50, 7, 9, 9, 8, 51, 7, 9, 8, 52, 7, 8]
    # Text is 0 to 8; of the tokens that are left the first is of the first frame, the others of the last.
    order, positions = video.woven(torch.tensor([1, 8, 11]))
    assert order.tolist() == [0, 1, 9, 2, 3, 4, 5, 6, 7, 10, 11, 8]
    # A frame of one row of four takes four positions.
    assert positions[0].tolist() == [0, 1, 2, 6, 7, 8, 13, 14, 15, 16, 16, 20]
    assert positions[2].tolist() == [0, 1, 3, 6, 7, 8, 13, 14, 15, 16, 19, 20]
    assert (video.end, video.top, video.spans) == (21, 21, [4, 4, 4])
