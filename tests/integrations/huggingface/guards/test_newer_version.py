"""A transformers newer than the newest tested: a family is tried once, and refused if pruning comes out wrong."""

from __future__ import annotations

import dataclasses
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from seats_ops import ModalityDropper, Schedule, UnsupportedModelState
from seats_ops.integrations import Family, VisionTower, attach
from seats_ops.integrations.huggingface import adapter, prefill
from seats_ops.integrations.huggingface.cache import cache
from seats_ops.integrations.huggingface.families import family as family_module
from seats_ops.integrations.huggingface.families.family import FAMILIES
from seats_ops.integrations.huggingface.guards import newer_version, probe
from tests.integrations.huggingface.families.families import SMALL

RECENT = tuple(map(int, transformers.__version__.split(".")[:2])) >= (5, 23)
LATE = Schedule(after_layer={3: ModalityDropper()})
CLASSES = {family.thinker: family for family in FAMILIES}


def touch(*args: Any, **options: Any) -> None:
    """Attach and go, without what is said of that."""
    attachment = attach(*args, **options)
    attachment._was_entered = True


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed counts as newer, and nothing as tried."""
    monkeypatch.setattr(newer_version, "newer_than_tested", lambda: "9.9.9")
    monkeypatch.setattr(newer_version, "_found", {})


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """Classes, in the order in which they are tried."""
    tried: list[type] = []
    original = newer_version.problem_with

    def recording(family: Family, cls: type, attach: Any) -> str:
        tried.append(cls)
        return original(family, cls, attach)

    monkeypatch.setattr(newer_version, "problem_with", recording)
    return tried


@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize("family", SMALL)
def test_one_warning_that_names_the_version(family: str, tries: list[type]) -> None:
    model = SMALL[family]("sdpa")
    with pytest.warns(UserWarning) as caught:
        for _ in range(2):
            touch(model, LATE)
    (warning,) = caught
    assert str(warning.message).startswith("transformers 9.9.9 is newer than ")
    assert f"a tiny {type(model).__name__} comes out right" in str(warning.message)
    assert warning.filename == __file__
    assert tries == [type(model)]


@pytest.mark.skipif(not RECENT, reason="what is tried is newer than what is tested, and generates with less overhead")
@pytest.mark.usefixtures("newer")
@pytest.mark.filterwarnings("ignore:transformers 9.9.9")
@pytest.mark.parametrize("family", SMALL)
def test_it_takes_less_than_half_a_second(family: str) -> None:
    """Of computing, in the best of three: neighbours on the machine count for less than with a clock on the wall."""
    model, taken = SMALL[family]("sdpa"), []
    for _ in range(3):
        newer_version._found.clear()
        start = time.process_time()
        touch(model, LATE)
        taken.append(time.process_time() - start)
    assert min(taken) < 0.5, taken


def test_a_version_that_is_tested_is_not_tried(tries: list[type]) -> None:
    touch(SMALL["qwen3_vl"]("sdpa"), LATE)
    assert tries == []


def rename(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache comes under a name that nobody knows."""
    monkeypatch.setattr(adapter, "cache_argument", lambda arguments: ("cache", None))


def rename_in_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "cache_of", lambda output: None)


def one_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    original = prefill.Prefill.before_layer

    def before_layer(self: Any, *args: Any) -> Any:
        hidden, kwargs = original(self, *args)
        return torch.nextafter(hidden, torch.full_like(hidden, torch.inf)), kwargs

    monkeypatch.setattr(prefill.Prefill, "before_layer", before_layer)


def physical_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.PrunedLayer, "get_seq_length", lambda self: self.physical_length)


def stale_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers go on with the rotary embedding of the first tokens."""
    original = prefill.Prefill._rows

    def rows(self: Any, source: Any, *tensors: Any) -> Any:
        found = original(self, source, *tensors)
        return found if len(tensors) == 1 else [found[0], *(x[:, : found[0].shape[1]] for x in tensors[1:])]

    monkeypatch.setattr(prefill.Prefill, "_rows", rows)


def moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder is somewhere else."""

    def part(thinker: nn.Module, path: str) -> Any:
        if path in ("model", "model.language_model"):
            raise AttributeError(path)
        return thinker.get_submodule(path.replace("elsewhere", "language_model"))

    monkeypatch.setattr(family_module, "part", part)


def keys_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "prune_cache", lambda *_: None)


KEEPS, IN_GENERATE, IN_A_LOOP = "a schedule that keeps everything: ", "in generate: ", "in forwards by hand, .*: "
FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "cache_renamed": (
        rename,
        # Before 5.18 the mask of all tokens comes with each of them.
        KEEPS + r"(prompt: expected \[\d\d\], got \[1\]|ValueError: attention_mask: expected shape \[1, 1\])",
    ),
    "cache_renamed_in_outputs": (rename_in_outputs, IN_GENERATE + r"keys of the prompt: expected \[\d.*, got \[\]"),
    "one_bit": (one_bit, KEEPS + "expected the logits without it to the last bit, got some that differ by up to"),
    "physical_length": (physical_length, IN_GENERATE + r"length of the cache: expected \d+, got \d+"),
    "stale_positions": (stale_positions, IN_GENERATE + "expected the logits of the whole prompt under masks, got some"),
    "moved": (moved, "could not be tried, as a tiny one does not run on a CPU: AttributeError: model"),
    "keys_of_all": (keys_of_all, IN_GENERATE + r"keys of the prompt: expected \[\d.*, got \[\]"),
}


@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_is_refused(
    monkeypatch: pytest.MonkeyPatch, family: str, fault: str, tries: list[type]
) -> None:
    """As a version would bring it: the check that fails is named, and only what could not be tried is tried again."""
    model = SMALL[family]("sdpa")
    broken, found = FAULTS[fault]
    broken(monkeypatch)
    untried = found.startswith("could not be tried")
    got = "; transformers 9.9.9 is newer than .*, and .*" if untried else ", got 9.9.9: .*"
    for _ in range(2):
        with pytest.raises(UnsupportedModelState, match=f"^transformers: expected .*{got}{found}"):
            attach(model, LATE)
    assert tries == [type(model)] * (2 if untried else 1)


@pytest.mark.usefixtures("newer")
def test_a_tiny_model_that_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a family that is known that is a failure; of the caller's own, it was not tried."""

    def fails(family: Family, cls: type) -> None:
        raise KeyError("depth")

    monkeypatch.setattr(probe, "tiny_model", fails)
    with pytest.raises(
        UnsupportedModelState, match="could not be tried, as a tiny one does not run on a CPU: KeyError: 'depth'"
    ):
        attach(SMALL["qwen3_vl"]("sdpa"), LATE)
    model, own = own_family()
    with pytest.warns(UserWarning, match=r"9.9.9 .*Own could not be tried, .*KeyError: 'depth'"):
        touch(model, LATE, family=own)


class Own(transformers.Qwen3VLForConditionalGeneration):
    """An architecture that is not known."""


def own_family() -> tuple[nn.Module, Family]:
    model = Own._from_config(SMALL["qwen3_vl"]("sdpa").config)
    return model, Family(thinker="Own", vision=VisionTower(("qkv",), window_order=False))


@pytest.mark.usefixtures("newer")
def test_a_family_of_the_callers_own(tries: list[type]) -> None:
    model, own = own_family()
    with pytest.warns(UserWarning, match="a tiny Own comes out right"):
        touch(model, LATE, family=own)
    assert tries == [Own]


@pytest.mark.usefixtures("newer")
def test_an_entry_of_a_known_family_that_was_changed(tries: list[type]) -> None:
    """The tiny model has the rate of the family, the caller's another one."""
    model = SMALL["qwen2_5_omni"]("sdpa")
    model.config.position_id_per_seconds = 13
    own = dataclasses.replace(CLASSES[type(model).__name__], audio_rate=13.0)
    with pytest.warns(UserWarning, match="comes out right"):
        touch(model, LATE, family=own)
    assert tries == [type(model)]


@pytest.mark.usefixtures("newer")
def test_the_callers_entry_is_the_one_that_is_tried(monkeypatch: pytest.MonkeyPatch, tries: list[type]) -> None:
    """Who knows where a newer version put the decoder may say so; a wrong entry says nothing of another one."""
    moved(monkeypatch)
    model = SMALL["qwen3_vl"]("sdpa")
    known = CLASSES[type(model).__name__]
    with pytest.raises(UnsupportedModelState, match="could not be tried"):
        touch(model, LATE, family=known)
    with pytest.warns(UserWarning, match="comes out right"):
        touch(model, LATE, family=dataclasses.replace(known, text_path="model.elsewhere"))
    assert tries == [type(model)] * 2
    with pytest.raises(UnsupportedModelState, match="could not be tried"):
        touch(model, LATE, family=known)


AROUND: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "nothing": nullcontext,
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "default_device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "sdpa_kernel": lambda: sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION),
}


@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("around", AROUND)
def test_what_is_set_around_it(family: str, around: str) -> None:
    model = SMALL[family]("sdpa")
    dtype = torch.get_default_dtype()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    filters = list(warnings.filters)
    with AROUND[around]():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_device()
        with pytest.warns(UserWarning, match="comes out right"):
            touch(model, LATE)
        assert before == (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_device())
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_default_dtype() == dtype
    assert warnings.filters == filters


@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("family", ["qwen2_5_omni", "phi4_multimodal"])
def test_another_default_dtype(family: str, dtype: torch.dtype) -> None:
    model = SMALL[family]("sdpa")
    torch.set_default_dtype(dtype)
    try:
        with pytest.warns(UserWarning, match="comes out right"):
            touch(model, LATE)
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("newer")
@pytest.mark.filterwarnings("ignore:transformers 9.9.9")
def test_threads_that_attach_at_once(tries: list[type]) -> None:
    models, ready, done = [SMALL["qwen3_vl"]("sdpa") for _ in range(3)], threading.Barrier(3), []

    def work(model: nn.Module) -> None:
        ready.wait()
        touch(model, LATE)
        done.append(model)

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 3 and len(tries) == 1


@pytest.mark.usefixtures("newer")
def test_an_interrupt_leaves_it_untried(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SMALL["qwen3_vl"]("sdpa")

    def interrupted(family: Family, cls: type) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(probe, "tiny_model", interrupted)
        with pytest.raises(KeyboardInterrupt):
            attach(model, LATE)
    with pytest.warns(UserWarning, match="comes out right"):
        touch(model, LATE)
