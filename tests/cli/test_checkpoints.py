"""The checkpoints known by name: what is told of them, and whether it agrees with what is published."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import Qwen2_5OmniThinkerConfig

from seats_ops.cli.checkpoints import CONFIGS, SHORT_NAMES, checkpoints, find_checkpoint, named_checkpoint
from seats_ops.cli.clip_lengths import rules_of
from seats_ops.cli.weights import weight_bytes
from seats_ops.cost import PromptLengths, prefill_cost
from seats_ops.cost.decoder_sizes import DecoderSizes, decoder_sizes
from seats_ops.methods.seats import FAMILIES, family_name, seats
from seats_ops.retention import paper_ratios

READ_IF_THERE = {"head_dim", "vision_start_token_id", "vision_end_token_id"}
"""What transformers has no field of its own for, in some families, and reads from a config that says it."""

NAMES = [one.name for one in checkpoints()]


def test_every_family_is_there_and_every_source_named() -> None:
    assert {family_name(one.config()) for one in checkpoints()} == set(FAMILIES)
    assert all(len(one.source) > 20 for one in checkpoints())
    assert len({one.id for one in checkpoints()}) == len(list(CONFIGS.iterdir())) == len(NAMES)


def test_names_in_any_case_with_or_without_owner() -> None:
    for name in ("Qwen/Qwen2.5-Omni-7B", "qwen2.5-omni-7b", "7B", "7b"):
        assert named_checkpoint(name).id == "Qwen/Qwen2.5-Omni-7B"
    assert set(SHORT_NAMES.values()) <= {one.id for one in checkpoints()}
    assert find_checkpoint("someone/Qwen2.5-Omni-7B") is find_checkpoint("") is None


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_only_what_its_config_has(name: str) -> None:
    """A misspelt field would be kept by transformers, and its default used."""
    config = named_checkpoint(name).config()

    def check(sizes: dict[str, Any], default: Any) -> None:
        for key, value in sizes.items():
            assert hasattr(default, key) or key in READ_IF_THERE, key
            if isinstance(value, dict) and key != "rope_parameters":
                check(value, getattr(default, key))

    check(named_checkpoint(name).sizes, type(config)())
    video, audio = paper_ratios(config, 0.1)
    assert prefill_cost(config, seats(config, video=video, audio=audio), PromptLengths(text=9)).flops > 0


def test_the_7b_is_what_transformers_has_by_default() -> None:
    assert decoder_sizes(named_checkpoint("7b").config()) == decoder_sizes(Qwen2_5OmniThinkerConfig())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Qwen2.5-VL-7B-Instruct", 16_584_333_312),
        ("Qwen2.5-VL-32B-Instruct", 66_905_436_672),
    ],
)
def test_weights_are_as_large_as_the_published_ones(name: str, expected: int) -> None:
    """`total_size` in the checkpoints' own model.safetensors.index.json."""
    assert weight_bytes(named_checkpoint(name).config()) == expected


def test_weights_of_experts_and_of_tied_embeddings() -> None:
    """Of the decoder, counted by hand: what is left are encoders of under a billion."""
    for name, tied in (("Qwen3-VL-30B-A3B-Instruct", False), ("Qwen3-VL-4B-Instruct", True)):
        config = named_checkpoint(name).config()
        text, sizes = config.text_config, decoder_sizes(config)
        decoder = by_hand(text, sizes) + (1 if tied else 2) * text.vocab_size * text.hidden_size
        assert 0 < weight_bytes(config) // 2 - decoder < 1e9


def by_hand(text: Any, sizes: DecoderSizes) -> int:
    mlp = 3 * text.hidden_size * text.intermediate_size
    if hasattr(text, "num_experts"):
        mlp = text.num_experts * text.hidden_size * (3 * text.moe_intermediate_size + 1)
    attention = 2 * text.hidden_size * (sizes.attention_width + sizes.kv_width)
    return int(text.num_hidden_layers * (attention + mlp))


def test_the_3b_keeps_the_7bs_encoders() -> None:
    small, large = (json.loads((CONFIGS / f"qwen2.5-omni-{size}.json").read_text())["config"] for size in ("3b", "7b"))
    for tower, output in (("vision_config", "out_hidden_size"), ("audio_config", "output_dim")):
        assert small[tower] | {output: 3584} == large[tower]


def test_rules_for_another_model_are_refused() -> None:
    with pytest.raises(TypeError, match="config: expected that of a whole model or a thinker"):
        rules_of(SimpleNamespace(model_type="llama"))
