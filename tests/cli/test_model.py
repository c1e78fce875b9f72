"""The demo's model is the 7B's architecture, and checkpoints of the whole model and of its thinker load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration

from seats_ops import seats
from seats_ops.cli.checkpoints import named_checkpoint
from seats_ops.cli.device import pick_device
from seats_ops.cli.model import (
    SCALE,
    demo_config,
    load_checkpoint,
    qwen2_5_omni_7b_config,
    random_model,
)
from tests.integrations.huggingface.upstream import text_model


def test_the_demo_model_keeps_the_7bs_proportions() -> None:
    full, demo = qwen2_5_omni_7b_config(), demo_config()
    text = demo.text_config
    assert text.num_hidden_layers == full.text_config.num_hidden_layers == 28
    assert text.vocab_size == full.text_config.vocab_size
    assert text.hidden_size * SCALE == full.text_config.hidden_size
    assert text.intermediate_size * SCALE == full.text_config.intermediate_size
    for config in (full, demo):
        heads, key_heads = config.text_config.num_attention_heads, config.text_config.num_key_value_heads
        assert heads == 7 * key_heads
        head_dim = config.text_config.hidden_size // heads
        assert 2 * sum(config.text_config.rope_parameters["mrope_section"]) == head_dim
        assert config.vision_config.out_hidden_size == config.text_config.hidden_size
        assert config.audio_config.output_dim == config.text_config.hidden_size
        assert config.audio_config.num_mel_bins == 128
    for name in ("video_token_id", "audio_token_id", "vision_start_token_id", "audio_start_token_id"):
        assert getattr(demo, name) == getattr(full, name)


def test_the_papers_layers_hold_for_the_demo_model() -> None:
    assert list(seats(demo_config(), video=0.06, audio=0.35).after_layer) == [16, 18, 20, 23]


def test_the_3b_has_36_layers_and_the_7bs_encoders() -> None:
    config = named_checkpoint("3b").config()
    assert list(seats(config, video=0.06, audio=0.35).after_layer) == [21, 23, 26, 30]
    assert config.vision_config.hidden_size == qwen2_5_omni_7b_config().vision_config.hidden_size
    assert config.vision_config.out_hidden_size == config.text_config.hidden_size == 2048


def test_equal_seeds_give_equal_weights_and_leave_the_generator_alone(tiny_config: Any) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = random_model(tiny_config, seed=3)
    assert torch.equal(torch.rand(3), expected)
    second, other = random_model(tiny_config, seed=3), random_model(tiny_config, seed=4)
    weights = [text_model(model).layers[0].mlp.up_proj.weight for model in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not first.training


@pytest.mark.parametrize("whole", [False, True], ids=["thinker", "whole model"])
def test_a_checkpoint_loads(tiny_config: Any, tiny_model: Any, tmp_path: Path, whole: bool) -> None:
    saved = tiny_model
    if whole:
        config = Qwen2_5OmniConfig(thinker_config=tiny_config.to_dict(), enable_audio_output=False)
        saved = Qwen2_5OmniForConditionalGeneration(config)
        saved.thinker.load_state_dict(tiny_model.state_dict())
    saved.save_pretrained(tmp_path)
    loaded = load_checkpoint(str(tmp_path), device="cpu")
    expected = tiny_model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())
    assert loaded.config.vision_start_token_id == tiny_config.vision_start_token_id
    assert not loaded.training


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="device: got 'toaster', expected auto, cpu, cuda"):
        pick_device("toaster")
    with pytest.raises(ValueError, match="device: got 'cuda:99', but torch finds"):
        pick_device("cuda:99")
