"""`top_of_groups` as one launch: a program per segment."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from seats_ops.ops.launch import KernelConfig, launch, next_power_of_2


@triton.jit
def top_of_groups_kernel(
    saliency,
    cu_seqlens,
    keep_mask,
    STRIDE: tl.constexpr,
    WIDTH: tl.constexpr,
    GROUPS: tl.constexpr,
):
    begin = tl.load(cu_seqlens + tl.program_id(0)).to(tl.int64)
    end = tl.load(cu_seqlens + tl.program_id(0) + 1).to(tl.int64)
    group = tl.arange(0, GROUPS)[:, None]
    place = tl.arange(0, WIDTH)[None, :]
    for start in range(begin, end, GROUPS * STRIDE):
        token = start + group * STRIDE + place
        inside = (place < STRIDE) & (token < end)
        value = tl.load(saliency + token, mask=inside, other=float("-inf")).to(tl.float32)
        value = tl.where(value != value, float("-inf"), value)
        best = tl.max(value, 1, keep_dims=True)
        first = tl.min(tl.where(value == best, place, WIDTH), 1, keep_dims=True)
        tl.store(keep_mask + token, place == first, mask=inside)


def blocks(stride: int) -> dict[str, int]:
    """About 256 tokens at a time."""
    width = next_power_of_2(stride)
    return {"STRIDE": stride, "WIDTH": width, "GROUPS": max(1, 256 // width)}


def top_of_groups(saliency: Tensor, cu_seqlens: Tensor, stride: int) -> Tensor:
    keep_mask = torch.empty(len(saliency), dtype=torch.bool, device=saliency.device)
    grid = (len(cu_seqlens) - 1,)
    launch(
        top_of_groups_kernel,
        grid,
        saliency.contiguous(),
        cu_seqlens,
        keep_mask,
        num_warps=4,
        **blocks(stride),
    )
    return keep_mask


def config(stride: int) -> KernelConfig:
    """What is launched for float32 saliency, for the compiler."""
    types = {"saliency": "*fp32", "cu_seqlens": "*i64", "keep_mask": "*i1"}
    return KernelConfig(f"top_of_{stride}", top_of_groups_kernel, types, blocks(stride))
