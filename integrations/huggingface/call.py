"""One forward of a model: what it was called with, what its towers produced, and the layout of its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.cache.decode import DecodeMasks
from seats_ops.integrations.huggingface.families.family import Family
from seats_ops.integrations.huggingface.families.tower_kinds import VisionTower
from seats_ops.integrations.huggingface.guards.refusals import check_copies, check_prompts, check_seconds_per_grid
from seats_ops.integrations.huggingface.guards.rows import check_rows
from seats_ops.integrations.huggingface.prefill import Prefill
from seats_ops.integrations.huggingface.prompt.grid import Grid
from seats_ops.integrations.huggingface.prompt.host_copies import HostCopies
from seats_ops.integrations.huggingface.prompt.media_items import items_of_rows, lengths_of_items
from seats_ops.integrations.huggingface.prompt.recorded_items import recorded_items
from seats_ops.integrations.huggingface.prompt.token_layout import MediaTokens, build_token_layout
from seats_ops.integrations.huggingface.scores.saliency import Encoded, encoded_in
from seats_ops.layout import Modality, TokenLayout
from seats_ops.trace.records import MediaItem


@dataclass
class Call:
    """State of the forward that is under way.

    Attributes:
        arguments: of the model's forward, by name.
        input_ids: [B, S].
        host: what was read of it, in a prefill: no earlier tokens are in the cache.
        sources: prompts that `generate` was given, if this is its first forward; it may have copied each of them.
        visual: what the vision tower produced during this forward, in order.
        audio: the same for the audio tower.
        prefill: set once the text model has been entered, in a prefill.
        masks: set once the text model has been entered, later.
    """

    arguments: dict[str, Any]
    input_ids: Tensor
    host: HostCopies | None
    sources: int | None = None
    visual: list[Encoded] = field(default_factory=list)
    audio: list[Encoded] = field(default_factory=list)
    prefill: Prefill | None = None
    masks: DecodeMasks | None = None

    @property
    def is_prefill(self) -> bool:
        """No earlier tokens are in the cache."""
        return self.host is not None

    @property
    def copies(self) -> int:
        """Equal rows, next to each other, for every prompt."""
        rows = self.input_ids.shape[0]
        return rows // self.sources if self.sources and rows % self.sources == 0 else 1

    @property
    def keeps_columns(self) -> bool:
        """Logits of some columns are asked for, in a prefill: later calls drop nothing."""
        asked = self.arguments.get("logits_to_keep")
        return self.is_prefill and asked is not None and not (isinstance(asked, int) and asked == 0)

    def columns_on_host(self) -> Any:
        """What was asked for, on the CPU."""
        asked = self.arguments.get("logits_to_keep")
        return self.host.of(asked) if self.host is not None and isinstance(asked, Tensor) else asked

    def check_rows(self, media: MediaTokens) -> None:
        """Raise UnsupportedModelState for rows of several samples, ValueError for positions of another shape."""
        assert self.host is not None
        mask, position_ids = self.arguments.get("attention_mask"), self.arguments.get("position_ids")
        on_host = None if mask is None else self.host.of(mask)
        check_rows(self.host.of(self.input_ids), media, on_host, self.host.positions, position_ids)

    def grid(self, layout: TokenLayout) -> Grid:
        """Where the tokens of the layout stand in `input_ids`."""
        plan = layout.plan()
        filled = torch.zeros(plan.num_rows, self.input_ids.shape[1], dtype=torch.bool, device="cpu")
        filled[plan.rows(), plan.position.long()] = True
        return Grid(filled, self.copies)

    def layout(self, family: Family, media: MediaTokens, needs_blocks: bool, windows: str) -> TokenLayout:
        """The layout of the prompts, once for all copies; nothing more is read.

        Raises:
            UnsupportedModelState: a grid is missing, or transformers would answer something else than was asked.
            ValueError: grids do not fit the prompts, or one of them does not end in text.
        """
        assert self.host is not None
        input_ids, grids = self.host.of(self.input_ids), self.arguments.get("video_grid_thw")
        visual = torch.tensor([media.video_id, media.image_id], dtype=torch.int64, device="cpu")
        check_copies(isinstance(family.vision, VisionTower) and bool(torch.isin(input_ids, visual).any()), self.copies)
        if grids is None:
            # `generate` encodes videos itself and hides their grids from forward.
            encoded = self._encoded(Modality.VIDEO)
            grids = None if encoded is None else encoded.grid_thw
        grids = None if grids is None else self.host.of(grids)
        seconds = None
        if windows == "time":
            if grids is None and bool((input_ids == media.video_id).any()):
                raise _no_grid()
            seconds = [] if grids is None else self._seconds_per_grid(family.seconds_per_grid)
        mask, items = self.arguments.get("attention_mask"), self._items()
        layout = build_token_layout(
            input_ids[:: self.copies],
            media,
            video_grid_thw=grids if needs_blocks or windows == "time" else None,
            attention_mask=None if mask is None else self.host.of(mask)[:: self.copies],
            seconds_per_grid=seconds,
            items=items,
        )
        plan = layout.plan()
        lengths = plan.cu_seqlens.diff()
        last = plan.modality[(plan.cu_seqlens[1:].long() - 1).clamp(min=0)] if len(layout) else lengths
        if bool((lengths == 0).any()) or last.tolist() != [Modality.TEXT] * plan.num_rows:
            # The last token is the query, and the one whose logits are the answer: it must not be dropped.
            raise ValueError("input_ids: expected prompts that end in text, got one that ends in media or is empty")
        if self.sources:
            known: dict[Modality, Sequence[int]] = dict(items)
            if grids is not None:
                known[Modality.VIDEO] = _tokens(grids, media)
            check_prompts(plan, self.input_ids.shape[1], self.copies, known)
        if needs_blocks and grids is None and bool((plan.modality == Modality.VIDEO).any()):
            raise _no_grid()
        return layout.to(self.input_ids.device)

    def items(self, layout: TokenLayout, family: Family, media: MediaTokens, reads: bool) -> list[MediaItem]:
        """What the trace says of them; nothing is read from the device for it unless `reads` says so."""
        assert self.host is not None
        grids = {}
        for kind, name in ((Modality.VIDEO, "video_grid_thw"), (Modality.IMAGE, "image_grid_thw")):
            given, encoded = self.arguments.get(name), None
            if given is None and (reads or kind == Modality.VIDEO):
                encoded = self._encoded(kind)
            found = given if encoded is None else encoded.grid_thw
            if found is not None:
                grids[kind] = self.host.of(found)
        seconds: Any = self.arguments.get(family.seconds_per_grid or "")
        if seconds is not None and (reads or not isinstance(seconds, Tensor) or seconds.device.type == "cpu"):
            seconds = self._seconds_per_grid(family.seconds_per_grid)
        else:
            seconds = None
        return recorded_items(layout.plan(), media, grids, seconds, self._items())

    def saliency(self, layout: TokenLayout, media: MediaTokens, device: torch.device) -> Tensor:
        """float32 [T]: saliency of audio, video and images in the order of the prompts, 0 for text.

        Raises:
            UnsupportedModelState: features came without saliency. ValueError: their number does not fit the prompts.
        """
        saliency = torch.zeros(len(layout), dtype=torch.float32, device=device)
        for modality in (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE):
            expected = int((layout.plan().modality == modality).sum())
            if expected == 0:
                continue
            name = modality.name.lower()
            encoded = self._encoded(modality)
            if encoded is None or encoded.saliency is None:
                raise UnsupportedModelState(
                    f"mm_encoder_outputs: expected {name} features from a tower that ran inside `attach`, got features "
                    "without saliency; let the model encode, give it with `set_saliency`, or use "
                    "DiversitySelector(..., weighted=False)"
                )
            values = encoded.saliency.to(device, saliency.dtype)
            if encoded.grid_thw is None and len(values) == expected * self.copies > expected:
                # Grids are encoded before prompts are copied, the rest after: every item comes several times in a row.
                plan = layout.plan()
                lengths = lengths_of_items(plan.modality, plan.rows(), modality, self._items())
                pieces = values.split([n for n in lengths for _ in range(self.copies)])
                values = torch.cat(pieces[:: self.copies])
            elif encoded.num_tokens != expected and encoded.grid_thw is not None:
                per_item = _tokens(encoded.grid_thw, media)
                plan = layout.plan()
                per_row = torch.bincount(plan.rows()[plan.modality == modality], minlength=plan.num_rows).tolist()
                if sum(per_item) == len(values):
                    pieces = values.split(per_item)
                    values = torch.cat([pieces[item] for item in items_of_rows(per_row, per_item)])
            if len(values) != expected:
                raise ValueError(
                    f"input_ids: expected {encoded.num_tokens} {name} tokens as the encoder produced, got {expected}"
                )
            saliency = saliency.masked_scatter(layout.is_modality(modality).to(device), values)
        return saliency

    def _items(self) -> dict[Modality, tuple[int, ...]]:
        """Tokens of every item of one copy of the prompts, where the encoder said so."""
        encoded = {modality: self._encoded(modality) for modality in (Modality.AUDIO, Modality.IMAGE)}
        return {
            modality: found.lengths[:: self.copies]
            for modality, found in encoded.items()
            if found is not None and found.lengths is not None
        }

    def _seconds_per_grid(self, name: str | None) -> list[float]:
        """Per video, as the model was told; raises UnsupportedModelState if it was not."""
        check_seconds_per_grid(name, self.arguments)
        given: Any = self.arguments[name or ""]
        # Copies of a prompt come with copies of tensors, but not of lists.
        given = given[:: self.copies] if isinstance(given, Tensor) else given
        return torch.as_tensor(given, dtype=torch.float64, device="cpu").flatten().tolist()

    def _encoded(self, modality: Modality) -> Encoded | None:
        """What the tower said of one modality: from precomputed outputs, else from this forward's own encoding."""
        outputs = self.arguments.get("mm_encoder_outputs") or {}
        output = outputs.get(modality.name.lower())
        if output is not None:
            return encoded_in(output)
        if modality == Modality.AUDIO:
            return self.audio[0] if self.audio else None
        # The model encodes images before videos where a prompt has both.
        names = (
            (Modality.IMAGE, "pixel_values"),
            (Modality.IMAGE, "image_pixel_values"),
            (Modality.VIDEO, "pixel_values_videos"),
        )
        order = [kind for kind, name in names if self.arguments.get(name) is not None]
        if modality not in order or len(self.visual) != len(order):
            return None
        return self.visual[order.index(modality)]


def _tokens(grids: Tensor, media: MediaTokens) -> list[int]:
    """Tokens of every video or picture."""
    return (grids.prod(1) // media.merge**2).tolist()


def _no_grid() -> UnsupportedModelState:
    return UnsupportedModelState(
        "video_grid_thw: expected the grid of every video in the prompt, got None (features encoded outside `attach` "
        "come without it; see `set_saliency`)"
    )
