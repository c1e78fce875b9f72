"""What choosing costs: the work of stages, as they say, and of what is captured for them, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seats_ops.cost.counts import found_by_stages
from seats_ops.cost.decoder_sizes import DecoderSizes
from seats_ops.cost.prompt_lengths import PromptLengths
from seats_ops.operators.inputs import Input, parse_input
from seats_ops.operators.own_work import EncoderSizes, Sizes, own_macs_of
from seats_ops.operators.stage import MEDIA, MEDIA_MODALITIES
from seats_ops.schedule import Schedule

POOLED = {"qwen2_5_omni_audio_encoder": 2}
"""Positions that an encoder of sound makes one token of, where it is not one; no config says it."""


@dataclass(frozen=True)
class OwnWork:
    """Multiply-adds of one stage: what it says, and what was captured because it is the first to ask.

    Attributes:
        macs: known ones.
        unsaid: what they leave out: the stage's class, if it does not say; inputs that nobody can count.
    """

    macs: int
    unsaid: tuple[str, ...]


def own_work(schedule: Schedule, lengths: PromptLengths, config: Any, decoder: DecoderSizes) -> list[OwnWork]:
    """Of every stage of a schedule, for one prompt."""
    sizes = Sizes(decoder.hidden, decoder.attention_width, decoder.kv_width, encoder_sizes(config))
    work, captured = [], set[str]()
    for _, stage, found in found_by_stages(schedule, lengths):
        parts = {type(stage).__name__: own_macs_of(stage, found, sizes)}
        for item in map(parse_input, stage.inputs):
            # An encoder is asked once for all stages, a layer anew by each.
            if item.kind == "scores" or item.name not in captured:
                parts[item.name] = input_macs(item, found, lengths, sizes)
            captured.add(item.name)
        unsaid = tuple(name for name, macs in parts.items() if macs is None)
        work.append(OwnWork(sum(macs or 0 for macs in parts.values()), unsaid))
    return work


def input_macs(item: Input, found: Mapping[str, int], lengths: PromptLengths, sizes: Sizes) -> int | None:
    """Multiply-adds of capturing an input; 0 for what the model computes anyway, None where nobody knows.

    - "scores": the layer's keys of all tokens that are there and queries of those that ask, once more, and their
      products; for the queries "text_mean" and "text_max" as if all text were the question.
    - "saliency": products of queries and keys in the windows, blocks of the prompt's lengths; "mean": in whole items,
      or the modality where `lengths.shapes` is None; "pooled": of a frame's one query with its tokens; "cls": with its
      positions.
    - "external": unknown.
    """
    if item.kind == "scores":
        tokens, query = sum(found.values()), item.variant.split("/")[0]
        asking = found["text"] if query in ("text_mean", "text_max", "rows") else 1
        projected = sizes.hidden * (tokens * sizes.kv_width + asking * sizes.attention_width)
        return projected + asking * tokens * sizes.attention_width
    if item.kind == "saliency":
        there = [name for name in MEDIA if getattr(lengths, name)]
        if not set(there) <= set(sizes.encoders):
            return None
        return sum(_received(item.variant, name, lengths, sizes.encoders[name]) for name in there)
    return None if item.kind == "external" else 0


def _received(reduction: str, name: str, lengths: PromptLengths, encoder: EncoderSizes) -> int:
    tokens: int = getattr(lengths, name)
    if reduction in ("pooled", "cls"):
        return tokens * (encoder.merged if reduction == "cls" else 1) * encoder.width
    segments = getattr(lengths, f"{name}_blocks")
    if reduction == "mean":
        shapes = [shape for shape in lengths.shapes or () if shape.modality == MEDIA_MODALITIES[MEDIA.index(name)]]
        segments = [shape.num_tokens for shape in shapes] or [tokens]
    return sum((n * encoder.merged) ** 2 for n in segments) * encoder.width


def encoder_sizes(config: Any) -> dict[str, EncoderSizes]:
    """Of the encoders that the config of a model or its thinker tells of, by modality."""
    thinker, found = getattr(config, "thinker_config", config), {}
    vision, audio = (getattr(thinker, name, None) for name in ("vision_config", "audio_config"))
    heads = _first(vision, "num_heads", "num_attention_heads")
    if heads:
        merged = (_first(vision, "spatial_merge_size") or 2) ** 2
        found = dict.fromkeys(("video", "image"), EncoderSizes(_first(vision, "hidden_size"), heads, merged))
    heads = _first(audio, "encoder_attention_heads", "num_attention_heads")
    if heads:
        pooled = POOLED.get(audio.model_type, 1)  # type: ignore[union-attr]
        found["audio"] = EncoderSizes(_first(audio, "d_model", "hidden_size"), heads, pooled)
    return found


def _first(config: Any, *names: str) -> int:
    return next((value for name in names if isinstance(value := getattr(config, name, None), int)), 0)
