"""What the adapter answers to the cases, stored beside this file; made in the environment of `make test`:

python -m tests.integrations.vllm.references
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seats_ops import Schedule
from tests.integrations.vllm.cases import CASES, RATE, SCHEDULES, Case, pairs
from tests.integrations.vllm.checkpoint import IDS, MARKS, MEAN, MEL, STD, tokenizer, write

PATH = Path(__file__).parent / "references.json"
NEW_TOKENS = 16


def patches(frames: np.ndarray, patch: int = 14) -> tuple[Tensor, list[int]]:
    """float32 [patches, D] and (t, h, w) of uint8 [frames, height, width, 3], two frames a patch, 2 x 2 merged."""
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).double() / 255
    x = (x - torch.tensor(MEAN, dtype=torch.float64)[:, None, None]) / torch.tensor(STD, dtype=torch.float64)[
        :, None, None
    ]
    t, h, w = len(frames) // 2, x.shape[2] // patch, x.shape[3] // patch
    x = x.view(t, 2, 3, h // 2, 2, patch, w // 2, 2, patch).permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return x.reshape(t * h * w, -1).float(), [t, h, w]


def inputs(case: Case) -> dict[str, Any]:
    """What Qwen2.5-Omni's processor makes of a case; frames need no resizing, which it does with torchvision."""
    from transformers import WhisperFeatureExtractor
    from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import Qwen2_5OmniProcessor

    made = pixels(case)
    if case.videos:
        made["video_second_per_grid"] = torch.tensor([2 / case.fps] * len(case.videos), dtype=torch.float32)
    sounds: list[int] = []
    if case.sounds:
        features = WhisperFeatureExtractor(**MEL)(
            case.sounds, sampling_rate=RATE, padding="max_length", return_attention_mask=True, return_tensors="pt"
        )
        made["input_features"] = features["input_features"]
        made["feature_attention_mask"] = features["attention_mask"]
        sounds = [(n + 1) // 2 // 2 for n in features["attention_mask"].sum(-1).tolist()]
    merger = SimpleNamespace(merge_size=2)
    marks = {f"{name}_token": mark for name, mark in MARKS.items()}
    processor = SimpleNamespace(video_processor=merger, **marks)
    processor.get_chunked_index = partial(Qwen2_5OmniProcessor.get_chunked_index, processor)
    text, given = case.prompt, {"video": 0, "audio": 0, "image": 0}
    for kind in order_of(text):
        index, given[kind] = given[kind], given[kind] + 1
        if kind == "video" and case.together:
            whole = Qwen2_5OmniProcessor.replace_video_with_audio_token(
                processor,
                {
                    "video_grid_thw": made["video_grid_thw"].numpy(),
                    "video_second_per_grid": [2 / case.fps] * len(case.videos),
                },
                index,
                {"num_audio_tokens": sounds},
                index,
                position_id_per_seconds=25,
                seconds_per_chunk=2.0,
            )
        elif kind == "audio":
            whole = MARKS["audio"] * sounds[index]
        else:
            whole = MARKS[kind] * (int(made[f"{kind}_grid_thw"][index].prod()) // 4)
        text = text.replace(MARKS[kind], whole.replace("<|", "<#"), 1)
    ids = tokenizer()(text.replace("<#", "<|"), return_tensors="pt")
    return {**made, "input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"]}


def pixels(case: Case, patch: int = 14) -> dict[str, Any]:
    """What vision towers are given of a case."""
    made: dict[str, Any] = {}
    videos = [patches(x, patch) for x in case.videos]
    images = [patches(np.stack([x, x]), patch) for x in case.images]
    for name, field, found in (("video", "pixel_values_videos", videos), ("image", "pixel_values", images)):
        if found:
            made[field] = torch.cat([x for x, _ in found])
            made[f"{name}_grid_thw"] = torch.tensor([grid for _, grid in found], dtype=torch.int64)
    return made


def order_of(text: str, marks: Mapping[str, str] = MARKS) -> list[str]:
    """Kinds of the items of a prompt, as they stand in it."""
    kinds = ("video", "audio", "image")
    found = [(start, kind) for kind in kinds for start in _starts(text, marks[kind])]
    return [kind for _, kind in sorted(found)]


def _starts(text: str, mark: str) -> list[int]:
    return [i for i in range(len(text)) if text.startswith(mark, i)]


def answer(model: Any, schedule: Schedule, batch: dict[str, Any]) -> dict[str, Any]:
    """What the adapter keeps of a request and answers."""
    from seats_ops.integrations import attach

    with attach(model, schedule) as trace, torch.no_grad():
        out = model.generate(
            **batch,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
    ids = batch["input_ids"][0]
    kept = trace.stages[-1].kept_indices[0] if trace.stages else torch.arange(len(ids), dtype=torch.int64)
    places = {name: (ids == IDS[name]).long().cumsum(0) - 1 for name in ("video", "audio", "image")}
    return {
        "whole": len(ids),
        "prompt": ids[kept].tolist(),
        "kept": {name: place[kept[ids[kept] == IDS[name]]].tolist() for name, place in places.items()},
        "tokens": out.sequences[0, len(ids) :].tolist(),
        "logprobs": [round(float(x.double().log_softmax(-1).max()), 7) for x in out.logits],
    }


Given = Iterable[tuple[str, str, Schedule, dict[str, Any]]]


def make(path: Path, write: Callable[[Path], Path], cls: Any, requests: Given) -> None:
    """Write the answers of a model.

    Args:
        path: of the file.
        write: its checkpoint to a folder.
        cls: of the Hugging Face model.
        requests: names of schedule and case, and what both are.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = cls.from_pretrained(write(Path(folder)), dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None  # all answers are of one length, without a token being forbidden
    found: dict[str, dict[str, Any]] = {}
    for schedule, case, stages, batch in requests:
        told = found.setdefault(schedule, {})[case] = answer(model, stages, batch)
        print(f"{schedule:14} {case:24} {told['whole']:4} -> {len(told['prompt']):4}  {told['tokens'][:6]}")
    lines = [
        f" {json.dumps(schedule)}: {{\n"
        + ",\n".join(f"  {json.dumps(case)}: {json.dumps(told)}" for case, told in cases.items())
        + "\n }"
        for schedule, cases in found.items()
    ]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration

    from tests.integrations.vllm import references_families

    torch.set_num_threads(1)
    together = {True: {"use_audio_in_video": True}, False: {}}
    requests = (
        (schedule, case, SCHEDULES[schedule], inputs(CASES[case]) | together[CASES[case].together])
        for schedule, case in pairs()
    )
    make(PATH, write, Qwen2_5OmniThinkerForConditionalGeneration, requests)
    references_families.main()


if __name__ == "__main__":
    main()
