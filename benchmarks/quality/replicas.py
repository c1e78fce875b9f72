"""Two replicas of a module in two threads, one OpenMP thread each: on two cores twice as fast as two OpenMP threads."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import torch
from torch import Generator, Tensor, nn

M = TypeVar("M", bound=nn.Module)
Loss = Callable[[M, Generator], tuple[Tensor, dict[str, Tensor]]]
"""Draws its own data from the generator; returns the loss, and other numbers by name."""


class Replicas(Generic[M]):
    """Trains `module`: every step averages the gradients of its replicas, each on data of its own generator.

    The same seed gives the same weights, however the threads are scheduled.
    """

    def __init__(self, module: M, learning_rate: float, seed: int, count: int = 2) -> None:
        self.module = module
        self.replicas = [module, *(copy.deepcopy(module) for _ in range(count - 1))]
        self.generators = [torch.Generator().manual_seed(1000 * seed + index) for index in range(count)]
        self._trained = [[p for p in one.parameters() if p.requires_grad] for one in self.replicas]
        self.optimizer = torch.optim.AdamW(self._trained[0], lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
        self._threads = ThreadPoolExecutor(count, initializer=lambda: torch.set_num_threads(1))

    def step(self, loss: Loss[M], learning_rate: float) -> dict[str, Tensor]:
        """Numbers by name, averaged over the replicas that had them."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        jobs = [
            self._threads.submit(_backward, loss, *both) for both in zip(self.replicas, self.generators, strict=True)
        ]
        told = [job.result() for job in jobs]
        for same in zip(*self._trained, strict=True):
            gradients = [parameter.grad for parameter in same if parameter.grad is not None]
            if gradients:
                same[0].grad = torch.stack(gradients).sum(0) / len(same)
        nn.utils.clip_grad_norm_(self._trained[0], 1.0)
        self.optimizer.step()
        with torch.no_grad():
            for others in self._trained[1:]:
                torch._foreach_copy_(others, self._trained[0])
        for one in self.replicas:
            one.zero_grad(set_to_none=True)
        names = dict.fromkeys(name for one in told for name in one)
        return {name: torch.stack([one[name] for one in told if name in one]).mean() for name in names}

    def close(self) -> None:
        self._threads.shutdown()

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": [one.get_state() for one in self.generators],
        }

    def load(self, state: dict[str, Any]) -> None:
        for one in self.replicas:
            one.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved)


def _backward(loss: Loss[M], module: M, generator: Generator) -> dict[str, Tensor]:
    value, numbers = loss(module, generator)
    value.backward()
    return {"loss": value.detach(), **numbers}
