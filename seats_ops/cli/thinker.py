"""The model that the options ask for: a checkpoint, or the small random one."""

from __future__ import annotations

from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from . import model as models
from .options import Options


def thinker_of(options: Options, device: torch.device, console: Console) -> Any:
    """On the device, for inference; the console says what is waited for. Raises ValueError: a dtype without weights."""
    if options.model is None and options.dtype != "auto":
        raise ValueError(
            f"--dtype: expected auto, as there is no checkpoint whose weights it is for, got {options.dtype}"
        )
    with console.status("building the model" if options.model is None else f"loading {escape(options.model)}"):
        if options.model is None:
            return models.random_model(models.demo_config(), seed=options.seed, device=device)
        return models.load_checkpoint(options.model, device=device, dtype=options.dtype)
