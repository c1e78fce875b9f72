"""A stage put together: a score per token, a budget per group of tokens, a rule that selects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from seats_ops.layout import Groups, Modality, TokenLayout, group_tokens
from seats_ops.operators.by_modality import ByModality
from seats_ops.operators.exact_total import exact_budgets
from seats_ops.operators.found import no_shapes
from seats_ops.operators.inputs import joined_inputs, parse_inputs
from seats_ops.operators.own_work import added, nothing, own_macs_of
from seats_ops.operators.selectors import Selector, TopK
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stage_call import call_with_inputs
from seats_ops.operators.stored import Stored
from seats_ops.validation import check_bool, check_choice, check_int, check_values, describe

ROUNDINGS = ("round", "floor", "ceil")


@runtime_checkable
class Scorer(Protocol):
    """Gives every token a number, higher is kept first: a frozen dataclass.

    Called as a `Stage` is, with the inputs that it names; returns float [T]. A top-k method by a new score is one of
    these, and `Select` the rest. With `is_scorer = True` it is refused where a stage is expected.

    Example:
        >>> from dataclasses import dataclass
        >>> import torch
        >>> from seats_ops import Ratio, Select, TokenLayout
        >>> from seats_ops.operators.stored import Stored
        >>> @dataclass(frozen=True)
        ... class Norm(Stored):
        ...     inputs = ("features",)
        ...     def __call__(self, features, layout, *, backend="auto"):
        ...         return features.float().norm(dim=-1)
        >>> stage = Select(Norm(), Ratio(0.5))
        >>> layout = TokenLayout(torch.tensor([1, 1, 0]), torch.arange(3), torch.tensor([0, 3]))
        >>> stage(torch.tensor([[1.0], [2.0], [0.5]]), layout)
        tensor([False,  True,  True])
    """

    @property
    def inputs(self) -> tuple[str, ...]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor: ...


class Budgeted(NamedTuple):
    """Groups of tokens, and how many of each may stay: int64 [G] on the host, or on the layout's device.

    Example:
        >>> import torch
        >>> from seats_ops import Budgeted, TokenLayout
        >>> from seats_ops.layout import group_tokens
        >>> layout = TokenLayout(torch.tensor([1, 1, 2, 0]), torch.arange(4), torch.tensor([0, 4]))
        >>> budgeted = Budgeted(group_tokens(layout, "modality"), torch.tensor([1, 1]))
        >>> budgeted.groups.lengths.tolist()
        [2, 1]
    """

    groups: Groups
    budgets: Tensor


@runtime_checkable
class Budget(Protocol):
    """Says how many tokens of every group stay, from the layout, and from scores where it likes: a frozen dataclass.

    Example:
        >>> from seats_ops import Budget, Ratio
        >>> isinstance(Ratio(0.1), Budget)
        True
    """

    def __call__(self, scores: Tensor | None, layout: TokenLayout, *, backend: str = "auto") -> Budgeted: ...


@dataclass(frozen=True)
class Ratio(ByModality, Stored):
    """A share of every group's tokens: max(minimum, rounding(keep_ratio * n)), at most n.

    Attributes:
        keep_ratio: in [0, 1]. A number speaks for video and audio, a mapping for the modalities it names; others stay.
        group: see `seats_ops.layout.group_tokens`; groups of one modality: not "row".
        rounding: "round" (half to even), "floor" or "ceil", of the float64 product.
        minimum: tokens that a group keeps at least, if it has them.
        exact_total: share what rounding adds or takes over the groups of a prompt and modality, so that together they
            keep as many as one group would: floor, then one more for the largest fractions, ties to the first.

    Example:
        >>> import torch
        >>> from seats_ops import Ratio, TokenLayout
        >>> layout = TokenLayout(torch.tensor([1, 1, 1, 1, 1, 0]), torch.arange(6), torch.tensor([0, 6]))
        >>> Ratio(0.5)(None, layout).budgets.tolist()  # 2.5, half to even
        [2]
    """

    own_macs = nothing

    keep_ratio: KeepRatio
    group: str = field(default="modality", kw_only=True)
    rounding: str = field(default="round", kw_only=True)
    minimum: int = field(default=1, kw_only=True)
    exact_total: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("rounding", self.rounding, ROUNDINGS)
        if self.group not in ("modality", "item", "frame", "block", "window"):
            raise ValueError(f"group: expected modality, item, frame, block or window, got {self.group!r}")
        check_int("minimum", self.minimum, 0)
        check_bool("exact_total", self.exact_total)

    def __call__(self, scores: Tensor | None, layout: TokenLayout, *, backend: str = "auto") -> Budgeted:
        """Groups of the modalities that have a ratio, and their budgets; nothing is read from the device."""
        groups = group_tokens(layout, self.group, self.kinds)
        return Budgeted(groups, self._budgets(groups, self.shares()))

    def _budgets(self, groups: Groups, ratios: Tensor) -> Tensor:
        """int64 [G], for float64 [4] ratios by modality."""
        if self.exact_total:
            return exact_budgets(groups, ratios, self.rounding, self.minimum)
        budgets = getattr(ratios[groups.modality] * groups.lengths, self.rounding)().long()
        return torch.maximum(budgets, groups.lengths.clamp(max=self.minimum)).minimum(groups.lengths)

    def count_of(self, kind: Modality, found: Mapping[str, Any]) -> int:
        """See `ByModality`; groups other than whole modalities are told by `found.shapes`.

        Example:
            >>> Ratio(0.1).count_tokens({"text": 5, "video": 96, "audio": 0, "image": 7})
            {'text': 5, 'video': 10, 'audio': 0, 'image': 7}
        """
        lengths = torch.tensor(counted_lengths(self.group, kind, found), dtype=torch.int64, device="cpu")
        zeros = torch.zeros_like(lengths)
        return int(self._budgets(Groups(zeros, lengths, zeros, zeros + int(kind)), self.shares()).sum())

    def count_groups(self, found: Mapping[str, int]) -> list[int]:
        """Tokens of every group of a prompt, for selectors that say what they cost by them.

        Example:
            >>> Ratio(0.1).count_groups({"text": 5, "video": 96, "audio": 20, "image": 7})
            [96, 20]
        """
        kinds = [kind for kind in self.kinds if found[kind.name.lower()]]
        return [n for kind in kinds for n in counted_lengths(self.group, kind, found)]


def counted_lengths(group: str, kind: Modality, found: Mapping[str, Any]) -> list[int]:
    """Tokens of every group of a modality of a prompt to be counted, see `Stage`. Raises ValueError: nobody knows."""
    shapes = getattr(found, "shapes", None)
    if group == "modality":
        return [found[kind.name.lower()]]
    if group not in ("item", "frame"):
        raise ValueError(f"group: expected modality, item or frame where tokens are counted, got {group!r}")
    if shapes is None:
        raise ValueError(f"found: expected the shapes of all items to count by {group}, got {no_shapes(found)}")
    mine = [shape for shape in shapes if shape.modality == kind]
    if group == "item":
        return [shape.num_tokens for shape in mine]
    return [shape.h * shape.w for shape in mine for _ in range(shape.t)]


@dataclass(frozen=True)
class Select(Stored):
    """Keeps of every group as many tokens as its budget says, by a rule that looks at scores.

    Attributes:
        scorer: see `Scorer`; None for selectors that need no scores.
        budget: see `Budget`.
        selector: which of a group's tokens; `TopK` takes the highest scores.

    Example:
        >>> import torch
        >>> from seats_ops import Ratio, Select, TokenLayout
        >>> from seats_ops.operators.scorers import Relevance
        >>> stage = Select(Relevance(), Ratio({"video": 0.5}))
        >>> layout = TokenLayout(torch.tensor([1, 1, 2, 0]), torch.arange(4), torch.tensor([0, 4]))
        >>> stage(torch.tensor([0.4, 0.3, 0.2, 0.1]), layout)
        tensor([ True, False,  True,  True])
    """

    scorer: Scorer | None
    budget: Budget
    selector: Selector = field(default_factory=TopK)

    def __post_init__(self) -> None:
        for name, kind in (("budget", Budget), ("selector", Selector)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name}: expected a {kind.__name__}, got {describe(getattr(self, name))}")
        if self.scorer is not None and not isinstance(self.scorer, Scorer):
            raise TypeError(f"scorer: expected a Scorer or None, got {describe(self.scorer)}")
        if self.scorer is None and self.selector.needs_scores:
            raise ValueError(f"scorer: expected one, as {type(self.selector).__name__} selects by scores, got None")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those of the scorer and the selector."""
        facts = ("grid",) if getattr(self.budget, "group", "") in ("item", "frame") else ()
        of_scorer = () if self.scorer is None else self.scorer.inputs
        return joined_inputs((of_scorer, self.selector.inputs, facts))

    @property
    def seed(self) -> int:
        """Of the selector's generators."""
        return int(getattr(self.selector, "seed", 0))

    @property
    def count_kind(self) -> str:
        """ "shape" where the budget can be counted beforehand."""
        return "shape" if hasattr(self.budget, "count_tokens") else "data"

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`. Raises TypeError: a budget that depends on more than counts.

        Example:
            >>> stage.count_tokens({"text": 5, "video": 96, "audio": 20, "image": 0})
            {'text': 5, 'video': 48, 'audio': 20, 'image': 0}
        """
        if not hasattr(self.budget, "count_tokens"):
            raise TypeError(f"budget: expected one with count_tokens, got {type(self.budget).__name__}")
        return dict(self.budget.count_tokens(found))

    def own_macs(self, found: Mapping[str, int], sizes: Any) -> int | None:
        """See `Stage`: of scorer, budget and selector together; None where one does not say.

        Example:
            >>> stage.own_macs({"text": 5, "video": 96, "audio": 20, "image": 0}, None)  # scores are given
            0
        """
        parts = [] if self.scorer is None else [self.scorer]
        groups = getattr(self.budget, "count_groups", lambda _: None)(found)
        chosen = own_macs_of(self.selector, groups, sizes)
        return added([*(own_macs_of(part, found, sizes) for part in (*parts, self.budget)), chosen])

    def __call__(self, *args: Any, backend: str = "auto", **kwargs: Any) -> Tensor:
        """bool [T] keep mask; arguments as `inputs` says, see `Stage`."""
        passed = [item for item in parse_inputs(self.inputs) if not item.is_fact]
        layout = args[1 if passed else 0]
        tensors = {item.name: kwargs[item.keyword] for item in passed[1:]}
        if passed:
            tensors[passed[0].name] = args[0]
        return self.call_parts(layout, tensors, backend=backend)

    def call_parts(self, layout: TokenLayout, tensors: Mapping[str, Any], *, backend: str = "auto") -> Tensor:
        """The same, inputs by their full names.

        Example:
            >>> stage.call_parts(layout, {"scores": torch.tensor([0.4, 0.3, 0.2, 0.1])})
            tensor([ True, False,  True,  True])
        """
        scores = None
        if self.scorer is not None:
            scores = call_with_inputs(self.scorer, self.scorer.inputs, layout, tensors, backend)
            if check_values("scores", scores, 1).shape[0] != len(layout):
                raise ValueError(f"scores: expected [{len(layout)}], got {describe(scores)}")
        groups, budgets = self.budget(scores, layout, backend=backend)
        return self.selector.select(scores, groups, budgets, layout, tensors, backend)
