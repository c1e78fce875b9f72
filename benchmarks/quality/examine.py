"""Every contender on the same questions: what it answers, what it kept, what it cost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality import vocabulary as v
from benchmarks.quality.checkpoints import Trained
from benchmarks.quality.entries import Entry
from benchmarks.quality.prompts import Asked, ask, model_inputs, num_subjects, positions
from benchmarks.quality.render import Clips, draw_clips
from benchmarks.quality.tasks import Task
from benchmarks.quality.thinker import family_for
from seats_ops import Schedule, StagePruner
from seats_ops.compare.answers import divergence
from seats_ops.integrations import attach

BATCH = 100
"""Items of a chunk, drawn together: what is added to a file of results at once."""


@dataclass(frozen=True)
class Batch:
    """Questions about a chunk of clips, and what the full model makes of them.

    Attributes:
        asked: the questions.
        inputs: of the model, but for videos.
        encoded: what the vision tower made of them, by segments of saliency.
        external: for stages that know the answer, or are to be told something wrong.
        logits: [B, vocabulary] of the full model.
        attention: [layers, B, S] of the last token, mean over heads.
    """

    asked: Asked
    inputs: dict[str, Any]
    encoded: dict[str, Any]
    external: dict[str, Tensor]
    logits: Tensor
    attention: Tensor


@dataclass(frozen=True)
class Cell:
    """One entry on a batch.

    Attributes:
        right, same: [B] bool, the answer is right, and is that of the full model.
        found: [B] int64, how many of the objects and tones in question have a token in the last layer that reads media.
        kl: [B] nats, full from pruned, of the answer's distribution.
        mass: [B] share of the full model's attention to media, from the last token in layers up to that one, that falls
            on tokens that are still there.
        seen: [B] share of the media tokens that layers saw, averaged over all layers.
    """

    right: Tensor
    same: Tensor
    found: Tensor
    kl: Tensor
    mass: Tensor
    seen: Tensor


def subjects_of(task: Task, chunk: int, items: int = BATCH) -> Tensor:
    """int64 [items], which object or tone is asked about, counted in order of time; the same for every model."""
    generator = torch.Generator().manual_seed(_seed(task, chunk, "subjects"))
    return torch.randint(num_subjects(task.kind, task.scene), (items,), generator=generator)


def questions_of(task: Task, chunk: int, items: int = BATCH) -> tuple[Clips, Asked]:
    """A chunk of a task, the same for every model."""
    clips = draw_clips(task.scene, items, torch.Generator().manual_seed(_seed(task, chunk, "clips")))
    return clips, ask(clips, task.kind, subjects_of(task, chunk, items))


def _seed(task: Task, chunk: int, what: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{task.name}/{chunk}/{what}".encode()).digest()[:6], "big")


class Examiner:
    """A model, and what its towers made of a chunk of clips, kept for all entries."""

    def __init__(self, trained: Trained, last_reader: int) -> None:
        """`last_reader` is the last layer that reads media."""
        self.model, self.family, self.last_reader = trained.model, family_for(trained.model), last_reader

    @torch.no_grad()
    def batch(self, task: Task, chunk: int, entries: Sequence[Entry], items: int = BATCH) -> Batch:
        """A chunk of a task, with what the towers tell the stages of these entries."""
        clips, asked = questions_of(task, chunk, items)
        inputs = model_inputs(clips, asked)
        # All prompts of a task have the same, which the model would work out for every prompt anew.
        inputs["position_ids"] = positions(self.model, task.scene)[:, None].expand(-1, len(clips), -1)
        pixels, grids = inputs.pop("pixel_values_videos"), inputs["video_grid_thw"]
        # Who asks for nothing else has no use for saliency, but a tower that nobody watches is warned of.
        names = sorted(
            {"saliency"} | {name for one in entries for choice in one.choices for name in _of_towers(choice.schedule)}
        )
        segments_of_saliency = {one.contender.attach.get("saliency_segments", "paper") for one in entries}
        told = Schedule([Everything((name,)) for name in names])
        encoded = {}
        for segments in sorted({"paper", *segments_of_saliency}):
            with attach(self.model, told, family=self.family, saliency_segments=segments):
                encoded[segments] = self.model.get_video_features(pixels, grids)
        relevance = Schedule(after_layer={1: StagePruner(1.0)})
        config = self.model.model.language_model.config
        config._attn_implementation = "eager"
        try:
            with attach(self.model, relevance, family=self.family, record="scores") as trace:
                given = {**inputs, "mm_encoder_outputs": {"video": encoded["paper"]}}
                full = self.model(**given, use_cache=False, output_attentions=True)
            scores = trace.stages[0].scores
        finally:
            config._attn_implementation = "sdpa"
        attention = torch.stack([one[:, :, -1].mean(1) for one in full.attentions])
        columns = torch.arange(inputs["input_ids"].shape[1])
        needles = (asked.needles.flatten(1)[:, :, None] == columns).any(1)
        external = {"needles": needles.flatten(), "early_scores": scores}
        return Batch(asked, inputs, encoded, external, full.logits[:, -1], attention)

    def full(self, batch: Batch) -> Cell:
        """The model without pruning on a chunk."""
        everything = torch.ones(batch.attention.shape[1:], dtype=torch.bool)
        return _judged(batch, batch.logits, [everything] * len(batch.attention), self.last_reader)

    @torch.no_grad()
    def cell(self, batch: Batch, schedule: Schedule, **options: Any) -> Cell:
        """A schedule on a chunk; `options` are of `attach`."""
        video = batch.encoded[options.get("saliency_segments", "paper")]
        with attach(self.model, schedule, family=self.family, external=batch.external, **options) as trace:
            given = {**batch.inputs, "mm_encoder_outputs": {"video": video}}
            logits = self.model(**given, use_cache=False).logits[:, -1]
        return _judged(batch, logits, list(_kept(trace, batch.attention)), self.last_reader)


def _of_towers(schedule: Schedule) -> set[str]:
    """Inputs of its stages that the towers give."""
    names = {name for _, stage in schedule.stages() for name in stage.inputs}
    return {name for name in names if name.split(":")[0] in ("saliency", "keys")}


@dataclass(frozen=True)
class Everything:
    """Keeps all tokens, and has the towers tell what others will ask for."""

    inputs: tuple[str, ...]

    def __call__(self, *given: Any, backend: str = "auto", **named: Any) -> Tensor:
        layout = given[-1]
        return torch.ones_like(layout.modality, dtype=torch.bool)

    def to_dict(self) -> dict[str, Any]:
        return {}


def _kept(trace: Any, attention: Tensor) -> Iterator[Tensor]:
    """[B, S] bool for every layer, tokens that it saw."""
    layers, rows, columns = attention.shape
    kept = torch.ones(rows, columns, dtype=torch.bool)
    stages = list(trace.stages)
    for layer in range(layers):
        for stage in stages:
            if stage.layer == layer:
                kept = torch.zeros_like(kept)
                for row, index in enumerate(stage.kept_indices):
                    kept[row, index] = True
        yield kept


def _judged(batch: Batch, logits: Tensor, kept: list[Tensor], last_reader: int) -> Cell:
    answers = logits.argmax(-1)
    ids = batch.inputs["input_ids"]
    media = (ids == v.VIDEO) | (ids == v.AUDIO)
    seen, there = 0.0, 0.0
    for layer in range(last_reader):
        weight = batch.attention[layer] * media
        seen, there = seen + weight.sum(-1), there + (weight * kept[layer]).sum(-1)
    needles = batch.asked.needles
    last = torch.nn.functional.pad(kept[last_reader - 1], (0, 1))
    hit = last[torch.arange(len(needles))[:, None, None], needles].any(-1)
    return Cell(
        right=answers == batch.asked.answer,
        same=answers == batch.logits.argmax(-1),
        found=hit.sum(-1),
        kl=divergence(batch.logits, logits),
        mass=there / seen,
        seen=torch.stack([(one & media).sum(-1) for one in kept]).float().mean(0) / media.sum(-1),
    )
