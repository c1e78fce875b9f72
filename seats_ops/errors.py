"""Exceptions that are not plain `ValueError` (values, shapes) or `TypeError` (types, dtypes, model class)."""

from __future__ import annotations


class BackendUnavailable(RuntimeError):
    """A backend was named explicitly and cannot run here; the message says why. Nothing falls back silently.

    Example:
        >>> import torch
        >>> from seats_ops import BackendUnavailable
        >>> from seats_ops import functional as F
        >>> arguments = torch.tensor([0.3, 0.1, 0.2]), torch.tensor([0, 0, 0]), torch.tensor([2])
        >>> try:
        ...     keep_mask = F.segment_topk(*arguments, backend="triton")
        ... except BackendUnavailable:
        ...     keep_mask = F.segment_topk(*arguments, backend="reference")
        >>> keep_mask
        tensor([ True, False,  True])
    """


class UnsupportedModelState(RuntimeError):
    """The model, its cache or the generation mode is in a state that pruning would get silently wrong.

    Example:
        >>> from seats_ops import ModalityDropper, Modality, Schedule
        >>> from seats_ops.integrations import Pruning
        >>> from seats_ops.testing import layout_of_runs
        >>> with Pruning(Schedule(after_layer={2: ModalityDropper()}), layout_of_runs([[(Modality.TEXT, 3)]])):
        ...     pass  # no layer comes by
        Traceback (most recent call last):
        seats_ops.errors.UnsupportedModelState: layer: expected before_llm and after_layer up to 2, got none from 0 on
    """
