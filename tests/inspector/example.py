"""Traces of one small prompt that has everything a page shows: two clips, one with sound, and a picture."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from seats_ops import Merge, Modality, PruneTrace, Schedule, Selection, TokenLayout
from seats_ops.inspector import Media
from seats_ops.integrations import attach
from seats_ops.operators.anchors import nearest_anchor
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.prompts import Image, Text, Video, build_prompt
from tests.integrations.huggingface.schedules import small_preset

TITLE = 'A <b>"bold"</b> clip & </script><script>throw 1</script>.mp4'


@functools.cache
def example(late: int = 6) -> tuple[Any, PruneTrace]:
    """The config and the trace with scores; another layer of the `late` drop keeps other tokens."""
    model = SMALL["qwen2_5_omni"]("sdpa")
    inputs = _inputs(model)
    schedule = small_preset(model.config, drop_layers=(2, 3, 4), late_layer=late, encoder_ratio_scale=1.7)
    with torch.no_grad(), attach(model, schedule, record="scores") as trace:
        model(**inputs)
    return model.config, trace


def _inputs(model: Any) -> dict[str, Any]:
    parts = Text(9), Image((1, 4, 6)), Text(3), Video((6, 4, 6), 0.5, mel_frames=290), Text(2), Video((2, 8, 4), 1.0)
    return build_prompt(model.config, *parts, Text(7))


def media_of(trace: PruneTrace) -> Media:
    """Pictures of its media, of random colours."""
    random = np.random.default_rng(0)

    def colours(*shape: int) -> np.ndarray:
        return random.integers(0, 255, (*shape, 30, 40, 3)).astype(np.uint8)

    frames = [colours(item.grid[0]) for item in trace.items if item.modality == "video" and item.grid]
    seconds = [item.num_tokens * (item.seconds or 0.0) for item in trace.items if item.modality == "audio"]
    sounds = [random.standard_normal((16, round(100 * length))).astype(np.float32) for length in seconds]
    pictures = [colours() for item in trace.items if item.modality == "image"]
    return Media(TITLE, frames, sounds, pictures)


@dataclass(frozen=True)
class Gathering:
    """Keeps text and every `every`-th token of media. Of the others every `thrown`-th is thrown away; the rest go into
    the nearest that is kept of their modality and, half as much, into the first one of it.
    """

    every: int
    thrown: int = 5

    inputs: ClassVar[tuple[str, ...]] = ("features",)
    merges: ClassVar[bool] = True

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Selection:
        places, text = torch.arange(len(layout)), layout.is_modality(Modality.TEXT)
        ids = layout.rows() * len(Modality) + layout.modality.long()
        anchors = ~text & (places % self.every == 0)
        goes = ~text & ~anchors & (places % self.thrown != 0)
        member, anchor, _ = nearest_anchor(features, ids, anchors, goes)
        first = torch.stack([(anchors & (ids == each)).nonzero()[0, 0] for each in ids[member].tolist()])
        own = torch.cat([anchor, first]).unique()
        target, source = torch.cat([own, anchor, first]), torch.cat([own, member, member])
        share = 1 / torch.bincount(target, minlength=len(layout)).float()[target]
        share[-len(first) :] *= 0.5
        count = torch.bincount(target, minlength=len(layout)).float().clamp(min=1)
        return Selection(text | anchors, merge=Merge(target, source, share), multiplicity=count)

    def to_dict(self) -> dict[str, Any]:
        return {"every": self.every, "thrown": self.thrown}


@functools.cache
def merged_example(every: int = 4) -> tuple[Any, PruneTrace]:
    """The same prompt, its media merged before the LLM and once more after a layer."""
    model = SMALL["qwen2_5_omni"]("sdpa")
    schedule = Schedule(Gathering(every), {3: Gathering(3)})
    with torch.no_grad(), attach(model, schedule, record="scores") as trace:
        model(**_inputs(model))
    return model.config, trace
