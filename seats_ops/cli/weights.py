"""How many bytes a model's weights take, from its config alone."""

from __future__ import annotations

from typing import Any

import torch

from .clip_lengths import rules_of


def weight_bytes(config: Any, *, element_bytes: int = 2) -> int:
    """Of every parameter of the thinker, encoders included; built without storage, so nothing is loaded.

    Args:
        config: of the thinker.
        element_bytes: of one number, 2 for bfloat16.
    """
    import transformers

    with torch.device("meta"):
        model = getattr(transformers, rules_of(config).thinker)(config)
    return element_bytes * sum(parameter.numel() for parameter in model.parameters())
