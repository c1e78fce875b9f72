"""One call at a time: what another thread may do to a model that is attached, and what happens when the block ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import UnsupportedModelState
from seats_ops.integrations import attach, detach
from seats_ops.integrations.huggingface.adapter import Adapter
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.models import small_omni
from tests.integrations.huggingface.prompts import Text, Video, build_prompt
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import CACHE, audio_tower, cache_of, rope_deltas, text_model, vision_tower

SECONDS = 30


@pytest.fixture
def attention() -> str:
    return "sdpa"


class _Meeting:
    """A worker stops in a module until it is let go on."""

    def __init__(self, visits: int = 0) -> None:
        self.visits = visits
        self.worker = 0
        self.is_there, self.may_go = threading.Event(), threading.Event()

    def __call__(self, *_: Any) -> None:
        if threading.get_ident() == self.worker and not self.is_there.is_set():
            self.visits -= 1
            if self.visits < 0:
                self.is_there.set()
                assert self.may_go.wait(SECONDS)


class _Worker(threading.Thread):
    """Runs a call and keeps its result, or what it raised."""

    def __init__(self, meeting: _Meeting, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.meeting, self.call = meeting, call
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        self.meeting.worker = threading.get_ident()
        try:
            with torch.no_grad():
                self.result = self.call()
        except BaseException as error:
            self.error = error

    def finish(self) -> Any:
        self.meeting.may_go.set()
        self.join(SECONDS)
        if self.error is not None:
            raise self.error
        return self.result


@contextmanager
def stopped(module: nn.Module, call: Callable[[], Any], visits: int = 0) -> Iterator[_Worker]:
    """A worker in the middle of `call`, after `visits` passes through `module`."""
    meeting = _Meeting(visits)
    handle = module.register_forward_hook(meeting)
    worker = _Worker(meeting, call)
    worker.start()
    try:
        assert meeting.is_there.wait(SECONDS)
        yield worker
    finally:
        meeting.may_go.set()
        worker.join(SECONDS)
        handle.remove()


PLACES: dict[str, tuple[Callable[[Any], nn.Module], int]] = {
    "vision_tower": (lambda model: vision_tower(model).blocks[0], 0),
    "audio_tower": (lambda model: audio_tower(model).layers[0], 0),
    "first_layer": (lambda model: text_model(model).layers[0], 0),
    "between_drops": (lambda model: text_model(model).layers[3], 0),
    "last_layer": (lambda model: text_model(model).layers[-1], 0),
    "while_decoding": (lambda model: text_model(model).layers[3], 2),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_block_that_ends_under_a_generation(
    thinker: nn.Module, clip: dict[str, Any], kv_policy: str, place: str
) -> None:
    """It goes on pruned, others are answered unpruned meanwhile, and the last one turns off the light."""
    schedule = SCHEDULES["preset"](thinker.config)
    plain, footprint = probes.generate(thinker, clip, 4), probes.footprint(thinker)
    with attach(thinker, schedule, kv_policy=kv_policy):
        expected = probes.generate(thinker, clip, 4)
    find, visits = PLACES[place]
    attachment = attach(thinker, schedule, kv_policy=kv_policy)
    trace = attachment.__enter__()
    with stopped(find(thinker), lambda: probes.generate(thinker, clip, 4), visits) as worker:
        attachment.close()
        probes.assert_same(probes.generate(thinker, clip, 4), plain)
        with pytest.raises(UnsupportedModelState, match="attached already"), attach(thinker, schedule):
            pass
        probes.assert_same(worker.finish(), expected)
    assert trace.stages
    assert probes.footprint(thinker) == footprint
    probes.assert_same(probes.generate(thinker, clip, 4), plain)


@pytest.mark.parametrize("breaks", [False, True], ids=["ends", "breaks"])
def test_a_block_that_ends_under_a_forward(thinker: nn.Module, clip: dict[str, Any], breaks: bool) -> None:
    schedule, layers = SCHEDULES["preset"](thinker.config), text_model(thinker).layers
    plain, footprint = probes.generate(thinker, clip, 3), probes.footprint(thinker)
    with torch.no_grad(), attach(thinker, schedule):
        expected = thinker(**clip).logits
    attachment = attach(thinker, schedule)
    attachment.__enter__()
    with stopped(layers[2], lambda: thinker(**clip).logits) as worker:
        attachment.close()
        if breaks:
            fuse = layers[4].register_forward_pre_hook(lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                worker.finish()
            fuse.remove()
        else:
            assert torch.equal(worker.finish(), expected)
    probes.assert_same(probes.generate(thinker, clip, 3), plain)
    with torch.no_grad(), attach(thinker, schedule):
        assert torch.equal(thinker(**clip).logits, expected)
    assert probes.footprint(thinker) == footprint


def test_a_streamer_that_ends_the_block(thinker: nn.Module, clip: dict[str, Any]) -> None:
    schedule = SCHEDULES["preset"](thinker.config)
    with attach(thinker, schedule):
        expected = probes.generate(thinker, clip, 4)
    footprint = probes.footprint(thinker)
    attachment = attach(thinker, schedule)

    class Streamer:
        def put(self, _: Any) -> None:
            attachment.close()

        def end(self) -> None:
            attachment.close()

    with attachment:
        probes.assert_same(probes.generate(thinker, clip, 4, streamer=Streamer()), expected)
        assert probes.footprint(thinker) == footprint


CALLS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "generate": lambda model, clip: probes.generate(model, clip, 2),
    "forward": lambda model, clip: model(**clip),
    "encode": lambda model, clip: model.get_video_features(clip["pixel_values_videos"], clip["video_grid_thw"]),
    "text_model": lambda model, clip: text_model(model)(inputs_embeds=torch.zeros(1, 4, 64)),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("place", ["vision_tower", "between_drops", "while_decoding"])
def test_a_second_thread_is_refused(thinker: nn.Module, clip: dict[str, Any], place: str, call: str) -> None:
    schedule = SCHEDULES["preset"](thinker.config)
    find, visits = PLACES[place]
    with attach(thinker, schedule) as trace:
        expected = probes.generate(thinker, clip, 4)
        kept = [stage.kept_indices[0].tolist() for stage in trace.stages]
        with stopped(find(thinker), lambda: probes.generate(thinker, clip, 4), visits) as worker:
            with (
                torch.no_grad(),
                probes.produced_logits(thinker) as produced,
                pytest.raises(UnsupportedModelState, match=r"one call at a time|called through the thinker"),
            ):
                CALLS[call](thinker, clip)
            assert produced == []
            probes.assert_same(worker.finish(), expected)
        assert [stage.kept_indices[0].tolist() for stage in trace.stages] == kept
        probes.assert_same(probes.generate(thinker, clip, 4), expected)


def test_a_full_model_is_one_model(clip: dict[str, Any]) -> None:
    model = small_omni()
    find, visits = PLACES["between_drops"]
    with attach(model, SCHEDULES["preset"](model.config)):
        expected = probes.generate(model.thinker, clip, 3)
        with stopped(find(model.thinker), lambda: probes.generate(model.thinker, clip, 3), visits) as worker:
            with pytest.raises(UnsupportedModelState, match="one call at a time"):
                model.generate(**clip, return_audio=False)
            probes.assert_same(worker.finish(), expected)


def test_threads_that_take_turns(thinker: nn.Module, clip: dict[str, Any]) -> None:
    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        expected = probes.generate(thinker, clip, 3)
        for _ in range(3):
            worker = _Worker(_Meeting(), lambda: probes.generate(thinker, clip, 3))
            worker.start()
            probes.assert_same(worker.finish(), expected)
            probes.assert_same(probes.generate(thinker, clip, 3), expected)


@pytest.mark.parametrize("entry", ["forward", "generate"])
def test_an_interrupted_call_is_over(thinker: nn.Module, clip: dict[str, Any], entry: str) -> None:
    """No hook runs after a KeyboardInterrupt; the next one comes from another thread."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        expected = probes.generate(thinker, clip, 3)
        handle = text_model(thinker).layers[3].register_forward_pre_hook(interrupt)
        with torch.no_grad(), pytest.raises(KeyboardInterrupt):
            CALLS[entry](thinker, clip)
        handle.remove()
        worker = _Worker(_Meeting(), lambda: probes.generate(thinker, clip, 3))
        worker.start()
        probes.assert_same(worker.finish(), expected)


def decode(model: Any, cache: Any, **positions: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5]]), **{CACHE: cache}, **positions).logits


def test_loops_that_take_turns(thinker: nn.Module, clip: dict[str, Any]) -> None:
    """transformers counts new tokens from the latest prompt that it has seen, also without pruning."""
    other = build_prompt(thinker.config, Text(4), Video((4, 4, 6), 1.0, mel_frames=390), Text(5), seed=9)
    with torch.no_grad(), attach(thinker, SCHEDULES["preset"](thinker.config)):
        expected = decode(thinker, cache_of(thinker(**clip, use_cache=True)))
        first = cache_of(thinker(**clip, use_cache=True))
        place = rope_deltas(thinker) + clip["input_ids"].shape[1]
        second = cache_of(thinker(**other, use_cache=True))
        with probes.produced_logits(thinker) as produced, pytest.raises(UnsupportedModelState, match=CACHE):
            decode(thinker, first)
        assert produced == []
        assert torch.equal(decode(thinker, first, position_ids=place.expand(3, 1, 1)), expected)
        decode(thinker, second)
        # Two prompts whose positions are alike do not need them.
        again = cache_of(thinker(**clip, use_cache=True))
        thinker(**clip, use_cache=True)
        assert torch.equal(decode(thinker, again), expected)


@pytest.mark.parametrize("place", PLACES)
def test_a_block_that_begins_under_a_call(thinker: nn.Module, clip: dict[str, Any], place: str) -> None:
    plain, footprint = probes.generate(thinker, clip, 4), probes.footprint(thinker)
    find, visits = PLACES[place]
    attachment = attach(thinker, SCHEDULES["preset"](thinker.config))
    with stopped(find(thinker), lambda: probes.generate(thinker, clip, 4), visits) as worker:
        with pytest.raises(UnsupportedModelState, match="call is under way"):
            attachment.__enter__()
        assert probes.footprint(thinker)[""] == footprint[""]
        probes.assert_same(worker.finish(), plain)
    assert probes.footprint(thinker) == footprint


def test_of_two_who_attach_at_once_one_does(thinker: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    footprint, schedule = probes.footprint(thinker), SCHEDULES["preset"](thinker.config)
    meeting, original = threading.Barrier(2), Adapter.register

    def register(adapter: Adapter) -> None:
        meeting.wait(SECONDS)
        original(adapter)
        meeting.wait(SECONDS)

    monkeypatch.setattr(Adapter, "register", register)
    workers = [_Worker(_Meeting(), attach(thinker, schedule).__enter__) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(SECONDS)
    errors = [worker.error for worker in workers if worker.error is not None]
    assert len(errors) == 1 and isinstance(errors[0], UnsupportedModelState)
    with pytest.warns(RuntimeWarning, match="nothing was pruned"):
        detach(thinker)
    assert probes.footprint(thinker) == footprint
