"""What the installed transformers calls things and where it keeps them, as the tests need to know it."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration

from seats_ops import UnsupportedModelState
from seats_ops.integrations.huggingface.compat import LACKS

_NAMES = inspect.signature(Qwen2_5_VLForConditionalGeneration.forward).parameters
CACHE = "cache" if "cache" in _NAMES else "past_key_values"
"""The argument of a forward, and the field of an output, that holds a cache."""


def needs(feature: str, when: Callable[..., bool] = lambda **_: True) -> Callable[..., Any]:
    """A test of a feature: where transformers lacks it, it must end in the refusal that says so.

    Args:
        feature: key of `LACKS`.
        when: given the arguments of the test, whether it is about the feature.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(**arguments: Any) -> None:
            if feature in LACKS and when(**arguments):
                with pytest.raises(UnsupportedModelState, match=re.escape(LACKS[feature])):
                    test(**arguments)
            else:
                test(**arguments)

        return run

    return decorate


def recompute(model: Any, *options: Any) -> None:
    """Gradient checkpointing from now on."""
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)(*options)


def cache_of(output: Any) -> Any:
    """The cache that an output holds."""
    return getattr(output, CACHE)


def _holds_its_parts(model: Any) -> bool:
    """An Omni thinker of before 5.21, without an inner model."""
    return not hasattr(getattr(model, "model", None), "language_model") and hasattr(model, "audio_tower")


def place(model: Any, path: str) -> str:
    """Where the module or parameter at `path` of the newest version is."""
    if not _holds_its_parts(model):
        return path
    return path.replace("model.language_model", "model", 1) if "language_model" in path else path.removeprefix("model.")


def newest_place(model: Any, path: str) -> str:
    """Where the newest version has what is at `path` here, in a thinker or a full model."""
    if path.startswith("thinker."):
        return "thinker." + newest_place(model.thinker, path.removeprefix("thinker."))
    if not _holds_its_parts(model):
        return path
    head, _, rest = path.partition(".")
    new = {"model": "model.language_model", "visual": "model.visual", "audio_tower": "model.audio_tower"}
    return f"{new.get(head, head)}.{rest}"


def part(model: nn.Module, path: str) -> Any:
    """The module at `path` of the newest version."""
    return model.get_submodule(place(model, path))


def weight(model: nn.Module, path: str) -> nn.Parameter:
    """The parameter at `path` of the newest version."""
    return model.get_parameter(place(model, path))


def rope_deltas(model: Any) -> Any:
    """What a model keeps of its latest prompt's positions."""
    return (model if _holds_its_parts(model) else model.model).rope_deltas


def text_model(model: nn.Module) -> Any:
    """The decoder."""
    return getattr(model.model, "language_model", model.model)


def vision_tower(model: nn.Module) -> Any:
    return part(model, "model.visual")


def audio_tower(model: nn.Module) -> Any:
    return part(model, "model.audio_tower")
