"""One forward of a thinker: what it was called with, what its towers produced, and the layout of its prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.prefill import Prefill
from seats_ops.integrations.saliency import ATTRIBUTE, Encoded
from seats_ops.integrations.token_layout import MediaTokens, build_token_layout
from seats_ops.layout import Modality, TokenLayout


@dataclass
class Call:
    """State of the forward that is under way.

    Attributes:
        arguments: of the thinker's forward, by name.
        input_ids: [1, S].
        is_prefill: no earlier tokens are in the cache.
        visual: what the vision tower produced during this forward, in order.
        audio: the same for the audio tower.
        prefill: set once the text model has been entered, in a prefill.
        masks: attention masks of a decoding step by (number of keys, offset).
    """

    arguments: dict[str, Any]
    input_ids: Tensor
    is_prefill: bool
    visual: list[Encoded] = field(default_factory=list)
    audio: list[Encoded] = field(default_factory=list)
    prefill: Prefill | None = None
    masks: dict[tuple[int, int], Any] = field(default_factory=dict)

    def layout(self, media: MediaTokens, needs_blocks: bool) -> TokenLayout:
        """The layout of the prompt; one device read.

        Raises:
            UnsupportedModelState: the prompt is padded, or a grid is missing.
            ValueError: grids do not fit the prompt, or it does not end in text.
        """
        grids = self.arguments.get("video_grid_thw")
        if grids is None:
            # `generate` encodes videos itself and hides their grids from forward.
            encoded = self._encoded(Modality.VIDEO)
            grids = None if encoded is None else encoded.grid_thw
        layout = build_token_layout(
            self.input_ids,
            media,
            video_grid_thw=grids if needs_blocks else None,
            attention_mask=self.arguments.get("attention_mask"),
        )
        padding = self.input_ids.shape[1] - len(layout)
        if padding:
            raise UnsupportedModelState(f"attention_mask: expected no padding, got {padding} masked tokens")
        modality = layout.plan().modality
        if modality[-1:].tolist() != [Modality.TEXT]:
            # The last token is the query, and the one whose logits are the answer: it must not be dropped.
            raise ValueError("input_ids: expected a prompt that ends in text, got one that ends in media or is empty")
        if needs_blocks and grids is None and bool((modality == Modality.VIDEO).any()):
            raise UnsupportedModelState(
                "video_grid_thw: expected the grid of every video in the prompt, got None (features encoded outside "
                "`attach` come without it)"
            )
        return layout

    def saliency(self, layout: TokenLayout, device: torch.device) -> Tensor:
        """float32 [T]: saliency of audio, video and images in the order of the prompt, 0 for text.

        Raises:
            UnsupportedModelState: features came without saliency. ValueError: their number does not fit the prompt.
        """
        saliency = torch.zeros(len(layout), device=device)
        for modality in (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE):
            expected = int((layout.plan().modality == modality).sum())
            if expected == 0:
                continue
            name = modality.name.lower()
            encoded = self._encoded(modality)
            if encoded is None or encoded.saliency is None:
                raise UnsupportedModelState(
                    f"mm_encoder_outputs: expected {name} features from a tower that ran inside `attach`, got features "
                    "without saliency; let the model encode, or use DiversitySelector(..., weighted=False)"
                )
            if encoded.num_tokens != expected:
                raise ValueError(
                    f"input_ids: expected {encoded.num_tokens} {name} tokens as the encoder produced, got {expected}"
                )
            values = encoded.saliency.to(device, saliency.dtype)
            saliency = saliency.masked_scatter(layout.is_modality(modality), values)
        return saliency

    def _encoded(self, modality: Modality) -> Encoded | None:
        """What the tower said of one modality: from precomputed outputs, else from this forward's own encoding."""
        outputs = self.arguments.get("mm_encoder_outputs") or {}
        output = outputs.get(modality.name.lower())
        if output is not None:
            return getattr(output, ATTRIBUTE, None)
        if modality == Modality.AUDIO:
            return self.audio[0] if self.audio else None
        # The model encodes images before videos where a prompt has both.
        names = ((Modality.IMAGE, "pixel_values"), (Modality.VIDEO, "pixel_values_videos"))
        order = [kind for kind, name in names if self.arguments.get(name) is not None]
        if modality not in order or len(self.visual) != len(order):
            return None
        return self.visual[order.index(modality)]
