"""What a schedule costs, from lengths and a model config alone: tokens per stage, FLOPs and KV bytes of one prefill.

    lengths = PromptLengths(text=590, video_blocks=split_blocks(9600, 288), audio_blocks=split_blocks(1570, 50))
    cost = prefill_cost(model.config, seats(model.config, video=0.06, audio=0.35), lengths)
    cost.flops / 1e12, cost.flops_share, cost.kv_bytes, cost.stages

Convention of the paper (arXiv 2605.20035), which gives its 111.0 TFLOPs for 11,768 tokens on Qwen2.5-Omni-7B: one
multiply-add is one FLOP; a layer with S tokens costs its q, k, v and o projections, 2 S^2 D for attention (D = heads *
head_dim) and 3 S H I for the gated MLP; the output head runs on all tokens that are left; a drop after layer l counts
from l + 1; encoders, embeddings, norms and the selection itself are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from seats_ops.diversity_selector import DiversitySelector
from seats_ops.layout import Modality, TokenLayout
from seats_ops.modality_dropper import ModalityDropper
from seats_ops.schedule import Schedule
from seats_ops.stage_pruner import StagePruner
from seats_ops.stages import KeepRatio, Stage, num_kept, ratio_of
from seats_ops.validation import describe


def split_blocks(num_tokens: int, block: int) -> tuple[int, ...]:
    """Lengths of consecutive blocks of `block` tokens, as Stage I cuts a video or an audio; the last may be short."""
    if block < 1:
        raise ValueError(f"block: expected at least 1, got {block}")
    return tuple(min(block, num_tokens - start) for start in range(0, num_tokens, block))


@dataclass(frozen=True)
class PromptLengths:
    """How long the parts of one prompt are.

    Attributes:
        text: tokens that are not audio, video or image, special tokens included.
        video_blocks, audio_blocks, image_blocks: tokens of every Stage I block, see `split_blocks`. A token outside all
            blocks, which Stage I keeps, is a block of 1.
        windows: (video, audio) tokens of every Stage II window of the original prompt, as the schedule's `windows` mode
            cuts it; empty means one window.

    Raises:
        TypeError, ValueError: lengths that are not ints >= 0, windows that do not hold all audio and video tokens.
    """

    text: int = 0
    video_blocks: tuple[int, ...] = ()
    audio_blocks: tuple[int, ...] = ()
    image_blocks: tuple[int, ...] = ()
    windows: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("video_blocks", "audio_blocks", "image_blocks", "windows"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check_lengths("text", (self.text,))
        for name in ("video_blocks", "audio_blocks", "image_blocks"):
            _check_lengths(name, getattr(self, name))
        for window in self.windows:
            _check_lengths("windows", window)
        held = sum(video for video, _ in self.windows), sum(audio for _, audio in self.windows)
        if self.windows and held != (self.video, self.audio):
            raise ValueError(f"windows: expected all {(self.video, self.audio)} tokens of (video, audio), got {held}")

    @property
    def video(self) -> int:
        return sum(self.video_blocks)

    @property
    def audio(self) -> int:
        return sum(self.audio_blocks)

    @property
    def image(self) -> int:
        return sum(self.image_blocks)

    @property
    def total(self) -> int:
        return self.text + self.video + self.audio + self.image

    @classmethod
    def from_layout(cls, layout: TokenLayout, row: int = 0) -> PromptLengths:
        """The lengths of one prompt of a layout that nothing was dropped from; reads it back to the host.

        Raises:
            ValueError: an audio or video token without a window.
        """
        part = slice(*layout.cu_seqlens[row : row + 2].tolist())
        kinds = layout.modality[part].tolist()
        block_ids = kinds if layout.block is None else layout.block[part].tolist()
        window_ids = [0] * len(kinds) if layout.window is None else layout.window[part].tolist()
        blocks = Counter((k, b if b >= 0 else -1 - i) for i, (k, b) in enumerate(zip(kinds, block_ids, strict=True)))
        cells = Counter((w, k) for w, k in zip(window_ids, kinds, strict=True) if k in (Modality.VIDEO, Modality.AUDIO))
        if any(window < 0 for window, _ in cells):
            raise ValueError("layout.window: expected a window for every audio and video token, got -1 for some")
        video, audio, image = (
            tuple(n for (k, _), n in blocks.items() if k == m) for m in (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE)
        )
        windows = tuple((cells[w, Modality.VIDEO], cells[w, Modality.AUDIO]) for w in sorted({w for w, _ in cells}))
        return cls(kinds.count(Modality.TEXT), video, audio, image, windows)


@dataclass(frozen=True)
class StageCount:
    """Tokens of one prompt that a stage leaves.

    Attributes:
        name: class name of the stage.
        layer: 1-based layer whose output it acts on, 0 before the LLM.
        text, video, audio, image: tokens left; video and audio may be predictions, see `token_counts`.
        low, high: what the number of all tokens is sure to lie between, both inclusive.
    """

    name: str
    layer: int
    text: int
    video: int
    audio: int
    image: int
    low: int
    high: int

    @property
    def total(self) -> int:
        """Tokens left: exact where `low == high`, else a prediction."""
        return self.text + self.video + self.audio + self.image


def token_counts(schedule: Schedule, lengths: PromptLengths) -> tuple[StageCount, ...]:
    """What every stage leaves of one prompt, in the order of `PruneTrace.stages`.

    Exact are text and images always, Stage I, the late drop, and all stages of a prompt with one window or without
    audio or without video. With several windows a StagePruner's counts depend on scores:

    - Its total is exact, T = Tv + Ta of the counts it finds, as long as no window that holds audio and video is left
      with a budget of 1: each such window keeps one token of both and so adds one. The prediction is max(T, parts),
      parts the (window, modality) pairs that can hold a token, which is right for nearly uniform scores; the bounds are
      T and max(T, windows) + windows with audio and video.
    - The split between video and audio is a prediction (Tv, Ta): windows move tokens from one to the other.
    - A later drop rounds both parts of that split. With one keep ratio for both its T therefore moves by at most one
      token (by two where both products are exact halves, and by one for each modality below half a token); with a
      mapping of ratios it can move by their difference times the tokens that changed sides. `low` and `high` hold all of it.

    Raises:
        TypeError: a stage other than DiversitySelector, StagePruner and ModalityDropper.
        ValueError: a DiversitySelector for a modality that a StagePruner has thinned: its blocks depend on scores.
    """
    state = _State(
        {
            Modality.VIDEO: lengths.video_blocks,
            Modality.AUDIO: lengths.audio_blocks,
            Modality.IMAGE: lengths.image_blocks,
        },
        _Span.exact(lengths.video),
        _Span.exact(lengths.audio),
        _Span.exact(lengths.video + lengths.audio),
    )
    counts = []
    for layer, stage in _stages(schedule):
        state = _after(stage, state, lengths.windows)
        fixed = lengths.text + state.image
        counts.append(
            StageCount(
                type(stage).__name__,
                layer,
                lengths.text,
                state.video.value,
                state.audio.value,
                state.image,
                fixed + state.media.low,
                fixed + state.media.high,
            )
        )
    return tuple(counts)


class _Span(NamedTuple):
    """A number of tokens: the expected one and what it is sure to lie between."""

    value: int
    low: int
    high: int

    def map(self, function: Callable[[int], int]) -> _Span:
        """Under a function that never falls."""
        return _Span(*map(function, self))


class _State(NamedTuple):
    """Tokens left; `media` is video and audio together, known better than its parts. None: blocks unknown by now."""

    blocks: dict[Modality, tuple[int, ...] | None]
    video: _Span
    audio: _Span
    media: _Span
    image: int


def _stages(schedule: Schedule) -> list[tuple[int, Stage]]:
    """(layer, stage) in the order they run."""
    before = [(0, stage) for stage in schedule.before_llm]
    return before + [(layer, stage) for layer, stages in schedule.after_layer.items() for stage in stages]
