"""Stage I of a clip: saliency from the q and k of both towers, and the selection of its tokens."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.entry import OURS, Entry, Size, randn
from benchmarks.per_window_loop import saliency_of_windows, select_in_windows
from seats_ops import DiversitySelector, Modality
from seats_ops import functional as F
from seats_ops.operators.stage import num_kept
from seats_ops.testing import layout_of_runs, packed_offsets


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    blocks, per_block = size.seconds // 2, size.side**2 // 2 * size.grids_per_second
    clip = [(Modality.VIDEO, per_block), (Modality.AUDIO, 50)] * blocks
    layout = layout_of_runs([clip], block_length={Modality.VIDEO: per_block, Modality.AUDIO: 50})
    # Found on the host: a mask on a device would make it wait.
    where_video, where_audio = (
        layout.is_modality(m).nonzero().squeeze(1).to(device) for m in (Modality.VIDEO, Modality.AUDIO)
    )
    layout = layout.to(device)
    features = randn(len(layout), size.hidden_size, device=device, seed=size.seed)
    patches, sounds = [4 * per_block] * blocks, [100] * blocks
    video = [randn(sum(patches), 16, 80, device=device, seed=2 * size.seed + i) for i in range(2)]
    audio = [randn(sum(sounds), 20, 64, device=device, seed=2 * size.seed + i) for i in range(2)]
    offsets = [packed_offsets(lengths).to(device) for lengths in (patches, sounds)]
    selector = DiversitySelector(dict(zip(("video", "audio"), size.kept, strict=True)))

    def ours() -> object:
        saliency = torch.zeros(len(layout), device=device)
        for where, heads, ends, lengths, pooled in (
            (where_video, video, offsets[0], patches, 4),
            (where_audio, audio, offsets[1], sounds, 2),
        ):
            received = F.attention_received(*heads, ends, max_seqlen=lengths[0])
            saliency[where] = received.view(-1, pooled).mean(1)
        return selector(features, layout, saliency=saliency)

    def loop() -> object:
        kept = []
        for where, heads, lengths, pooled, ratio in (
            (where_video, video, patches, 4, size.kept[0]),
            (where_audio, audio, sounds, 2, size.kept[1]),
        ):
            weights = saliency_of_windows(*heads, lengths).view(-1, pooled).mean(1)
            tokens = [n // pooled for n in lengths]
            kept.append(select_in_windows(features[where], weights, tokens, num_kept(tokens[0], ratio)))
        return kept

    yield Entry(
        "stage_one/clip",
        {OURS: ours, "loop over windows": loop},
        flops=2 * 16 * 80 * sum(n * n for n in patches)
        + 2 * 20 * 64 * sum(n * n for n in sounds)
        + 2 * size.hidden_size * blocks * (per_block**2 + 50**2),
        num_bytes=sum(x.numel() * x.element_size() for x in (features, *video, *audio)),
        tests=(
            "tests/ops/test_attention_received.py",
            "tests/ops/test_max_min_diversity.py",
            "tests/operators/test_diversity_selector.py",
        ),
    )
