"""The cost of decoders with experts: the paper's figures for Qwen3-Omni, PyTorch's own counter."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.qwen3_omni_moe.configuration_qwen3_omni_moe import Qwen3OmniMoeTextConfig
from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import Qwen3OmniMoeThinkerTextModel

from seats_ops import Schedule, seats
from seats_ops.cost import PromptLengths, prefill_cost

# Qwen3-Omni-30B-A3B's thinker: 48 layers, 32 query and 4 key heads of 128, 8 of 128 experts of width 768.
TEXT_30B = SimpleNamespace(
    num_hidden_layers=48,
    hidden_size=2048,
    num_attention_heads=32,
    num_key_value_heads=4,
    head_dim=128,
    intermediate_size=768,
    moe_intermediate_size=768,
    num_experts=128,
    num_experts_per_tok=8,
    vocab_size=152064,
)
THINKER_30B = SimpleNamespace(model_type="qwen3_omni_moe_thinker", text_config=TEXT_30B)
# All four labels of the paper say that 3 of 38 audio-visual tokens are audio: 35 = 32 + (70 - 32) * 3 / 38, and so on.
# The two lengths that are left, of the whole prompt and of its text, are fitted to the figures for full and R=10.
PAPER_PROMPT = PromptLengths(text=430, video_blocks=(6743,), audio_blocks=(577,))
PAPER = {35: (0.32, 0.70, 13.3), 25: (0.22, 0.60, 9.0), 15: (0.12, 0.50, 5.5), 10: (0.07, 0.45, 3.9)}


@pytest.mark.parametrize("percent", PAPER)
def test_labels_of_the_paper_agree_on_the_share_of_audio(percent: int) -> None:
    video, audio, _ = PAPER[percent]
    both = PAPER_PROMPT.video + PAPER_PROMPT.audio
    assert round(100 * (video * PAPER_PROMPT.video + audio * PAPER_PROMPT.audio) / both) == percent


def test_rows_the_lengths_are_fitted_to() -> None:
    video, audio, published = PAPER[10]
    pruned = prefill_cost(THINKER_30B, seats(THINKER_30B, video=video, audio=audio), PAPER_PROMPT)
    assert round(pruned.full_flops / 1e12, 1) == 47.2
    assert round(pruned.flops / 1e12, 1) == published


@pytest.mark.parametrize(("percent", "under"), [(35, 5), (25, 3), (15, 2)])
def test_rows_that_are_predicted(percent: int, under: int) -> None:
    """2 to 5 % under the paper's table, which averages a quadratic over prompts of unequal length."""
    video, audio, published = PAPER[percent]
    cost = prefill_cost(THINKER_30B, seats(THINKER_30B, video=video, audio=audio), PAPER_PROMPT)
    assert round(100 * (1 - cost.flops / 1e12 / published)) == under


def test_equals_flop_counter() -> None:
    """Experts one by one: the counter misses the grouped product that a CPU runs otherwise."""
    config = Qwen3OmniMoeTextConfig(
        hidden_size=48,
        intermediate_size=72,
        num_hidden_layers=4,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=20,
        num_experts=5,
        num_experts_per_tok=2,
        moe_intermediate_size=28,
        mlp_only_layers=[1],
        vocab_size=101,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 4, 4]},
    )
    config._attn_implementation, config._experts_implementation = "eager", "eager"
    torch.manual_seed(0)
    model, n = Qwen3OmniMoeThinkerTextModel(config), 23
    embeds, positions = torch.randn(1, n, 48), torch.arange(n).expand(3, 1, n)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(inputs_embeds=embeds, position_ids=positions, use_cache=False)
    cost = prefill_cost(config, Schedule(), PromptLengths(text=n), flops_per_mac=2)
    assert cost.flops - cost.lm_head_flops == counter.get_total_flops()
