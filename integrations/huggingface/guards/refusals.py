"""What pruning would get silently wrong is refused here, before any token is produced."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seats_ops.cost.decoder_sizes import context_length, kinds_of_partial_attention
from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.cache.cache import check_cache
from seats_ops.integrations.huggingface.compat import CACHE_NAMES, LACKS, cache_argument
from seats_ops.integrations.huggingface.families.family import Family
from seats_ops.integrations.huggingface.families.tower_kinds import CropTower
from seats_ops.integrations.huggingface.guards.arguments import FORWARD, GENERATE, Argument
from seats_ops.integrations.huggingface.prompt.media_items import lengths_of_items, most_in_a_row
from seats_ops.layout import Modality, TokenLayout
from seats_ops.operators.inputs import parse_input
from seats_ops.operators.stage_checks import place_of
from seats_ops.schedule import Schedule
from seats_ops.validation import describe


def check_not_compiled(modules: list[nn.Module]) -> None:
    """Raise UnsupportedModelState if one of the modules is compiled: its hooks might never run."""
    for module in modules:
        forward = module.__dict__.get("forward")
        if (
            hasattr(module, "_orig_mod")
            or module._compiled_call_impl is not None
            or hasattr(forward, "_torchdynamo_orig_callable")
        ):
            raise UnsupportedModelState(
                f"model: expected an uncompiled model, got a compiled {type(module).__name__}: it skips hooks that are "
                "attached later, so that pruning would silently not happen; compile its layers one by one instead"
            )


def check_schedule(schedule: object, text_config: Any) -> None:
    """Raise TypeError / ValueError for something that is not a schedule, or layers the model does not have."""
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule: expected a Schedule, got {describe(schedule)}")
    num_layers = text_config.num_hidden_layers
    beyond = [layer for layer in schedule.after_layer if layer >= num_layers]
    if beyond:
        raise ValueError(
            f"schedule: expected layers from 1 to {num_layers - 1}, as a layer has to run after a drop, got {beyond}"
        )


def check_inputs(family: Family, schedule: Schedule, external: Collection[str]) -> None:
    """Raise UnsupportedModelState for an input that a tower of the family does not give, ValueError for a missing one.

    Args:
        family: of the model.
        schedule: whose stages ask.
        external: names that the caller gives.
    """
    towers = {"vision": family.vision, "audio": family.audio}
    for layer, stage in schedule.stages():
        for name in map(parse_input, stage.inputs):
            if name.kind == "external" and name.variant not in external:
                raise ValueError(
                    f"external: expected {name.variant!r}, which {place_of(stage, layer)} asks for, got "
                    f"{sorted(external)}"
                )
            if name.kind not in ("saliency", "keys", "grid"):
                continue
            for kind, tower in towers.items():
                if tower is not None and name.name not in tower.gives:
                    has = ", ".join(sorted(tower.gives))
                    raise UnsupportedModelState(
                        f"schedule: expected inputs that the {kind} tower of {family.thinker} gives ({has}), got "
                        f"{name.name!r}, which {place_of(stage, layer)} asks for"
                    )


def check_text_config(text_config: Any) -> None:
    """Raise UnsupportedModelState for attention that does not see the whole sequence."""
    odd = kinds_of_partial_attention(text_config)
    if odd:
        raise UnsupportedModelState(f"model: expected full-attention layers only, got {odd}")


def check_audio_rate(family: Family, config: Any) -> None:
    """Raise UnsupportedModelState if sound has another token rate than the family's: blocks and windows are counted.

    Args:
        family: of the model.
        config: of the thinker. One that tells no rate is taken to have the family's.
    """
    told, reduction = getattr(config, "position_id_per_seconds", None), None
    if told is None and family.audio is not None:
        # 100 frames of a mel spectrogram are a second, in all encoders known here.
        reduction = getattr(getattr(config, "audio_config", None), "time_reduction", None)
        told = None if reduction is None else 100 / (reduction * getattr(config.audio_config, "downsample_rate", 1))
    if told is not None and told != family.audio_rate:
        name = "position_id_per_seconds" if reduction is None else "audio_config.time_reduction"
        raise UnsupportedModelState(
            f"model: expected {family.audio_rate:g} audio tokens per second as its family has, got {told:g} by "
            f"config.{name}; give attach(..., family=dataclasses.replace(seats_ops.integrations.family_of(model), "
            f"audio_rate={told:g}, audio_block=...)) with the tokens of a Stage I block"
        )


def check_default_dtype(family: Family, arguments: Mapping[str, Any]) -> None:
    """Raise UnsupportedModelState for pictures that transformers itself encodes otherwise under float16 as default."""
    pictures = isinstance(family.vision, CropTower) and arguments.get("image_pixel_values") is not None
    if pictures and torch.get_default_dtype() == torch.float16:
        raise UnsupportedModelState(
            "image_pixel_values: expected a default dtype of float32 while pictures are encoded, got torch.float16 by "
            "torch.set_default_dtype: transformers sorts patches into bins that it makes in that dtype"
        )


def setting(name: str, arguments: dict[str, Any], model_config: Any) -> Any:
    """What counts for a generation: the keyword, else `generation_config`, else the model's own; None if none of them.

    Args:
        name: of the setting.
        arguments: of `generate`, by name.
        model_config: the model's own `generation_config`.
    """
    configs = (arguments.get("generation_config"), model_config)
    candidates = (arguments.get(name), *(getattr(config, name, None) for config in configs))
    return next((value for value in candidates if value is not None), None)


def check_arguments(arguments: dict[str, Any], known: Mapping[str, Argument], own: Collection[str] = ()) -> None:
    """Raise UnsupportedModelState for an argument that is refused, or that nobody knows.

    Args:
        arguments: by name; those that are None ask for nothing.
        known: table of arguments.
        own: names that the author of a family vouches for.
    """
    first, *others = [name for name in CACHE_NAMES if arguments.get(name) is not None] or [""]
    if others:
        got = f"got {_shown(arguments[others[0]])}, which transformers would pass over"
        raise UnsupportedModelState(f"{others[0]}: expected None beside {first}, {got}")
    for name, value in arguments.items():
        if name in LACKS and value is not None:
            raise UnsupportedModelState(f"{name}: expected None, got {_shown(value)}, which {LACKS[name]}")
        if name in known:
            _check(name, value, known[name])
        elif value is not None and name not in own:
            raise UnsupportedModelState(
                f"{name}: expected None, got {_shown(value)}: not an argument that pruning knows, so it might count "
                "columns of the prompt (docs/adapter.md lists those that it knows)"
            )


def check_generate(
    model_config: Any,
    arguments: dict[str, Any],
    kv_policy: str,
    text_model: Any,
    own: Collection[str] = (),
) -> None:
    """Look at the arguments of `generate` for modes that hooks cannot see; raises UnsupportedModelState.

    Args:
        model_config: the model's own `generation_config`.
        arguments: by name.
        kv_policy: of the attachment.
        text_model: the decoder.
        own: names of further arguments that the author of a family vouches for.
    """
    for name, argument in GENERATE.items():
        _check(name, setting(name, arguments, model_config), argument)
    check_arguments(arguments, {**FORWARD, **GENERATE}, own)
    use_cache = setting("use_cache", arguments, model_config)
    if kv_policy == "uniform" and use_cache not in (None, True):
        raise UnsupportedModelState(
            f"use_cache: expected True, got {_shown(use_cache)}: without a cache new tokens would see what "
            "kv_policy='uniform' says is dropped"
        )
    if use_cache in (None, True):
        _check_layers_cache(text_model)
    check_cache(*cache_argument(arguments), context_length(text_model.config))


def check_forward(arguments: dict[str, Any], text_model: Any, own: Collection[str] = ()) -> Tensor:
    """Look at the arguments of the thinker's `forward`, by name; returns `input_ids`.

    Args:
        arguments: by name, further keyword arguments included.
        text_model: the decoder.
        own: names of further arguments that the author of a family vouches for.
    """
    check_arguments(arguments, FORWARD, own)
    input_ids = arguments.get("input_ids")
    if not isinstance(input_ids, Tensor):
        raise UnsupportedModelState(
            f"input_ids: expected the prompt's token ids (media are found by them), got {describe(input_ids)}"
        )
    if input_ids.ndim != 2:
        raise ValueError(f"input_ids: expected [B, S], got {describe(input_ids)}")
    mask = arguments.get("attention_mask")
    if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
        raise UnsupportedModelState(f"attention_mask: expected a 2-D mask or None, got {_shown(mask)}")
    config, (name, cache) = text_model.config, cache_argument(arguments)
    if getattr(config, "is_causal", None) is False:
        _check("is_causal", False, FORWARD["is_causal"])
    check_cache(name, cache, context_length(config))
    use_cache = arguments.get("use_cache")
    use_cache = getattr(config, "use_cache", None) if use_cache is None else use_cache
    if cache is not None or (use_cache and not _recomputes(text_model)):
        _check_layers_cache(text_model)
    if "checkpointing" in LACKS and torch.is_grad_enabled() and any(map(_recomputes, text_model.layers)):
        raise UnsupportedModelState(
            "model: expected layers without gradient checkpointing in training mode, got some with it, which "
            f"{LACKS['checkpointing']}; call model.gradient_checkpointing_disable() before"
        )
    return input_ids


def check_keeps_columns(names: Collection[str]) -> None:
    """Raise UnsupportedModelState if the model, whose forward takes `names`, would answer for all columns instead."""
    if "logits_to_keep" not in names:
        raise UnsupportedModelState(
            "logits_to_keep: expected None, got columns: this model's forward does not take it and would answer for all"
        )


def wants_router_logits(arguments: dict[str, Any], names: Collection[str], text_config: Any) -> bool:
    """Whether the model, whose forward takes `names`, will weigh how its router chose."""
    given = arguments.get("output_router_logits")
    if given is not None:
        # A model with experts may take it among its further arguments.
        return bool(given) and ("output_router_logits" in names or hasattr(text_config, "router_aux_loss_coef"))
    return bool(getattr(text_config, "output_router_logits", False)) and "output_router_logits" in names


def _check(name: str, value: Any, argument: Argument) -> None:
    if argument.refuses(value):
        expected = argument.harmless[0] if argument.harmless else None
        raise UnsupportedModelState(f"{name}: expected {expected!r}, got {_shown(value)}: {argument.reason}")


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return describe(value)
    return repr(value) if isinstance(value, (bool, int, float, str)) else type(value).__name__


def _recomputes(module: Any) -> bool:
    return module.training and getattr(module, "gradient_checkpointing", False)


def _check_layers_cache(text_model: Any) -> None:
    """Raise UnsupportedModelState if a layer would leave its keys out of the cache."""
    if any(_recomputes(module) for module in (text_model, *text_model.layers)):
        raise UnsupportedModelState(
            "model: expected layers that fill the cache, got gradient checkpointing in training mode: transformers "
            "takes the cache away from such layers, so that new tokens would not see the prompt; call model.eval() or "
            "model.gradient_checkpointing_disable() before, or go without a cache"
        )


def check_seconds_per_grid(name: str | None, arguments: dict[str, Any], windows: str = "time") -> None:
    """Raise UnsupportedModelState if there are videos in a call, but not the argument that gives them a clock.

    Args:
        name: of the argument; None for a family without one.
        arguments: of the thinker's `forward` or `generate`, by name.
        windows: of the attachment; unless they go by time, some stage asks for "seconds".
    """
    encoded = arguments.get("mm_encoder_outputs") or {}
    videos = [arguments.get("pixel_values_videos"), arguments.get("video_grid_thw"), encoded.get("video")]
    if any(video is not None for video in videos) and (name is None or arguments.get(name) is None):
        asker, needed = (
            ("windows", "for windows='time'") if windows == "time" else ("seconds", "where stages ask for it")
        )
        raise UnsupportedModelState(
            f"{asker}: expected {name or 'a family that is told seconds per grid'} {needed}, got None"
        )


def check_copies(is_visual: bool, copies: int) -> None:
    """Raise UnsupportedModelState for copies of prompts whose pixels are encoded only after they were copied, too.

    Args:
        is_visual: the prompts have pictures or videos that come with grids.
        copies: rows that `generate` makes of every prompt.
    """
    if is_visual and copies > 1 and "copies of media" in LACKS:
        raise UnsupportedModelState(
            f"num_beams, num_return_sequences: expected 1 for a prompt with videos or pictures, got {copies}, which "
            f"{LACKS['copies of media']}"
        )


def check_prompts(plan: TokenLayout, width: int, copies: int, known: Mapping[Modality, Sequence[int]]) -> None:
    """Raise UnsupportedModelState where transformers' `generate` itself goes wrong.

    Args:
        plan: layout of the prompts on the CPU; each has a token.
        width: columns of `input_ids`.
        copies: rows that `generate` makes of every prompt.
        known: tokens of every item, for pictures that are encoded after that, and for videos if they have grids.
    """
    rows = plan.rows()
    if bool((plan.position[plan.cu_seqlens[1:].long() - 1] < width - 1).any()):
        raise UnsupportedModelState(
            "attention_mask: expected padding on the left, got some on the right: `generate` takes the positions of "
            "new tokens from the last column"
        )
    for kind, name in ((Modality.AUDIO, "sounds"), (Modality.IMAGE, "pictures"), (Modality.VIDEO, "videos")):
        # Images are copied as pixels only where they are encoded after that.
        one_by_one = kind == Modality.AUDIO or (kind == Modality.IMAGE and kind in known)
        newer = "" if one_by_one else LACKS.get("copies of several media", "")
        if copies == 1 or not (one_by_one or newer):
            continue
        per_row = torch.bincount(rows[plan.modality == kind], minlength=plan.num_rows).tolist()
        most = most_in_a_row(lengths_of_items(plan.modality, rows, kind, known), per_row)
        if most > 1:
            raise UnsupportedModelState(
                f"num_beams, num_return_sequences: expected 1 for a prompt with {most} {name}, got {copies}"
                + (f", which {newer}" if newer else "")
                + ": transformers repeats them one by one, so that they end up in the rows of others"
            )
