"""What a drop of Stage II is given: the tokens that Stage I left, and their layout."""

from __future__ import annotations

import torch

from benchmarks.entry import Size
from seats_ops import Modality, TokenLayout
from seats_ops.testing import layout_of_runs

TEXT = 590
HEADS, KEY_HEADS, HEAD_DIM = 28, 4, 128


def pruned_layout(size: Size, device: torch.device) -> TokenLayout:
    """Two-second windows of a clip after Stage I, between pieces of text."""
    video, audio = (
        round(share * total / (size.seconds // 2))
        for share, total in zip(size.kept, (size.video_tokens, size.audio_tokens), strict=True)
    )
    clip = [(Modality.VIDEO, video), (Modality.AUDIO, audio)] * (size.seconds // 2)
    return layout_of_runs([[(Modality.TEXT, 20), *clip, (Modality.TEXT, TEXT - 20)]] * size.batch).to(device)
