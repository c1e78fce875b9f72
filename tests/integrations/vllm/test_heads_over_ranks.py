"""What ranks tell of their heads, averaged over ranks, is what one tells of all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from seats_ops.integrations.vllm.saliency import QWEN2_5, QWEN3, AudioValues, VisionValues

ASKED = frozenset({"saliency", "saliency:mean", "saliency:pooled", "keys"})
HEADS, WIDTH = 4, 8
GRIDS = [[3, 4, 4], [1, 2, 6]]
SOUNDS = [230, 77]
GROUP = object()


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a group: the last rank sends, the first receives."""
    sent: list[Tensor] = []

    def all_reduce(x: Tensor, group: Any) -> None:
        assert group is GROUP
        if len(sent) < len(ASKED):
            sent.append(x.clone())
        else:
            x += sent[all_reduce.received]  # type: ignore[attr-defined]
            all_reduce.received += 1  # type: ignore[attr-defined]

    all_reduce.received = 0  # type: ignore[attr-defined]
    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)


def drawn(positions: int) -> Tensor:
    """[3, positions, heads, width], so that attention is far from even."""
    return 3 * torch.randn(3, positions, HEADS, WIDTH, generator=torch.Generator().manual_seed(0))


def vision(heads: slice, group: Any = GROUP) -> dict[str, Tensor]:
    """What a rank with these heads tells."""
    attention = SimpleNamespace(hidden_size_per_attention_head=WIDTH)
    tower = SimpleNamespace(blocks=[SimpleNamespace(attn=attention)], num_heads=HEADS, spatial_merge_unit=4)
    values = VisionValues(tower, ASKED, "reference", window_order=False, group=group)
    qkv = drawn(sum(t * h * w for t, h, w in GRIDS))[:, :, heads]
    values.watch.seen = {"qkv": qkv.transpose(0, 1).flatten(1)[:, None], "query": qkv[0][None], "key": qkv[1][None]}
    return values.values(GRIDS)


def sound(heads: slice, group: Any = GROUP) -> dict[str, Tensor]:
    """The same of Qwen3-Omni's sounds: three halvings of every 100 mel frames."""
    attention = SimpleNamespace(num_heads=HEADS, scaling=WIDTH**-0.5)
    tower = SimpleNamespace(layers=[SimpleNamespace(self_attn=attention)], n_window=50)
    values = AudioValues(tower, ASKED, "reference", QWEN3, group)
    q, k, _ = drawn(13 + 13 + 4 + 10)[:, :, heads]
    values.watch.seen = {"query": q[None], "key": k[None]}
    return values.values(SOUNDS)


@pytest.mark.parametrize("told", [vision, sound])
def test_means_over_unequal_shares(told: Any, ranks: None) -> None:
    expected = told(slice(None))
    alone = told(slice(3, 4))
    found = told(slice(0, 3))
    assert expected.keys() == found.keys() == ASKED
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x, rtol=1e-5, atol=1e-6)
        # The mean over some heads is another.
        assert (4 * alone[name] - x).abs().max() > 0.01 * x.abs().max()


@pytest.mark.parametrize("told", [vision, sound])
def test_some_heads_alone_are_refused(told: Any) -> None:
    with pytest.raises(RuntimeError, match="got 2 of 4 alone"):
        told(slice(0, 2), None)


def test_a_tower_that_is_whole_on_every_rank_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("torch.distributed.all_reduce")
    attention = SimpleNamespace(num_heads=HEADS, scaling=WIDTH**-0.5)
    tower = SimpleNamespace(layers=[SimpleNamespace(self_attn=attention)], n_window=100)
    found = []
    for group in (GROUP, None):
        values = AudioValues(tower, ASKED, "reference", QWEN2_5, group)
        q, k, _ = drawn(100)
        values.watch.seen = {"q_proj": q.flatten(1), "k_proj": k.flatten(1)}
        found.append(values.values([200]))
    assert all(torch.equal(found[0][name], found[1][name]) for name in ASKED)
