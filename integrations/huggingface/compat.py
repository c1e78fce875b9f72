"""What transformers calls things, where it keeps them and what it lacks: found by looking at the version installed."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import modeling_utils
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.guards.versions import NEWEST_TESTED, newer_than_tested

_ENCODES_FIRST = hasattr(GenerationMixin, "_supports_mm_encoder_outputs")
_COLUMNS = getattr(modeling_utils, "slice_logits_to_keep", None)
# Where Omni thinkers held their parts before 5.21.
_EARLIER = {"model.language_model": "model", "model.visual": "visual", "model.audio_tower": "audio_tower"}


def _takes(function: Any, name: str) -> bool:
    """Whether an argument has this name, or had it and is renamed by a wrapper."""
    if name in inspect.signature(function).parameters:
        return True
    if inspect.isfunction(function) and inspect.getclosurevars(function).nonlocals.get("old_name") == name:
        return True
    return hasattr(function, "__wrapped__") and _takes(function.__wrapped__, name)


CACHE_NAMES = tuple(name for name in ("cache", "past_key_values") if _takes(create_causal_mask, name))
"""Arguments that hand a cache over, the one that counts first: 5.24 renamed it, and goes on to take the old name."""
if not CACHE_NAMES:
    raise ImportError(
        "transformers.masking_utils.create_causal_mask: expected an argument cache or past_key_values, got "
        f"{', '.join(inspect.signature(create_causal_mask).parameters)}"
    )


def _copies_groups() -> bool:
    """Whether `generate` copies the pictures of a prompt as a group, and not each of them on its own."""
    copy = getattr(GenerationMixin, "_expand_multimodal_outputs", None)
    if copy is None:
        return newer_than_tested() is None
    first, _ = pair = [torch.zeros(1, 1, dtype=torch.float32, device="cpu") for _ in range(2)]
    model = SimpleNamespace(config=SimpleNamespace(video_token_id=1))
    ids = torch.ones(1, 2, dtype=torch.int64, device="cpu")
    try:
        copied = copy(model, ids, {"video": SimpleNamespace(pooler_output=pair)}, expand_size=2)["video"].pooler_output
    except Exception:
        return True  # a later version, as those that do not can be asked
    return [x is first for x in copied] != [True, True, False, False]


LACKS: Mapping[str, str] = {
    feature: f"needs transformers {version} or newer, got {transformers.__version__}"
    if newer_than_tested() is None
    else f"is not found in transformers {transformers.__version__} as in {NEWEST_TESTED}, the newest tested"
    for feature, version, has in (
        # Hooks of a layer were run again by its checkpoint.
        ("checkpointing", "5.23", GradientCheckpointingLayer.__call__ is nn.Module.__call__),
        # Pixels of a prompt were copied one by one, and encoded after that.
        ("copies of media", "5.18", _ENCODES_FIRST),
        ("copies of several media", "5.20", _copies_groups()),
        ("columns per row", "5.21", _COLUMNS is not None),
        # Arguments, which models that do not know them pass over in silence.
        ("mm_encoder_outputs", "5.18", _ENCODES_FIRST),
        ("cache", "5.24", "cache" in CACHE_NAMES),
    )
    if not has
} | {
    name: f"is called {CACHE_NAMES[0]} in transformers {transformers.__version__}"
    for name in {"past_key_values"} - {*CACHE_NAMES}
}
"""What this version cannot do right or does not take, and what a user is told of it."""


def part(thinker: nn.Module, path: str) -> Any:
    """The module at `path` of the newest version.

    Raises:
        AttributeError: there is none.
    """
    try:
        return thinker.get_submodule(path)
    except AttributeError as error:
        with contextlib.suppress(AttributeError, KeyError):
            return thinker.get_submodule(_EARLIER[path])
        raise error from None


def rope_deltas(thinker: nn.Module) -> Any:
    """What a model itself keeps of its latest prompt, to count the positions of later tokens; None for none."""
    return next((x.rope_deltas for x in (thinker, thinker.model) if hasattr(x, "rope_deltas")), None)


def cache_argument(arguments: Mapping[str, Any]) -> tuple[str, Any]:
    """The cache of a call, or None, and the name it came under."""
    name = next((name for name in CACHE_NAMES if name in arguments), CACHE_NAMES[0])
    return name, arguments.get(name)


def cache_of(output: Any) -> Any:
    """The cache that an output holds, or None."""
    return getattr(output, CACHE_NAMES[0])


def causal_mask(config: Any, hidden: Tensor, attention_mask: Tensor | None, cache: Any = None, layer: int = 0) -> Any:
    """The mask of one layer, in the form its attention wants.

    Args:
        config: of the decoder.
        hidden: [B, Q, D], new tokens.
        attention_mask: [B, columns], 0 at padding, or None.
        cache: what the layer sees beside them.
        layer: from 0, of the cache.
    """
    seen = {CACHE_NAMES[0]: cache, "layer_idx": None if cache is None else layer}
    return create_causal_mask(config=config, inputs_embeds=hidden, attention_mask=attention_mask, **seen)


def columns_of(hidden: Tensor, logits_to_keep: Any) -> Tensor:
    """The columns of `hidden` [B, S, D] whose logits a model computes.

    Raises:
        UnsupportedModelState: columns per row, for a version whose models take them for something else.
    """
    if _COLUMNS is not None:
        return _COLUMNS(hidden, logits_to_keep)
    if isinstance(logits_to_keep, Tensor) and logits_to_keep.ndim > 1:
        raise UnsupportedModelState(
            f"logits_to_keep: expected a count or [columns], got {list(logits_to_keep.shape)}, which "
            f"{LACKS['columns per row']}"
        )
    return hidden[:, slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep, :]
