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
from seats_ops.integrations.compat import LACKS

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


def place(model: nn.Module, path: str) -> str:
    """Where the module or parameter at `path` of the newest version is: Omni thinkers had no inner model once."""
    if hasattr(model.model, "language_model") or not hasattr(model, "audio_tower"):
        return path
    return path.replace("model.language_model", "model", 1) if "language_model" in path else path.removeprefix("model.")


def part(model: nn.Module, path: str) -> Any:
    """The module at `path` of the newest version."""
    return model.get_submodule(place(model, path))


def weight(model: nn.Module, path: str) -> nn.Parameter:
    """The parameter at `path` of the newest version."""
    return model.get_parameter(place(model, path))


def text_model(model: nn.Module) -> Any:
    """The decoder."""
    return getattr(model.model, "language_model", model.model)


def vision_tower(model: nn.Module) -> Any:
    return part(model, "model.visual")


def audio_tower(model: nn.Module) -> Any:
    return part(model, "model.audio_tower")
