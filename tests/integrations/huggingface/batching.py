"""Several prompts in one batch, and what each of them answers on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from seats_ops import Schedule
from seats_ops.integrations import attach
from tests.integrations.huggingface.agreement import TOLERANCE
from tests.integrations.huggingface.phi4_media import with_equal_crops
from tests.integrations.huggingface.prompts import Audio, Image, Part, Text, Video, build_prompt
from tests.integrations.huggingface.upstream import CACHE, cache_of

PAD = 297
# With a seed each, chosen so that no selection is a near-tie.
PROMPTS: dict[str, list[tuple[int, list[Part]]]] = {
    "interleaved": [
        (8, [Text(9), Video((5, 4, 6), 1.0, mel_frames=430), Text(7)]),
        (1, [Text(11)]),
        (11, [Text(3), Image((1, 4, 6)), Text(2), Video((7, 4, 8), 0.5, mel_frames=330), Text(12)]),
        (12, [Text(3), Video((2, 4, 4), 1.0, mel_frames=150), Text(2), Video((3, 4, 6), 1.0, mel_frames=231), Text(5)]),
    ],
    "separate": [
        (2, [Text(5), Video((6, 4, 6)), Text(4)]),
        (7, [Text(5), Video((4, 4, 6)), Text(3), Video((3, 6, 8), 0.5), Audio(170), Text(1), Audio(230), Text(4)]),
        (2, [Text(8), Audio(431), Text(4)]),
        (0, [Text(2), Image((1, 4, 6)), Text(2), Image((1, 6, 4)), Video((3, 4, 8)), Text(3), Audio(190), Text(9)]),
    ],
}


def rows_of(config: Any, kind: str) -> list[dict[str, Any]]:
    """The prompts of one of the batches above, each as keyword arguments of its own."""
    rows = [build_prompt(config, *parts, seed=seed) for seed, parts in PROMPTS[kind]]
    return [row | {"use_audio_in_video": kind == "interleaved"} for row in rows]


def batch_of(rows: list[dict[str, Any]], side: str = "left") -> dict[str, Any]:
    """One call for all rows, padded on one side to the longest."""
    width = max(row["input_ids"].shape[1] for row in rows)

    def padded(name: str, value: int) -> Tensor:
        missing = [width - row[name].shape[1] for row in rows]
        sides = [(n, 0) if side == "left" else (0, n) for n in missing]
        return torch.cat([pad(row[name], both, value=value) for row, both in zip(rows, sides, strict=True)])

    batch: dict[str, Any] = {name: value for name, value in rows[0].items() if not isinstance(value, Tensor)}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if name in row]
        if name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            batch[name] = padded(name, PAD if name == "input_ids" else 0)
        elif name in ("input_features", "feature_attention_mask"):
            longest = max(value.shape[-1] for value in values)
            batch[name] = torch.cat([pad(value, (0, longest - value.shape[-1])) for value in values])
        elif name in ("image_pixel_values", "image_attention_mask"):
            batch[name] = with_equal_crops([picture for value in values for picture in value])
        elif isinstance(values[0], Tensor):
            batch[name] = torch.cat(values)
    return batch


def offsets(batch: dict[str, Any]) -> list[int]:
    """Per row the first column that is no padding."""
    return batch["attention_mask"].argmax(1).tolist()


@dataclass(frozen=True)
class Alone:
    """What one prompt answers on its own: ids [G], the logits [G, vocab] they were chosen from, kept columns."""

    ids: Tensor
    logits: Tensor
    kept: list[Tensor]


def answers(model: nn.Module, inputs: dict[str, Any], count: int = 5, **options: Any) -> tuple[Tensor, Tensor]:
    """New ids [B, G] of `generate`, greedy unless told otherwise, and the logits [B, G, vocab]."""
    options = {"do_sample": False, "max_new_tokens": count} | options
    output = model.generate(**inputs, **options, return_dict_in_generate=True, output_logits=True)
    return output.sequences[:, inputs["input_ids"].shape[1] :], torch.stack(output.logits, 1)


def alone(
    model: nn.Module, rows: list[dict[str, Any]], schedule: Schedule, count: int = 5, **options: Any
) -> list[Alone]:
    """Every row in a context of its own; `options` are those of `attach`."""
    found = []
    for row in rows:
        with attach(model, schedule, **options) as trace:
            ids, logits = answers(model, row, count)
        found.append(Alone(ids[0], logits[0], [stage.kept_indices[0].clone() for stage in trace.stages]))
    return found


def assert_kept_alike(trace: Any, batch: dict[str, Any], expected: list[Alone]) -> None:
    """Each row of the batch kept the columns that it keeps alone, counted from its own first column."""
    for row, (first, single) in enumerate(zip(offsets(batch), expected, strict=True)):
        kept = [(stage.kept_indices[row] - first).tolist() for stage in trace.stages]
        assert kept == [columns.tolist() for columns in single.kept], f"row {row}"


def assert_rows_alike(ids: Tensor, logits: Tensor, expected: list[Alone]) -> None:
    """Each row answers what it answers alone."""
    for row, single in enumerate(expected):
        assert (logits[row] - single.logits[: logits.shape[1]]).abs().max() < TOLERANCE, f"row {row}"
        assert ids[row].tolist() == single.ids[: ids.shape[1]].tolist(), f"row {row}"


@torch.no_grad()
def converse(model: nn.Module, batch: dict[str, Any], starts: list[int], turns: list[list[list[int]]]) -> Tensor:
    """Feed every row its ids turn by turn, padded on the left where they differ; the last logits [B, turns, vocab]."""
    output = model(**batch, use_cache=True)
    mask, cache, told = batch["attention_mask"], cache_of(output), torch.tensor(starts)
    logits = [output.logits[:, -1]]
    for turn in turns:
        width = max(map(len, turn))
        ids = torch.tensor([[PAD] * (width - len(new)) + new for new in turn])
        fresh = torch.tensor([[0] * (width - len(new)) + [1] * len(new) for new in turn])
        mask = torch.cat([mask, fresh], 1)
        positions = (told[:, None] + fresh.cumsum(1) - 1).expand(3, -1, -1)
        told = told + fresh.sum(1)
        output = model(input_ids=ids, attention_mask=mask, position_ids=positions, **{CACHE: cache})
        logits.append(output.logits[:, -1])
        assert cache.get_seq_length() == mask.shape[1]
    return torch.stack(logits, 1)


class Told:
    """A logits processor that leaves no choice."""

    def __init__(self, ids: Tensor) -> None:
        self.ids, self.step = ids, 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        chosen = torch.full_like(scores, -torch.inf).scatter(1, self.ids[:, self.step, None], 0.0)
        self.step += 1
        return chosen
