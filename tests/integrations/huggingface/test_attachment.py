"""The life of an attachment: entered, left, closed, dropped, and what keeps it alive."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import DiversitySelector, PruneTrace, Schedule, UnsupportedModelState
from seats_ops.integrations import attach, detach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.guards.refusals import LATE
from tests.integrations.huggingface.models import small_omni
from tests.integrations.huggingface.schedules import SCHEDULES


@pytest.fixture
def attention() -> str:
    return "sdpa"


def test_closing_is_leaving(thinker: nn.Module, clip: dict[str, Any]) -> None:
    plain, footprint = probes.generate(thinker, clip, 3), probes.footprint(thinker)
    attachment = attach(thinker, SCHEDULES["preset"](thinker.config))
    assert probes.footprint(thinker) == footprint
    expected = []
    for _ in range(2):
        with attachment as trace:
            expected.append(probes.generate(thinker, clip, 3))
            assert isinstance(trace, PruneTrace) and trace is attachment.trace and trace.stages
            attachment.close()
            assert probes.footprint(thinker) == footprint
            attachment.close()
            probes.assert_same(probes.generate(thinker, clip, 3), plain)
        attachment.close()
    probes.assert_same(*expected)
    assert not torch.equal(expected[0].logits, plain.logits)
    assert probes.footprint(thinker) == footprint


def test_entered_and_not_kept(thinker: nn.Module, clip: dict[str, Any]) -> None:
    """As in a cell of a notebook. The model keeps it, and whoever has the model can end it."""
    footprint = probes.footprint(thinker)
    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        expected = probes.generate(thinker, clip, 3)
    trace = attach(thinker, SCHEDULES["preset"](thinker.config)).__enter__()
    gc.collect()
    probes.assert_same(probes.generate(thinker, clip, 3), expected)
    assert trace.stages
    with pytest.raises(UnsupportedModelState, match=r"attached already.*detach"), attach(thinker, LATE):
        pass
    detach(thinker)
    detach(thinker)
    assert probes.footprint(thinker) == footprint


@pytest.mark.parametrize("through", ["model", "thinker"])
def test_detaching_a_full_model(through: str) -> None:
    model = small_omni()
    footprint = probes.footprint(model)
    attach(model, LATE).__enter__()
    with pytest.warns(RuntimeWarning, match="nothing was pruned"):
        detach(model if through == "model" else model.thinker)
    assert probes.footprint(model) == footprint


def test_the_same_one_twice(thinker: nn.Module, clip: dict[str, Any]) -> None:
    attachment = attach(thinker, LATE)
    with attachment:
        with pytest.raises(UnsupportedModelState, match="attached already"):
            attachment.__enter__()
        assert probes.generate(thinker, clip, 1).ids
        assert attachment.trace.stages


def test_dropped_unused(thinker: nn.Module) -> None:
    attachment = attach(thinker, LATE)
    with pytest.warns(RuntimeWarning, match=r"attach.*dropped unused"):
        del attachment
        gc.collect()


def test_used_or_refused_ones_are_dropped_without_a_word(thinker: nn.Module, clip: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        attachment = attach(thinker, LATE)
        with attachment:
            probes.generate(thinker, clip, 1)
        del attachment
        with pytest.raises(ValueError, match="kv_policy"):
            attach(thinker, LATE, kv_policy="none")
        gc.collect()


def test_encoding_is_a_use(thinker: nn.Module, clip: dict[str, Any]) -> None:
    schedule = Schedule(before_llm=DiversitySelector(0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with attach(thinker, schedule):
            encoded = thinker.get_video_features(clip["pixel_values_videos"], clip["video_grid_thw"])
    assert encoded.seats_encoded.saliency is not None


def test_a_tower_inside_a_compiled_forward_is_none(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    """The vision tower breaks the graph, so that its hooks run in a forward that goes past all others."""
    torch.compiler.reset()
    compiled = torch.compile(thinker.forward, backend="eager")
    with torch.no_grad():
        compiled(**silent_clip)
        with (
            pytest.warns(RuntimeWarning, match="nothing was pruned"),
            attach(thinker, Schedule(before_llm=DiversitySelector(0.5, weighted=False))),
        ):
            compiled(**silent_clip)
    torch.compiler.reset()


AT_EXIT = """
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.guards.refusals import LATE
from seats_ops.integrations import attach

model = small_thinker()
trace = attach(model, LATE).__enter__()
other = attach(small_thinker(), LATE)
print("end", flush=True)
"""


def test_the_interpreter_may_end_inside_a_block() -> None:
    done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "end\n"
    assert "Error" not in done.stderr and "Traceback" not in done.stderr


def test_it_stays_with_its_model(thinker: nn.Module) -> None:
    attachment = attach(thinker, LATE)
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="Attachment"):
            copied(attachment)
    with pytest.warns(RuntimeWarning, match="nothing was pruned"), attachment:
        pass
