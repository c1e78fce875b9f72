"""The budgets of one prompt as the method tells them, in plain Python, repaired one token at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seats_ops import Modality

MODALITIES = (Modality.VIDEO, Modality.AUDIO)
NEVER = float("inf")


@dataclass
class Prompt:
    """One row: its tokens in their order as (score, 0 for video or 1 for audio, window), window ids counted from 0."""

    tokens: list[tuple[float, int, int]]
    num_windows: int
    totals: tuple[int, int]

    def scores(self, window: int, m: int) -> list[float]:
        return [score for score, kind, w in self.tokens if (kind, w) == (m, window)]

    def sizes(self) -> list[tuple[int, int]]:
        return [(len(self.scores(w, 0)), len(self.scores(w, 1))) for w in range(self.num_windows)]


def global_top_counts(prompt: Prompt) -> list[list[int]]:
    """Per window and modality, how many of the modality's best `total` tokens of the prompt lie in it."""
    counts = [[0, 0] for _ in range(prompt.num_windows)]
    for m in range(2):
        mine = [token for token in prompt.tokens if token[1] == m]
        for _, _, w in sorted(mine, key=lambda token: -token[0])[: prompt.totals[m]]:
            counts[w][m] += 1
    return counts


def softmax(values: list[float], temperature: float, dtype: type) -> np.ndarray:
    x = np.array(values, dtype) / dtype(temperature)
    x = np.exp(x - x.max())
    return x / x.sum(dtype=dtype)


def literal_budgets(prompt: Prompt, temperature: float, dtype: type = np.float64) -> tuple[list[list[int]], float]:
    """Budgets per window, and the smallest distance (in tokens) of a rounded number from a rounding tie."""
    sizes = prompt.sizes()
    live = [w for w, (video, audio) in enumerate(sizes) if video + audio]
    if len(live) <= 1 or not all(sum(size[m] for size in sizes) for m in range(2)):
        return global_top_counts(prompt), NEVER

    tie_distance = NEVER

    def rounded(value: float) -> int:
        nonlocal tie_distance
        tie_distance = min(tie_distance, abs(float(value) - np.floor(float(value)) - 0.5))
        return int(np.rint(value))

    video_total, audio_total = prompt.totals
    total = video_total + audio_total
    means = [[float(np.mean(prompt.scores(w, m))) if sizes[w][m] else 0.0 for w in live] for m in range(2)]
    weight_v, weight_a = (softmax(mean, temperature, dtype) for mean in means)
    size = [sum(sizes[w]) for w in live]
    budget = [
        min(max(rounded((v + a) / dtype(2) * dtype(total)), 1), n)
        for v, a, n in zip(weight_v, weight_a, size, strict=True)
    ]
    while sum(budget) > total and max(budget) > 1:
        budget[budget.index(max(budget))] -= 1
    while sum(budget) < total and any(b < n for b, n in zip(budget, size, strict=True)):
        smallest = min(b for b, n in zip(budget, size, strict=True) if b < n)
        first = next(i for i, (b, n) in enumerate(zip(budget, size, strict=True)) if b == smallest and b < n)
        budget[first] += 1

    split = [[0, 0] for _ in sizes]
    for i, w in enumerate(live):
        of_video = weight_v[i] * dtype(video_total)
        share = of_video / (of_video + weight_a[i] * dtype(audio_total) + dtype(1e-12))
        video = min(rounded(dtype(budget[i]) * share), sizes[w][0])
        audio = min(budget[i] - video, sizes[w][1])
        left = budget[i] - video - audio
        more = min(left, sizes[w][0] - video)
        video, left = video + more, left - more
        audio += min(left, sizes[w][1] - audio)
        if sizes[w][0] and video < 1:
            video, audio = 1, audio - (audio > 1)
        if sizes[w][1] and audio < 1:
            audio, video = 1, video - (video > 1)
        split[w] = [video, audio]
    return split, tie_distance


def pack(prompts: list[Prompt], *, seed: int) -> dict[str, Tensor]:
    """The prompts on one token axis, a few text tokens among them."""
    random = np.random.default_rng(seed)
    scores, modality, window = [], [], []
    offsets = [0]
    for prompt in prompts:
        for score, m, w in prompt.tokens:
            if random.random() < 0.1:
                scores.append(float(random.random()))
                modality.append(int(Modality.TEXT))
                window.append(-1)
            scores.append(score)
            modality.append(int(MODALITIES[m]))
            window.append(offsets[-1] + w)
        offsets.append(offsets[-1] + prompt.num_windows)
    return {
        "scores": torch.tensor(scores, dtype=torch.float32),
        "modality": torch.tensor(modality, dtype=torch.int64),
        "window": torch.tensor(window, dtype=torch.int64),
        "totals": torch.tensor([prompt.totals for prompt in prompts], dtype=torch.int64).reshape(-1, 2),
        "window_offsets": torch.tensor(offsets),
    }


def random_prompt(
    sizes: list[tuple[int, int]], ratio: float, style: str, random: np.random.Generator, *, shuffled: bool = False
) -> Prompt:
    """Windows of these (video, audio) sizes; float32 holds the scores exactly, so that ties are ties for both sides."""

    def scores(count: int, level: float) -> list[float]:
        if style == "equal":
            return [0.25] * count
        if style == "steps":
            return (random.integers(0, 4, count) / 8).tolist()
        scale = {"realistic": 1e-3, "peaked": 1.0, "extreme": 30.0, "negative": -30.0}[style]
        return np.float32(scale * (level + 0.3 * random.random(count))).tolist()

    tokens = [
        (score, m, w) for w, size in enumerate(sizes) for m in range(2) for score in scores(size[m], random.random())
    ]
    if shuffled:
        tokens = [tokens[i] for i in random.permutation(len(tokens))]
    counts = [sum(size[m] for size in sizes) for m in range(2)]
    totals = [max(1, round(ratio * n)) if n else 0 for n in counts]
    return Prompt(tokens, len(sizes), (totals[0], totals[1]))
