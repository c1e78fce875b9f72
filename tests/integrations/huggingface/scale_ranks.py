"""Run by torchrun on every rank: golden prompts through models whose weights are split over the ranks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from transformers.distributed.configuration_utils import DistributedConfig

from seats_ops import DiversitySelector, UnsupportedModelState
from seats_ops.integrations import attach
from seats_ops.integrations.ranks import tensor_parallel_group
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.golden_case import FAMILIES, GoldenCase
from tests.integrations.huggingface.models import golden_thinker
from tests.integrations.huggingface.upstream import text_model

GOLDEN = Path(__file__).parents[2] / "golden"
POLICIES = ("uniform", "per-layer")


def split_thinker(family: str) -> Any:
    """The golden checkpoint under the model's own plan."""
    checkpoint = GOLDEN / "end_to_end" / family / "checkpoint"
    thinker: Any = type(golden_thinker(GOLDEN, family=family))
    return thinker.from_pretrained(checkpoint, distributed_config=DistributedConfig(tp_size=2)).eval()


def run(model: Any, case: GoldenCase, kv_policy: str) -> dict[str, Any]:
    """What a model kept and answered."""
    with attach(model, case.schedule(model.config), kv_policy=kv_policy) as trace:
        answer = probes.generate(model, case.inputs, 3)
    kept = [(at, columns.tolist()) for at, columns in probes.kept_sets(trace)]
    return {"kept": kept, "ids": answer.ids, "logits": answer.logits, "heads": answer.cache.layers[0].keys.shape[1]}


@contextmanager
def shaken_saliency() -> Iterator[None]:
    """Every rank but the first sees saliency that is off by far more than rounding."""
    select = DiversitySelector.__call__

    def shaken(self: Any, features: Tensor, layout: Any, *, saliency: Tensor, **options: Any) -> Tensor:
        noise = torch.rand(saliency.shape, generator=torch.Generator().manual_seed(1))
        return select(self, features, layout, saliency=saliency + dist.get_rank() * noise, **options)

    with patch.object(DiversitySelector, "__call__", shaken):
        yield


def group_sizes() -> dict[str, int | None]:
    """Over how many ranks a weight counts as tensor-parallel, by the dimensions of its device mesh."""
    sizes: dict[str, int | None] = {}
    for names, shape in ((("tp",), (2,)), (("fsdp",), (2,)), (("fsdp", "tp"), (1, 2)), (("fsdp", "tp"), (2, 1))):
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
        linear = nn.Linear(4, 4)
        placements = [Shard(0)] * len(names)
        linear.weight = nn.Parameter(distribute_tensor(linear.weight.detach(), mesh, placements))
        group = tensor_parallel_group(nn.Sequential(nn.LayerNorm(4), linear))
        sizes[f"{names} {shape}"] = None if group is None else dist.get_world_size(group)
    return sizes


def refusal(model: Any, case: GoldenCase) -> str:
    """What is said of a model whose weights do not tell how they were split."""
    try:
        run(model, case, POLICIES[0])
    except UnsupportedModelState as error:
        return str(error)
    return "nothing"


def main(folder: Path) -> None:
    results: dict[Any, Any] = {}
    for family in FAMILIES:
        model = split_thinker(family)
        if tensor_parallel_group(text_model(model).layers[0]) is None:
            results["refused"] = refusal(model, GoldenCase.load(GOLDEN, 0, family))
            break
        try:
            probes.generate(model, GoldenCase.load(GOLDEN, 0, family).inputs, 1)
        except RuntimeError as error:
            results[family, "fails by itself"] = str(error)
            continue
        for number in range(4):
            case = GoldenCase.load(GOLDEN, number, family)
            results[family, number] = run(model, case, POLICIES[number % 2])
        with shaken_saliency():
            results[family, "shaken"] = run(model, case, POLICIES[1])
    results["group_sizes"] = group_sizes()
    torch.save(results, folder / f"rank{dist.get_rank()}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
