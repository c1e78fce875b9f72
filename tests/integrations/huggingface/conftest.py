"""Fixtures of the adapter's tests. Models are rebuilt for every test, except those that nothing may ever attach to."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.prompts import Text, Video, build_prompt


@pytest.fixture(params=["sdpa", "eager"])
def attention(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["uniform", "per-layer"])
def kv_policy(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def thinker(attention: str) -> nn.Module:
    return small_thinker(attention)


@pytest.fixture(scope="session")
def pristine() -> nn.Module:
    """The weights of `thinker` in a model nothing is attached to: what the oracles compute with."""
    return small_thinker("eager")


@pytest.fixture
def clip(thinker: nn.Module) -> dict[str, Any]:
    """A video of 5 grids with 4.3 s of interleaved sound between two pieces of text."""
    return build_prompt(thinker.config, Text(9), Video((5, 4, 6), 1.0, mel_frames=430), Text(7))


@pytest.fixture
def silent_clip(thinker: nn.Module) -> dict[str, Any]:
    """A video without sound: with sound in the prompt the library itself refuses more."""
    return build_prompt(thinker.config, Text(9), Video((5, 4, 6)), Text(7))
