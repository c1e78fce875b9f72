"""Stage I: a diverse, salient subset of every block, before the LLM (SEATS section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout, check_layout, group_tokens
from seats_ops.layout.values import blocks_of
from seats_ops.operators.exact_total import exact_budgets
from seats_ops.operators.own_work import pair_macs
from seats_ops.operators.stage import MEDIA, MEDIA_MODALITIES, KeepRatio, num_kept, ratio_of
from seats_ops.operators.stored import Stored
from seats_ops.ops.max_min_diversity.api import max_min_diversity
from seats_ops.ops.segments import counts_to_offsets
from seats_ops.validation import check_bool, check_keep_ratio, check_length, check_same_device, check_values


@dataclass(frozen=True)
class DiversitySelector(Stored):
    """Keeps max(1, round(keep_ratio * n)) tokens of every block of n by weighted max-min cosine diversity.

    Attributes:
        keep_ratio: in [0, 1]. A number applies to video and audio; a mapping to the modalities it names ("video",
            "audio", "image"). All other tokens are kept.
        weighted: multiply distances by the saliency of the candidate; needs `saliency` when called.
        exact_total: rounding per block makes short prompts miss their ratio; this shares the tokens of a prompt and
            modality over its blocks so that they keep as many as one block would, and each at least one. The paper
            rounds per block.

    Example:
        >>> import torch
        >>> from seats_ops import DiversitySelector, Modality, TokenLayout
        >>> layout = TokenLayout(torch.tensor([1, 1, 1, 1, 0]), torch.arange(5), torch.tensor([0, 5]))
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [-1.0, 0.0], [0.0, 1.0]])
        >>> selector = DiversitySelector(0.5, weighted=False)
        >>> int(selector(features, layout).sum())  # half of the video, and the text
        3
    """

    count_kind: ClassVar[str] = "shape"

    keep_ratio: KeepRatio
    weighted: bool = field(default=True, kw_only=True)
    exact_total: bool = field(default=False, kw_only=True)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors it is called with; no saliency unless distances are weighted."""
        return ("features", "saliency") if self.weighted else ("features",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep_ratio", check_keep_ratio("keep_ratio", self.keep_ratio, MEDIA))
        check_bool("weighted", self.weighted)
        check_bool("exact_total", self.exact_total)

    def __call__(
        self, features: Tensor, layout: TokenLayout, *, saliency: Tensor | None = None, backend: str = "auto"
    ) -> Tensor:
        """Select tokens.

        Args:
            features: [T, D] float32, bfloat16 or float16: merged input embeddings.
            layout: of the same T tokens. With `layout.blocks` nothing is read from the device, else once.
            saliency: [T] float, attention received; ignored for kept tokens and when not `weighted`.
            backend: "auto", "triton" or "reference".

        Returns:
            bool [T] keep mask.

        Raises:
            TypeError, ValueError: shapes, dtypes or devices do not fit, or `saliency` is missing.
        """
        total = check_values("features", features, 2).shape[0]
        check_length("features", features, len(check_layout(layout)), "layout")
        if self.weighted and saliency is None:
            raise ValueError(f"saliency: expected a tensor [{total}] as the selector is weighted, got None")
        if saliency is not None:
            check_length("saliency", check_values("saliency", saliency, 1), total, "features")
        check_same_device("features", features, saliency=saliency, modality=layout.modality)

        thinned, block, blocks = self._blocks(layout.plan())
        lengths = [n for _, n in blocks]
        wanted = self._exact(layout) if self.exact_total else [self.num_kept(n, m) for m, n in blocks]
        counts, num_keep = (torch.tensor(n, dtype=torch.int64, device="cpu") for n in (lengths, wanted))
        offsets = counts_to_offsets(counts).int()
        # Tokens of one block need not be neighbours: audio and video interleave.
        last = torch.iinfo(torch.int64).max
        order = torch.where(thinned, block, last).argsort(stable=True)[: sum(lengths)]
        order = order.to(features.device, non_blocking=True)
        kept = max_min_diversity(
            features,
            offsets.to(features.device, non_blocking=True),
            num_keep.to(features.device, non_blocking=True),
            weights=saliency[order].float() if self.weighted and saliency is not None else None,
            index=order,
            max_seqlen=max(lengths, default=0),
            max_keep=max(wanted, default=0),
            backend=backend,
        )
        keep_mask = (~thinned).to(features.device, non_blocking=True)
        return keep_mask.index_copy_(0, order, kept)

    def _blocks(self, layout: TokenLayout) -> tuple[Tensor, Tensor, list[tuple[Modality, int]]]:
        """bool [T] tokens that are in a block to thin, int64 [T] block ids, and those blocks on the host."""
        modalities = [m for m in MEDIA_MODALITIES if ratio_of(self.keep_ratio, m) is not None]
        block = layout.block
        if block is None:
            block = layout.rows() * len(Modality) + layout.modality
        thinned = layout.is_modality(*modalities) & (block >= 0)
        blocks = layout.blocks if layout.blocks is not None else _read_blocks(layout.modality, block, thinned)
        return thinned, block.long(), [(Modality(m), n) for m, n in blocks if m in modalities and n]

    def _exact(self, layout: TokenLayout) -> list[int]:
        """Tokens that the blocks keep, ascending by id, if they share what their prompt keeps of their modality."""
        kinds = [m for m in MEDIA_MODALITIES if ratio_of(self.keep_ratio, m) is not None]
        ratios = torch.zeros(len(Modality), dtype=torch.float64, device="cpu")
        for kind in kinds:
            ratios[int(kind)] = ratio_of(self.keep_ratio, kind) or 0.0
        plan = layout.plan()
        groups = group_tokens(plan, "block", kinds)
        budgets = exact_budgets(groups, ratios, "round", 1)
        if plan.block is None:
            return budgets.tolist()
        ids = torch.zeros_like(budgets).scatter(0, groups.ids[groups.ids >= 0], plan.block[groups.ids >= 0].long())
        return budgets[ids.argsort()].tolist()

    def num_kept(self, num_tokens: int, modality: Modality) -> int:
        """How many of a block of `num_tokens` tokens of one modality survive.

        Example:
            >>> selector.num_kept(9, Modality.VIDEO)  # 4.5, half to even
            4
            >>> selector.num_kept(9, Modality.IMAGE)  # a number is for video and audio
            9
        """
        ratio = ratio_of(self.keep_ratio, modality)
        return num_tokens if ratio is None else num_kept(num_tokens, ratio)

    def blocks_left(self, lengths: tuple[int, ...], modality: Modality) -> tuple[int, ...]:
        """How many tokens of blocks of one modality survive; with `exact_total` only their sum is known.

        Example:
            >>> selector.blocks_left((9, 6), Modality.VIDEO)
            (4, 3)
        """
        if not self.exact_total:
            return tuple(self.num_kept(n, modality) for n in lengths)
        return (max(self.num_kept(sum(lengths), modality), sum(n > 0 for n in lengths)),) if sum(lengths) else ()

    def own_macs(self, found: Mapping[str, int], sizes: Any) -> int:
        """See `Stage`: all pairs of a block; a modality is one where `found.blocks` does not say.

        Example:
            >>> from seats_ops.operators.own_work import Sizes
            >>> found = {"text": 5, "video": 100, "audio": 0, "image": 0}
            >>> selector.own_macs(found, Sizes(hidden=8, attention_width=8, kv_width=4, encoders={}))
            80000
        """
        named = [m.name.lower() for m in MEDIA_MODALITIES if ratio_of(self.keep_ratio, m) is not None]
        blocks = getattr(found, "blocks", {})
        return sum(pair_macs(blocks.get(name) or (found[name],), sizes.hidden) for name in named)


def _read_blocks(modality: Tensor, block: Tensor, thinned: Tensor) -> list[tuple[int, int]]:
    """(modality, number of tokens) of every block with thinned tokens, ascending by id; one device read."""
    host = torch.stack([block.long(), modality.long(), thinned.long()]).cpu()
    return blocks_of(*host[:2, host[2] > 0])
