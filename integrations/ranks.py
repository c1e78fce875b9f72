"""Tensor parallelism: heads are split over ranks, but every rank must drop the same tokens."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from seats_ops.errors import UnsupportedModelState

DIMENSION = "tp"  # of a device mesh, as transformers and PyTorch call it


def tensor_parallel_group(module: nn.Module) -> Any:
    """The process group over which the weights of a module are split; None without tensor parallelism.

    It is read from the device mesh of the weights. Other dimensions of the mesh, such as "fsdp", do not count: their
    ranks run prompts of their own.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return None
    for parameter in module.parameters():
        mesh = getattr(parameter, "device_mesh", None)
        if mesh is not None and DIMENSION in (mesh.mesh_dim_names or ()) and mesh[DIMENSION].size() > 1:
            return mesh.get_group(DIMENSION)
    return None


def mean_over_heads(scores: Tensor, layer: nn.Module, num_heads: int, num_heads_here: int) -> Tensor:
    """Scores averaged over the heads of all ranks, equal to the last bit everywhere.

    Args:
        scores: float32 [T], averaged over the heads of this rank; overwritten.
        layer: the decoder layer they come from.
        num_heads: query heads of the layer.
        num_heads_here: those whose queries this rank computed.

    Returns:
        float32 [T]. One collective, or none if this rank has all heads.

    Raises:
        UnsupportedModelState: heads are missing, and the weights do not say on which ranks they are.
    """
    if num_heads_here == num_heads:
        return scores
    group = tensor_parallel_group(layer)
    if group is None:
        raise UnsupportedModelState(
            f"model: expected weights on a device mesh with a dimension {DIMENSION!r} where attention heads are split "
            f"over ranks, got {num_heads_here} of {num_heads} heads and no such mesh"
        )
    return mean_of_shares(scores, num_heads_here / num_heads, group)


def mean_of_shares(scores: Tensor, share: float, group: Any) -> Tensor:
    """Means over parts of the heads, averaged over the ranks of a group.

    Args:
        scores: float32 [T, ...], mean over the heads of this rank; overwritten.
        share: of all heads that are this rank's; those of all ranks add up to 1.
        group: of processes.
    """
    scores *= share
    dist.all_reduce(scores, group=group)
    return scores


def same_on_all_ranks(x: Tensor, group: Any) -> Tensor:
    """What the group's first rank has: replicated values need not be equal to the last bit on every device.

    Args:
        x: a keep mask or other tensor, of one shape on all ranks.
        group: see `tensor_parallel_group`; with None nothing is sent.
    """
    if group is None:
        return x
    decided = x.clone()
    dist.broadcast(decided, group=group, group_src=0)
    return decided
