"""window_budget: share a token budget top-down, from windows to modalities."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import check_backend
from seats_ops.ops.window_budget import op
from seats_ops.validation import (
    check_cu_seqlens,
    check_integers,
    check_length,
    check_non_negative,
    check_positive,
    check_same_device,
    check_values,
    describe,
    reads_are_free,
)


def window_budget(
    scores: Tensor,
    modality: Tensor,
    window: Tensor,
    totals: Tensor,
    *,
    num_windows: int,
    temperature: float,
    window_offsets: Tensor | None = None,
    backend: str = "auto",
    validate: bool = False,
) -> Tensor:
    """Integer budgets per window and modality from query relevance (SEATS section 3.2).

    Per prompt with totals (Tv, Ta), T = Tv + Ta: the mean score of each window and modality (0 where it has no such
    token) goes through a softmax over the windows at `temperature`, per modality; a window's weight is the average of
    both. Its budget is round(weight * T), clamped to [1, window size], then repaired to sum T: too many takes from the
    largest above 1, too few adds to the smallest below its size, ties to the first window. Inside a window video gets
    round(budget * wv*Tv / (wv*Tv + wa*Ta)) up to its size, audio the rest up to its size, what is left goes to video,
    then audio; each modality present gets at least 1, taken from the other where that has more than 1. Rounding is
    half to even. The sum is max(T, W') plus the number of two-modality windows whose budget is 1, W' the windows with
    tokens.

    A prompt with one non-empty window or one modality gets the per-window counts of its global top-Tv video and top-Ta
    audio tokens, decided on the device. A window without tokens gets 0 and takes no part.

    For means NaN counts as 0 and other values are limited to +-1e30, quotients by the temperature to what float32
    holds; in a ranking NaN is lowest. Nothing is read from the device. Kernels stay inside the tensors whatever ids,
    totals and offsets those of a device hold.

    Args:
        scores: float32, bfloat16 or float16 [T].
        modality: integer [T], values of `Modality`; only 1 (video) and 2 (audio) have budgets.
        window: integer [T], -1 for tokens without a budget, else 0 to W-1, ascending over prompts.
        totals: integer [B, 2], tokens to keep of (video, audio) per prompt, entries >= 0.
        num_windows: W.
        temperature: of the softmax; > 0 in float32.
        window_offsets: integer [B+1], window ids of each prompt; may be left out for one prompt.
        backend: "auto", "triton" or "reference".
        validate: check the values of device tensors too (one read each); those of CPU tensors always are.

    Returns:
        int64 [W, 2], budgets of (video, audio).

    Raises:
        BackendUnavailable: "triton" cannot run here, or not at this size.
        TypeError: wrong dtypes.
        ValueError: wrong shapes, devices, ids out of range, a temperature that is not positive.

    Example:
        >>> import torch
        >>> from seats_ops import functional as F
        >>> scores = torch.tensor([0.9, 0.8, 0.0, 0.1])  # the first window answers the query
        >>> modality, window = torch.tensor([1, 1, 1, 1]), torch.tensor([0, 0, 1, 1])
        >>> F.window_budget(scores, modality, window, torch.tensor([[3, 0]]), num_windows=2, temperature=0.1)
        tensor([[2, 0],
                [1, 0]])
    """
    total = check_values("scores", scores, 1).shape[0]
    modality, window = check_integers("modality", modality), check_integers("window", window)
    check_length("modality", modality, total, "scores")
    check_length("window", window, total, "scores")
    totals = check_integers("totals", totals, 2)
    if totals.shape[1] != 2:
        raise ValueError(f"totals: expected [B, 2] (video, audio), got {describe(totals)}")
    if isinstance(num_windows, bool) or not isinstance(num_windows, int):
        raise TypeError(f"num_windows: expected an int, got {describe(num_windows)}")
    if num_windows < 0:
        raise ValueError(f"num_windows: expected >= 0, got {num_windows}")
    temperature = check_positive("temperature", temperature)
    check_same_device("scores", scores, modality=modality, window=window, totals=totals, window_offsets=window_offsets)
    check_non_negative("totals", totals, validate)
    if window_offsets is None:
        if totals.shape[0] != 1:
            raise ValueError(
                f"window_offsets: expected integer [{totals.shape[0] + 1}] as totals has several rows, got None"
            )
        window_offsets = torch.arange(2, dtype=torch.int64, device=totals.device) * num_windows
    else:
        window_offsets = check_integers("window_offsets", window_offsets)
        check_length("window_offsets", window_offsets, totals.shape[0] + 1, "totals + 1")
        check_cu_seqlens("window_offsets", window_offsets, num_windows, validate)
    if total and (validate or reads_are_free(window)):
        low, high = int(window.min()), int(window.max())
        if low < -1 or high >= num_windows:
            raise ValueError(
                f"window: expected ids from -1 to num_windows - 1 = {num_windows - 1}, got {low} to {high}"
            )
    return op.window_budget(
        scores, modality, window, totals, num_windows, temperature, window_offsets, check_backend(backend)
    )
