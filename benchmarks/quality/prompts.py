"""Prompts about clips: ids, positions, arguments of the model, what a question needs and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.quality import vocabulary as v
from benchmarks.quality.render import Clips
from benchmarks.quality.scenes import MAX_OBJECT_TOKENS, TONE_LENGTH, Scene
from benchmarks.quality.thinker import FRAMES_PER_TOKEN, GRIDS_PER_WINDOW, MERGE, SIDE, SOUND, WINDOW_TOKENS
from benchmarks.quality.vocabulary import Question

QUESTION_TOKENS = 2


@dataclass(frozen=True)
class Asked:
    """One question about each of B clips.

    Attributes:
        kind: of all of them.
        argument, answer: [B] token ids.
        needles: [B, 2, 4] columns of the prompt that show the first and the second thing in question; -1: none.
    """

    kind: Question
    argument: Tensor
    answer: Tensor
    needles: Tensor


def media_ids(windows: int) -> Tensor:
    """Of a prompt up to its question: windows of video and sound in turn."""
    window = [v.VIDEO] * WINDOW_TOKENS + [v.AUDIO] * SOUND
    return torch.tensor(
        [v.BOS, v.VISION_START, v.AUDIO_START, *(window * windows), v.AUDIO_END, v.VISION_END], dtype=torch.long
    )


def kinds_of(scene: Scene) -> tuple[Question, ...]:
    """Questions that have one right answer."""
    one = scene.objects == 1
    return tuple(
        kind
        for kind, fits in {
            Question.COLOUR_OF: scene.pictures,
            Question.TIMBRE_OF: scene.sounds,
            Question.SEEN_WITH: scene.pictures and scene.sounds and one,
            Question.HEARD_WITH: scene.pictures and scene.sounds,
            Question.SEEN_NEXT: scene.pictures and one,
            Question.GIST_OF: True,
            Question.SHARE_OF: True,
        }.items()
        if fits
    )


def num_subjects(kind: Question, scene: Scene) -> int:
    """How many different questions of a kind a clip allows."""
    if kind in (Question.GIST_OF, Question.SHARE_OF):
        return 1
    if kind in (Question.TIMBRE_OF, Question.SEEN_WITH):
        return len(scene.played)
    return scene.num_objects - (kind is Question.SEEN_NEXT)


def ask(clips: Clips, kind: Question, subject: Tensor) -> Asked:
    """The question about object or tone `subject` [B] of each clip, counted in order of time."""
    facts, scene = clips.facts, clips.scene

    def of(values: Tensor, at: Tensor) -> Tensor:
        return values[torch.arange(len(values)), at]

    nothing = torch.full((len(clips), MAX_OBJECT_TOKENS), -1)
    columns = media_ids(scene.windows)
    video = (columns == v.VIDEO).nonzero().flatten()
    audio = (columns == v.AUDIO).nonzero().flatten()

    def seen(at: Tensor) -> Tensor:
        return video[of(facts.object_tokens, at)]

    def heard(at: Tensor) -> Tensor:
        return functional.pad(audio[of(facts.tone_tokens, at)], (0, MAX_OBJECT_TOKENS - TONE_LENGTH), value=-1)

    def needles(first: Tensor, second: Tensor = nothing) -> Tensor:
        return torch.stack([first, second], 1)

    if kind is Question.GIST_OF or kind is Question.SHARE_OF:
        answer = v.GIST + facts.gist if kind is Question.GIST_OF else v.SHARE + facts.share
        argument = torch.full_like(answer, v.NO_ARGUMENT)
        return Asked(kind, argument, answer, needles(nothing))
    if kind is Question.COLOUR_OF:
        pair = v.SYMBOL + of(facts.symbol, subject), v.COLOUR + of(facts.colour, subject)
        return Asked(kind, *pair, needles(seen(subject)))
    if kind is Question.TIMBRE_OF:
        pair = v.TONE + of(facts.tone, subject), v.TIMBRE + of(facts.timbre, subject)
        return Asked(kind, *pair, needles(heard(subject)))
    if kind is Question.SEEN_NEXT:
        pair = v.SYMBOL + of(facts.symbol, subject), v.SYMBOL + of(facts.symbol, subject + 1)
        return Asked(kind, *pair, needles(seen(subject), seen(subject + 1)))
    # With one tone and one window of objects each, the i-th belong together.
    shown = subject if kind is Question.SEEN_WITH else subject // scene.objects
    symbol = v.SYMBOL + of(facts.symbol, subject)
    tone = v.TONE + of(facts.tone, shown)
    pair = (tone, symbol) if kind is Question.SEEN_WITH else (symbol, tone)
    return Asked(kind, *pair, needles(seen(subject), heard(shown)))


def model_inputs(clips: Clips, asked: Asked) -> dict[str, Any]:
    """What the thinker's forward takes, one prompt a clip."""
    head = media_ids(clips.scene.windows).expand(len(clips), -1)
    kind = torch.full_like(asked.argument, asked.kind.value)
    ids = torch.cat([head, kind[:, None], asked.argument[:, None]], 1)
    frames = clips.scene.windows * SOUND * FRAMES_PER_TOKEN
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values_videos": clips.pixels.flatten(0, 1),
        "video_grid_thw": grids_of(clips.scene).expand(len(clips), 3),
        "input_features": clips.mel,
        "feature_attention_mask": torch.ones(len(clips), frames, dtype=torch.long),
        "use_audio_in_video": True,
        "video_second_per_grid": torch.ones(len(clips)),
    }


def grids_of(scene: Scene) -> Tensor:
    """[1, 3] patches of a clip in time, height and width."""
    return torch.tensor([[GRIDS_PER_WINDOW * scene.windows, MERGE * SIDE, MERGE * SIDE]])


def positions(model: Any, scene: Scene) -> Tensor:
    """[3, S] positions of a prompt by the model's own rule; they do not depend on what is shown or asked."""
    ids = torch.cat([media_ids(scene.windows), torch.full((QUESTION_TOKENS,), v.NO_ARGUMENT)])[None]
    found, _ = model.model.get_rope_index(
        ids,
        video_grid_thw=grids_of(scene),
        attention_mask=torch.ones_like(ids),
        use_audio_in_video=True,
        audio_seqlens=torch.tensor([scene.windows * SOUND * FRAMES_PER_TOKEN]),
        second_per_grids=torch.tensor([1.0]),
    )
    return found[:, 0]


def tower_features(model: Any, clips: Clips) -> tuple[Tensor, Tensor]:
    """Embeddings [B, video tokens, width] and [B, audio tokens, width]."""
    frames = torch.ones(len(clips), clips.mel.shape[2], dtype=torch.long)
    video = model.get_video_features(clips.pixels.flatten(0, 1), grids_of(clips.scene).expand(len(clips), 3))
    audio = model.get_audio_features(clips.mel, feature_attention_mask=frames)
    return torch.stack(video.pooler_output), audio.pooler_output.unflatten(0, (len(clips), -1))
