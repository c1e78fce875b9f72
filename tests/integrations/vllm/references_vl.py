"""What the adapter answers of Qwen2.5-VL and Qwen3-VL, made with the other references."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tests.integrations.vllm.cases import Case
from tests.integrations.vllm.cases_vl import SCHEDULES, cases, pairs
from tests.integrations.vllm.checkpoint import IDS, tokenizer
from tests.integrations.vllm.checkpoint_vl import CLASSES, PATCH, VL_MARKS, model_class, write
from tests.integrations.vllm.references import make, order_of, pixels


def path_of(family: str) -> Path:
    return Path(__file__).parent / f"references_{family}.json"


def inputs(family: str, case: Case) -> dict[str, Any]:
    """What the processor of a family makes of a case."""
    made = pixels(case, PATCH[family])
    text, given = case.prompt, {"video": 0, "image": 0}
    for kind in order_of(text, VL_MARKS):
        index, given[kind] = given[kind], given[kind] + 1
        if kind == "video" and family == "qwen3_vl":
            whole = timed(case, made, index)
        else:
            whole = VL_MARKS[kind] * (int(made[f"{kind}_grid_thw"][index].prod()) // 4)
        text = text.replace(VL_MARKS[kind], whole.replace("<|", "<#"), 1)
    tokens = tokenizer(VL_MARKS)(text.replace("<#", "<|"), return_tensors="pt")
    ids = tokens["input_ids"]
    made |= {"input_ids": ids, "attention_mask": tokens["attention_mask"]}
    made["mm_token_type_ids"] = (ids == IDS["image"]).int() + 2 * (ids == IDS["video"]).int()
    if case.videos and family == "qwen2_5_vl":
        made["second_per_grid_ts"] = torch.tensor([2 / case.fps] * len(case.videos), dtype=torch.float32)
    return made


def timed(case: Case, made: dict[str, Any], index: int) -> str:
    """A video as Qwen3-VL's processor writes it."""
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

    processor = SimpleNamespace(
        video_processor=SimpleNamespace(merge_size=2, temporal_patch_size=2),
        video_token=VL_MARKS["video"],
        vision_start_token=VL_MARKS["vision_bos"],
        vision_end_token=VL_MARKS["vision_eos"],
    )
    processor._calculate_timestamps = partial(Qwen3VLProcessor._calculate_timestamps, processor)
    frames = [SimpleNamespace(fps=case.fps, frames_indices=list(range(len(video)))) for video in case.videos]
    told = {"video_grid_thw": made["video_grid_thw"].numpy(), "video_metadata": frames}
    return Qwen3VLProcessor.replace_video_token(processor, told, index)


def main() -> None:
    for family in CLASSES:
        requests = (
            (schedule, name, SCHEDULES[schedule], inputs(family, cases(family)[name])) for schedule, name in pairs()
        )
        make(path_of(family), partial(write, family=family), model_class(family), requests)


if __name__ == "__main__":
    main()
