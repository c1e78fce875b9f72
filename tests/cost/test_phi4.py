"""The cost of Phi-4-multimodal, whose config is that of its decoder and whose projections are fused."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Phi4MultimodalConfig
from transformers.models.phi4_multimodal.modeling_phi4_multimodal import Phi4MultimodalDecoderLayer

from seats_ops import Schedule, seats
from seats_ops.cost import PromptLengths, prefill_cost, split_blocks

# A minute of sound: 12.5 tokens a second, in blocks of two seconds.
MINUTE = PromptLengths(text=80, audio_blocks=split_blocks(750, 25))


def counted(config: Phi4MultimodalConfig, tokens: int) -> tuple[int, int]:
    """FLOPs of one layer and of the output head, on the meta device."""
    config._attn_implementation = "eager"  # the counter misses fused CPU kernels
    turning = int(config.rope_parameters["partial_rotary_factor"] * config.hidden_size // config.num_attention_heads)
    with torch.device("meta"):
        layer = Phi4MultimodalDecoderLayer(config, 0)
        head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        hidden, rotary = torch.empty(1, tokens, config.hidden_size), torch.empty(1, tokens, turning)
    found = []
    for run in (lambda: layer(hidden, position_embeddings=(rotary, rotary)), lambda: head(hidden)):
        with FlopCounterMode(display=False) as counter:
            run()
        found.append(counter.get_total_flops())
    return found[0], found[1]


@pytest.mark.parametrize("factor", [1.0, 0.75])
def test_equals_flop_counter_layer_by_layer(factor: float) -> None:
    """The sizes that transformers takes by default; how much of a head turns costs nothing."""
    config = Phi4MultimodalConfig(rope_parameters={"rope_type": "default", "partial_rotary_factor": factor})
    schedule = seats(config, audio=0.35)
    cost = prefill_cost(config, schedule, MINUTE, flops_per_mac=2)
    *layers, last = (counted(config, n) for n in (*cost.tokens_per_layer, cost.stages[-1].tokens))
    assert cost.flops_per_layer == tuple(flops for flops, _ in layers)
    assert cost.lm_head_flops == last[1]
    full = prefill_cost(config, Schedule(), MINUTE, flops_per_mac=2)
    layer, head = counted(config, 830)
    assert full.flops == cost.full_flops == 32 * layer + head


def test_keys_of_8_heads_of_96() -> None:
    """3072 / 32 = 96 numbers per head; keys and values, two bytes each."""
    cost = prefill_cost(Phi4MultimodalConfig(), Schedule(), MINUTE)
    assert cost.kv_bytes == 32 * 830 * 2 * 8 * 96 * 2


@pytest.mark.parametrize("window", [None, 4096, 262144])
def test_a_sliding_window_is_none_if_it_spans_the_context(window: int | None) -> None:
    config = Phi4MultimodalConfig(max_position_embeddings=8192, sliding_window=window)
    if window == 4096:
        with pytest.raises(ValueError, match="full attention in every layer, got sliding_attention"):
            prefill_cost(config, Schedule(), MINUTE)
    else:
        assert prefill_cost(config, Schedule(), MINUTE) == prefill_cost(Phi4MultimodalConfig(), Schedule(), MINUTE)
