"""What stages are told of vLLM's towers, from queries and keys of their last attention; as the adapter tells it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seats_ops.cost.prompt_lengths import split_blocks
from seats_ops.integrations.encoder_values import paper_windows, received_within, sound_positions, told
from seats_ops.integrations.ranks import mean_of_shares
from seats_ops.integrations.vllm.items import GRIDS_PER_BLOCK


class Watch:
    """Captures what one run of a module's linear layers puts out, and what another module is called with."""

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}

    def output(self, module: nn.Module, name: str) -> Any:
        """A handle of the hook."""

        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            self.seen[name] = (output[0] if isinstance(output, tuple) else output).detach()

        return module.register_forward_hook(keep)

    def call(self, module: nn.Module, names: tuple[str, ...]) -> Any:
        """A handle of the hook; of arguments by position or by name."""

        def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            self.seen.update({name: given[name].detach() for name in names})

        return module.register_forward_pre_hook(keep, with_kwargs=True)

    @contextmanager
    def one_run(self, *handles: Any) -> Iterator[None]:
        """While the tower runs."""
        self.seen = {}
        try:
            yield
            if not self.seen:
                raise RuntimeError("seats_ops: expected an encoder that runs its modules, got one that skips hooks")
        finally:
            for handle in handles:
                handle.remove()


class VisionValues:
    """Of the vision tower of Qwen2.5 or Qwen3.

    Args:
        tower: vLLM's, with all heads or those of this rank.
        asked: full names of inputs, see `seats_ops.Stage`.
        backend: of primitives.
        window_order: it works window by window and hands its tokens back in reading order (Qwen2.5).
        group: of the ranks that share out heads, or None.
    """

    def __init__(
        self, tower: Any, asked: frozenset[str], backend: str, window_order: bool = True, group: Any = None
    ) -> None:
        self.tower, self.asked, self.backend, self.window_order = tower, asked, backend, window_order
        self.group = group
        self.watch = Watch()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While the tower runs."""
        last = self.tower.blocks[-1].attn
        # Before rotary embedding, and after it.
        handles = (self.watch.output(last.qkv, "qkv"), self.watch.call(last.attn, ("query", "key")))
        with self.watch.one_run(*handles):
            yield

    def values(self, grids: list[list[int]]) -> dict[str, Tensor]:
        """float32 [N, ...] of all items, in reading order, by name.

        Args:
            grids: (t, h, w) of every item, patches.
        """
        seen, self.watch.seen = self.watch.seen, {}
        last, merged = self.tower.blocks[-1].attn, self.tower.spatial_merge_unit
        scale = last.hidden_size_per_attention_head**-0.5
        q, k = (seen[name].flatten(0, 1) for name in ("query", "key"))
        heads = seen["qkv"].flatten(0, 1).unflatten(-1, (3, -1, last.hidden_size_per_attention_head))
        found = told(
            self.asked,
            (q, k),
            (heads[:, 0], heads[:, 1]),
            grids,
            paper_windows(grids, GRIDS_PER_BLOCK),
            merged,
            scale,
            lambda q, k, windows: received_within(q, k, scale, windows, self.backend),
            self.backend,
        )
        found = over_ranks(found, q.shape[1], self.tower.num_heads, self.group)
        if not self.window_order:
            return found
        order = self.tower.prepare_encoder_metadata(grids)["reverse_indices"].to(q.device)
        return {name: x[order] for name, x in found.items()}


@dataclass(frozen=True)
class AudioTower:
    """How a family's audio tower counts.

    Attributes:
        halvings: convolutions of stride 2 between mel frames and positions, in chunks of 2 * n_window frames.
        window: positions in one saliency window.
        pooled: positions averaged into one token.
    """

    halvings: int
    window: int
    pooled: int


QWEN2_5 = AudioTower(1, 100, 2)
QWEN3 = AudioTower(3, 52, 1)


class AudioValues:
    """Of an audio tower of Qwen2.5-Omni (Hugging Face's module) or Qwen3-Omni; arguments as of `VisionValues`."""

    def __init__(
        self, tower: Any, asked: frozenset[str], backend: str, kind: AudioTower = QWEN2_5, group: Any = None
    ) -> None:
        self.tower, self.asked, self.backend, self.kind, self.group = tower, asked, backend, kind, group
        self.watch = Watch()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While the tower runs."""
        last = self.tower.layers[-1].self_attn
        if hasattr(last, "q_proj"):
            handles = [self.watch.output(getattr(last, name), name) for name in ("q_proj", "k_proj")]
        else:
            handles = [self.watch.call(last.attn, ("query", "key"))]
        with self.watch.one_run(*handles):
            yield

    def values(self, mel_frames: list[int]) -> dict[str, Tensor]:
        """float32 [N, ...] of all items, by name.

        Args:
            mel_frames: of every sound.
        """
        seen, self.watch.seen = self.watch.seen, {}
        last, kind = self.tower.layers[-1].self_attn, self.kind
        if "q_proj" in seen:
            q, k = (seen[name].unflatten(-1, (last.num_heads, -1)) for name in ("q_proj", "k_proj"))
        else:
            q, k = (seen[name].flatten(0, 1) for name in ("query", "key"))
        positions = [sound_positions(n, 2 * self.tower.n_window, kind.halvings) for n in mel_frames]
        found = told(
            self.asked,
            (q, k),
            (q, k),
            [[1, 1, n] for n in positions],
            [n for total in positions for n in split_blocks(total, kind.window)],
            kind.pooled,
            last.scaling,
            lambda q, k, windows: received_within(q, k, last.scaling, windows, self.backend),
            self.backend,
        )
        return over_ranks(found, q.shape[1], last.num_heads, self.group)


def over_ranks(values: dict[str, Tensor], heads: int, total: int, group: Any) -> dict[str, Tensor]:
    """Means over this rank's heads, averaged over those of all ranks.

    Args:
        values: float32 [N, ...] by name; overwritten.
        heads, total: of this rank and of the model; a tower that is whole on every rank has all.
        group: of the ranks that share them out.
    """
    if heads == total:
        return values
    if group is None:
        raise RuntimeError(f"seats_ops: expected ranks for the other heads of an encoder, got {heads} of {total} alone")
    return {name: mean_of_shares(x, heads / total, group) for name, x in values.items()}


def of_items(values: dict[str, Tensor], sizes: list[int]) -> list[dict[str, Tensor]]:
    """The same item by item."""
    pieces = {name: x.split(sizes) for name, x in values.items()}
    return [{name: x[i] for name, x in pieces.items()} for i in range(len(sizes))]


def joined(values: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Of a video and its sound, one after another; keys of unequal width end in zeros."""
    found = {}
    for name in values[0]:
        parts = [each[name] for each in values]
        if name == "keys":
            width = max(x.shape[1] for x in parts)
            parts = [torch.nn.functional.pad(x, (0, width - x.shape[1])) for x in parts]
        found[name] = torch.cat(parts)
    return found
