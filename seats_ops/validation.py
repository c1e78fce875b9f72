"""Argument checks shared by the primitives: every message names the argument, what was got and what was expected."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor

VALUE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FLOAT32 = torch.finfo(torch.float32)
RARE_INTEGERS = (torch.uint16, torch.uint32, torch.uint64)


def describe(value: object) -> str:
    """A short account of an argument for error messages: shape, dtype and device of a tensor, else its repr."""
    if isinstance(value, Tensor):
        return f"{list(value.shape)} {value.dtype} on {value.device}"
    return f"{value!r} ({type(value).__name__})"


def check_tensor(name: str, value: object, ndim: int) -> Tensor:
    """`value` as a tensor of `ndim` dimensions, else TypeError / ValueError."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {describe(value)}")
    if value.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimension(s), got {describe(value)}")
    return value


def check_values(name: str, value: object, ndim: int) -> Tensor:
    """A tensor of float32, bfloat16 or float16."""
    tensor = check_tensor(name, value, ndim)
    if tensor.dtype not in VALUE_DTYPES:
        raise TypeError(f"{name}: expected float32, bfloat16 or float16, got {describe(tensor)}")
    return tensor


def check_integers(name: str, value: object, ndim: int = 1) -> Tensor:
    """A tensor of any integer dtype (bool is not one); those few operations know come back as int64."""
    tensor = check_tensor(name, value, ndim)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name}: expected an integer tensor, got {describe(tensor)}")
    if tensor.dtype not in RARE_INTEGERS:
        return tensor
    widened = tensor.long()
    # What int64 cannot hold stays a large number, a count without a limit or an id out of range.
    largest = torch.iinfo(torch.int64).max
    return torch.where(widened < 0, largest, widened) if tensor.dtype == torch.uint64 else widened


def check_length(name: str, value: Tensor, length: int, of: str) -> None:
    """First dimension of `value` equals `length`, which is the length of `of`."""
    if value.shape[0] != length:
        raise ValueError(f"{name}: expected first dimension {length} as {of} has, got {describe(value)}")


def check_same_device(reference_name: str, reference: Tensor, **others: Tensor | None) -> None:
    """All tensors live on one device."""
    for name, tensor in others.items():
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: expected a tensor, got {describe(tensor)}")
        if tensor is not None and tensor.device != reference.device:
            raise ValueError(f"{name}: expected device {reference.device} as {reference_name}, got {describe(tensor)}")


def reads_are_free(tensor: Tensor) -> bool:
    """Values may be looked at without a device synchronisation (and without breaking a fake-tensor trace)."""
    if torch.compiler.is_compiling():
        return False
    return tensor.device.type == "cpu" and type(tensor) in (Tensor, torch.nn.Parameter)


def check_cu_seqlens(name: str, value: object, total: int, validate: bool) -> Tensor:
    """Cumulative lengths `[N+1]` as in FlashAttention: start at 0, never fall, end at `total`.

    Values of CPU tensors are always checked, those of a device tensor only with `validate` (one read).
    """
    tensor = check_integers(name, value)
    if tensor.shape[0] < 1:
        raise ValueError(f"{name}: expected at least one entry (0), got {describe(tensor)}")
    if validate or reads_are_free(tensor):
        ends = tensor.tolist()
        if ends[0] != 0 or ends[-1] != total or any(a > b for a, b in pairwise(ends)):
            shown = str(ends) if len(ends) <= 8 else f"[{', '.join(map(str, ends[:4]))}, ..., {ends[-1]}]"
            raise ValueError(f"{name}: expected to start at 0, never to fall and to end at {total}, got {shown}")
    return tensor


def check_max_seqlen(name: str, value: int | None, cu_seqlens: Tensor) -> None:
    """An upper bound of the segment lengths, given as an int; checked against CPU `cu_seqlens`."""
    longest = longest_segment(cu_seqlens) if reads_are_free(cu_seqlens) else 0
    _check_bound(name, value, longest, "the longest segment")


def check_max_keep(name: str, value: int | None, num_keep: Tensor) -> None:
    """An upper bound of counts, given as an int; checked against a CPU `num_keep`."""
    largest = int(num_keep.max()) if num_keep.numel() and reads_are_free(num_keep) else 0
    _check_bound(name, value, largest, "the largest count")


def _check_bound(name: str, value: int | None, least: int, what: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an int or None, got {describe(value)}")
    if value < least:
        raise ValueError(f"{name}: expected at least {what}, {least}, got {value}")


def longest_segment(cu_seqlens: Tensor) -> int:
    """Length of the longest segment; one device read."""
    return int((cu_seqlens[1:] - cu_seqlens[:-1]).max()) if cu_seqlens.shape[0] > 1 else 0


def check_non_negative(name: str, value: Tensor, validate: bool) -> None:
    """No entry below zero; CPU tensors always, device tensors only with `validate`."""
    if value.numel() and (validate or reads_are_free(value)) and int(value.min()) < 0:
        raise ValueError(f"{name}: expected entries >= 0, got a minimum of {int(value.min())}")


def check_not_below_zero(name: str, value: Tensor, validate: bool) -> None:
    """As `check_non_negative`, of floats; a NaN is not below zero."""
    if value.numel() and (validate or reads_are_free(value)):
        smallest = float(value.detach().nan_to_num(nan=0.0).min())
        if smallest < 0:
            raise ValueError(f"{name}: expected entries >= 0, got a minimum of {smallest}")


def check_index(name: str, value: object, size: int, validate: bool) -> Tensor:
    """Integers [T] in [0, size); values of CPU tensors always, those of device tensors only with `validate`."""
    index = check_integers(name, value)
    if index.numel() and (validate or reads_are_free(index)):
        low, high = (int(bound) for bound in index.aminmax())
        if low < 0 or high >= size:
            raise ValueError(f"{name}: expected entries from 0 to {size - 1}, got {low} to {high}")
    return index


def check_finite(name: str, value: Tensor, validate: bool) -> None:
    """No NaN and no infinity; CPU tensors always, device tensors only with `validate` (one read)."""
    if (validate or reads_are_free(value)) and not bool(value.isfinite().all()):
        raise ValueError(f"{name}: expected finite entries, got {int((~value.isfinite()).sum())} that are not")


def check_ratio(name: str, value: object) -> float:
    """A number in [0, 1] as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number in [0, 1], got {describe(value)}")
    if math.isnan(value) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{name}: expected a number in [0, 1], got {value!r}")
    return float(value)


def check_choice(name: str, value: str, known: Collection[str]) -> str:
    """One of some texts."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}: expected one of {tuple(known)}, got {value!r}")
    return value


def check_bool(name: str, value: object) -> bool:
    """True or False, and nothing else that counts as one of them."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected a bool, got {describe(value)}")
    return value


def check_int(name: str, value: object, least: int, most: int | None = None) -> int:
    """An int, no bool, from `least`, to `most` where there is one."""
    if type(value) is not int or value < least or (most is not None and value > most):
        to = "" if most is None else f" to {most}"
        raise ValueError(f"{name}: expected an int from {least}{to}, got {describe(value)}")
    return value


def check_scale(value: object, head_dim: int) -> float:
    """The softmax scale: a finite number, or head_dim ** -0.5 where None is given."""
    if value is None:
        return head_dim**-0.5
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"scale: expected a number or None, got {describe(value)}")
    if not abs(value) <= FLOAT32.max:
        raise ValueError(f"scale: expected a finite number in float32, got {value!r}")
    return float(value)


def check_number(name: str, value: object) -> float:
    """A number that float32 holds, or an infinity, as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number, got {describe(value)}")
    if not (abs(value) <= FLOAT32.max or math.isinf(value)):
        raise ValueError(f"{name}: expected a number that float32 holds, or an infinity, got {value!r}")
    return float(value)


def check_positive(name: str, value: object) -> float:
    """A finite number above zero, in float32 too, as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number > 0, got {describe(value)}")
    if not FLOAT32.tiny <= value <= FLOAT32.max:
        raise ValueError(f"{name}: expected a finite number > 0 in float32, got {value!r}")
    return float(value)


class Ratios(Mapping[str, float]):
    """Ratios by modality that stay as they are, so that what has them can be a value."""

    def __init__(self, ratios: Mapping[str, float]) -> None:
        self._items = dict(ratios)

    def __getitem__(self, name: str) -> float:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


def check_keep_ratio(name: str, value: object, modalities: tuple[str, ...]) -> float | Ratios:
    """One ratio for audio and video, or a mapping with keys among `modalities`."""
    if not isinstance(value, Mapping):
        return check_ratio(name, value)
    unknown = [key for key in value if key not in modalities]
    if unknown or not value:
        raise ValueError(f"{name}: expected keys among {modalities}, got {sorted(map(str, value))}")
    return Ratios({key: check_ratio(f"{name}[{key!r}]", value[key]) for key in modalities if key in value})
