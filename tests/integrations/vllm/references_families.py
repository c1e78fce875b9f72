"""What the adapter answers of further families, made with the other references."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tests.integrations.vllm.cases import RATE, Case
from tests.integrations.vllm.cases_families import SCHEDULES, cases, pairs
from tests.integrations.vllm.checkpoint import IDS, MEL, tokenizer
from tests.integrations.vllm.checkpoint_families import CLASSES, FAMILY_MARKS, PATCH, model_class, write
from tests.integrations.vllm.references import make, order_of, pixels


def path_of(family: str) -> Path:
    return Path(__file__).parent / f"references_{family}.json"


def inputs(family: str, case: Case) -> dict[str, Any]:
    """What the processor of a family makes of a case."""
    made = pixels(case, PATCH[family])
    tokens_of = sounds(case, made)
    text, given = case.prompt, {"video": 0, "audio": 0, "image": 0}
    for kind in order_of(text, FAMILY_MARKS):
        index, given[kind] = given[kind], given[kind] + 1
        if kind == "video" and family == "qwen3_vl":
            whole = timed(case, made, index)
        elif kind == "video" and case.together:
            whole = mixed(case, made, tokens_of, index)
        elif kind == "audio":
            whole = FAMILY_MARKS[kind] * tokens_of[index]
        else:
            whole = FAMILY_MARKS[kind] * (int(made[f"{kind}_grid_thw"][index].prod()) // 4)
        text = text.replace(FAMILY_MARKS[kind], whole.replace("<|", "<#"), 1)
    tokens = tokenizer(FAMILY_MARKS)(text.replace("<#", "<|"), return_tensors="pt")
    ids = tokens["input_ids"]
    made |= {"input_ids": ids, "attention_mask": tokens["attention_mask"]}
    seconds = torch.tensor([2 / case.fps] * len(case.videos), dtype=torch.float32)
    if family == "qwen3_omni":
        made |= {"video_second_per_grid": seconds} if case.videos else {}
        return made | ({"use_audio_in_video": True} if case.together else {})
    made["mm_token_type_ids"] = (ids == IDS["image"]).int() + 2 * (ids == IDS["video"]).int()
    if case.videos and family == "qwen2_5_vl":
        made["second_per_grid_ts"] = seconds
    return made


def sounds(case: Case, made: dict[str, Any]) -> list[int]:
    """Tokens of every sound of Qwen3-Omni, whose spectra are added to what is made."""
    from transformers import WhisperFeatureExtractor
    from transformers.models.qwen3_omni_moe.processing_qwen3_omni_moe import _get_feat_extract_output_lengths

    if not case.sounds:
        return []
    features = WhisperFeatureExtractor(**MEL)(
        case.sounds, sampling_rate=RATE, padding=True, truncation=False, return_attention_mask=True, return_tensors="pt"
    )
    made["input_features"] = features["input_features"]
    made["feature_attention_mask"] = features["attention_mask"]
    return _get_feat_extract_output_lengths(features["attention_mask"].sum(-1)).tolist()


def mixed(case: Case, made: dict[str, Any], tokens_of: list[int], index: int) -> str:
    """A video with its sound as Qwen3-Omni's processor writes it."""
    from transformers.models.qwen3_omni_moe.processing_qwen3_omni_moe import Qwen3OmniMoeProcessor

    marks = {f"{name}_token": mark for name, mark in FAMILY_MARKS.items()}
    processor = SimpleNamespace(video_processor=SimpleNamespace(merge_size=2), **marks)
    told = {
        "video_grid_thw": made["video_grid_thw"].numpy(),
        "video_second_per_grid": [2 / case.fps] * len(case.videos),
    }
    return Qwen3OmniMoeProcessor.replace_video_with_audio_token(
        processor, told, index, {"num_audio_tokens": tokens_of}, index, position_id_per_seconds=13.0
    )


def timed(case: Case, made: dict[str, Any], index: int) -> str:
    """A video as Qwen3-VL's processor writes it."""
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

    processor = SimpleNamespace(
        video_processor=SimpleNamespace(merge_size=2, temporal_patch_size=2),
        video_token=FAMILY_MARKS["video"],
        vision_start_token=FAMILY_MARKS["vision_bos"],
        vision_end_token=FAMILY_MARKS["vision_eos"],
    )
    processor._calculate_timestamps = partial(Qwen3VLProcessor._calculate_timestamps, processor)
    frames = [SimpleNamespace(fps=case.fps, frames_indices=list(range(len(video)))) for video in case.videos]
    told = {"video_grid_thw": made["video_grid_thw"].numpy(), "video_metadata": frames}
    return Qwen3VLProcessor.replace_video_token(processor, told, index)


def main() -> None:
    for family in CLASSES:
        requests = (
            (schedule, name, SCHEDULES[schedule], inputs(family, cases(family)[name]))
            for schedule, name in pairs(family)
        )
        make(path_of(family), partial(write, family=family), model_class(family), requests)


if __name__ == "__main__":
    main()
