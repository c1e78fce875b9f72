"""Positions of Qwen2.5-VL's and Qwen3-VL's media against Hugging Face's models, and text between frames."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest
import torch

from seats_ops.integrations.vllm.features import SECONDS, TEXT, seconds_as_int, unit_of
from seats_ops.integrations.vllm.frames import FRAME, TimedFrames
from seats_ops.integrations.vllm.items import Item
from seats_ops.integrations.vllm.positions import Placed, prompt_positions
from seats_ops.layout import Modality
from tests.integrations.vllm.cases import Case
from tests.integrations.vllm.cases_vl import NAMES, cases
from tests.integrations.vllm.checkpoint import IDS, tokenizer
from tests.integrations.vllm.checkpoint_vl import CLASSES, VL_MARKS, config, model_class
from tests.integrations.vllm.references import order_of
from tests.integrations.vllm.references_vl import inputs, timed

pytest.importorskip("transformers", minversion="5.20")  # the processor of older versions is taken apart otherwise


def placed(family: str, case: Case, made: dict[str, Any]) -> list[Placed]:
    """The units of a prompt, found by its ids."""
    ids, column, given = made["input_ids"][0].tolist(), 0, {"video": 0, "image": 0}
    found = []
    for kind in order_of(case.prompt, VL_MARKS):
        index, given[kind] = given[kind], given[kind] + 1
        data = {f"{kind}_grid_thw": made[f"{kind}_grid_thw"][index]}
        column = ids.index(IDS["vision_bos"], column) + 1
        if kind == "video" and family == "qwen3_vl":
            written = tokenizer(VL_MARKS)(timed(case, made, index))["input_ids"]
            runs = ((token, list(run)) for token, run in groupby(written))
            text = [each for token, run in runs for each in ([FRAME] if token == IDS["video"] else run)]
            data[TEXT] = torch.tensor(text, dtype=torch.int64)
            width = len(written)
        else:
            data |= {SECONDS: seconds_as_int([2 / case.fps])} if kind == "video" else {}
            width = int(made[f"{kind}_grid_thw"][index].prod()) // 4
        found.append(Placed(column, width, unit_of(config(family), kind, data)))
        column += width
    return found


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("family", CLASSES)
def test_positions_are_those_of_the_model(family: str, name: str) -> None:
    case = cases(family)[name]
    made = inputs(family, case)
    with torch.device("meta"):
        model = model_class(family)._from_config(config(family)).model
    names = ("image_grid_thw", "video_grid_thw", "second_per_grid_ts", "attention_mask", "mm_token_type_ids")
    expected, _ = model.get_rope_index(made["input_ids"], **{n: made[n] for n in names if n in made})
    units = placed(family, case, made)
    found, ahead = prompt_positions(made["input_ids"].shape[1], units)
    for offset, width, unit in units:
        whole = torch.arange(unit.num_tokens, dtype=torch.int64)
        inside = unit.woven(whole)[1] if isinstance(unit, TimedFrames) else unit.positions()
        found[:, offset : offset + width] += inside
    assert torch.equal(found, expected[:, 0])
    assert made["input_ids"].shape[1] + ahead == int(expected[0, 0, -1]) + 1  # as `generate` goes on


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
