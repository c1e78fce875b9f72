"""The device that a user names."""

from __future__ import annotations

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
