"""The kinds of encoder towers that can be watched. `gives`: inputs of stages (see `seats_ops.Stage`) that they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

ALL_INPUTS = frozenset({"saliency", "saliency:mean", "saliency:pooled", "keys", "grid"})


@dataclass(frozen=True)
class VisionTower:
    """A vision encoder whose blocks end in `.attn`.

    Attributes:
        path: from the model to the tower.
        projections: linear layers of the attention that give q and k, or one that gives q, k and v in a row.
        window_order: the tower works window by window and hands its tokens back in reading order (Qwen2.5).

    Example:
        >>> from seats_ops.integrations import family_of
        >>> family_of(model).vision  # of Qwen2.5-Omni
        VisionTower(projections=('q', 'k'), window_order=True, path='model.visual')
    """

    projections: tuple[str, ...]
    window_order: bool
    path: str = "model.visual"
    gives: ClassVar[frozenset[str]] = ALL_INPUTS


@dataclass(frozen=True)
class AudioTower:
    """An audio encoder whose layers end in `.self_attn`, with `q_proj` and `k_proj`.

    Attributes:
        halvings: convolutions of stride 2 between mel frames and encoder positions, in chunks of 2 * n_window frames.
        window: encoder positions in one saliency window, as the authors count the two seconds of SEATS section 3.1:
            Qwen3-Omni's 52 positions last four.
        pooled: encoder positions averaged into one token.
        path: from the model to the tower.

    Example:
        >>> from seats_ops.integrations import family_of
        >>> family_of(model).audio  # of Qwen2.5-Omni
        AudioTower(halvings=1, window=100, pooled=2, path='model.audio_tower')
    """

    halvings: int
    window: int
    pooled: int
    path: str = "model.audio_tower"
    gives: ClassVar[frozenset[str]] = ALL_INPUTS


@dataclass(frozen=True)
class CropTower:
    """A vision encoder that sees every picture as a whole and in crops, its token rows ended by a line break (Phi-4).

    Attributes:
        path: from the model to the module that holds the encoder as `.img_processor`.

    Example:
        >>> from seats_ops.integrations import CropTower
        >>> CropTower(path="model.picture")
        CropTower(path='model.picture')
    """

    path: str = "model.embed_tokens_extend.image_embed"
    gives: ClassVar[frozenset[str]] = frozenset({"saliency"})


@dataclass(frozen=True)
class ConformerTower:
    """An audio encoder with a token per position, whose attention adds a bias to every pair of them (Phi-4).

    Attributes:
        window: positions in one saliency window.
        path: from the model to the module that holds the encoder as `.encoder`.

    Example:
        >>> from seats_ops.integrations import ConformerTower
        >>> ConformerTower(window=25).window
        25
    """

    window: int
    path: str = "model.embed_tokens_extend.audio_embed"
    gives: ClassVar[frozenset[str]] = frozenset({"saliency", "grid"})
