"""Families that pruning cannot be right for are refused by name, for reasons that their own configurations confirm."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn
from transformers import CONFIG_MAPPING
from transformers.cache_utils import get_layer_types_and_kwargs

from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.families.family import IMPOSSIBLE
from tests.integrations.huggingface.guards.refusals import LATE


class Stranger(nn.Module):
    """A model of a type, as far as `attach` looks at it."""

    def __init__(self, model_type: str) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type=model_type)


@pytest.mark.parametrize("model_type", IMPOSSIBLE)
def test_refused_by_name_and_reason(model_type: str) -> None:
    with pytest.raises(TypeError, match=IMPOSSIBLE[model_type]), attach(Stranger(model_type), LATE):
        pass


@pytest.mark.parametrize("model_type", IMPOSSIBLE)
def test_the_reason_holds(model_type: str) -> None:
    """Some layer of its decoder does not attend to the whole prompt."""
    if model_type not in CONFIG_MAPPING:
        pytest.skip("this version of transformers does not have it yet")
    config: Any = CONFIG_MAPPING[model_type]()
    types = get_layer_types_and_kwargs(config.get_text_config(decoder=True))[0]
    assert set(types) - {"full_attention"}
