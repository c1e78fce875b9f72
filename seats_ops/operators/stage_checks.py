"""Whether a stage or an allocator keeps to its protocol (see `seats_ops.operators.stage`): every error names it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout
from seats_ops.layout.token_layout import PER_TOKEN
from seats_ops.operators.inputs import parse_input, parse_inputs
from seats_ops.operators.selection import Selection, check_selection
from seats_ops.operators.stage import COUNT_KINDS, KV_RULES, Stage
from seats_ops.validation import describe, reads_are_free


def name_of(value: object) -> str:
    """The name of a function, else of the class of a value."""
    return getattr(value, "__name__", type(value).__name__)


def check_stage_type(where: str, value: object) -> Stage:
    """`value` if a schedule can run it.

    Raises:
        TypeError: not a stage, one that cannot be called with the inputs it names.
        ValueError: inputs that nobody has.
    """
    if isinstance(value, type) or not isinstance(value, Stage) or not callable(value.to_dict):
        missing = [name for name in ("inputs", "to_dict") if callable(value) and not hasattr(value, name)]
        what = f" without {' and '.join(missing)}" if missing and not isinstance(value, type) else ""
        raise TypeError(f"{where}: expected stages such as StagePruner(0.5), got {describe(value)}{what}")
    if getattr(value, "is_scorer", False):
        raise TypeError(f"{where}: expected stages such as Select(scorer, Ratio(0.5)), got the scorer {value} alone")
    inputs, who = value.inputs, f"{where}: {name_of(value)}"
    if not isinstance(inputs, tuple) or not all(isinstance(name, str) for name in inputs):
        raise TypeError(f"{who}.inputs: expected a tuple of names, got {describe(inputs)}")
    for name, allowed in (("count_kind", COUNT_KINDS), ("kv_rule", KV_RULES)):
        if getattr(value, name, allowed[0]) not in allowed:
            raise ValueError(f"{who}.{name}: expected one of {allowed}, got {getattr(value, name)!r}")
    try:
        if hasattr(value, "call_parts"):
            for name in inputs:
                parse_input(name)
            return value
        passed = [item.keyword for item in parse_inputs(inputs) if not item.is_fact]
    except ValueError as error:
        raise ValueError(f"{who}.inputs: {error}") from None
    check_takes(who, value, (*passed[:1], "layout"), (*passed[1:], "backend"))
    return value


def check_takes(who: str, value: Callable[..., Any], positional: tuple[str, ...], keywords: tuple[str, ...]) -> None:
    """Raise TypeError if `value` cannot be called with these arguments."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return  # compiled code does not say
    try:
        signature.bind(*positional, **dict.fromkeys(keywords))
    except TypeError as error:
        call = ", ".join((*positional, *(f"{name}=..." for name in keywords)))
        raise TypeError(f"{who}: expected to be called as ({call}), got {signature}: {error}") from None


def place_of(stage: Stage, layer: int) -> str:
    """A stage and where it acts, for messages."""
    return f"{name_of(stage)} {f'after layer {layer}' if layer else 'before the LLM'}"


def versions_of(layout: TokenLayout, *tensors: Tensor | None) -> list[tuple[Tensor, int]]:
    """What a stage is given, with how often each tensor was written to; inference mode does not count that."""
    given = list(tensors)
    for copy in (layout, layout.host):
        if copy is not None:
            given += [copy.cu_seqlens, *(getattr(copy, name) for name in PER_TOKEN)]
    return [(tensor, tensor._version) for tensor in given if tensor is not None and not tensor.is_inference()]


def check_unchanged(where: str, given: list[tuple[Tensor, int]]) -> None:
    """Raise ValueError if one of `versions_of` was written to since."""
    for tensor, version in given:
        if tensor._version != version:
            raise ValueError(f"{where}: expected inputs to be left as they are, got {describe(tensor)} written to")


def check_result(where: str, result: object, layout: TokenLayout, features: Tensor | None = None) -> Selection:
    """What a stage returned for `layout`: a mask, a mask and budgets, or a `Selection`; no device is read.

    Raises:
        TypeError: something else, another dtype.
        ValueError: another shape or device.
    """
    selection = result
    if not isinstance(result, Selection):
        pair = result if isinstance(result, tuple) and len(result) == 2 else None
        selection = Selection(*pair) if pair else Selection(result)  # type: ignore[arg-type]
        if pair:
            check_budgets(where, pair[1], None, layout.modality.device)
    assert isinstance(selection, Selection)
    total, device = len(layout), layout.modality.device
    expected = f"{where}: expected a bool [{total}] keep mask on {device}"
    if isinstance(result, Tensor) and result.is_floating_point():
        expected += " (scores become one by Select(scorer, Ratio(...)))"
    _check_tensor(expected, selection.keep_mask, torch.bool, [total], device)
    if selection.budgets is not None:
        check_budgets(where, selection.budgets, None, device)
    check_selection(where, selection, layout, features)
    return selection


def check_budgets(where: str, budgets: object, num_windows: int | None, device: torch.device) -> Tensor:
    """Budgets int64 [num_windows, 2], of any number of windows for None; values of CPU tensors are looked at.

    Raises:
        TypeError, ValueError: as `check_result`; also ValueError for a budget below zero.
    """
    rows = num_windows
    if rows is None:
        rows = len(budgets) if isinstance(budgets, Tensor) and budgets.ndim else 0
    shown = "W" if num_windows is None else str(num_windows)
    expected = f"{where}: expected budgets int64 [{shown}, 2] on {device}"
    tensor = _check_tensor(expected, budgets, torch.int64, [rows, 2], device)
    if tensor.numel() and reads_are_free(tensor) and int(tensor.min()) < 0:
        raise ValueError(f"{where}: expected budgets >= 0, got a minimum of {int(tensor.min())}")
    return tensor


def _check_tensor(expected: str, value: Any, dtype: torch.dtype, shape: list[int], device: torch.device) -> Tensor:
    if not isinstance(value, Tensor) or value.dtype != dtype:
        raise TypeError(f"{expected}, got {describe(value)}")
    if value.layout != torch.strided:
        raise TypeError(f"{expected}, got a tensor of layout {value.layout}")
    if list(value.shape) != shape or value.device != device:
        raise ValueError(f"{expected}, got {describe(value)}")
    return value


def query_of_rows(layout: TokenLayout) -> Tensor:
    """int64 [B]: packed index of the last text token of every prompt; below its start where it has no text."""
    if not len(layout):
        return layout.cu_seqlens[:-1].long() - 1
    places = torch.arange(len(layout), dtype=torch.int64, device=layout.modality.device)
    last_text = torch.where(layout.is_modality(Modality.TEXT), places, -1).cummax(0).values
    # The last token before an empty first prompt would be the last of all.
    return torch.where(layout.cu_seqlens[1:] > 0, last_text[layout.cu_seqlens[1:].long() - 1], -1)


def check_kept(where: str, keep_mask: Tensor, layout: TokenLayout) -> None:
    """Raise ValueError if a prompt loses its query, or everything.

    Args:
        where: the stage, see `place_of`.
        keep_mask: bool [T] on the host.
        layout: of the tokens before the stage, on the host.
    """
    starts = layout.cu_seqlens[:-1].long()
    query = query_of_rows(layout)
    if not len(layout):
        return
    left = torch.nn.functional.pad(keep_mask.cumsum(0), (1, 0))[layout.cu_seqlens.long()].diff()
    for lost, what in (
        ((layout.cu_seqlens.diff() > 0) & (left == 0), "a token of every prompt"),
        ((query >= starts) & ~keep_mask[query.clamp(min=0)], "the last text token of every prompt, which is the query"),
    ):
        if bool(lost.any()):
            raise ValueError(f"{where}: expected to keep {what}, got none of prompt {int(lost.int().argmax())}")
