"""One axis for all methods: the ratio of each at which they cost the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seats_ops.cost import KV_POLICIES, Cost, PromptLengths, Retained, prefill_cost, retained
from seats_ops.methods.method import Method, method
from seats_ops.methods.nearest_cost import Unreached, nearest_cost
from seats_ops.schedule import Schedule
from seats_ops.validation import check_choice, check_ratio, describe

AXES = ("layer-average", "flops", "kv")


@dataclass(frozen=True)
class AtCost:
    """A method at a cost.

    Attributes:
        name: of the method.
        ratio: its own ratio that costs so; None if it cannot.
        schedule: that it makes of it.
        retained: what the ratio means.
        cost: see `prefill_cost`.
        reason: why it cannot, "" if it can.

    Example:
        >>> from transformers import Qwen2_5OmniThinkerConfig
        >>> from seats_ops.cost import PromptLengths, split_blocks
        >>> from seats_ops.methods import at_equal_cost
        >>> lengths = PromptLengths(590, split_blocks(9600, 288), split_blocks(1570, 50))
        >>> fastv, uniform = at_equal_cost(["fastv-om", "uniform"], Qwen2_5OmniThinkerConfig(), lengths, retention=0.25)
        >>> f"{uniform.ratio:.3f} {fastv.retained.final:.3f} {fastv.retained.layer_average:.3f}"
        '0.250 0.192 0.250'
    """

    name: str
    ratio: float | None
    schedule: Schedule | None = None
    retained: Retained | None = None
    cost: Cost | None = None
    reason: str = ""


def at_equal_cost(
    methods: Iterable[str | Method],
    config: Any,
    lengths: PromptLengths,
    *,
    retention: float,
    axis: str = "layer-average",
    kv_policy: str = "uniform",
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[AtCost]:
    """The ratio of each method at which a prompt costs the same.

    Args:
        methods: names, or what `method` gives.
        config: of a model, its thinker or its language model.
        lengths: of the prompt, with `shapes` for methods that count by frames.
        retention: the target, in [0, 1]: of "layer-average" the share of media tokens that layers see; of "flops" and
            "kv" what a prompt costs of whose media every layer sees this share.
        axis: what is made equal: "layer-average", "flops" (executed, of the prefill and of choosing) or "kv" (bytes
            held after it).
        kv_policy: see `prefill_cost`.
        options: of methods, by name.

    Returns:
        One `AtCost` per method, in order; its `reason` says so where no ratio of it costs within 2 % of the target.

    Raises:
        TypeError: what is no method, options that are no mapping. ValueError: an unknown method, axis, policy or
            option, options of a method that is not asked for or with which it takes no ratio, a target outside [0, 1],
            a prompt without audio and video, or without `shapes` where a method counts by them.

    Example:
        >>> from transformers import Qwen2_5OmniThinkerConfig
        >>> from seats_ops.cost import PromptLengths
        >>> from seats_ops.methods import at_equal_cost
        >>> lengths = PromptLengths(590, video_blocks=(9600,), audio_blocks=(1570,))
        >>> [one] = at_equal_cost(["fastv-om"], Qwen2_5OmniThinkerConfig(), lengths, retention=0.05)
        >>> one.ratio is None, one.reason
        (True, 'ratio: costs 0.07159 of the whole prompt at least, more than 0.05')
    """
    check_ratio("retention", retention)
    check_choice("axis", axis, AXES)
    check_choice("kv_policy", kv_policy, KV_POLICIES)
    retained(Schedule(), lengths, 1)  # Refuses a prompt without audio and video.
    chosen = [method(given) if isinstance(given, str) else given for given in methods]
    names = [one.name for one in chosen if isinstance(one, Method)]
    if len(names) < len(chosen):
        raise TypeError(f"methods: expected names or methods, got {', '.join(map(describe, chosen))}")
    given_options = dict(options or {})
    if not set(given_options) <= set(names):
        raise ValueError(f"options: expected those of {', '.join(names)}, got {', '.join(map(str, given_options))}")
    for one in chosen:
        one.check_options(given_options.get(one.name, {}))
    target = target_cost(retention, config, lengths, axis)
    return [_solved(one, given_options.get(one.name, {}), config, lengths, target, axis, kv_policy) for one in chosen]


def target_cost(retention: float, config: Any, lengths: PromptLengths, axis: str) -> float:
    """The share of the whole prompt's cost that a prompt has whose media are thinned to `retention` before the LLM."""
    if axis == "layer-average":
        return retention
    media = round(retention * (lengths.total - lengths.text))
    full = prefill_cost(config, Schedule(), lengths)
    thinned = prefill_cost(config, Schedule(), PromptLengths(lengths.text + media))
    return thinned.flops / full.flops if axis == "flops" else thinned.kv_bytes / full.kv_bytes


def _cost(schedule: Schedule, config: Any, lengths: PromptLengths, axis: str, kv_policy: Any) -> float:
    cost = prefill_cost(config, schedule, lengths, kv_policy=kv_policy)
    if axis == "layer-average":
        return retained(schedule, lengths, len(cost.tokens_per_layer)).layer_average
    return cost.executed_share if axis == "flops" else cost.kv_share


def _solved(
    one: Method, own: Mapping[str, Any], config: Any, lengths: PromptLengths, target: float, axis: str, kv_policy: Any
) -> AtCost:
    """The ratio nearest to the target."""
    try:
        _, ratio, schedule = nearest_cost(
            lambda ratio: one(config, ratio, **own),
            lambda schedule: _cost(schedule, config, lengths, axis, kv_policy),
            target,
            known=lengths.shapes is not None,
        )
    except Unreached as error:
        if own and not error.any_taken:
            raise ValueError(f"options: {one.name}: {error}") from error
        return AtCost(one.name, None, reason=str(error))
    whole = prefill_cost(config, schedule, lengths, kv_policy=kv_policy)
    return AtCost(one.name, ratio, schedule, retained(schedule, lengths, len(whole.tokens_per_layer)), whole)
