"""One forward of a model: what it was called with, what its towers produced, and the layout of its prompts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.cache.decode import DecodeMasks
from seats_ops.integrations.huggingface.families.family import Family
from seats_ops.integrations.huggingface.families.tower_kinds import VisionTower
from seats_ops.integrations.huggingface.guards.refusals import check_copies, check_prompts, check_seconds_per_grid
from seats_ops.integrations.huggingface.guards.rows import check_rows
from seats_ops.integrations.huggingface.prefill import Prefill
from seats_ops.integrations.huggingface.prompt.grid import Grid
from seats_ops.integrations.huggingface.prompt.host_copies import HostCopies
from seats_ops.integrations.huggingface.prompt.media_facts import with_grid, with_seconds
from seats_ops.integrations.huggingface.prompt.media_items import items_of_rows, lengths_of_items
from seats_ops.integrations.huggingface.prompt.question import TurnTokens, question_tokens
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

    def layout(
        self,
        family: Family,
        media: MediaTokens,
        needs_blocks: bool,
        windows: str,
        facts: Collection[str] = (),
        turns: TurnTokens | None = None,
    ) -> TokenLayout:
        """The layout of the prompts, once for all copies; nothing more is read.

        Args:
            family: of the model.
            media: its special tokens.
            needs_blocks: some stage looks at Stage I blocks.
            windows: "runs" or "time".
            facts: of "grid", "seconds" and "question", those that some stage asks for.
            turns: special tokens around a question, where they are known.

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
        needs_clock = windows == "time" or "seconds" in facts
        if grids is None and (needs_clock or "grid" in facts) and bool((input_ids == media.video_id).any()):
            raise _no_grid()
        if needs_clock:
            seconds = [] if grids is None else self._seconds_per_grid(family.seconds_per_grid)
        mask, items = self.arguments.get("attention_mask"), self._items()
        layout = build_token_layout(
            input_ids[:: self.copies],
            media,
            video_grid_thw=grids if needs_blocks or windows == "time" else None,
            attention_mask=None if mask is None else self.host.of(mask)[:: self.copies],
            seconds_per_grid=seconds if windows == "time" else None,
            items=items,
        )
        if "grid" in facts:
            shapes = {} if grids is None else {Modality.VIDEO: grids}
            pictures = self._grids_of_pictures()
            layout = with_grid(
                layout, media, shapes if pictures is None else {**shapes, Modality.IMAGE: pictures}, items
            )
        if "seconds" in facts:
            layout = with_seconds(layout, media, grids, seconds or [], items)
        if "question" in facts:
            ids = input_ids[:: self.copies][layout.rows(), layout.position.long()].long()
            layout = replace(layout, question=question_tokens(ids, layout, turns or TurnTokens()))
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

    def encoded(
        self, names: Iterable[str], layout: TokenLayout, media: MediaTokens, device: torch.device
    ) -> dict[str, Tensor]:
        """What the towers said, by input: float32 [T] or [T, d] in the order of the prompts, 0 for text.

        Where the keys of two towers are of unequal width, the narrower ones end in zeros.

        Raises:
            UnsupportedModelState: features came without it. ValueError: their number does not fit the prompts.
        """
        return {name: self._of_towers(name, layout, media, device) for name in names}

    def _of_towers(self, name: str, layout: TokenLayout, media: MediaTokens, device: torch.device) -> Tensor:
        found: dict[Modality, Tensor] = {}
        for modality in (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE):
            expected = int((layout.plan().modality == modality).sum())
            if expected == 0:
                continue
            encoded = self._encoded(modality)
            if encoded is None or name not in encoded.values:
                raise _without(name, modality)
            values = encoded.values[name].to(device, torch.float32)
            found[modality] = self._in_order(values, encoded, modality, expected, layout, media)
        if not name.startswith("saliency"):
            width = max((values.shape[1] for values in found.values()), default=1)
            placed = torch.zeros(len(layout), width, dtype=torch.float32, device=device)
            found = {kind: pad(values, (0, width - values.shape[1])) for kind, values in found.items()}
        else:
            placed = torch.zeros(len(layout), dtype=torch.float32, device=device)
        for modality, values in found.items():
            member = layout.is_modality(modality).to(device)
            placed = placed.masked_scatter(member if placed.ndim == 1 else member[:, None], values)
        return placed

    def _in_order(
        self,
        values: Tensor,
        encoded: Encoded,
        modality: Modality,
        expected: int,
        layout: TokenLayout,
        media: MediaTokens,
    ) -> Tensor:
        """[expected, ...]: the values of one modality in the order of the prompts, once for all copies."""
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
            name = modality.name.lower()
            raise ValueError(
                f"input_ids: expected {encoded.num_tokens} {name} tokens as the encoder produced, got {expected}"
            )
        return values

    def _grids_of_pictures(self) -> Tensor | None:
        """int64 [pictures, 3] on the host: given, or told by the tower."""
        assert self.host is not None
        grids = self.arguments.get("image_grid_thw")
        if grids is None:
            encoded = self._encoded(Modality.IMAGE)
            grids = None if encoded is None else encoded.grid_thw
        return None if grids is None else self.host.of(grids)

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


def _without(name: str, modality: Modality) -> UnsupportedModelState:
    others = (
        ", give it with `set_saliency`, or use DiversitySelector(..., weighted=False)" if name == "saliency" else ""
    )
    return UnsupportedModelState(
        f"mm_encoder_outputs: expected {modality.name.lower()} features from a tower that ran inside `attach`, got "
        f"features without {name}; let the model encode{others}"
    )


def _no_grid() -> UnsupportedModelState:
    return UnsupportedModelState(
        "video_grid_thw: expected the grid of every video in the prompt, got None (features encoded outside `attach` "
        "come without it; see `set_saliency`)"
    )
