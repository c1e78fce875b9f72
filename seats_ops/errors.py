"""Exceptions that are not plain `ValueError` (values, shapes) or `TypeError` (types, dtypes, model class)."""

from __future__ import annotations


class BackendUnavailable(RuntimeError):
    """A backend was named explicitly and cannot run here; the message says why. Nothing falls back silently."""


class UnsupportedModelState(RuntimeError):
    """The model, its cache or the generation mode is in a state that pruning would get silently wrong."""
