"""A tiny model with Qwen's vocabulary and 28 layers, and short clips that need no package but PyAV."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from transformers import Qwen2_5OmniThinkerConfig

from seats_ops.cli import model as models

VOCABULARY = 151_700


@pytest.fixture(scope="session")
def tiny_config() -> Qwen2_5OmniThinkerConfig:
    """The 7B's depth and token ids, everything else as small as it goes."""
    return Qwen2_5OmniThinkerConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 28,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
        },
        audio_config={
            "encoder_layers": 2,
            "d_model": 32,
            "encoder_ffn_dim": 48,
            "encoder_attention_heads": 2,
            "output_dim": 32,
        },
        vision_start_token_id=151652,
        vision_end_token_id=151653,
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_config: Qwen2_5OmniThinkerConfig) -> Any:
    return models.random_model(tiny_config, seed=1)


@pytest.fixture(scope="session")
def make_video(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a video whose frame n has the flat brightness 2 n, with a tone or without any sound."""

    def make(
        frames: int = 80, *, fps: int = 16, size: tuple[int, int] = (112, 64), sound_seconds: float | None = 5.0
    ) -> Path:
        path = tmp_path_factory.mktemp("video") / "clip.mp4"
        with av.open(str(path), "w") as container:
            video = container.add_stream("mpeg4", rate=fps)
            video.width, video.height = size
            video.pix_fmt = "yuv420p"
            video.bit_rate = 4_000_000
            audio = None
            if sound_seconds is not None:
                audio = container.add_stream("aac", rate=48_000, layout="stereo")
            for number in range(frames):
                picture = np.full((size[1], size[0], 3), 2 * number, dtype=np.uint8)
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(video.encode())
            if audio is not None and sound_seconds is not None:
                time = np.arange(round(48_000 * sound_seconds)) / 48_000
                tone = (0.4 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
                samples = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
                samples.sample_rate = 48_000
                container.mux(audio.encode(samples))
                container.mux(audio.encode())
        return path

    return make


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks one fails."""

    def refuse(*args: object) -> None:
        raise AssertionError("a network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
