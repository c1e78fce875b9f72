"""Lengths are runtime values: Triton compiles a kernel once, not once per prompt."""

from __future__ import annotations

import os

import pytest
import torch

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

from seats_ops import DiversitySelector, Modality, ModalityDropper, StagePruner
from seats_ops import functional as F
from seats_ops.testing import layout_of_runs, packed_offsets
from seats_ops.testing.launches import Launch, record_launches
from seats_ops.testing.poison import poisoned_outputs
from seats_ops.testing.shipped import shipped_configs
from tests.kernels.calls import CALLS

SHIPPED = [
    (c.kernel.fn.__name__, dict(c.signature), dict(c.constants), (c.num_warps, c.num_stages, c.max_registers))
    for c in shipped_configs()
]


def launches_of(primitive: str, total: int, **sizes: object) -> list[Launch]:
    with record_launches() as launches:
        CALLS[primitive](total, backend="triton", **sizes)
    assert launches
    return launches


def test_every_primitive_is_called() -> None:
    assert set(CALLS) == set(F.__all__)


@pytest.mark.parametrize("primitive", CALLS)
def test_lengths_in_one_bucket_share_a_compiled_kernel(primitive: str) -> None:
    """Odd, even, a multiple of 16: all lengths from 905 to 1024 round up to one power of two."""
    keys = [{launch.key() for launch in launches_of(primitive, total)} for total in (905, 1001, 1008, 1024)]
    assert all(other == keys[0] for other in keys[1:])


@pytest.mark.parametrize(
    ("primitive", "size"), [("segment_topk", "segments"), ("window_budget", "windows"), ("group_budget", "groups")]
)
def test_numbers_of_segments_share_a_compiled_kernel(primitive: str, size: str) -> None:
    keys = [{launch.key() for launch in launches_of(primitive, 700, **{size: n})} for n in (17, 30, 32)]
    assert all(other == keys[0] for other in keys[1:])


@pytest.mark.parametrize("dim", [72, 80])
def test_numbers_of_heads_share_a_compiled_kernel(dim: int) -> None:
    """One head, odd, even, a multiple of 16; 72 is no multiple of 16."""
    numbers = (1, 3, 16)
    received = [{x.key() for x in launches_of("attention_received", 700, heads=n, dim=dim)} for n in numbers]
    assert all(other == received[0] for other in received[1:])
    heads = ((1, 1), (28, 7), (28, 1), (32, 2), (48, 16))
    scores = [{launch.key() for launch in launches_of("query_relevance", 700, heads=n, group=g)} for n, g in heads]
    assert all(other == scores[0] for other in scores[1:])


@pytest.mark.parametrize("windows", [3, 4, 5])
def test_chunks_of_windows_share_a_compiled_kernel(windows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of one window and of three, so that they begin at odd and even, aligned and unaligned offsets."""
    with_one_chunk = {launch.key() for launch in launches_of("max_min_diversity", 905)}
    for chunk in (1, 3):
        monkeypatch.setattr("seats_ops.ops.max_min_diversity.triton.MATRIX_BYTES", chunk * 4 * 912**2)
        launches = launches_of("max_min_diversity", 905, windows=windows)
        assert len(launches) == 3 * -(-windows // chunk)
        assert {launch.key() for launch in launches} == with_one_chunk


def test_steps_and_lengths_of_long_windows_share_a_compiled_kernel() -> None:
    keys = [{launch.key() for launch in launches_of("max_min_diversity", n, dim=64)} for n in (4500, 4507, 4999, 5040)]
    assert len(keys[0]) == 3
    assert all(other == keys[0] for other in keys[1:])


@pytest.mark.parametrize("total", [905, 4500])
def test_how_the_first_token_is_picked_compiles_nothing_more(total: int) -> None:
    """By weight, a long window even needs a kernel less."""
    spread, weight = (
        {launch.key() for launch in launches_of("max_min_diversity", total, dim=64, first=first)}
        for first in ("spread", "weight")
    )
    assert weight <= spread and len(weight) == len(spread) - (total > 4096 + 7)


def test_steps_counts_and_segments_of_a_determinantal_selection_share_a_compiled_kernel() -> None:
    """Two kernels: sixteen steps, however many picks there may be, odd and even ones."""
    keys = set()
    for total, most in ((905, 9), (1001, 16), (1024, 17), (5040, 40)):
        features, offsets, counts = torch.ones(total, 64), packed_offsets([total - 7, 7]), torch.full((2,), 9)
        with record_launches() as launches:
            F.greedy_dpp(features, offsets, counts, max_seqlen=total - 7, max_keep=most, backend="triton")
        assert len(launches) == 2 + most
        keys |= {launch.key() for launch in launches}
    assert len(keys) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("indexed", [True, False])
def test_every_form_of_a_determinantal_selection_is_shipped(indexed: bool, dtype: torch.dtype) -> None:
    index = torch.arange(40) if indexed else None
    with record_launches() as launches:
        F.greedy_dpp(
            torch.ones(40, 64, dtype=dtype), packed_offsets([40]), torch.tensor([3]), index=index, max_seqlen=40,
            max_keep=3, backend="triton",
        )  # fmt: skip
    assert len(launches) == 5
    assert_shipped(launches)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_density_peaks_without_offsets_are_shipped(dtype: torch.dtype) -> None:
    with record_launches() as launches:
        F.dpc_knn(torch.ones(40, 64, dtype=dtype), packed_offsets([40]), num_neighbors=3, backend="triton")
    assert len(launches) == 3
    assert_shipped(launches)


def assert_shipped(launches: list[Launch]) -> None:
    """Every launch has a shipped configuration, so that the checks of compiled code are about what runs."""
    for launch in launches:
        options = launch.options
        limits = (options["num_warps"], options["num_stages"], options.get("maxnreg"))
        assert (launch.name, launch.signature, launch.constants, limits) in SHIPPED
        assert options["enable_fp_fusion"] is False


@pytest.mark.parametrize("primitive", CALLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("total", [30, 130, 337, 1001])
def test_what_is_launched_is_what_is_shipped(primitive: str, dtype: torch.dtype, total: int) -> None:
    assert_shipped(launches_of(primitive, total, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("dim", [64, 72, 80, 96, 128, 256])
def test_head_dims_of_encoders_are_shipped(dim: int, dtype: torch.dtype) -> None:
    assert_shipped(launches_of("attention_received", 130, dim=dim, dtype=dtype))
    assert_shipped(launches_of("attention_received", 130, dim=dim, dtype=dtype, logsumexp=torch.ones(2, 130)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("dim", [64, 80, 96, 128, 192, 256])
def test_head_dims_of_decoders_are_shipped(dim: int, dtype: torch.dtype) -> None:
    assert_shipped(launches_of("query_relevance", 130, dim=dim, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_stages_launch_is_shipped(dtype: torch.dtype) -> None:
    layout = layout_of_runs([[(Modality.TEXT, 5), *[(Modality.VIDEO, 60), (Modality.AUDIO, 25)] * 4]], block_length=50)
    features, saliency = torch.ones(len(layout), 64, dtype=dtype), torch.ones(len(layout))
    # Budgets that nobody computed are then large and not whatever memory held.
    with record_launches() as launches, poisoned_outputs():
        DiversitySelector(0.2)(features, layout, saliency=saliency, backend="triton")
        StagePruner(0.5)(saliency, layout, backend="triton")
        ModalityDropper()(layout, backend="triton")
    assert {"greedy_kernel", "window_budget_kernel", "segment_topk_kernel"} <= {launch.name for launch in launches}
    assert_shipped(launches)
