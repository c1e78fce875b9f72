"""What stages say of their own work is what they multiply: every product of rows they make is counted as it is made."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen2_5OmniThinkerConfig

from benchmarks.methods import Clip, given, run_stages
from seats_ops import Both, DiversitySelector, PerModality, Ratio, Schedule, Select, StagePruner, WindowBudgetAllocator
from seats_ops.cost import prefill_cost
from seats_ops.cost.counts import found_by_stages
from seats_ops.methods import method, methods
from seats_ops.operators.anchors import nearest_of
from seats_ops.operators.own_work import EncoderSizes, Sizes, own_macs_of, pair_macs
from seats_ops.operators.scorers import Saliency
from seats_ops.operators.selectors import MaxMin
from seats_ops.operators.stored import Stored
from seats_ops.operators.temporal import TemporalChange
from seats_ops.ops.dpc_knn import reference as dpc_reference
from seats_ops.ops.greedy_dpp import reference as dpp_reference
from seats_ops.ops.max_min_diversity import reference as max_min_reference

CONFIG = Qwen2_5OmniThinkerConfig()
CLIP = Clip(frames=16, height=4, width=6, audio=96, text=24)
DIM, KEY_DIM, SCENES = 256, 80, 8
SIZES = Sizes(DIM, DIM, DIM, dict.fromkeys(("video", "audio"), EncoderSizes(16 * KEY_DIM, 16, 4)))
aten: Any = torch.ops.aten
ours: Any = torch.ops.seats_ops


def pairs(features: Tensor, cu_seqlens: Tensor, *_: Any) -> int:
    return int(cu_seqlens.long().diff().square().sum()) * features.shape[1]


def picks(features: Tensor, cu_seqlens: Tensor, num_keep: Tensor, *_: Any) -> int:
    macs = 0
    for n, k in zip(cu_seqlens.diff().tolist(), num_keep.tolist(), strict=True):
        macs += sum(n * (features.shape[1] + before) for before in range(min(n, k)))
    return macs


def partnered(features: Tensor, partner: Tensor, *_: Any) -> int:
    return int((partner >= 0).sum()) * features.shape[1]


PRIMITIVES: dict[Any, Callable[..., int]] = {
    ours.max_min_diversity.default: pairs,
    ours.dpc_knn.default: pairs,
    ours.greedy_dpp.default: picks,
    ours.temporal_similarity.default: partnered,
    ours.merge_rows.default: lambda features, target, *_: len(target) * features.shape[1],
}
RANKED = ("segment_topk", "window_budget", "group_budget", "kept_index", "gather")
SILENT = tuple(getattr(ours, name).default for name in RANKED)


class RowProducts(TorchDispatchMode):
    """Counts multiply-adds of products, distances and weighted sums of rows, as they are executed."""

    def __init__(self) -> None:
        super().__init__()
        self.macs, self.quiet = 0, False
        self.differences: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not self.quiet:
            self.macs += self._of(func, args, out)
        return out

    def _of(self, func: Any, args: Any, out: Any) -> int:
        if func in PRIMITIVES:
            return PRIMITIVES[func](*args)
        if func.namespace == "seats_ops":
            assert func in SILENT, f"{func}: expected a primitive that is counted"
            return 0
        if func in (aten.mm.default, aten.bmm.default):
            return out.numel() * args[0].shape[-1]
        if func in (aten.addmm.default, aten.baddbmm.default):
            return out.numel() * args[1].shape[-1]
        if func is aten._cdist_forward.default:
            return out.numel() * args[0].shape[-1]
        if func is aten.sub.Tensor and isinstance(args[1], Tensor) and is_rows(out):
            self.differences.append(out)
        if func in (aten.pow.Tensor_Scalar, aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim):
            return args[0].numel() if any(args[0] is one for one in self.differences) else 0
        if func is aten.mul.Tensor and isinstance(args[1], Tensor) and args[0] is not args[1] and is_rows(out):
            return out.numel() if args[0].shape[-1:] == args[1].shape[-1:] == out.shape[-1:] else 0
        return 0


def is_rows(x: Tensor) -> bool:
    return x.ndim >= 2 and x.shape[-1] in (DIM, DIM // 2)


def by_group(mode: RowProducts) -> Any:
    """`nearest_of`, counted from its groups: what it multiplies to make them equally long is no work of the method."""

    def counted(features: Tensor, members: Any, anchors: Any, **options: Any) -> Any:
        size = 1 + max(int(of.max()) for _, of in (members, anchors)) if all(map(len, (members[0], anchors[0]))) else 0
        m, a = (torch.bincount(of, minlength=size)[:size] for _, of in (members, anchors))
        mode.macs += int((a * m).sum()) * features.shape[1]
        mode.quiet = True
        try:
            return nearest_of(features, members, anchors, **options)
        finally:
            mode.quiet = False

    return counted


def scenes(total: int) -> Tensor:
    """Of `SCENES` cuts, in which frames are alike as a whole and tokens are not."""
    draw = torch.Generator().manual_seed(0)
    layout = CLIP.layout()
    assert layout.grid is not None
    look = torch.nn.functional.normalize(torch.randn(SCENES, DIM, generator=draw), dim=-1)
    scene = (layout.grid[:, 1].clamp(min=0) * SCENES // CLIP.frames).clamp(max=SCENES - 1)
    noise = torch.randn(total, DIM, generator=draw) * (1.8 / DIM) ** 0.5
    return look[scene] + noise


def counted(schedule: Schedule, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Multiply-adds of every stage."""
    mode, macs, layout = RowProducts(), list[int](), CLIP.layout()
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("seats_ops."):
            for name in [name for name, value in vars(module).items() if value is nearest_of]:
                monkeypatch.setattr(module, name, by_group(mode))

    class EachStage:
        def __enter__(self) -> None:
            mode.macs = 0
            mode.__enter__()

        def __exit__(self, *_: Any) -> None:
            mode.__exit__(None, None, None)
            macs.append(mode.macs)

    tensors = given(layout, schedule, DIM) | {"features": scenes(len(layout))}
    run_stages(schedule, layout, tensors, "reference", count=EachStage())
    return macs


def said_by(schedule: Schedule) -> list[int | None]:
    """By every stage, of what it finds."""
    return [own_macs_of(stage, found, SIZES) for _, stage, found in found_by_stages(schedule, CLIP.lengths)]


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("cdpruner", {"split_above": 100}),
    ("dart", {"media_pivots": 2, "text_pivots": 6}),
    ("fastvid", {"release": "llava"}),
    ("flashvid-adts", {"variant": "v1"}),
    ("holitom", {"context": 0.4}),
    ("vidcom2", {"variant": "reconciled"}),
    ("visionzip", {"variant": "original"}),
    ("omnizip", {"members": 0}),
]
RATIOS = {"seats-pruner": 0.75}
NAMES = [name for name, one in methods().items() if str(one.build.__module__).startswith("seats_ops.methods.")]


SHARE = 0.02
"""What leading terms may miss: frames against each other, anchors of which nothing becomes a member."""


def check(said: list[int | None], found: list[int]) -> None:
    for one, other in zip(said, found, strict=True):
        assert one is not None and abs(one - other) <= SHARE * other, (said, found)


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in NAMES), *OPTIONS], ids=str)
def test_what_stages_say_is_what_they_multiply(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = method(name)(CONFIG, RATIOS.get(name, 0.25), **options)
    check(said_by(schedule), counted(schedule, monkeypatch))


@pytest.mark.parametrize(
    "stage",
    [
        Select(None, Ratio(0.25, group="frame"), MaxMin()),
        PerModality({"video": Select(TemporalChange(), Ratio(0.25)), "audio": Select(None, Ratio(0.5), MaxMin())}),
        DiversitySelector(0.25, weighted=False, exact_total=True),
        DiversitySelector({"audio": 0.25}),
    ],
    ids=str,
)
def test_what_pieces_say_adds_up(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    check(said_by(Schedule(stage)), counted(Schedule(stage), monkeypatch))


def test_parts_of_a_stage_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose counts nobody says, so that no schedule of it has a cost."""
    dominant, spread = (Select(*pieces) for pieces in ((Saliency(), Ratio(0.25)), (None, Ratio(0.25), MaxMin())))
    (_, _, found), *_ = found_by_stages(Schedule(dominant), CLIP.lengths)
    for stage in (Both(dominant, spread), Both(dominant, spread, on_the_rest=True)):
        check([own_macs_of(stage, found, SIZES)], counted(Schedule(stage), monkeypatch))


def test_a_stage_that_says_too_little_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = method("divprune")(CONFIG, 0.25)
    monkeypatch.setattr(MaxMin, "own_macs", lambda self, groups, sizes: pair_macs(groups, sizes.hidden) // 2)
    with pytest.raises(AssertionError):
        check(said_by(schedule), counted(schedule, monkeypatch))


@pytest.mark.parametrize("primitive", ["max_min_diversity", "dpc_knn", "greedy_dpp"])
def test_primitives_multiply_what_is_counted_for_them(primitive: str) -> None:
    """The references, by the matrix products inside them."""
    # Long enough that `greedy_dpp` holds no matrix of all similarities.
    n, k, width = (4200, 3, 8) if primitive == "greedy_dpp" else (100, 9, 64)
    features, offsets, keep = torch.randn(n, width), torch.tensor([0, n], dtype=torch.int32), torch.tensor([k])
    mode = RowProducts()
    with mode:
        if primitive == "max_min_diversity":
            max_min_reference.max_min_diversity(features, offsets, keep, None, None, n, k, "spread")
        elif primitive == "dpc_knn":
            dpc_reference.dpc_knn(features, offsets, 5, "cosine", True, True, None, None, 0.0, None, n)
        else:
            dpp_reference.greedy_dpp(features, offsets, keep, None, None, n, k)
    assert mode.macs == {"greedy_dpp": picks}.get(primitive, pairs)(features, offsets, keep)


def test_who_says_nothing_is_named() -> None:
    @dataclass(frozen=True)
    class Quiet(Select):
        def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
            return super().__call__(*args, **kwargs)

    @dataclass(frozen=True)
    class Silent(Stored):
        inputs = ("external:clip", "saliency", "features")

        def __call__(self, clip: Tensor, layout: Any, **_: Any) -> Tensor:
            return layout.position >= 0

        def count_tokens(self, found: Any) -> dict[str, int]:
            return dict(found)

    quiet = Quiet(Saliency(), Ratio(0.5))
    cost = prefill_cost(CONFIG, Schedule([quiet, Silent()]), CLIP.lengths)
    assert cost.unsaid == ("Quiet", "Silent", "external:clip")
    # A window is two frames, of four patches a token; a token of sound is two positions.
    vision, audio = CONFIG.vision_config, CONFIG.audio_config
    seen, heard = 8 * (2 * 24 * 4) ** 2 * vision.hidden_size, ((50 * 2) ** 2 + (46 * 2) ** 2) * audio.d_model
    assert cost.selection_flops == seen + heard and [one.selection_flops for one in cost.stages] == [0, seen + heard, 0]
    assert cost.executed_flops == cost.flops + seen + heard
    assert cost.executed_share == cost.executed_flops / cost.full_flops > cost.flops_share
    twice = prefill_cost(CONFIG, Schedule([quiet, Silent()]), CLIP.lengths, flops_per_mac=2)
    assert twice.selection_flops == 2 * cost.selection_flops
    # A decoder's config tells of no encoder.
    assert "saliency" in prefill_cost(CONFIG.text_config, Schedule(quiet), CLIP.lengths).unsaid


def test_allocators_of_ones_own_speak_for_themselves() -> None:
    class Mine(WindowBudgetAllocator):
        def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
            return super().__call__(*args, **kwargs)

    found = dict.fromkeys(("text", "video", "audio", "image"), 5)
    assert StagePruner(0.5).own_macs(found, SIZES) == 0
    assert StagePruner(0.5, allocator=Mine()).own_macs(found, SIZES) is None


@pytest.mark.parametrize("said", [-1, 2.0, "many"])
def test_what_is_no_number_of_multiply_adds_is_refused(said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DiversitySelector, "own_macs", lambda self, found, sizes: said)
    with pytest.raises(ValueError, match=r"DiversitySelector\.own_macs: expected None or an int from 0, got"):
        prefill_cost(CONFIG, Schedule(DiversitySelector(0.5)), CLIP.lengths)
