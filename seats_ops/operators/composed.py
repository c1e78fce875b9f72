"""Stages made of stages: one after another on the same tokens, each knowing what the earlier ones keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout
from seats_ops.operators.inputs import joined_inputs
from seats_ops.operators.own_work import added, own_macs_of
from seats_ops.operators.selection import Merge, Selection
from seats_ops.operators.stage import MEDIA_MODALITIES, Stage, count_kind_of, generators_of
from seats_ops.operators.stage_call import call_stage
from seats_ops.operators.stage_checks import check_result, check_stage_type, name_of
from seats_ops.operators.stored import Stored


class _Parts:
    """What composed stages share: the inputs of all parts, and a call that hands them on."""

    def __call__(self, *_: Any, **__: Any) -> Selection:
        """Raises TypeError: the inputs of several parts have no order; call `call_parts`."""
        raise TypeError(f"{type(self).__name__}: expected to be called as call_parts(layout, {{input: tensor}})")


@dataclass(frozen=True)
class Both(_Parts, Stored):
    """Two stages in one: a token goes only if both drop it.

    The second one sees all tokens too, and as "kept" what the first keeps of them. Merges of both are added up; a row
    that both merge is refused.

    Attributes:
        first, second: any stages.
        on_the_rest: the second one is shown only what the first drops, and text, and its choice is added.

    Example:
        >>> from seats_ops import Both, DiversitySelector
        >>> stage = Both(DiversitySelector(0.1), DiversitySelector(0.1, weighted=False), on_the_rest=True)
        >>> stage.inputs
        ('features', 'saliency')
    """

    first: Stage
    second: Stage
    on_the_rest: bool = False

    def __post_init__(self) -> None:
        for name in ("first", "second"):
            check_stage_type(name, getattr(self, name))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those of both."""
        return joined_inputs((self.first.inputs, self.second.inputs))

    @property
    def merges(self) -> bool:
        """One of them does."""
        return any(getattr(part, "merges", False) for part in (self.first, self.second))

    def own_macs(self, found: Mapping[str, int], sizes: Any) -> int | None:
        """See `Stage`: of both; None where one does not say, or what the first leaves to the second is not known.

        Example:
            >>> from seats_ops.operators.own_work import Sizes
            >>> found = {"text": 5, "video": 100, "audio": 0, "image": 0}
            >>> stage.own_macs(found, Sizes(hidden=1, attention_width=1, kv_width=1, encoders={})) is None
            True
        """
        shown: Mapping[str, int] = found
        if self.on_the_rest:
            if not hasattr(self.first, "count_tokens"):
                return None
            kept = self.first.count_tokens(found)
            shown = {name: n if name == "text" else n - kept[name] for name, n in found.items()}
        return added([own_macs_of(self.first, found, sizes), own_macs_of(self.second, shown, sizes)])

    def call_parts(self, layout: TokenLayout, tensors: Mapping[str, Any], *, backend: str = "auto") -> Selection:
        """See `Stage.__call__`; inputs by their full names.

        Example:
            >>> import torch
            >>> from seats_ops import TokenLayout
            >>> layout = TokenLayout(torch.tensor([1, 1, 1, 1, 0]), torch.arange(5), torch.tensor([0, 5]))
            >>> given = {"features": torch.eye(5), "saliency": torch.tensor([0.1, 0.4, 0.3, 0.2, 0.0])}
            >>> stage.call_parts(layout, given).keep_mask  # the most salient, and one of the rest
            tensor([ True,  True, False, False,  True])
        """
        first = _decide(self.first, layout, tensors, backend)
        if not self.on_the_rest:
            second = _decide(self.second, layout, {**tensors, "kept": first.keep_mask}, backend)
            return Selection(first.keep_mask | second.keep_mask, merge=_joined(layout, first.merge, second.merge))
        # Text is shown again: it may be the query, and nobody drops it.
        rest = ~first.keep_mask | layout.is_modality(Modality.TEXT)
        second = _decide(self.second, layout.select(rest), _shown(tensors, rest), backend)
        at = rest.nonzero().squeeze(1)
        keep_mask = first.keep_mask.index_copy(0, at, first.keep_mask[at] | second.keep_mask)
        merge = second.merge
        if merge is not None:
            merge = Merge(at[merge.target], at[merge.source], merge.coefficient)
        return Selection(keep_mask, merge=_joined(layout, first.merge, merge))


@dataclass(frozen=True)
class PerModality(_Parts, Stored):
    """A stage for each modality, in order; what a modality has none for stays.

    Each sees all tokens, decides about its own, and is told as "kept" what the earlier ones keep.

    Attributes:
        stages: (modality, stage) in the order in which they decide; a mapping is taken for one.

    Example:
        >>> from seats_ops import DiversitySelector, PerModality
        >>> PerModality({"video": DiversitySelector(0.1), "audio": DiversitySelector(0.5, weighted=False)}).inputs
        ('features', 'saliency')
    """

    stages: Any
    known: ClassVar[tuple[str, ...]] = tuple(m.name.lower() for m in MEDIA_MODALITIES)

    def __post_init__(self) -> None:
        given = tuple(self.stages.items() if isinstance(self.stages, Mapping) else self.stages)
        pairs = tuple((str(name), check_stage_type(f"stages[{name!r}]", stage)) for name, stage in given)
        names = [name for name, _ in pairs]
        if not set(names) <= set(self.known) or len(set(names)) != len(names):
            raise ValueError(f"stages: expected modalities among {self.known}, each once, got {names}")
        object.__setattr__(self, "stages", pairs)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those of all."""
        return joined_inputs(stage.inputs for _, stage in self.stages)

    @property
    def merges(self) -> bool:
        """One of them does."""
        return any(getattr(stage, "merges", False) for _, stage in self.stages)

    @property
    def count_kind(self) -> str:
        """The least certain of its stages."""
        kinds = [count_kind_of(stage) for _, stage in self.stages]
        return max(kinds, key=("shape", "reconciled", "text", "data").index, default="shape")

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`. Raises TypeError: a stage without it.

        Example:
            >>> from seats_ops import Ratio, Select
            >>> from seats_ops.operators.selectors import Strided
            >>> stage = PerModality({"video": Select(None, Ratio(0.1), Strided())})
            >>> stage.count_tokens({"text": 5, "video": 100, "audio": 20, "image": 0})
            {'text': 5, 'video': 10, 'audio': 20, 'image': 0}
        """
        left = dict(found)
        for name, stage in self.stages:
            if not hasattr(stage, "count_tokens"):
                raise TypeError(f"schedule: expected stages with count_tokens, got {name_of(stage)}")
            left[name] = stage.count_tokens(found)[name]
        return left

    def count_bounds(self, found: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """See `Stage`.

        Example:
            >>> from seats_ops import Ratio, Select
            >>> from seats_ops.operators.selectors import Strided
            >>> stage = PerModality({"video": Select(None, Ratio(0.1), Strided())})
            >>> stage.count_bounds({"text": 5, "video": 100, "audio": 20, "image": 0})["video"]
            (10, 10)
        """
        bounds = {name: (n, n) for name, n in found.items()}
        for name, stage in self.stages:
            n = stage.count_tokens(found)[name]
            exact = count_kind_of(stage) in ("shape", "reconciled")
            known = hasattr(stage, "count_bounds")
            bounds[name] = (n, n) if exact else stage.count_bounds(found)[name] if known else (0, found[name])
        return bounds

    def own_macs(self, found: Mapping[str, int], sizes: Any) -> int | None:
        """See `Stage`: of all; None where one does not say.

        Example:
            >>> from seats_ops import Ratio, Select
            >>> from seats_ops.operators.selectors import Strided
            >>> stage = PerModality({"video": Select(None, Ratio(0.1), Strided())})
            >>> stage.own_macs({"text": 5, "video": 100, "audio": 20, "image": 0}, None)
            0
        """
        return added(own_macs_of(stage, found, sizes) for _, stage in self.stages)

    def call_parts(self, layout: TokenLayout, tensors: Mapping[str, Any], *, backend: str = "auto") -> Selection:
        """See `Stage.__call__`; inputs by their full names.

        Example:
            >>> import torch
            >>> from seats_ops import Ratio, Select, TokenLayout
            >>> from seats_ops.operators.selectors import Strided
            >>> layout = TokenLayout(torch.tensor([1, 1, 1, 1, 0]), torch.arange(5), torch.tensor([0, 5]))
            >>> stage = PerModality({"video": Select(None, Ratio(0.5), Strided())})
            >>> stage.call_parts(layout, {}).keep_mask
            tensor([ True, False, False,  True,  True])
        """
        keep_mask, merges = torch.ones_like(layout.modality, dtype=torch.bool), []
        for name, stage in self.stages:
            found = _decide(stage, layout, {**tensors, "kept": keep_mask}, backend)
            mine = layout.is_modality(Modality[name.upper()])
            keep_mask = torch.where(mine, found.keep_mask, keep_mask)
            if found.merge is not None:
                own = mine[found.merge.target]
                merges.append(Merge(*(part[own] for part in found.merge)))
        return Selection(keep_mask, merge=_joined(layout, *merges))


def _decide(stage: Stage, layout: TokenLayout, tensors: Mapping[str, Any], backend: str) -> Selection:
    """What a part of a stage says, with generators of its own; ValueError for what two parts cannot each have."""
    who = name_of(stage)
    given = {**tensors, "generators": generators_of(stage, layout.num_rows)}
    found = check_result(who, call_stage(stage, layout, given, backend), layout, tensors.get("features"))
    if found.values is not None or found.order is not None or found.positions != "kept":
        raise ValueError(f"{who}: expected a keep mask and perhaps a merge as part of another stage, got more")
    return found


def _joined(layout: TokenLayout, *merges: Merge | None) -> Merge | None:
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


def _shown(tensors: Mapping[str, Any], rest: Tensor) -> dict[str, Any]:
    """Inputs of the tokens in `rest`."""
    per_token = [n for n, x in tensors.items() if isinstance(x, Tensor) and n != "counts" and len(x) == len(rest)]
    return {name: value[rest] if name in per_token else value for name, value in tensors.items()}
