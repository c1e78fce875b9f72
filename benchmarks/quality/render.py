"""From facts to what a processor would hand to the model: pixel patches and a mel spectrogram."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from benchmarks.quality import vocabulary as v
from benchmarks.quality.scenes import Facts, Scene, draw_facts
from benchmarks.quality.thinker import (
    CELLS,
    FRAMES_PER_TOKEN,
    MEL_BINS,
    MERGE,
    PATCH,
    SOUND,
    TEMPORAL_PATCH,
)

PIXELS = PATCH * MERGE
"""A token is this many pixels wide and high, in two frames and three channels."""
PIXEL_NOISE, SOUND_NOISE, GIST_SPREAD, BRIGHT = 0.1, 0.25, 1.2, 4.0


def _codewords(count: int, bits: int, ones: int, distance: int, generator: Generator) -> Tensor:
    """[count, bits] float 0 or 1, any two of them at least `distance` apart."""
    words: list[Tensor] = []
    while len(words) < count:
        word = torch.zeros(bits)
        word[torch.randperm(bits, generator=generator)[:ones]] = 1
        if all((word != other).sum() >= distance for other in words):
            words.append(word)
    return torch.stack(words)


def _enlarged(pattern: Tensor) -> Tensor:
    return pattern.repeat_interleave(2, -1).repeat_interleave(2, -2)


_fixed = torch.Generator().manual_seed(1234)
GLYPHS = _enlarged(_codewords(v.NUM_SYMBOLS, 16, 8, 6, _fixed).view(-1, 4, 4))
"""[symbols, 8, 8]"""
COLOURS = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]]).float()
TONES = _codewords(v.NUM_TONES, MEL_BINS - v.NUM_TIMBRES, 4, 4, _fixed)
"""[tones, upper mel bins]"""
TIMBRES = torch.eye(v.NUM_TIMBRES)
"""[timbres, lower mel bins]"""
GISTS = 0.35 * _enlarged(torch.randn(v.NUM_GISTS, 3, 4, 4, generator=_fixed))
"""[gists, 3, 8, 8]"""
MARK = 0.5 * _enlarged(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2))
"""[8, 8], a faint chequerboard"""
SINK = BRIGHT * _enlarged(torch.eye(4))
"""[8, 8]"""


@dataclass(frozen=True)
class Clips:
    """B clips of one scene.

    Attributes:
        pixels: [B, tokens * 4, 96] patches in the processor's order.
        mel: [B, MEL_BINS, frames].
        facts: what they show and play.
    """

    pixels: Tensor
    mel: Tensor
    facts: Facts

    @property
    def scene(self) -> Scene:
        return self.facts.scene

    def __len__(self) -> int:
        return len(self.pixels)


def draw_clips(scene: Scene, clips: int, generator: Generator) -> Clips:
    """Clips of a scene; the same generator state gives the same clips."""
    facts = draw_facts(scene, clips, generator)
    return Clips(_pixels(facts, generator), _mel(facts, generator), facts)


def _pixels(facts: Facts, generator: Generator) -> Tensor:
    clips, grids, _ = facts.fresh.shape
    shape = (clips, grids, CELLS, 1, 1, 1)
    # Every token mixes the clip's texture with another one, so that a single token is weak evidence of the gist.
    share = (1 + GIST_SPREAD * torch.randn(shape, generator=generator)) / 2
    other = GISTS[torch.randint(v.NUM_GISTS, shape[:3], generator=generator)]
    image = share * GISTS[facts.gist][:, None, None] + (1 - share) * other
    colour = COLOURS[torch.randint(v.NUM_COLOURS, shape[:3], generator=generator)][..., None, None]
    noise = (torch.rand(*shape[:4], PIXELS, PIXELS, generator=generator) > 0.5).float() * colour
    repeated = facts.fresh[..., None, None, None].expand_as(image)
    image, noise = image.gather(1, repeated), noise.gather(1, repeated)
    image = image + MARK * facts.marked[..., None, None, None]
    image = torch.where(facts.clutter[..., None, None, None], noise, image)
    image = torch.where(facts.sink[..., None, None, None], SINK, image)
    image = image.flatten(1, 2)
    if facts.scene.pictures:
        glyphs = GLYPHS[facts.symbol][:, :, None] * COLOURS[facts.colour][..., None, None]
        glyphs = glyphs * (0.5 if facts.scene.sinks else 1.0)
        rows = torch.arange(clips)[:, None, None]
        image[rows, facts.object_tokens] = glyphs[:, :, None]
    image = image[:, :, :, None].expand(-1, -1, -1, TEMPORAL_PATCH, -1, -1)
    image = image + PIXEL_NOISE * torch.randn(image.shape, generator=generator)
    # Four patches of a token lie side by side, each of (channel, frame, row, column).
    patches = image.unflatten(5, (MERGE, PATCH)).unflatten(4, (MERGE, PATCH)).permute(0, 1, 4, 6, 2, 3, 5, 7)
    return patches.reshape(clips, grids * CELLS * MERGE * MERGE, -1)


def _mel(facts: Facts, generator: Generator) -> Tensor:
    clips, tokens = len(facts.gist), facts.scene.windows * SOUND
    mel = SOUND_NOISE * torch.randn(clips, MEL_BINS, tokens, FRAMES_PER_TOKEN, generator=generator)
    if facts.scene.sounds:
        sounding = functional.one_hot(facts.tone_tokens, tokens).sum(2).float()
        # A broadband burst a window, which covers no tone.
        at = torch.randint(SOUND, (clips, facts.scene.windows, 1), generator=generator)
        length = torch.randint(4, at.shape, generator=generator)
        place = torch.arange(SOUND)
        burst = ((place >= at) & (place < at + length)).flatten(1).float() * (1 - sounding.sum(1))
        loudness = 0.7 * torch.rand(mel.shape, generator=generator)
        mel = mel + burst[:, None, :, None] * loudness
        spectrum = torch.cat([TIMBRES[facts.timbre], TONES[facts.tone]], -1)
        mel = mel + torch.einsum("bpm,bpt->bmt", spectrum, sounding)[..., None]
    return mel.flatten(2)
