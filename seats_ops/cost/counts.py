"""How many tokens every stage of a schedule leaves, from lengths alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from seats_ops.cost.prompt_lengths import PromptLengths
from seats_ops.layout import Modality
from seats_ops.operators.composed import PerModality
from seats_ops.operators.diversity_selector import DiversitySelector
from seats_ops.operators.found import Found
from seats_ops.operators.modality_dropper import ModalityDropper
from seats_ops.operators.stage import (
    BUDGETED,
    MEDIA,
    MEDIA_MODALITIES,
    Allocator,
    KeepRatio,
    Stage,
    budgeted_modalities,
    count_kind_of,
    num_kept,
    ratio_of,
)
from seats_ops.operators.stage_checks import name_of
from seats_ops.operators.stage_pruner import StagePruner
from seats_ops.operators.window_budget_allocator import WindowBudgetAllocator
from seats_ops.schedule import Schedule
from seats_ops.validation import describe

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class StageCount:
    """Tokens of one prompt that a stage leaves.

    Attributes:
        name: class name of the stage.
        layer: 1-based layer whose output it acts on, 0 before the LLM.
        text, video, audio, image: tokens left; video and audio may be predictions, see `token_counts`.
        low, high: what the number of all tokens is sure to lie between, both inclusive.

    Example:
        >>> from seats_ops.cost import StageCount
        >>> StageCount("StagePruner", layer=16, text=20, video=30, audio=10, image=0, low=59, high=61).total
        60
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

    Exact are text and images, Stage I, a drop of both audio and video, and every stage of a prompt with one window or
    without audio or without video. A StagePruner of both in several windows depends on scores, as does what follows:

    - Its total is T = Tv + Ta of the counts it finds, unless T is small: it never keeps fewer tokens than windows, and
      a window with audio and video whose budget is 1 keeps one of each, so adds one. Predicted is max(T, parts), parts
      the (window, modality) pairs that can hold a token, which is right for nearly equal windows and scores; the bounds
      are T and max(T, windows) + windows with audio and video.
    - The split of T is predicted as (Tv, Ta); windows move tokens from one modality to the other.
    - The next drop rounds both parts of that split. With one ratio for both its T moves by one token at most (two where
      both products are exact halves, and one for each modality whose product is below a half); a mapping of ratios adds
      their difference times the tokens that changed sides. `low` and `high` account for all of this.

    A stage or an allocator of a class of your own, a subclass of ours included, is asked for `count_tokens`, see
    `seats_ops.Stage`. Where what it finds is a prediction, so is what it leaves, between none and what it finds.

    Raises:
        TypeError: a stage or an allocator without `count_tokens`, or one that gives no mapping of ints.
        ValueError: a DiversitySelector for a modality that a StagePruner has thinned: its blocks depend on scores; a
            `count_tokens` that leaves more tokens than it finds, or fewer than none.

    Example:
        >>> from seats_ops import DiversitySelector, ModalityDropper, Schedule
        >>> from seats_ops.cost import PromptLengths, token_counts
        >>> schedule = Schedule(DiversitySelector({"video": 0.1}), {4: ModalityDropper(("video",))})
        >>> counts = token_counts(schedule, PromptLengths(text=20, video_blocks=(100, 50)))
        >>> [(count.name, count.total) for count in counts]
        [('DiversitySelector', 35), ('ModalityDropper', 20)]
    """
    counts = []
    for layer, stage, _, state in _walk(schedule, lengths):
        text, image = state.left[Modality.TEXT], state.left[Modality.IMAGE]
        low, high = text.low + image.low + state.av.low, text.high + image.high + state.av.high
        values = {m.name.lower(): span.value for m, span in state.left.items()}
        counts.append(StageCount(type(stage).__name__, layer, **values, low=low, high=high))
    return tuple(counts)


def found_by_stages(schedule: Schedule, lengths: PromptLengths) -> list[tuple[int, Stage, Found]]:
    """(layer, stage, what it finds) of one prompt, in the order of `token_counts`, which see."""
    return [(layer, stage, before.found()) for layer, stage, before, _ in _walk(schedule, lengths)]


def _walk(schedule: Schedule, lengths: PromptLengths) -> Iterator[tuple[int, Stage, _State, _State]]:
    """(layer, stage, what is there before, and after it)."""
    state = _State.of(lengths)
    for layer, stage in schedule.stages():
        before, state = state, _after(stage, state, lengths.windows)
        yield layer, stage, before, state


class _Span(NamedTuple):
    """A number of tokens: the expected one and what it is sure to lie between."""

    value: int
    low: int
    high: int


def _exactly(n: int) -> _Span:
    return _Span(n, n, n)


class _State(NamedTuple):
    """Tokens left by modality; `av`: of video and audio together, with tighter bounds than its parts have; the Stage I
    blocks of media, None once something else than lengths decides that; the lengths before any stage."""

    left: dict[Modality, _Span]
    av: _Span
    blocks: dict[Modality, tuple[int, ...] | None]
    prompt: PromptLengths

    def found(self) -> Found:
        """What a stage is told that counts for itself."""
        tokens = {m.name.lower(): span.value for m, span in self.left.items()}
        before = {name: getattr(self.prompt, name) for name in tokens}
        blocks = {m.name.lower(): lengths for m, lengths in self.blocks.items() if lengths is not None}
        return Found(tokens, self.prompt.shapes if tokens == before else None, before, blocks)

    @classmethod
    def of(cls, lengths: PromptLengths) -> _State:
        blocks: dict[Modality, tuple[int, ...] | None] = {
            Modality.VIDEO: lengths.video_blocks,
            Modality.AUDIO: lengths.audio_blocks,
            Modality.IMAGE: lengths.image_blocks,
        }
        left = {Modality.TEXT: _exactly(lengths.text)} | {m: _exactly(sum(n or ())) for m, n in blocks.items()}
        return cls(left, _exactly(lengths.video + lengths.audio), blocks, lengths)


def _after(stage: Stage, state: _State, windows: tuple[tuple[int, int], ...]) -> _State:
    left, blocks = dict(state.left), dict(state.blocks)
    match stage:
        # A subclass may do anything.
        case DiversitySelector() if type(stage) is DiversitySelector:
            for m in (m for m in MEDIA_MODALITIES if ratio_of(stage.keep_ratio, m) is not None):
                lengths = blocks[m]
                if lengths is None:
                    raise ValueError(f"schedule: expected DiversitySelector before StagePruner for {m.name.lower()}")
                blocks[m] = None if stage.exact_total else stage.blocks_left(lengths, m)
                left[m] = _exactly(sum(stage.blocks_left(lengths, m)))
        case ModalityDropper() if type(stage) is ModalityDropper:
            for m in (Modality[name.upper()] for name in stage.modalities):
                blocks[m], left[m] = (), _exactly(0)
        case StagePruner() if type(stage) is StagePruner:
            if type(stage.allocator) is WindowBudgetAllocator:
                return _pruned(stage.keep_ratio, state, windows)
            return _counted(stage.allocator, state, stage.keep_ratio)
        case PerModality() if type(stage) is PerModality:
            # Each sees what all found, and has a say on its own modality alone.
            for m, part in ((Modality[name.upper()], _after(part, state, windows)) for name, part in stage.stages):
                blocks[m], left[m] = part.blocks[m], part.left[m]
        case _:
            return _counted(stage, state)
    changed = any(left[m] != state.left[m] for m in (Modality.VIDEO, Modality.AUDIO))
    parts = zip(left[Modality.VIDEO], left[Modality.AUDIO], strict=True)
    return _State(left, _Span(*map(sum, parts)) if changed else state.av, blocks, state.prompt)


def _counted(counter: Stage | Allocator, state: _State, *keep_ratio: KeepRatio) -> _State:
    """What a stage or an allocator that is not ours says it leaves."""
    name, count = name_of(counter), getattr(counter, "count_tokens", None)
    if not callable(count):
        known = "DiversitySelector, StagePruner with WindowBudgetAllocator and ModalityDropper"
        raise TypeError(f"schedule: expected stages among {known}, or with count_tokens, got {name}")
    found = state.found()
    said = count(copy(found), *keep_ratio)
    _check_said(f"{name}.count_tokens", said, found, int)
    # Budgets are of video and audio.
    least = {key: n if keep_ratio and key not in BUDGETED else 0 for key, n in found.items()}
    if any(not least[key] <= said[key] <= n for key, n in found.items()):
        raise ValueError(f"{name}.count_tokens: expected numbers from {least} to {dict(found)}, got {dict(said)}")
    exact = count_kind_of(counter) in ("shape", "reconciled")
    certain = exact and all(span.low == span.high for span in state.left.values())
    bounds = {key: (0, n) for key, n in found.items()}
    if not exact and hasattr(counter, "count_bounds") and all(span.low == span.high for span in state.left.values()):
        bounds = counter.count_bounds(copy(found))
        _check_said(f"{name}.count_bounds", bounds, found, tuple)
        if any(not 0 <= bounds[key][0] <= said[key] <= bounds[key][1] <= n for key, n in found.items()):
            raise ValueError(f"{name}.count_bounds: expected pairs around {dict(said)}, got {dict(bounds)}")
    left, blocks = dict(state.left), dict(state.blocks)
    for m, span in state.left.items():
        key = m.name.lower()
        n, (low, high) = said[key], bounds[key]
        left[m] = _exactly(n) if certain else _Span(n, low, max(high, span.high) if high == found[key] else high)
        if m in blocks and n != span.value:
            blocks[m] = None
    parts = [left[Modality.VIDEO], left[Modality.AUDIO]]
    low, high = sum(part.low for part in parts), sum(part.high for part in parts)
    av = _Span(sum(part.value for part in parts), low, min(high, state.av.high))
    return _State(left, av, blocks, state.prompt)


def _check_said(where: str, said: object, found: Found, kind: type) -> None:
    if not isinstance(said, Mapping) or set(said) != set(found) or any(type(n) is not kind for n in said.values()):
        what = "ints" if kind is int else "pairs of ints"
        raise TypeError(f"{where}: expected {what} by {tuple(found)}, got {describe(said)}")


def _pruned(keep_ratio: KeepRatio, state: _State, windows: tuple[tuple[int, int], ...]) -> _State:
    video, audio = state.left[Modality.VIDEO], state.left[Modality.AUDIO]
    named = budgeted_modalities(keep_ratio)

    def kept(m: Modality, n: int) -> int:
        return num_kept(n, ratio_of(keep_ratio, m) or 0.0) if m in named else n

    blocks = {m: None if m in named else lengths for m, lengths in state.blocks.items()}
    left = {m: _Span(*(kept(m, n) for n in span)) for m, span in state.left.items()}
    # Over all ways in which the tokens still there may be split between the two.
    splits = range(video.low, video.high + 1)
    low = min(kept(Modality.VIDEO, v) + kept(Modality.AUDIO, max(audio.low, state.av.low - v)) for v in splits)
    high = max(kept(Modality.VIDEO, v) + kept(Modality.AUDIO, min(audio.high, state.av.high - v)) for v in splits)
    of_video, of_audio = left[Modality.VIDEO].value, left[Modality.AUDIO].value
    occupied, both = sum(map(any, windows)), sum(map(all, windows))
    if occupied <= 1 or len(named) == 1 or not (video.high and audio.high):
        return _State(left, _Span(of_video + of_audio, low, high), blocks, state.prompt)

    # Several windows share one total, and each keeps at least one token of what it has.
    least_video = min(video.value, sum(v > 0 for v, _ in windows))
    least_audio = min(audio.value, sum(a > 0 for _, a in windows))
    total = max(of_video + of_audio, least_video + least_audio)
    high = min(state.av.high, max(high, occupied) + both)
    of_video = min(max(of_video, least_video), total - least_audio)
    left[Modality.VIDEO] = _Span(
        of_video, max(min(1, video.low), low - audio.high), min(video.high, high - min(1, audio.low))
    )
    left[Modality.AUDIO] = _Span(
        total - of_video, max(min(1, audio.low), low - video.high), min(audio.high, high - min(1, video.low))
    )
    return _State(left, _Span(total, low, high), blocks, state.prompt)


def tokens_per_layer(before: Number, steps: Iterable[tuple[int, Number]], num_layers: int) -> list[Number]:
    """Tokens that layers 1 to `num_layers` run on, then those left after the last one.

    Args:
        before: tokens of the prompt, or 1 where shares of them are counted.
        steps: (layer, tokens left after it), in order; a later layer than there are changes nothing.
    """
    tokens = [before] * (num_layers + 1)
    for layer, left in steps:
        tokens[layer:] = [left] * (num_layers + 1 - layer)
    return tokens


def mean_shares(
    before: Mapping[str, int], steps: Sequence[tuple[int, Mapping[str, int]]], num_layers: int
) -> dict[str, float]:
    """Tokens that a layer runs on, mean of all layers, as a share of those of the prompt; by modality, if it has some.

    Args:
        before: tokens of the prompt.
        steps: (layer, tokens left after it), in order.
    """
    shares = {}
    for name in MEDIA:
        if n := before.get(name, 0):
            tokens = tokens_per_layer(n, [(layer, left.get(name, 0)) for layer, left in steps], num_layers)
            shares[name] = sum(tokens[:-1]) / (n * num_layers)
    return shares


def check_last_layer(counts: Sequence[StageCount], num_layers: int) -> None:
    """Raise ValueError for a stage after a layer that does not exist."""
    if counts and counts[-1].layer > num_layers:
        raise ValueError(f"schedule: expected layers up to {num_layers}, got a stage after layer {counts[-1].layer}")
