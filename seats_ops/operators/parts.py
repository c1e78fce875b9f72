"""What stages made of stages share: what they declare, how a part is asked, how answers are put together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seats_ops.layout import TokenLayout
from seats_ops.operators.inputs import joined_inputs
from seats_ops.operators.selection import Merge, Selection
from seats_ops.operators.stage import KV_RULES, Stage, generators_of
from seats_ops.operators.stage_call import call_stage
from seats_ops.operators.stage_checks import check_result, name_of


class Parts(ABC):
    """What composed stages share: what they declare follows from their parts."""

    @property
    @abstractmethod
    def parts(self) -> tuple[Stage, ...]:
        """Stages, in the order in which they decide."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those of all parts."""
        return joined_inputs(part.inputs for part in self.parts)

    @property
    def merges(self) -> bool:
        """One of them does."""
        return any(getattr(part, "merges", False) for part in self.parts)

    @property
    def kv_rule(self) -> str:
        """The one that all parts have."""
        return next(map(_kv_rule_of, self.parts), KV_RULES[0])

    def check_rules(self, where: str) -> None:
        """Raise ValueError if parts want different keys to stay: a token that both drop has one of the rules alone."""
        rules = [f"{_kv_rule_of(part)!r} of {name_of(part)}" for part in self.parts]
        if len(set(map(_kv_rule_of, self.parts))) > 1:
            raise ValueError(f"{where}: expected parts of one kv_rule, got {', '.join(rules)}")

    def __call__(self, *_: Any, **__: Any) -> Selection:
        """Raises TypeError: the inputs of several parts have no order; call `call_parts`."""
        raise TypeError(f"{type(self).__name__}: expected to be called as call_parts(layout, {{input: tensor}})")


def decide(stage: Stage, layout: TokenLayout, tensors: Mapping[str, Any], backend: str) -> Selection:
    """What a part of a stage says, with generators of its own; ValueError for what two parts cannot each have."""
    who = name_of(stage)
    given = {**tensors, "generators": generators_of(stage, layout.num_rows)}
    found = check_result(who, call_stage(stage, layout, given, backend), layout, tensors.get("features"))
    if found.values is not None or found.order is not None or found.positions != "kept":
        raise ValueError(f"{who}: expected a keep mask and perhaps a merge as part of another stage, got more")
    return found


def _kv_rule_of(stage: Stage) -> str:
    return str(getattr(stage, "kv_rule", KV_RULES[0]))


def joined(layout: TokenLayout, keep_mask: Tensor, *parts: Selection) -> Selection:
    """What parts that each keep some of `keep_mask` say together: a row stands for itself and what each adds to it."""
    given = [(part.keep_mask, part.multiplicity) for part in parts if part.multiplicity is not None]
    taken_in = [torch.where(kept, number.float() - 1.0, 0.0) for kept, number in given]
    stands_for = torch.stack(taken_in).sum(0) + 1.0 if taken_in else None
    return Selection(keep_mask, merge=_all_triples(layout, *(p.merge for p in parts)), multiplicity=stands_for)


def _all_triples(layout: TokenLayout, *merges: Merge | None) -> Merge | None:
    """All triples of several merges; ValueError for a row that two of them give values, where that can be seen."""
    found = [merge for merge in merges if merge is not None]
    if not found:
        return None
    if layout.modality.device.type == "cpu":
        seen = [set(merge.target.tolist()) for merge in found]
        twice = set.intersection(*seen) if len(seen) > 1 else set()
        if twice:
            raise ValueError(f"merge: expected every row to be merged once, got row {min(twice)} twice")
    return Merge(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def shown_of(tensors: Mapping[str, Any], rest: Tensor) -> dict[str, Any]:
    """Inputs of the tokens in `rest`."""
    per_token = [n for n, x in tensors.items() if isinstance(x, Tensor) and n != "counts" and len(x) == len(rest)]
    return {name: value[rest] if name in per_token else value for name, value in tensors.items()}
