"""The decoder's lessons: every question about a clip in one packed row, on ever longer clips of all kinds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from benchmarks.quality import vocabulary as v
from benchmarks.quality.prompts import (
    QUESTION_TOKENS,
    Asked,
    ask,
    kinds_of,
    media_ids,
    num_subjects,
    positions,
    tower_features,
)
from benchmarks.quality.render import Clips, draw_clips
from benchmarks.quality.scenes import Scene
from benchmarks.quality.thinker import SOUND, WINDOW_TOKENS

WINDOWS = (2, 3, 5, 8)
"""Of the clips of each level."""
STRETCHED = 0.7
"""Share of the clips whose windows stand apart, as if a longer clip had been cut."""
VARIATIONS: tuple[dict[str, Any], ...] = (
    {},
    {"tokens": 2},
    {"tokens": 4},
    {"redundancy": 0.95},
    {"redundancy": 0.0},
    {"objects": 2},
    {"objects": 2, "redundancy": 0.0},
    {"objects": 3},
    {"apart": True},
    {"apart": True, "tokens": 2},
    {"sinks": True},
    {"pictures": False},
    {"sounds": False},
)


@dataclass(frozen=True)
class Lesson:
    """Settings of a step.

    Attributes:
        windows: of its clips.
        tokens: of all rows of one replica, about.
        questions: of a kind about one clip, at most.
    """

    windows: int
    tokens: int = 1400
    questions: int = 8

    def scene(self, generator: Generator) -> Scene:
        """A fifth of the clips are plain, the rest vary."""
        plain = torch.rand((), generator=generator) < 0.2
        choice = 0 if plain else int(torch.randint(len(VARIATIONS), (), generator=generator))
        return replace(Scene(self.windows), **VARIATIONS[choice])


def questions_about(clips: Clips, most: int, generator: Generator) -> list[Asked]:
    """Of every kind that fits, about the same subjects of every clip."""
    asked = []
    for kind in kinds_of(clips.scene):
        subjects = torch.randperm(num_subjects(kind, clips.scene), generator=generator)[:most]
        asked += [ask(clips, kind, subject.expand(len(clips))) for subject in subjects]
    return asked


def packed(
    model: Any, clips: Clips, asked: list[Asked], taught_layer: int, *, slots: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Logits [B, questions, vocabulary] of the answers, all questions of a clip behind it in one row.

    No question sees another and all stand at the same positions, so that each is answered as if it were alone. The
    second is read from the output of layer `taught_layer`, None for 0.

    `slots` are int64 [windows + 1], ascending: where windows, and the question behind them, stand in a longer clip, in
    windows; None: one after another.
    """
    decoder = model.model.language_model
    with torch.no_grad():
        video, audio = tower_features(model, clips)
    head = media_ids(clips.scene.windows)
    kinds = torch.tensor([one.kind.value for one in asked]).expand(len(clips), -1)
    questions = torch.stack([kinds, torch.stack([one.argument for one in asked], 1)], 2).flatten(1)
    ids = torch.cat([head.expand(len(clips), -1), questions], 1)
    embeds = decoder.embed_tokens(ids)
    embeds = embeds.masked_scatter((ids == v.VIDEO)[..., None], video)
    embeds = embeds.masked_scatter((ids == v.AUDIO)[..., None], audio)

    at = positions(model, clips.scene)
    if slots is not None:
        at = at + _moved(slots, at.shape[1])
    at = torch.cat([at[:, : len(head)], at[:, len(head) :].repeat(1, len(asked))], 1)
    question = torch.cat([torch.full_like(head, -1), torch.arange(len(asked)).repeat_interleave(QUESTION_TOKENS)])
    sees = (question[None] == -1) | (question[None] == question[:, None])
    hidden = torch.zeros(sees.shape).masked_fill(~(sees & sees.new_ones(sees.shape).tril()), float("-inf"))

    middle: list[Tensor] = []

    def keep(_module: Any, _arguments: Any, output: Any) -> None:
        middle.append(output[0] if isinstance(output, tuple) else output)

    handle = decoder.layers[taught_layer - 1].register_forward_hook(keep) if taught_layer else None
    try:
        output = decoder(
            inputs_embeds=embeds,
            position_ids=at[:, None].expand(-1, len(clips), -1),
            attention_mask=hidden.expand(len(clips), 1, -1, -1),
            use_cache=False,
        ).last_hidden_state
    finally:
        if handle is not None:
            handle.remove()
    answers = slice(len(head) + QUESTION_TOKENS - 1, None, QUESTION_TOKENS)
    early = model.lm_head(decoder.norm(middle[0][:, answers])) if middle else None
    return model.lm_head(output[:, answers]), early


def some_slots(windows: int, generator: Generator) -> Tensor:
    """For `packed`: clips as long as these teach distances in clips up to three times as long."""
    long = windows + int(torch.randint(2 * windows + 1, (), generator=generator))
    slots = torch.randperm(long, generator=generator)[:windows].sort().values
    return torch.cat([slots, torch.tensor([long])])


def _moved(slots: Tensor, columns: int) -> Tensor:
    """[columns] by how many positions each column of a prompt moves."""
    moved = (slots - torch.arange(len(slots))) * SOUND
    window = torch.arange(len(slots) - 1).repeat_interleave(WINDOW_TOKENS + SOUND)
    before = torch.zeros(int((media_ids(1) == v.VIDEO).nonzero()[0]), dtype=torch.long)
    after = torch.full((columns - len(before) - len(window),), len(slots) - 1)
    return moved[torch.cat([before, window, after])].index_fill(0, torch.arange(len(before)), 0)


def lesson_loss(
    model: Any, generator: Generator, lesson: Lesson, taught_layer: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross entropy of the answers, every kind alike, and the share of each kind that is right."""
    scene = lesson.scene(generator)
    length = len(media_ids(lesson.windows)) + QUESTION_TOKENS * 4 * min(lesson.windows, lesson.questions)
    clips = draw_clips(scene, max(2, lesson.tokens // length), generator)
    asked = questions_about(clips, lesson.questions, generator)
    slots = some_slots(lesson.windows, generator) if torch.rand((), generator=generator) < STRETCHED else None
    logits, early = packed(model, clips, asked, taught_layer, slots=slots)
    answers = torch.stack([one.answer for one in asked], 1)
    loss = functional.cross_entropy(logits.transpose(1, 2), answers, reduction="none")
    if early is not None:
        loss = loss + functional.cross_entropy(early.transpose(1, 2), answers, reduction="none")
    right = (logits.argmax(-1) == answers).float().detach()
    kinds = [one.kind for one in asked]
    of = {kind: [index for index, one in enumerate(kinds) if one is kind] for kind in dict.fromkeys(kinds)}
    total = torch.stack([loss[:, index].mean() for index in of.values()]).mean()
    return total, {kind.name: right[:, index].mean() for kind, index in of.items()}
