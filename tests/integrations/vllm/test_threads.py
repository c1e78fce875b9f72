"""A processor that threads share: what it remembers of items holds, and profiling in one is none in another."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seats_ops.integrations.vllm import reach
from seats_ops.integrations.vllm.reach import Reach
from tests.integrations.vllm.checkpoint import config


class Slow(OrderedDict[str, int]):
    """Lets another thread run after each look and before each change."""

    def __contains__(self, name: object) -> bool:
        found = super().__contains__(name)
        time.sleep(1e-4)
        return found

    def move_to_end(self, name: str, last: bool = True) -> None:
        time.sleep(1e-4)
        super().move_to_end(name, last)


def sound(seconds: int) -> dict[str, Any]:
    """An item of 25 tokens a second."""
    return {"audio_feature_lengths": SimpleNamespace(data=torch.tensor(100 * seconds))}


def made(names: list[str]) -> dict[str, Any]:
    """What a processor gives for sounds of which no token stays."""
    return {"mm_hashes": {"audio": names}, "mm_placeholders": {"audio": [SimpleNamespace(length=0)] * len(names)}}


def test_threads_that_note_and_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "REMEMBERED", 8)
    monkeypatch.setattr(reach, "unit_of", lambda config, modality, data: SimpleNamespace(end=int(data["length"])))
    shared, model = Reach(1), config()
    shared._ends = Slow()

    def work(seed: int) -> None:
        for number in range(50):
            name = str((seed + number) % 12)
            item = {"length": SimpleNamespace(data=torch.tensor(7))}
            shared.note(model, {"audio": [name]}, {"audio": [item]})
            with suppress(ValueError):
                shared.check(model, 0, made([str((seed * 5 + number) % 12)]), ["audio"])

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work, 3 * seed) for seed in range(8)]:
            done.result()
    assert len(shared._ends) == 8


def test_items_go_on_by_name_and_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "REMEMBERED", 2)
    known = Reach(1)
    room = config().get_text_config().max_position_embeddings
    known.note(config(), {"audio": ["a", "b"]}, {"audio": [sound(60), sound(80)]})
    # 60 s and 80 s are 3,500 positions.
    known.check(config(), room - 3500, made(["b", "a"]), ["audio"])
    with pytest.raises(ValueError, match="at most 3499 ahead of tokens, got 3500"):
        known.check(config(), room - 3499, made(["a", "b"]), ["audio"])
    known.check(config(), 0, made(["a"]), ["audio"])
    known.note(config(), {"audio": ["c"]}, {"audio": [sound(1)]})
    known.check(config(), 0, made(["a", "c"]), ["audio"])
    with pytest.raises(ValueError, match=f"got {reach.LONGEST}"):
        known.check(config(), 0, made(["b"]), ["audio"])


def test_a_request_beside_profiling_is_checked() -> None:
    pytest.importorskip("vllm")
    from vllm.multimodal.processing.processor import BaseMultiModalProcessor

    from seats_ops.integrations.vllm.processor import SeatsProcessor

    begun, end = threading.Event(), threading.Event()

    class Engine(BaseMultiModalProcessor[Any]):
        """vLLM's, of which a thread profiles until the end."""

        _call_hf_processor = _get_mm_fields_config = _get_prompt_updates = None  # type: ignore[assignment]

        def __init__(self) -> None: ...

        def get_dummy_mm_inputs(self, *args: Any, **kwargs: Any) -> Any:
            begun.set()
            assert end.wait(60)
            return self.apply("a dummy", None)

        def apply(self, inputs: Any, timing_ctx: Any) -> Any:
            return f"made of {inputs}"

    class Ours(SeatsProcessor, Engine):
        """Refuses all requests."""

        def kinds(self, inputs: Any) -> Any:
            raise ValueError(f"checked {inputs}")

    processor = Ours()
    with ThreadPoolExecutor(1) as threads:
        profiled = threads.submit(processor.get_dummy_mm_inputs, {})
        try:
            assert begun.wait(60)
            with pytest.raises(ValueError, match="checked a request"):
                processor.apply("a request", None)
        finally:
            end.set()
        assert profiled.result() == "made of a dummy"
    with pytest.raises(ValueError, match="checked a request"):
        processor.apply("a request", None)
