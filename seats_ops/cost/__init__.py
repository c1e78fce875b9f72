"""What a schedule costs, from lengths and a model config alone: tokens per stage, FLOPs and KV bytes of one prefill::

Example:
    >>> from transformers import Qwen2_5OmniThinkerConfig
    >>> from seats_ops import seats
    >>> from seats_ops.cost import PromptLengths, prefill_cost, split_blocks
    >>> config = Qwen2_5OmniThinkerConfig()  # or model.config
    >>> lengths = PromptLengths(text=598, video_blocks=split_blocks(9600, 308), audio_blocks=split_blocks(1570, 50))
    >>> cost = prefill_cost(config, seats(config, video=0.06, audio=0.35), lengths)
    >>> f"{1 / cost.flops_share:.1f} times fewer FLOPs"
    '9.1 times fewer FLOPs'

Convention of the paper (arXiv 2605.20035), which gives its 111.0 TFLOPs for 11,768 tokens on Qwen2.5-Omni-7B: one
multiply-add is one FLOP; a layer with S tokens costs its q, k, v and o projections, 2 S^2 D for attention (D = heads *
head_dim) and 3 S H I for the gated MLP, or for the experts that a token is sent to with their router; the output head
runs on all tokens that are left; a drop after layer l counts from l + 1; encoders, embeddings and norms are not
counted. The selection itself stands beside it, see `Cost`.
"""

from __future__ import annotations

from seats_ops.cost.asked import asked_retention
from seats_ops.cost.counts import StageCount, token_counts
from seats_ops.cost.prefill import KV_POLICIES, Cost, StageCost, prefill_cost, realised_retention
from seats_ops.cost.prompt_lengths import PromptLengths, split_blocks
from seats_ops.cost.retained import Retained, retained

__all__ = [
    "KV_POLICIES",
    "Cost",
    "PromptLengths",
    "Retained",
    "StageCost",
    "StageCount",
    "asked_retention",
    "prefill_cost",
    "realised_retention",
    "retained",
    "split_blocks",
    "token_counts",
]
