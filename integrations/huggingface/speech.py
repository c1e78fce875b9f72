"""Speech from a pruned thinker: the talker reads hidden states of the whole prompt, so they are given back to it.

What the talker sees in the column of a dropped token is the state with which the token left: the output of the last
layer that ran on it, or its embedding if that was before the LLM.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.compat import cache_argument
from seats_ops.integrations.huggingface.guards.refusals import setting
from seats_ops.integrations.huggingface.prefill import Gather, Prefill


def wants_speech(model: Any, arguments: dict[str, Any]) -> bool:
    """Whether `generate` of a full model will speak, from its keyword arguments."""
    if arguments.get("return_audio") is not None:
        return bool(arguments["return_audio"])
    if arguments.get("generation_mode") is not None:
        return arguments["generation_mode"] not in ("text", False)
    return bool(model.has_talker)


def layers_heard(model: Any) -> tuple[int, int]:
    """Entries of `hidden_states` that the talker reads: the embeddings, and the layer it accepts or the last one."""
    return 0, getattr(model.config.talker_config, "accept_hidden_layer", -1)


def check_speech(model: Any, arguments: dict[str, Any]) -> None:
    """Refuse what ends in an upstream error after the thinker has done its work; raises UnsupportedModelState."""
    for name in ("pixel_values", "pixel_values_videos"):
        if not hasattr(model.config.talker_config, "accept_hidden_layer") and arguments.get(name) is not None:
            raise UnsupportedModelState(
                f"{name}: expected thinker_{name} for speech, got {name}, which transformers hands on to the talker as "
                "well, where it is refused"
            )
    grids = any(arguments.get(name) is not None for name in ("video_grid_thw", "image_grid_thw"))
    hears_and_sees = grids and arguments.get("input_features") is not None
    accepts = hasattr(model.config.talker_config, "accept_hidden_layer")
    if accepts and hears_and_sees and not hasattr(model.talker.config, "audio_config"):
        raise UnsupportedModelState(
            "model: expected talker.config.audio_config for speech about sound and pictures, got a talker without; set "
            "model.talker.config.audio_config = model.config.thinker_config.audio_config"
        )


def check_spoken(model_config: Any, arguments: dict[str, Any]) -> None:
    """Refuse arguments of the thinker's `generate` that speech cannot be made from; raises UnsupportedModelState.

    Args:
        model_config: the thinker's own `generation_config`.
        arguments: by name.
    """

    def given(name: str) -> Any:
        return setting(name, arguments, model_config)

    def refuse(name: str, expected: str, reason: str) -> None:
        raise UnsupportedModelState(f"thinker_{name}: expected {expected} for speech, got {given(name)!r}: {reason}")

    for name in ("num_beams", "num_return_sequences"):
        if (given(name) or 1) > 1:
            refuse(name, "1", "transformers speaks one answer per prompt")
    if given("use_cache") is False:
        refuse("use_cache", "True", "the talker takes the first step for the prompt and all others for single tokens")
    if given("max_new_tokens") == 1:
        refuse("max_new_tokens", "at least 2", "transformers needs the states of a second step")
    name, cache = cache_argument(arguments)
    if cache is not None:
        raise UnsupportedModelState(
            f"thinker_{name}: expected None for speech, got a cache: the talker reads the whole prompt's states"
        )


def whole_prompt_states(
    states: tuple[Tensor, ...], prefill: Prefill, norm: Any, heard: Iterable[int]
) -> tuple[Tensor, ...]:
    """Hidden states of a pruned prefill in the columns of `input_ids`.

    Args:
        states: of the prefill: what layer 1 was given, then the output of every layer, the last one normalised.
        prefill: that ran it.
        norm: the text model's last norm, for tokens that did not get that far.
        heard: indices into `states` to give back; all others stay short.

    Returns:
        `states` with tensors [B, S, D] at those indices.
    """
    assert prefill.embeds is not None
    whole = list(states)
    for index in {i % len(states) for i in heard}:
        # The state at `index` is the output of layer `index`: stages after that layer have not acted on it.
        gathers = [gathering for gathering in prefill.gathers if gathering.layer < max(index, 1)]
        if gathers:
            whole[index] = _whole(states, prefill, gathers, index, norm) if index else prefill.embeds
    return tuple(whole)


def _whole(states: tuple[Tensor, ...], prefill: Prefill, gathers: list[Gather], index: int, norm: Any) -> Tensor:
    target = states[index]
    assert prefill.embeds is not None
    full = prefill.embeds.to(target).flatten(0, 1).clone()
    column = torch.arange(full.shape[0], dtype=torch.int64, device="cpu")
    filled = prefill.entered.filled.flatten()
    written = 0
    for gathering in gathers:
        if gathering.layer > written:
            written = gathering.layer
            full[column[filled]] = states[written].flatten(0, 1)[filled].to(target)
        column, filled = column[gathering.source], gathering.grid.filled.flatten()
    if index == len(states) - 1:
        full = norm(full)
    full[column[filled]] = target.flatten(0, 1)[filled]
    return full.view(*prefill.embeds.shape[:2], -1)
