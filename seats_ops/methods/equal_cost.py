"""One axis for all methods: the ratio of each at which they cost the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seats_ops.cost import Cost, PromptLengths, Retained, prefill_cost, retained
from seats_ops.methods.method import Method, method
from seats_ops.schedule import Schedule
from seats_ops.validation import check_choice, check_ratio, describe

AXES = ("layer-average", "flops", "kv")
NEAR = 0.02
"""A cost counts as reached if it is within this share of the target: counts are whole tokens."""
STEPS = 20
"""Of halving the ratio: to a millionth, less than a token of any prompt."""


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
        ValueError: an unknown method or axis, a target outside [0, 1].

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
    found = []
    for given in methods:
        chosen = method(given) if isinstance(given, str) else given
        if not isinstance(chosen, Method):
            raise TypeError(f"methods: expected names or methods, got {describe(given)}")
        own = dict((options or {}).get(chosen.name, {}))

        def cost_at(ratio: float, chosen: Method = chosen, own: dict[str, Any] = own) -> tuple[float, Schedule]:
            schedule = chosen(config, ratio, **own)
            return _cost(schedule, config, lengths, axis, kv_policy), schedule

        found.append(
            _solved(chosen.name, cost_at, config, lengths, _target(retention, config, lengths, axis), kv_policy)
        )
    return found


def _target(retention: float, config: Any, lengths: PromptLengths, axis: str) -> float:
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
    name: str,
    cost_at: Callable[[float], tuple[float, Schedule]],
    config: Any,
    lengths: PromptLengths,
    target: float,
    kv_policy: Any,
) -> AtCost:
    """The ratio nearest to the target, by halving: costs grow with ratios."""
    low, high, best, refusal = 0.0, 1.0, None, ""
    accepted: list[float] = []
    for ratio in (1.0, 0.0, *(None,) * STEPS):
        middle = (low + high) / 2 if ratio is None else ratio
        try:
            cost, schedule = cost_at(middle)
        except ValueError as error:
            refusal = str(error)
            if ratio is None:
                # FastV refuses too little, as its first layers run on everything; SEATS what its encoder cannot give.
                low, high = (low, middle) if any(one < middle for one in accepted) else (middle, high)
            continue
        accepted.append(middle)
        if best is None or abs(cost - target) < abs(best[0] - target):
            best = cost, middle, schedule
        if ratio is None:
            low, high = (middle, high) if cost < target else (low, middle)
    if best is None:
        return AtCost(name, None, reason=refusal)
    cost, ratio, schedule = best
    if abs(cost - target) > NEAR * target:
        side = "least, more" if cost > target else "most, less"
        return AtCost(name, None, reason=f"ratio: costs {cost:.4g} of the whole prompt at {side} than {target:.4g}")
    whole = prefill_cost(config, schedule, lengths, kv_policy=kv_policy)
    return AtCost(name, ratio, schedule, retained(schedule, lengths, len(whole.tokens_per_layer)), whole)
