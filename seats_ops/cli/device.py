"""The device that a user names, and how much of a CPU is used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


def pick_device(name: str) -> torch.device:
    """The device of that name, a GPU with its index; "auto" is the current GPU, or the CPU where there is none.

    Raises:
        ValueError: an unknown name, or a GPU that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device: got {name!r}, expected auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device: got {name!r}, expected auto, cpu, cuda or cuda:N")
    if device.type == "cpu":
        return device
    if not (device.index or 0) < torch.cuda.device_count():
        raise ValueError(f"device: got {name!r}, but torch finds {torch.cuda.device_count()} CUDA device(s)")
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """A small model gains little by threads, and what they spend waiting for each other is CPU time that varies."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
