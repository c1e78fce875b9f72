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
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from seats_ops.diversity_selector import DiversitySelector
from seats_ops.layout import Modality, TokenLayout
from seats_ops.modality_dropper import ModalityDropper
from seats_ops.schedule import Schedule
from seats_ops.stage_pruner import StagePruner
from seats_ops.stages import KeepRatio, Stage, budgeted_modalities, num_kept, ratio_of
from seats_ops.validation import describe

KV_POLICIES = ("uniform", "per-layer")
SIZES = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
)


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

    - Its total is T = Tv + Ta of the counts it finds, unless T is small: it never keeps fewer tokens than windows, and
      a window with audio and video whose budget is 1 keeps one of each, so adds one. Predicted is max(T, parts), parts
      the (window, modality) pairs that can hold a token, which is right for nearly equal windows and scores; the bounds
      are T and max(T, windows) + windows with audio and video.
    - The split of T is predicted as (Tv, Ta); windows move tokens from one modality to the other.
    - The next drop rounds both parts of that split. With one ratio for both its T moves by one token at most (two where
      both products are exact halves, and one for each modality whose product is below a half); a mapping of ratios adds
      their difference times the tokens that changed sides. `low` and `high` account for all of this.

    Raises:
        TypeError: a stage other than DiversitySelector, StagePruner and ModalityDropper.
        ValueError: a DiversitySelector for a modality that a StagePruner has thinned: its blocks depend on scores.
    """
    state, counts = _State.of(lengths), []
    for layer, stage in _stages(schedule):
        state = _after(stage, state, lengths.windows)
        video, audio, image = (span.value for span in state.left.values())
        low, high = (lengths.text + image + bound for bound in (state.av.low, state.av.high))
        counts.append(StageCount(type(stage).__name__, layer, lengths.text, video, audio, image, low, high))
    return tuple(counts)


class _Span(NamedTuple):
    """A number of tokens: the expected one and what it is sure to lie between."""

    value: int
    low: int
    high: int


def _exactly(n: int) -> _Span:
    return _Span(n, n, n)


class _State(NamedTuple):
    """Tokens left of video, audio and image; `av`: of the first two together, with tighter bounds than its parts have;
    the Stage I blocks they are in, None once scores decide that."""

    left: dict[Modality, _Span]
    av: _Span
    blocks: dict[Modality, tuple[int, ...] | None]

    @classmethod
    def of(cls, lengths: PromptLengths) -> _State:
        blocks: dict[Modality, tuple[int, ...] | None] = {
            Modality.VIDEO: lengths.video_blocks,
            Modality.AUDIO: lengths.audio_blocks,
            Modality.IMAGE: lengths.image_blocks,
        }
        left = {m: _exactly(sum(n or ())) for m, n in blocks.items()}
        return cls(left, _exactly(lengths.video + lengths.audio), blocks)


def _stages(schedule: Schedule) -> list[tuple[int, Stage]]:
    """(layer, stage) in the order they run."""
    before = [(0, stage) for stage in schedule.before_llm]
    return before + [(layer, stage) for layer, stages in schedule.after_layer.items() for stage in stages]


def _after(stage: Stage, state: _State, windows: tuple[tuple[int, int], ...]) -> _State:
    left, blocks = dict(state.left), dict(state.blocks)
    match stage:
        case DiversitySelector():
            for m in (m for m in left if ratio_of(stage.keep_ratio, m) is not None):
                lengths = blocks[m]
                if lengths is None:
                    raise ValueError(f"schedule: expected DiversitySelector before StagePruner for {m.name.lower()}")
                blocks[m] = kept = tuple(stage.num_kept(n, m) for n in lengths)
                left[m] = _exactly(sum(kept))
        case ModalityDropper():
            for m in (Modality[name.upper()] for name in stage.modalities):
                blocks[m], left[m] = (), _exactly(0)
        case StagePruner():
            return _pruned(stage.keep_ratio, state, windows)
        case _:
            known = "DiversitySelector, StagePruner and ModalityDropper"
            raise TypeError(f"schedule: expected stages among {known}, got {type(stage).__name__}")
    changed = any(left[m] != state.left[m] for m in (Modality.VIDEO, Modality.AUDIO))
    parts = zip(left[Modality.VIDEO], left[Modality.AUDIO], strict=True)
    return _State(left, _Span(*map(sum, parts)) if changed else state.av, blocks)


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
    if occupied <= 1 or len(named) == 1 or not (video.value and audio.value):
        return _State(left, _Span(of_video + of_audio, low, high), blocks)

    # Several windows share one total, and each keeps at least one token of what it has.
    least_video = min(video.value, sum(v > 0 for v, _ in windows))
    least_audio = min(audio.value, sum(a > 0 for _, a in windows))
    total = max(of_video + of_audio, least_video + least_audio)
    high = min(state.av.high, max(high, occupied) + both)
    of_video = min(max(of_video, least_video), total - least_audio)
    left[Modality.VIDEO] = _Span(of_video, max(1, low - audio.high), min(video.high, high - 1))
    left[Modality.AUDIO] = _Span(total - of_video, max(1, low - video.high), min(audio.high, high - 1))
    return _State(left, _Span(total, low, high), blocks)


def realised_retention(schedule: Schedule, lengths: PromptLengths, num_layers: int) -> dict[str, float]:
    """Tokens kept, averaged over all layers, as a share of the encoder's tokens: what `seats` takes as targets.

    Args:
        num_layers: decoder layers of the model.

    Returns:
        One number in [0, 1] for each of "video", "audio" and "image" that the prompt has; a prediction where
        `token_counts` is one.
    """
    counts = token_counts(schedule, lengths)
    retention = {}
    for name in ("video", "audio", "image"):
        before = getattr(lengths, name)
        if before:
            steps = [(count.layer, getattr(count, name)) for count in counts]
            retention[name] = sum(_per_layer(before, steps, num_layers)[:-1]) / (before * num_layers)
    return retention


def _per_layer(before: int, steps: list[tuple[int, int]], num_layers: int) -> list[int]:
    """Tokens that layers 1 to `num_layers` run on, then those left after the last one."""
    if steps and steps[-1][0] > num_layers:
        raise ValueError(f"schedule: expected layers up to {num_layers}, got a stage after layer {steps[-1][0]}")
    tokens = [before] * (num_layers + 1)
    for layer, left in steps:
        tokens[layer:] = [left] * (num_layers + 1 - layer)
    return tokens


@dataclass(frozen=True)
class StageCost:
    """What the layers cost that run on one stage's tokens; the first one is the prompt before any stage.

    Attributes:
        name: class name of the stage, "prompt" for the first.
        layers: 1-based layers that run on these tokens; empty if the next stage follows at once.
        tokens: tokens left.
        flops: of these layers; the last stage's include the output head.
        kv_bytes: of these layers' keys and values, under the KV policy.
    """

    name: str
    layers: range
    tokens: int
    flops: int
    kv_bytes: int


@dataclass(frozen=True)
class Cost:
    """Cost of one prefill, for one prompt.

    Attributes:
        stages: the prompt, then every stage; their FLOPs and bytes add up to the totals.
        tokens_per_layer, flops_per_layer, kv_bytes_per_layer: one entry per decoder layer.
        lm_head_flops: the output head, on all tokens that are left.
        full_flops, full_kv_bytes: the same prompt with all its tokens.
    """

    stages: tuple[StageCost, ...]
    tokens_per_layer: tuple[int, ...]
    flops_per_layer: tuple[int, ...]
    kv_bytes_per_layer: tuple[int, ...]
    lm_head_flops: int
    full_flops: int
    full_kv_bytes: int

    @property
    def flops(self) -> int:
        """All layers and the output head."""
        return sum(self.flops_per_layer) + self.lm_head_flops

    @property
    def kv_bytes(self) -> int:
        """Keys and values that all layers hold after the prefill."""
        return sum(self.kv_bytes_per_layer)

    @property
    def flops_share(self) -> float:
        """FLOPs as a share of the full prompt's; 1 / share is "x times fewer"."""
        return self.flops / self.full_flops

    @property
    def kv_share(self) -> float:
        """KV bytes as a share of the full prompt's."""
        return self.kv_bytes / self.full_kv_bytes


def prefill_cost(
    config: Any,
    schedule: Schedule,
    lengths: PromptLengths,
    *,
    flops_per_mac: Literal[1, 2] = 1,
    causal: bool = False,
    kv_policy: Literal["uniform", "per-layer"] = "uniform",
    kv_element_bytes: int = 2,
) -> Cost:
    """FLOPs, tokens and KV bytes of one prompt's prefill; `Schedule()` gives the full prompt.

    Token counts are those of `token_counts`, predictions included.

    Args:
        config: of a model, its thinker or its language model; a dense decoder with full attention. Only sizes are read.
        flops_per_mac: 1 as in the paper, 2 as in `torch.utils.flop_counter`.
        causal: count only the S (S + 1) / 2 pairs of query and key a causal kernel needs, instead of all S^2.
        kv_policy: "uniform": every layer holds the tokens that survive all stages; "per-layer": those it ran on.
        kv_element_bytes: bytes of one number in the cache, 2 for bfloat16.

    Raises:
        TypeError: `config` lacks a size.
        ValueError: a decoder this formula is wrong for, a stage after a layer that does not exist, an empty prompt, an
            unknown policy or convention.
    """
    decoder = _decoder(config)
    if flops_per_mac not in (1, 2):
        raise ValueError(f"flops_per_mac: expected 1 or 2, got {flops_per_mac!r}")
    if kv_policy not in KV_POLICIES:
        raise ValueError(f"kv_policy: expected one of {KV_POLICIES}, got {kv_policy!r}")
    if type(kv_element_bytes) is not int or kv_element_bytes < 1:
        raise ValueError(f"kv_element_bytes: expected an int from 1, got {describe(kv_element_bytes)}")
    if not lengths.total:
        raise ValueError("lengths: expected at least one token, got none")

    steps = [("prompt", 0, lengths.total), *((c.name, c.layer, c.total) for c in token_counts(schedule, lengths))]
    *tokens, last = _per_layer(lengths.total, [(layer, left) for _, layer, left in steps], decoder.layers)
    flops = [flops_per_mac * decoder.layer_macs(n, causal) for n in tokens]
    head, key_bytes = flops_per_mac * decoder.hidden * decoder.vocab, 2 * decoder.kv_width * kv_element_bytes
    kv_bytes = [key_bytes * (last if kv_policy == "uniform" else n) for n in tokens]
    stages = []
    for (name, layer, left), (_, until, _) in pairwise([*steps, ("", decoder.layers, 0)]):
        stages.append(
            StageCost(name, range(layer + 1, until + 1), left, sum(flops[layer:until]), sum(kv_bytes[layer:until]))
        )
    stages[-1] = replace(stages[-1], flops=stages[-1].flops + head * last)
    return Cost(
        tuple(stages),
        tuple(tokens),
        tuple(flops),
        tuple(kv_bytes),
        head * last,
        flops_per_mac * decoder.layers * decoder.layer_macs(lengths.total, causal) + head * lengths.total,
        key_bytes * decoder.layers * lengths.total,
    )


class _Decoder(NamedTuple):
    """Sizes of a dense decoder; widths count numbers per token."""

    layers: int
    hidden: int
    attention_width: int
    kv_width: int
    mlp_width: int
    vocab: int

    def layer_macs(self, tokens: int, causal: bool) -> int:
        projections = 2 * self.hidden * (self.attention_width + self.kv_width)
        pairs = tokens * (tokens + 1) if causal else 2 * tokens * tokens
        return tokens * (projections + 3 * self.hidden * self.mlp_width) + pairs * self.attention_width


def _decoder(config: Any) -> _Decoder:
    thinker = getattr(config, "thinker_config", config)
    text = getattr(thinker, "text_config", thinker)
    sizes = {name: getattr(text, name, None) for name in SIZES}
    missing = [name for name, size in sizes.items() if not isinstance(size, int)]
    if missing:
        raise TypeError(f"config: expected a model's config, got {type(config).__name__} without {', '.join(missing)}")
    if getattr(text, "num_experts", None) or "sliding_attention" in (getattr(text, "layer_types", None) or ()):
        raise ValueError("config: expected a dense decoder with full attention, got experts or sliding attention")
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return _Decoder(
        text.num_hidden_layers,
        text.hidden_size,
        text.num_attention_heads * head_dim,
        text.num_key_value_heads * head_dim,
        text.intermediate_size,
        text.vocab_size,
    )


def _check_lengths(name: str, lengths: tuple[int, ...]) -> None:
    for length in lengths:
        if type(length) is not int:
            raise TypeError(f"{name}: expected ints, got {describe(length)}")
        if length < 0:
            raise ValueError(f"{name}: expected ints >= 0, got {length}")
