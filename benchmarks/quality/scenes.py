"""What a clip shows and plays, as numbers: which objects and tones, where, before what background."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from benchmarks.quality import vocabulary as v
from benchmarks.quality.thinker import CELLS, GRIDS_PER_WINDOW, SOUND, WINDOW_TOKENS

TONE_LENGTH = 3
"""Audio tokens of a tone."""
SHARES = (0.1, 0.37, 0.63, 0.9)
MAX_OBJECT_TOKENS = 4


@dataclass(frozen=True)
class Scene:
    """Settings of a clip.

    Attributes:
        windows: of two seconds each.
        objects: in every window that shows any, all equally distinct.
        tokens: of an object: 1, 2 (one cell in both grids of its window) or 4 (two cells in both).
        apart: objects show in even windows, and the tone of each sounds in the odd one after it.
        pictures, sounds: False: nothing is shown, on a background that stands still, or nothing is played.
        redundancy: probability that a background token repeats that of the grid before.
        clutter: tokens of coloured noise a window, at most.
        sinks: one token of every window is far brighter than all others, and objects are half as bright.
    """

    windows: int = 8
    objects: int = 1
    tokens: int = 1
    apart: bool = False
    pictures: bool = True
    sounds: bool = True
    redundancy: float = 0.5
    clutter: int = 4
    sinks: bool = False

    def __post_init__(self) -> None:
        cells = self.objects * (2 if self.tokens == MAX_OBJECT_TOKENS else 1)
        if self.tokens not in (1, 2, MAX_OBJECT_TOKENS):
            raise ValueError(f"tokens: expected 1, 2 or {MAX_OBJECT_TOKENS}, got {self.tokens}")
        if not 1 <= cells <= CELLS - 1:
            raise ValueError(f"objects: expected some for which {CELLS - 1} cells are enough, got {self.objects}")
        if not 2 <= self.windows <= v.NUM_TONES or self.num_objects > v.NUM_SYMBOLS:
            raise ValueError(
                f"windows: expected 2 or more of which {v.NUM_SYMBOLS} distinct objects are enough, got {self.windows}"
                f" of {self.objects}"
            )

    @property
    def num_objects(self) -> int:
        """In all windows; no two of a clip share a symbol."""
        return self.objects * len(self.shown)

    @property
    def shown(self) -> range:
        """Windows with objects."""
        return range(0, self.windows - self.apart, 1 + self.apart)

    @property
    def played(self) -> range:
        """Windows with a tone; where they lie apart, the i-th belongs to the i-th of `shown`."""
        return range(int(self.apart), self.windows, 1 + self.apart)


@dataclass(frozen=True)
class Facts:
    """Of B clips of one scene; W windows, G grids of C cells, O objects and P tones in order of time.

    Attributes:
        symbol, colour: [B, O] indices of every object.
        object_tokens: [B, O, 4] video tokens that show it, the first repeated where there are fewer.
        tone, timbre: [B, P] indices of every tone.
        tone_tokens: [B, P, 3] audio tokens.
        gist: [B] texture.
        share: [B] index into SHARES.
        marked: [B, G, C] bool, background tokens that are marked.
        fresh: [B, G, C] index of the grid whose background a token repeats; its own if it repeats none.
        clutter, sink: [B, G, C] bool.
    """

    scene: Scene
    symbol: Tensor
    colour: Tensor
    object_tokens: Tensor
    tone: Tensor
    timbre: Tensor
    tone_tokens: Tensor
    gist: Tensor
    share: Tensor
    marked: Tensor
    fresh: Tensor
    clutter: Tensor
    sink: Tensor


def draw_facts(scene: Scene, clips: int, generator: Generator) -> Facts:
    """Everything but the pixels and the sound."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def choose(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    windows, grids = scene.windows, GRIDS_PER_WINDOW * scene.windows
    shown, played = torch.tensor(scene.shown), torch.tensor(scene.played)
    cells = rand(clips, len(shown), CELLS).argsort(2)
    object_tokens = _object_tokens(scene, cells, shown, choose(GRIDS_PER_WINDOW, clips, len(shown), scene.objects))
    taken = torch.zeros(clips, grids * CELLS, dtype=torch.bool)
    if scene.pictures:
        taken.scatter_(1, object_tokens.flatten(1), True)
    taken = taken.view(clips, grids, CELLS)

    repeats = rand(clips, grids, CELLS) < (scene.redundancy if scene.pictures else 1.0)
    repeats[:, 0] = False
    fresh = torch.where(repeats, 0, torch.arange(grids)[:, None]).cummax(1).values
    # Which background tokens are clutter or marked goes with what they repeat.
    noisy = rand(clips, grids, CELLS).argsort(2) < choose(scene.clutter // GRIDS_PER_WINDOW + 1, clips, grids, 1)
    clutter = noisy.gather(1, fresh) & ~taken & scene.pictures
    share = choose(len(SHARES), clips)
    height = rand(clips, grids, CELLS).gather(1, fresh).masked_fill(clutter | taken, 2.0)
    background = (height < 2).sum((1, 2))
    rank = height.flatten(1).argsort(1).argsort(1).view_as(height)
    marked = (rank < (torch.tensor(SHARES)[share] * background).round()[:, None, None]) & (height < 2)
    sink = torch.zeros_like(taken)
    if scene.sinks:
        where = rand(clips, grids, CELLS).masked_fill(taken, 2.0).unflatten(1, (windows, GRIDS_PER_WINDOW)).flatten(2)
        sink = torch.nn.functional.one_hot(where.argmin(2), WINDOW_TOKENS).bool().view_as(taken)
    start = choose(SOUND - TONE_LENGTH + 1, clips, len(played)) + SOUND * played
    return Facts(
        scene,
        symbol=rand(clips, v.NUM_SYMBOLS).argsort(1)[:, : scene.num_objects],
        colour=choose(v.NUM_COLOURS, clips, scene.num_objects),
        object_tokens=object_tokens.flatten(1, 2),
        tone=rand(clips, v.NUM_TONES).argsort(1)[:, : len(played)],
        timbre=choose(v.NUM_TIMBRES, clips, len(played)),
        tone_tokens=start[..., None] + torch.arange(TONE_LENGTH),
        gist=choose(v.NUM_GISTS, clips),
        share=share,
        marked=marked & ~sink,
        fresh=fresh,
        clutter=clutter & ~sink,
        sink=sink,
    )


def _object_tokens(scene: Scene, cells: Tensor, shown: Tensor, grid: Tensor) -> Tensor:
    """[B, windows shown, objects, 4] video tokens of a clip."""
    first = cells[..., : scene.objects]
    if scene.tokens == 1:
        tokens = (grid * CELLS + first)[..., None].expand(*first.shape, MAX_OBJECT_TOKENS)
    else:
        second = cells[..., scene.objects : 2 * scene.objects] if scene.tokens == MAX_OBJECT_TOKENS else first
        tokens = torch.stack([first, first + CELLS, second, second + CELLS], -1)
    return tokens + WINDOW_TOKENS * shown[:, None, None]
