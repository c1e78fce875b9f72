"""Towers first: what a token shows must look like the embedding of its name, else retrieval takes hours to begin."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from benchmarks.quality import vocabulary as v
from benchmarks.quality.prompts import tower_features
from benchmarks.quality.render import draw_clips
from benchmarks.quality.scenes import Scene
from benchmarks.quality.thinker import CELLS

SCALE = 0.3
"""Of dot products, so that embeddings stay small."""
SCENES = (
    Scene(windows=3, objects=1),
    Scene(windows=3, objects=2, tokens=2),
    Scene(windows=3, objects=2, tokens=4),
    Scene(windows=3, objects=2, sinks=True),
    Scene(windows=3, objects=3, redundancy=0.0),
)


class Tutor(nn.Module):
    """A thinker with a head that is thrown away: where in its grid an object shows, a reason for tokens to attend."""

    def __init__(self, thinker: Any) -> None:
        super().__init__()
        self.thinker = thinker
        self.where = nn.Linear(thinker.config.text_config.hidden_size, CELLS)


def alignment_loss(tutor: Tutor, generator: Generator, clips: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Names of objects, colours, tones, timbres, textures and marks, as dot products with their embeddings."""
    scene = SCENES[int(torch.randint(len(SCENES), (), generator=generator))]
    drawn = draw_clips(scene, clips, generator)
    facts = drawn.facts
    video, audio = (SCALE * part for part in tower_features(tutor.thinker, drawn))
    names = tutor.thinker.model.language_model.embed_tokens.weight
    rows = torch.arange(clips)[:, None, None]

    symbol = torch.full(video.shape[:2], v.NUM_SYMBOLS)
    symbol[rows, facts.object_tokens] = facts.symbol[..., None].expand_as(facts.object_tokens)
    colour = torch.zeros_like(symbol)
    colour[rows, facts.object_tokens] = facts.colour[..., None].expand_as(facts.object_tokens)
    shown = symbol < v.NUM_SYMBOLS
    background = ~(shown | facts.clutter.flatten(1) | facts.sink.flatten(1))
    tone = torch.full(audio.shape[:2], v.NUM_TONES)
    tone[rows, facts.tone_tokens] = facts.tone[..., None].expand_as(facts.tone_tokens)
    timbre = torch.zeros_like(tone)
    timbre[rows, facts.tone_tokens] = facts.timbre[..., None].expand_as(facts.tone_tokens)
    sounding = tone < v.NUM_TONES

    losses: dict[str, Tensor] = {}
    right: dict[str, Tensor] = {}

    def named(what: str, features: Tensor, first: int, count: int, target: Tensor, *, weight: float = 1.0) -> None:
        ids = [*range(first, first + count), v.NOTHING]
        logits = features @ names[ids].T
        losses[what] = weight * functional.cross_entropy(logits, target)
        right[what] = (logits.argmax(-1) == target).float().mean().detach()

    named("symbol", video[shown], v.SYMBOL, v.NUM_SYMBOLS, symbol[shown])
    named("no symbol", video[~shown], v.SYMBOL, v.NUM_SYMBOLS, symbol[~shown])
    named("colour", video[shown], v.COLOUR, v.NUM_COLOURS, colour[shown])
    gist = facts.gist[:, None].expand_as(background)[background]
    named("gist", video[background], v.GIST, v.NUM_GISTS, gist, weight=0.5)
    # One embedding is that of a mark, and NOTHING's that of none.
    unmarked = 1 - facts.marked.flatten(1)[background].long()
    named("mark", video[background], v.SHARE, 1, unmarked)
    named("tone", audio[sounding], v.TONE, v.NUM_TONES, tone[sounding])
    named("no tone", audio[~sounding], v.TONE, v.NUM_TONES, tone[~sounding])
    named("timbre", audio[sounding], v.TIMBRE, v.NUM_TIMBRES, timbre[sounding])

    per_grid = shown.unflatten(1, (-1, CELLS)).float()
    place = (per_grid / per_grid.sum(2, keepdim=True).clamp(min=1)).repeat_interleave(CELLS, 1)
    guess = tutor.where(video / SCALE).log_softmax(-1)
    losses["where"] = -0.3 * (place * guess).sum(-1).mean()
    size = 1e-4 * (video.pow(2).mean() + audio.pow(2).mean()) / SCALE**2
    return torch.stack(list(losses.values())).sum() + size, right
