"""A package `flash_attn` that computes in plain torch, behind the lazy import of transformers and its checks.

Everything transformers does around the kernels is real: unpadding, padding, packed sequences, choice of the function.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import modeling_flash_attention_utils as upstream

_STATE = (
    "_loaded_implementation",
    "_flash_fn",
    "_flash_varlen_fn",
    "_flash_with_kvcache_fn",
    "_pad_fn",
    "_unpad_fn",
    "_process_flash_kwargs_fn",
    "_process_with_kvcache_kwargs_fn",
)


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool) -> Tensor:
    """[Sq, H, D] for keys [Sk, H', D]; a causal mask ends with the last query and the last key, as in the kernel."""
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scores = torch.einsum("qhd,khd->hqk", query.float(), key.float()) * scale
    if causal:
        seen = torch.ones(len(query), len(key), dtype=torch.bool).tril(len(key) - len(query))
        scores = scores.masked_fill(~seen, -torch.inf)
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), value.float()).to(query.dtype)


@dataclass
class FlashStandIn:
    """Causal calls so far: "dense" with shapes, "varlen" with the lengths of queries and keys."""

    dense: list[tuple[int, int, int]] = field(default_factory=list)
    varlen: list[tuple[list[int], list[int]]] = field(default_factory=list)

    def flash_attn_func(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        dropout_p: float = 0.0,
        softmax_scale: float | None = None,
        causal: bool = False,
        deterministic: bool = False,
    ) -> Tensor:
        """[B, S, H, D]."""
        assert q.shape[0] == k.shape[0] == v.shape[0] and k.shape == v.shape and dropout_p == 0
        if causal:
            self.dense.append((q.shape[0], q.shape[1], k.shape[1]))
        scale = softmax_scale or q.shape[-1] ** -0.5
        return torch.stack([attend(*row, scale, causal) for row in zip(q, k, v, strict=True)])

    def flash_attn_varlen_func(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        cu_seqlens_q: Tensor,
        cu_seqlens_k: Tensor,
        max_seqlen_q: Any,
        max_seqlen_k: Any,
        dropout_p: float = 0.0,
        softmax_scale: float | None = None,
        causal: bool = False,
        deterministic: bool = False,
    ) -> Tensor:
        """[T, H, D]."""
        assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
        lengths = cu_seqlens_q.diff().tolist(), cu_seqlens_k.diff().tolist()
        assert (sum(lengths[0]), sum(lengths[1])) == (len(q), len(k)) and k.shape == v.shape and dropout_p == 0
        assert max(lengths[0]) <= int(max_seqlen_q) and max(lengths[1]) <= int(max_seqlen_k)
        if causal:
            self.varlen.append(lengths)
        scale = softmax_scale or q.shape[-1] ** -0.5
        rows = zip(q.split(lengths[0]), k.split(lengths[1]), v.split(lengths[1]), strict=True)
        return torch.cat([attend(*row, scale, causal) for row in rows])


def install(monkeypatch: pytest.MonkeyPatch) -> FlashStandIn:
    """Make `attn_implementation="flash_attention_2"` work on a CPU until the test ends."""
    stand_in = FlashStandIn()
    package, padding = ModuleType("flash_attn"), ModuleType("flash_attn.bert_padding")
    for name, value in {
        "flash_attn_func": stand_in.flash_attn_func,
        "flash_attn_varlen_func": stand_in.flash_attn_varlen_func,
        "flash_attn_with_kvcache": None,
        "bert_padding": padding,
    }.items():
        setattr(package, name, value)
    for name, value in {"pad_input": upstream._pad_input, "unpad_input": upstream._unpad_input}.items():
        setattr(padding, name, value)
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    monkeypatch.setitem(sys.modules, "flash_attn.bert_padding", padding)
    monkeypatch.setattr(upstream, "is_flash_attn_2_available", lambda *_, **__: True)
    for name, value in {
        "general_availability_check": lambda *_, **__: True,
        "pkg_availability_check": lambda *_, **__: True,
        "supported_devices": ((lambda: True, "cpu"),),
    }.items():
        monkeypatch.setitem(upstream.FLASH_ATTENTION_COMPATIBILITY_MATRIX[2], name, value)
    for name in _STATE:
        monkeypatch.setattr(upstream, name, None, raising=False)
    return stand_in
