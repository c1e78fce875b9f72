"""What pruning would get silently wrong is refused here, before any token is produced."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.cache import check_cache
from seats_ops.schedule import Schedule
from seats_ops.validation import describe

KV_POLICIES = ("uniform", "per-layer")
CACHE_IMPLEMENTATIONS = (None, "dynamic")


def check_attachable(modules: list[nn.Module]) -> None:
    """Raise UnsupportedModelState if one of the modules is compiled: its hooks might never run."""
    for module in modules:
        forward = module.__dict__.get("forward")
        if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None or hasattr(
            forward, "_torchdynamo_orig_callable"
        ):
            raise UnsupportedModelState(
                f"model: expected an uncompiled model, got a compiled {type(module).__name__} (torch.compile skips hooks "
                "that are attached later, so pruning would silently not happen); attach first or compile single layers"
            )


def check_schedule(schedule: object, text_config: Any) -> None:
    """Raise TypeError / ValueError for something that is not a schedule, or layers the model does not have."""
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule: expected a Schedule, got {describe(schedule)}")
    num_layers = text_config.num_hidden_layers
    beyond = [layer for layer in schedule.after_layer if layer >= num_layers]
    if beyond:
        raise ValueError(
            f"schedule: expected layers from 1 to {num_layers - 1}, since something has to run after a drop, got {beyond}"
        )


def check_text_config(text_config: Any) -> None:
    """Raise UnsupportedModelState for attention that does not see the whole sequence."""
    odd = sorted(set(text_config.layer_types) - {"full_attention"})
    if odd:
        raise UnsupportedModelState(f"model: expected full-attention layers only, got {odd}")


def check_generate(model_config: Any, kwargs: dict[str, Any], kv_policy: str) -> None:
    """Look at the arguments of `generate` for modes that hooks cannot see."""
    given = kwargs.get("generation_config")

    def setting(name: str) -> Any:
        for source in (kwargs.get(name), getattr(given, name, None), getattr(model_config, name, None)):
            if source is not None:
                return source
        return None

    if setting("assistant_model") is not None or setting("prompt_lookup_num_tokens") is not None:
        raise UnsupportedModelState(
            "assistant_model / prompt_lookup_num_tokens: expected none, got assisted decoding, which puts draft tokens into "
            "the prefill so that the query is no longer the last prompt token"
        )
    if setting("assistant_early_exit") is not None:
        raise UnsupportedModelState("assistant_early_exit: expected None, got assisted decoding")
    if setting("prefill_chunk_size") is not None:
        raise UnsupportedModelState(
            f"prefill_chunk_size: expected None, got {setting('prefill_chunk_size')}: a chunk does not show the whole prompt"
        )
    if setting("cache_implementation") not in CACHE_IMPLEMENTATIONS:
        raise UnsupportedModelState(
            f"cache_implementation: expected one of {CACHE_IMPLEMENTATIONS}, got {setting('cache_implementation')!r}"
        )
    if setting("use_cache") is False and kv_policy == "uniform":
        raise UnsupportedModelState(
            "use_cache: expected True under kv_policy='uniform', got False: recomputing the prompt with every token would "
            "let new tokens attend to what has been dropped"
        )
    for name in ("num_beams", "num_return_sequences"):
        if (setting(name) or 1) > 1:
            raise UnsupportedModelState(f"{name}: expected 1, got {setting(name)}: one sequence at a time is supported")
    check_cache(kwargs.get("past_key_values"))


def check_forward(input_ids: object, kwargs: dict[str, Any]) -> None:
    """Look at the arguments of the thinker's `forward`."""
    if kwargs.get("labels") is not None:
        raise UnsupportedModelState("labels: expected None, got labels of the unpruned length; compute the loss outside")
    if not isinstance(input_ids, Tensor):
        raise UnsupportedModelState(
            f"input_ids: expected the prompt's token ids (media are found by them), got {describe(input_ids)}"
        )
    if kwargs.get("inputs_embeds") is not None:
        raise UnsupportedModelState("inputs_embeds: expected None, got embeddings; pass input_ids and features instead")
    if input_ids.shape[0] != 1:
        raise UnsupportedModelState(f"input_ids: expected one prompt at a time, got a batch of {input_ids.shape[0]}")
    mask = kwargs.get("attention_mask")
    if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
        got = describe(mask) if isinstance(mask, Tensor) else type(mask).__name__
        raise UnsupportedModelState(f"attention_mask: expected a 2-D mask or None, got {got}")
    check_cache(kwargs.get("past_key_values"))
