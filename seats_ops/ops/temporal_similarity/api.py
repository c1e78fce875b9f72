"""temporal_similarity: how much every token looks like the token at the same place of another frame."""

from __future__ import annotations

from torch import Tensor

from seats_ops.backend import check_backend
from seats_ops.ops.derivatives import check_constant
from seats_ops.ops.temporal_similarity import op
from seats_ops.validation import (
    check_integers,
    check_length,
    check_number,
    check_positive,
    check_same_device,
    check_values,
    describe,
    reads_are_free,
)


def temporal_similarity(
    features: Tensor,
    partner: Tensor,
    *,
    missing: float = 0.0,
    eps: float = 1e-8,
    backend: str = "auto",
    validate: bool = False,
) -> Tensor:
    """Cosine of every token with its partner, the co-located token of the frame before or of any other frame.

    `x . y / ((|x| + eps) (|y| + eps))` of a token's row x and its partner's row y, `missing` where there is no partner:
    what DyCoke (arXiv 2411.15024), EVS (2510.14624), HoliTom (2505.21334) and, in odd frames, OmniZip (2511.14582) tell
    static from changing tokens by. Accumulation in float32. A row of zeros has cosine 0 with
    everything, itself included; a row whose norm is not finite in float32 (NaN, infinite or huge features) has
    cosine NaN with everything. The result depends on the two rows alone and not on where they stand: a pair has the
    same cosine to the last bit in either order and at any place, so that equal tokens tie. Scores are constants:
    forward-mode derivatives and those of torch.func are refused.

    Nothing is read from the device. Kernels stay inside the tensors whatever partners those of a device hold; one that
    names no row counts as none.

    Args:
        features: [T, D], float32, bfloat16 or float16.
        partner: integer [T], the row of `features` that a token is compared with, -1 where there is none.
        missing: result where there is none; any number but NaN, infinities included.
        eps: added to the norms; > 0 in float32.
        backend: "auto", "triton" or "reference".
        validate: check the values of device tensors too (one read); those of CPU tensors always are.

    Returns:
        float32 [T].

    Raises:
        BackendUnavailable: "triton" cannot run here.
        TypeError: wrong dtypes. ValueError: wrong shapes or devices, a partner that is no row, a `missing` that is NaN,
            an `eps` that is not positive, a tensor that is being differentiated.

    Example:
        >>> import torch
        >>> from seats_ops import functional as F
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [2.0, 2.0]])  # two frames of two tokens
        >>> F.temporal_similarity(features, partner=torch.tensor([-1, -1, 0, 1]))
        tensor([0.0000, 0.0000, 1.0000, 0.7071])
    """
    total = check_values("features", features, 2).shape[0]
    if features.shape[1] == 0:
        raise ValueError(f"features: expected at least one channel, got {describe(features)}")
    partner = check_integers("partner", partner)
    check_length("partner", partner, total, "features")
    check_same_device("features", features, partner=partner)
    missing, eps = check_number("missing", missing), check_positive("eps", eps)
    if total and (validate or reads_are_free(partner)):
        low, high = int(partner.min()), int(partner.max())
        if low < -1 or high >= total:
            raise ValueError(f"partner: expected rows from -1 (none) to {total - 1}, got {low} to {high}")
    check_constant("features", features)
    return op.temporal_similarity(features.detach(), partner, missing, eps, check_backend(backend))
