"""From a trace to what a picture shows: which patch and which moment of sound every stage left."""

from __future__ import annotations

from typing import Any

import torch

from seats_ops import PruneTrace

from .picture import Row

DETAILS = {"DiversitySelector": "Stage I: salient, diverse", "StagePruner": "Stage II: query relevance"}
"""What a stage looks at; other stages are shown by name."""


def survivors(trace: PruneTrace, input_ids: torch.Tensor, grid: tuple[int, int, int], config: Any) -> list[Row]:
    """One `Row` for the prompt and one for every stage that leaves a video or audio token.

    Args:
        trace: Of a prompt with one video.
        input_ids: int64 `[1, S]`.
        grid: Temporal patches, height and width of the video in merged patches.
        config: Of the thinker; carries the ids of video and audio tokens.
    """
    is_video = input_ids[0].cpu() == config.video_token_id
    is_audio = input_ids[0].cpu() == config.audio_token_id

    def row(title: str, detail: str, kept: torch.Tensor) -> Row:
        return Row(title, detail, kept[is_video].reshape(grid).numpy(), kept[is_audio].numpy())

    rows = [row("All tokens", "from the encoders", torch.ones_like(is_video))]
    for stage in trace.stages:
        kept = torch.zeros_like(is_video)
        kept[stage.kept_indices[0].cpu()] = True
        if not (kept & (is_video | is_audio)).any():
            break
        title = f"After layer {stage.layer}" if stage.layer else "Before layer 1"
        rows.append(row(title, DETAILS.get(stage.name, stage.name), kept))
    return rows


def late_drop_layer(trace: PruneTrace) -> int | None:
    """The layer after which no video or audio token is left, if there is one."""
    for stage in trace.stages:
        if not stage.counts.get("video", 0) and not stage.counts.get("audio", 0):
            return stage.layer
    return None
