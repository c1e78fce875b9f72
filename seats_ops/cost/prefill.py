"""FLOPs, tokens and KV bytes of one prefill, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from seats_ops.cost.counts import check_last_layer, mean_shares, token_counts, tokens_per_layer
from seats_ops.cost.decoder_sizes import decoder_sizes
from seats_ops.cost.own_cost import own_work
from seats_ops.cost.prompt_lengths import PromptLengths
from seats_ops.operators.stage import MEDIA
from seats_ops.schedule import Schedule
from seats_ops.validation import check_int

KV_POLICIES = ("uniform", "per-layer")


def realised_retention(schedule: Schedule, lengths: PromptLengths, num_layers: int) -> dict[str, float]:
    """Tokens kept, averaged over all layers, as a share of the encoder's tokens: what `seats` takes as targets.

    Args:
        num_layers: decoder layers of the model.

    Returns:
        One number in [0, 1] for each of "video", "audio" and "image" that the prompt has; a prediction where
        `token_counts` is one.

    Raises:
        TypeError, ValueError: as `token_counts` does, or a stage after a layer that does not exist.

    Example:
        >>> from seats_ops import ModalityDropper, Schedule
        >>> from seats_ops.cost import PromptLengths, realised_retention
        >>> halfway = Schedule(after_layer={14: ModalityDropper(("video",))})
        >>> realised_retention(halfway, PromptLengths(text=20, video_blocks=(100,)), num_layers=28)
        {'video': 0.5}
    """
    check_int("num_layers", num_layers, 1)
    counts = token_counts(schedule, lengths)
    if lengths.total > lengths.text:
        check_last_layer(counts, num_layers)
    before = {name: getattr(lengths, name) for name in MEDIA}
    return mean_shares(before, [(count.layer, vars(count)) for count in counts], num_layers)


def _held(schedule: Schedule, tokens: list[int], last: int, num_layers: int) -> list[int]:
    """Keys per layer once all stages have acted: the survivors, and what stages dropped later whose rule is "long"."""
    held = [last] * num_layers
    for (layer, stage), before, after in zip(schedule.stages(), tokens, tokens[1:], strict=False):
        if getattr(stage, "kv_rule", "sliced") == "long":
            held[:layer] = [n + before - after for n in held[:layer]]
    return held


@dataclass(frozen=True)
class StageCost:
    """What the layers cost that run on one stage's tokens; the first one is the prompt before any stage.

    Attributes:
        name: class name of the stage, "prompt" for the first.
        layers: 1-based layers that run on these tokens; empty if the next stage follows at once.
        tokens: tokens left.
        flops: of these layers; the last stage's include the output head.
        kv_bytes: of these layers' keys and values, under the KV policy.
        selection_flops: of the stage's choosing, see `Cost`.

    Example:
        >>> from transformers import Qwen2_5OmniThinkerConfig
        >>> from seats_ops import ModalityDropper, Schedule
        >>> from seats_ops.cost import PromptLengths, prefill_cost
        >>> schedule = Schedule(after_layer={14: ModalityDropper()})
        >>> lengths = PromptLengths(text=20, video_blocks=(80,))
        >>> before, after = prefill_cost(Qwen2_5OmniThinkerConfig(), schedule, lengths).stages
        >>> before.layers, before.tokens, after.layers, after.tokens
        (range(1, 15), 100, range(15, 29), 20)
    """

    name: str
    layers: range
    tokens: int
    flops: int
    kv_bytes: int
    selection_flops: int = 0


@dataclass(frozen=True)
class Cost:
    """Cost of one prefill, for one prompt.

    Attributes:
        stages: the prompt, then every stage; their FLOPs and bytes add up to the totals.
        tokens_per_layer, flops_per_layer, kv_bytes_per_layer: one entry per decoder layer.
        lm_head_flops: the output head, on all tokens that are left.
        full_flops, full_kv_bytes: the same prompt with all its tokens.
        unsaid: what `selection_flops` leaves out: stages that do not say what they cost, inputs that nobody can count.

    `flops` are the decoder's, as in the paper. What choosing costs stands beside them: `selection_flops`, leading terms
    of the products that stages say they make (`own_macs`, see `seats_ops.Stage`) and of what is captured for them
    alone. `executed_flops` are both.

    Example:
        >>> from transformers import Qwen2_5OmniThinkerConfig
        >>> from seats_ops import ModalityDropper, Schedule
        >>> from seats_ops.cost import PromptLengths, prefill_cost
        >>> schedule = Schedule(after_layer={14: ModalityDropper()})
        >>> cost = prefill_cost(Qwen2_5OmniThinkerConfig(), schedule, PromptLengths(text=20, video_blocks=(80,)))
        >>> cost.kv_share, cost.flops < cost.full_flops
        (0.2, True)
        >>> cost.selection_flops, cost.unsaid  # a late drop looks at nothing
        (0, ())
    """

    stages: tuple[StageCost, ...]
    tokens_per_layer: tuple[int, ...]
    flops_per_layer: tuple[int, ...]
    kv_bytes_per_layer: tuple[int, ...]
    lm_head_flops: int
    full_flops: int
    full_kv_bytes: int
    unsaid: tuple[str, ...] = ()

    @property
    def selection_flops(self) -> int:
        """Of choosing, all stages together."""
        return sum(stage.selection_flops for stage in self.stages)

    @property
    def executed_flops(self) -> int:
        """Decoder and choosing."""
        return self.flops + self.selection_flops

    @property
    def executed_share(self) -> float:
        """The same as a share of the full prompt's, which nobody chooses from."""
        return self.executed_flops / self.full_flops

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
        config: of a model, its thinker or its language model; a decoder with full attention, dense or with experts.
            Only sizes are read.
        flops_per_mac: 1 as in the paper, 2 as in `torch.utils.flop_counter`.
        causal: count only the S (S + 1) / 2 pairs of query and key a causal kernel needs, instead of all S^2.
        kv_policy: "uniform": every layer holds the tokens that survive all stages; "per-layer": those it ran on.
        kv_element_bytes: bytes of one number in the cache, 2 for bfloat16.

    Raises:
        TypeError: `config` lacks a size.
        ValueError: a decoder this formula is wrong for, a stage after a layer that does not exist, an empty prompt, an
            unknown policy or convention.

    Example:
        >>> from transformers import Qwen2_5OmniThinkerConfig
        >>> from seats_ops import seats
        >>> from seats_ops.cost import PromptLengths, prefill_cost, split_blocks
        >>> config = Qwen2_5OmniThinkerConfig()  # its sizes are those of the 7B
        >>> lengths = PromptLengths(598, video_blocks=split_blocks(9600, 308), audio_blocks=split_blocks(1570, 50))
        >>> cost = prefill_cost(config, seats(config, video=0.06, audio=0.35), lengths)
        >>> f"{cost.full_flops / 1e12:.1f}, {cost.flops / 1e12:.1f} TFLOPs"  # as in the paper
        '111.0, 12.2 TFLOPs'
    """
    decoder = decoder_sizes(config)
    if flops_per_mac not in (1, 2):
        raise ValueError(f"flops_per_mac: expected 1 or 2, got {flops_per_mac!r}")
    if kv_policy not in KV_POLICIES:
        raise ValueError(f"kv_policy: expected one of {KV_POLICIES}, got {kv_policy!r}")
    check_int("kv_element_bytes", kv_element_bytes, 1)
    if not lengths.total:
        raise ValueError("lengths: expected at least one token, got none")

    counts = token_counts(schedule, lengths)
    check_last_layer(counts, decoder.layers)
    steps = [("prompt", 0, lengths.total), *((count.name, count.layer, count.total) for count in counts)]
    *tokens, last = tokens_per_layer(lengths.total, [(layer, left) for _, layer, left in steps], decoder.layers)
    flops = [flops_per_mac * macs for macs in decoder.macs_per_layer(tokens, causal)]
    full = [flops_per_mac * macs for macs in decoder.macs_per_layer([lengths.total] * decoder.layers, causal)]
    head, key_bytes = flops_per_mac * decoder.hidden * decoder.vocab, 2 * decoder.kv_width * kv_element_bytes
    held = _held(schedule, [left for _, _, left in steps], last, decoder.layers)
    kv_bytes = [key_bytes * (held[i] if kv_policy == "uniform" else n) for i, n in enumerate(tokens)]
    work, stages = own_work(schedule, lengths, config, decoder), []
    own = [0, *(flops_per_mac * one.macs for one in work)]
    for i, (name, layer, left) in enumerate(steps):
        until = steps[i + 1][1] if i + 1 < len(steps) else decoder.layers
        sums = sum(flops[layer:until]), sum(kv_bytes[layer:until])
        stages.append(StageCost(name, range(layer + 1, until + 1), left, *sums, own[i]))
    stages[-1] = replace(stages[-1], flops=stages[-1].flops + head * last)
    return Cost(
        tuple(stages),
        tuple(tokens),
        tuple(flops),
        tuple(kv_bytes),
        head * last,
        sum(full) + head * lengths.total,
        key_bytes * decoder.layers * lengths.total,
        tuple(dict.fromkeys(name for one in work for name in one.unsaid)),
    )
