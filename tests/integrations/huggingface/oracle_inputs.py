"""What goes into a decoder, for the full-length oracle: embeddings, DeepStack features and positions of one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tests.integrations.huggingface.oracle_decoder import decoder_of
from tests.integrations.huggingface.upstream import audio_tower, vision_tower


def encoded_audio(tower: nn.Module, features: Tensor, mask: Tensor) -> Any:
    """Runs an audio tower on padded mel frames `[sounds, bins, frames]`."""
    lengths = mask.sum(1)
    mel = torch.cat([row[:, : int(n)] for row, n in zip(features, lengths, strict=True)], dim=1)
    more = {"aftercnn_lens": (lengths + 1) // 2} if tower.config.model_type.startswith("qwen2_5") else {}
    return tower(mel, feature_lens=lengths, **more)


def merge(thinker: nn.Module, inputs: dict[str, Any]) -> tuple[Tensor, list[Tensor]]:
    """Embeddings `[S, D]` with the towers' features over their placeholders, and what DeepStack adds to layer outputs.

    One addition `[S, D]` per layer from the first on, zero where there is no picture; none in families without it.
    """
    prompt, model, config = inputs["input_ids"][0], thinker.model, thinker.config
    embeddings = decoder_of(thinker)[0].embed_tokens.weight[prompt].clone()
    if hasattr(model, "embed_tokens_extend"):
        media = {name: value for name, value in inputs.items() if name.startswith(("audio_", "image_"))}
        return model.embed_tokens_extend(inputs["input_ids"], embeddings[None], **media)[0], []
    additions: list[Tensor] = []
    if inputs.get("input_features") is not None:
        output = encoded_audio(audio_tower(thinker), inputs["input_features"], inputs["feature_attention_mask"])
        embeddings[prompt == config.audio_token_id] = output.last_hidden_state
    for pixels, grids, token in (
        ("pixel_values", "image_grid_thw", config.image_token_id),
        ("pixel_values_videos", "video_grid_thw", config.video_token_id),
    ):
        if inputs.get(pixels) is None:
            continue
        output = vision_tower(thinker)(inputs[pixels], grid_thw=inputs[grids])
        embeddings[prompt == token] = output.pooler_output
        deep = getattr(output, "deepstack_features", None) or []
        additions = additions or [torch.zeros_like(embeddings) for _ in deep]
        for addition, features in zip(additions, deep, strict=True):
            addition[prompt == token] = features
    return embeddings, additions


def later_embeddings(thinker: nn.Module, ids: Sequence[int]) -> Tensor:
    """A random model may well generate the id of a placeholder: without features it is a token like any other."""
    return decoder_of(thinker)[0].embed_tokens.weight[torch.tensor(list(ids), dtype=torch.long)]


def prompt_positions(thinker: nn.Module, inputs: dict[str, Any]) -> Tensor:
    """M-RoPE ids `[3, S]` of the whole prompt, from the model's own numbering, or the columns where that is all."""
    if not hasattr(thinker.config, "text_config"):
        return torch.arange(inputs["input_ids"].shape[1]).expand(3, -1)
    ids, ones = inputs["input_ids"], torch.ones_like(inputs["input_ids"])
    if "mm_token_type_ids" in inputs:
        names = ("mm_token_type_ids", "image_grid_thw", "video_grid_thw", "second_per_grid_ts")
        given = {name: inputs[name] for name in names if name in inputs}
        positions, _ = thinker.model.get_rope_index(ids, attention_mask=ones, **given)
        return positions[:, 0]
    lengths = inputs["feature_attention_mask"].sum(1) if inputs.get("feature_attention_mask") is not None else None
    positions, _ = thinker.get_rope_index(
        ids,
        inputs.get("image_grid_thw"),
        inputs.get("video_grid_thw"),
        ones,
        inputs.get("use_audio_in_video", False),
        lengths,
        inputs.get("video_second_per_grid"),
    )
    return positions[:, 0]
