"""The GE2E speaker encoder (arXiv 1710.10467): mels, LSTM, and the embedding of a piece of sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

RATE = 16_000
HOP, WINDOW, MELS, WIDTH = 160, 400, 40, 256
FRAMES_PER_TOKEN = 4
"""40 ms, as Qwen2.5-Omni's audio tokens."""
SAMPLES_PER_TOKEN = HOP * FRAMES_PER_TOKEN


class SpeakerEncoder(nn.Module):
    """float32 [N, frames, 40] -> states of the last layer [N, frames, 256]; `embed` makes a vector of the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MELS, WIDTH, 3, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, mels: Tensor) -> Tensor:
        return self.lstm(mels)[0]

    def embed(self, mels: Tensor) -> Tensor:
        """[N, 256], of length 1."""
        return nn.functional.normalize(self.linear(self(mels)[:, -1]).relu(), dim=-1)


def load(path: Path) -> SpeakerEncoder:
    """The file holds more than the encoder: what trained it is left."""
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    encoder = SpeakerEncoder()
    encoder.load_state_dict({name: value for name, value in state.items() if not name.startswith("similarity_")})
    return encoder.eval()


def mels(sound: np.ndarray) -> Tensor:
    """float32 [samples] at 16 kHz -> [1, samples / 160, 40], powers without logarithms, which the encoder knows."""
    bank = mel_filter_bank(1 + WINDOW // 2, MELS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    window = window_function(WINDOW, "hann")
    found = spectrogram(sound, window, WINDOW, HOP, power=2.0, pad_mode="constant", mel_filters=bank)
    return torch.from_numpy(found.T[: len(sound) // HOP].astype(np.float32).copy())[None]


@torch.no_grad()
def token_features(encoder: SpeakerEncoder, sound: np.ndarray) -> Tensor:
    """[tokens, 256], means of the states of four frames."""
    states = encoder(mels(sound))[0]
    return states.view(-1, FRAMES_PER_TOKEN, WIDTH).mean(1)


@torch.no_grad()
def embedding(encoder: SpeakerEncoder, sound: np.ndarray) -> Tensor:
    """[256], of length 1."""
    return encoder.embed(mels(sound))[0]
