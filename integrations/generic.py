"""A schedule inside a decoder loop of your own, on packed tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from torch import Tensor

from seats_ops.backend import check_backend
from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.run import ScheduleRun
from seats_ops.layout import TokenLayout, check_layout
from seats_ops.operators.inputs import Input, parse_input
from seats_ops.operators.stage import Stage
from seats_ops.operators.stage_checks import name_of, place_of
from seats_ops.ops.compact.op import gather
from seats_ops.ops.merge_rows.api import merge_rows
from seats_ops.schedule import Schedule
from seats_ops.trace import PruneTrace
from seats_ops.validation import check_length, check_same_device, check_tensor, check_values, describe

Score = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, hidden [T, D], query int64 [B], cu_seqlens [B+1]) -> float [T]: relevance of every token to the query."""


class Pruning:
    """Runs a schedule where a decoder's own code asks for it.

    What the decoder must do: hold the tokens of a batch packed, [T, ...] with `cu_seqlens` as in FlashAttention; call
    `before_llm` once and `after_layer` after every layer, with all tensors that have a row per token; attend with the
    `cu_seqlens` given here. Used as a context manager it raises if a scheduled layer never came by.

    Attributes:
        layout: `TokenLayout` of the tokens still there.
        trace: `PruneTrace` of what was kept.

    Example:
        >>> import torch
        >>> from seats_ops import DiversitySelector, Modality, ModalityDropper, Schedule
        >>> from seats_ops.integrations import Pruning
        >>> from seats_ops.testing import layout_of_runs
        >>> layout = layout_of_runs([[(Modality.VIDEO, 8), (Modality.TEXT, 2)]])
        >>> schedule = Schedule(DiversitySelector(0.5, weighted=False), {2: ModalityDropper()})
        >>> with Pruning(schedule, layout) as pruning:
        ...     (hidden,) = pruning.before_llm(torch.randn(10, 4))
        ...     for layer in (1, 2):  # yours, before the next line
        ...         (hidden,) = pruning.after_layer(layer, hidden)
        >>> [stage.num_tokens for stage in pruning.trace.stages]
        [6, 2]
    """

    def __init__(
        self,
        schedule: Schedule,
        layout: TokenLayout,
        *,
        score: Score | None = None,
        saliency: Tensor | None = None,
        backend: str = "auto",
        given: Mapping[str, Tensor] | None = None,
    ) -> None:
        """
        Args:
            schedule: e.g. from `seats_ops.seats`.
            layout: of all tokens, before anything is dropped; with the facts that stages ask for: `grid`, `seconds`,
                `question`.
            score: relevance to the query; needed by a schedule with a `StagePruner`.
            saliency: float [T], attention received; needed by a weighted `DiversitySelector`.
            backend: "auto", "triton" or "reference".
            given: further inputs of stages by their full names, a row for every token of the layout:
                "saliency:mean", "keys", "external:clip". "embeddings" are taken from `before_llm` unless they are here.

        Raises:
            TypeError, ValueError: an argument of the wrong kind, or one that the schedule needs is missing; a stage
                asks for what a decoder of one's own cannot be asked for: "previous", and variants of "scores".
        """
        if not isinstance(schedule, Schedule):
            raise TypeError(f"schedule: expected a Schedule, got {describe(schedule)}")
        check_layout(layout)
        given = _check_given(given, saliency, layout)
        saliency = given.pop("saliency", saliency)
        needed = {parse_input(name).name for _, stage in schedule.stages() for name in stage.inputs}
        if "scores" in needed and not callable(score):
            raise ValueError(
                f"score: expected a function as the schedule has a stage with scores, got {describe(score)}"
            )
        if "saliency" in needed and saliency is None:
            raise ValueError(
                f"saliency: expected a tensor [{len(layout)}] as the schedule has a stage with saliency, got None"
            )
        renumbering = [name_of(stage) for _, stage in schedule.stages() if getattr(stage, "renumbers", False)]
        if renumbering:
            raise ValueError(f"schedule: expected stages that keep positions, which are yours, got {renumbering[0]}")
        if saliency is not None:
            check_length("saliency", check_values("saliency", saliency, 1), len(layout), "layout")
            check_same_device("layout", layout.modality, saliency=saliency)
        _check_asked(schedule, given, layout)
        self._needs_embeddings = "embeddings" in needed and "embeddings" not in given
        self.schedule = schedule
        self.score = score
        self.trace = PruneTrace()
        self._run = ScheduleRun(layout, saliency, self.trace, check_backend(backend), given=given)
        self._gathers: list[tuple[int, Tensor]] = []
        self._last = -1

    @property
    def layout(self) -> TokenLayout:
        return self._run.layout

    @property
    def cu_seqlens(self) -> Tensor:
        """int32 [B+1]: where each prompt starts and ends among the tokens still there."""
        return self._run.layout.cu_seqlens

    def before_llm(self, hidden: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """`after_layer` for the stages before the first layer.

        Example:
            >>> another = Pruning(schedule, layout)
            >>> hidden, position = another.before_llm(torch.randn(10, 4), torch.arange(10))
            >>> hidden.shape, position[-2:]
            (torch.Size([6, 4]), tensor([8, 9]))
        """
        return self._step(0, self.schedule.before_llm, hidden, others)

    def after_layer(self, layer: int, hidden: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Thin the output of a layer.

        Args:
            layer: 1-based; every layer once, in order.
            hidden: [T, D], its output.
            *others: more tensors with a row per token: cos, sin, positions.

        Returns:
            All of them, with the rows of the kept tokens, in order.

        Raises:
            ValueError: layers out of order, a tensor without a row per token.
            TypeError, ValueError: a stage of your own that does not keep to the protocol of `seats_ops.Stage`.

        Example:
            >>> another = Pruning(Schedule(after_layer={1: ModalityDropper()}), layout)
            >>> (hidden,) = another.before_llm(torch.randn(10, 4))
            >>> hidden, position = another.after_layer(1, hidden, torch.arange(10))
            >>> position, another.cu_seqlens
            (tensor([8, 9]), tensor([0, 2], dtype=torch.int32))
        """
        return self._step(layer, self.schedule.after_layer.get(layer, ()), hidden, others)

    def survivors(self, layer: int) -> Tensor | None:
        """int64: where the tokens still there stand among those that `layer` (1-based) saw; None if none is gone since.

        After the last layer this is the index that thins the keys and values of a layer to the final survivors.

        Example:
            >>> pruning.survivors(1)  # of the four video and two text tokens that layer 1 saw
            tensor([4, 5])
        """
        index: Tensor | None = None
        for at, kept in reversed(self._gathers):
            if at < layer:
                break
            index = kept if index is None else kept[index]
        return index

    def __enter__(self) -> Pruning:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        missed = [layer for layer in (0, *self.schedule.after_layer) if layer > self._last]
        if kind is None and missed:
            raise UnsupportedModelState(
                f"layer: expected before_llm and after_layer up to {missed[-1]}, got none from {missed[0]} on"
            )

    def _step(self, layer: int, stages: tuple[Stage, ...], hidden: Tensor, others: tuple[Tensor, ...]) -> Any:
        if layer != self._last + 1:
            raise ValueError(f"layer: expected {self._last + 1}, the next one, got {layer}")
        self._last = layer
        check_length("hidden", check_tensor("hidden", hidden, 2), len(self.layout), "layout")
        tensors = (hidden, *others)
        for i, tensor in enumerate(others):
            check_length(f"others[{i}]", tensor, len(self.layout), "layout")
        if layer == 0 and self._needs_embeddings:
            self._run.given["embeddings"] = hidden.detach()
        for stage in stages:
            given: dict[str, Any] = {"features": tensors[0].detach()}
            if self.score is not None and any(parse_input(name).name == "scores" for name in stage.inputs):
                query = self._run.query_tokens()
                scores = check_values("score", self.score(layer, tensors[0].detach(), query, self.cu_seqlens), 1)
                check_length("score", scores, len(self.layout), "layout")
                given["scores"] = scores
            applied = self._run.apply(stage, layer, given)
            if applied is None:
                continue
            if applied.merge is not None:
                tensors = (merge_rows(tensors[0], *applied.merge, backend=self._run.backend), *tensors[1:])
            elif applied.values is not None:
                tensors = (applied.values, *tensors[1:])
            if not applied.moves:
                continue
            kept = applied.index.to(hidden.device, non_blocking=True)
            self._gathers.append((layer, kept))
            tensors = tuple(gather(kept, list(tensors), 0, self._run.backend))
        return tensors


GIVEN = ("saliency", "keys", "embeddings", "external")
"""Kinds of inputs that a caller has for all tokens before anything is dropped."""


def _check_given(given: object, saliency: Tensor | None, layout: TokenLayout) -> dict[str, Tensor]:
    """By the full names of inputs, {} for None."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"given: expected tensors by the names of inputs, got {describe(given)}")
    found: dict[str, Tensor] = {}
    for key, value in (given or {}).items():
        name = _input_of(key)
        if not isinstance(value, Tensor):
            raise TypeError(f"given[{key!r}]: expected a tensor, got {describe(value)}")
        if name.kind != "external":
            check_values(f"given[{key!r}]", value, 1 if name.kind == "saliency" else 2)
        if value.ndim == 0:
            raise ValueError(f"given[{key!r}]: expected [{len(layout)}, ...], got {describe(value)}")
        check_length(f"given[{key!r}]", value, len(layout), "layout")
        check_same_device("layout", layout.modality, **{f"given[{key!r}]": value})
        found[name.name] = value.detach()
    if saliency is not None and "saliency" in found:
        raise ValueError("saliency: expected it once, got it among given, too")
    return found


def _input_of(key: object) -> Input:
    try:
        name = parse_input(str(key))
    except ValueError as error:
        raise ValueError(f"given: {error}") from None
    if name.kind not in GIVEN:
        raise ValueError(f"given: expected inputs among {GIVEN}, which do not change with the tokens left, got {key!r}")
    return name


def _check_asked(schedule: Schedule, given: Mapping[str, Tensor], layout: TokenLayout) -> None:
    """Raise ValueError for an input that a stage asks for, but that is not given, or cannot be had here."""
    for layer, stage in schedule.stages():
        for name in map(parse_input, stage.inputs):
            asks = f"which {place_of(stage, layer)} asks for"
            if name.kind == "previous" or (name.kind == "scores" and name.name != "scores"):
                raise ValueError(
                    f"schedule: expected inputs that a decoder of one's own is asked for (of these, 'scores'), got "
                    f"{name.name!r}, {asks}"
                )
            if name.is_fact and getattr(layout, name.kind) is None:
                raise ValueError(f"layout: expected one with {name.kind}, {asks}, got None")
            missing = name.name not in given and name.name not in ("saliency", "embeddings")
            if name.kind in GIVEN and missing:
                raise ValueError(f"given: expected {name.name!r}, {asks}, got {sorted(given)}")
