"""Two threads with a model each, and what belongs to whom when schedules take turns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn

from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.batching import Alone, alone, answers, assert_kept_alike, batch_of, rows_of
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import text_model

ROUNDS = 2


class _Turns:
    """Lets two threads run one layer each, over and over, so that their forwards are interleaved for certain."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2)

    def __call__(self, *_: Any) -> None:
        try:
            self.barrier.wait(timeout=20)
        except threading.BrokenBarrierError:
            return  # the other one has finished


def interleaved(work: list[Callable[[], Any]], models: list[nn.Module]) -> list[Any]:
    """Results of two pieces of work in threads of their own, layer by layer at the same time."""
    turns = _Turns()
    handles = [layer.register_forward_pre_hook(turns) for model in models for layer in text_model(model).layers]

    def run(piece: Callable[[], Any]) -> Any:
        try:
            return piece()
        finally:
            turns.barrier.abort()

    try:
        with ThreadPoolExecutor(2) as pool:
            return [future.result() for future in [pool.submit(run, piece) for piece in work]]
    finally:
        for handle in handles:
            handle.remove()


def test_two_threads_with_a_model_each(attention: str, clip: dict[str, Any]) -> None:
    models = [small_thinker(attention, seed=seed) for seed in (0, 1)]
    names, policies = ("preset", "several_stages_at_one_place"), ("uniform", "per-layer")
    batch = batch_of(rows_of(models[0].config, "interleaved"))

    def talk(index: int) -> list[Any]:
        heard = []
        with attach(models[index], SCHEDULES[names[index]](models[index].config), kv_policy=policies[index]) as trace:
            for inputs in [clip, batch] * ROUNDS:
                ids, logits = answers(models[index], inputs, 3)
                kept = [[row.tolist() for row in stage.kept_indices] for stage in trace.stages]
                heard.append((ids, logits, kept, list(trace.kv_lengths)))
        return heard

    expected = [talk(0), talk(1)]
    footprints = [probes.footprint(model) for model in models]
    got = interleaved([lambda: talk(0), lambda: talk(1)], models)
    for one, other in zip(got, expected, strict=True):
        for (ids, logits, *rest), (wanted_ids, wanted_logits, *wanted) in zip(one, other, strict=True):
            assert torch.equal(ids, wanted_ids)
            assert torch.equal(logits, wanted_logits)
            assert rest == wanted
    assert [probes.footprint(model) for model in models] == footprints


def test_a_thread_that_prunes_leaves_one_alone_that_does_not(attention: str, clip: dict[str, Any]) -> None:
    models = [small_thinker(attention, seed=seed) for seed in (0, 1)]
    schedule = SCHEDULES["preset"](models[0].config)

    def prune() -> Any:
        with attach(models[0], schedule):
            return [probes.generate(models[0], clip, 4) for _ in range(ROUNDS)]

    def plain() -> Any:
        return [probes.generate(models[1], clip, 4) for _ in range(ROUNDS)]

    expected = [prune(), plain()]
    for one, other in zip(interleaved([prune, plain], models), expected, strict=True):
        for answer, wanted in zip(one, other, strict=True):
            probes.assert_same(answer, wanted)


def test_schedules_that_take_turns_on_one_model(thinker: nn.Module, kv_policy: str) -> None:
    """Each finds the model as if it were the first, batches and single prompts alike."""
    names = ["preset", "only_audio_dropped", "pruners_only"]
    rows = rows_of(thinker.config, "interleaved")
    batch = batch_of(rows)
    expected: dict[str, list[Alone]] = {}
    for name in names:
        fresh = small_thinker(thinker.config._attn_implementation)
        expected[name] = alone(fresh, rows, SCHEDULES[name](fresh.config), 2, kv_policy=kv_policy)
    before = answers(thinker, batch, 2)
    for name in [*names, *reversed(names)]:
        with attach(thinker, SCHEDULES[name](thinker.config), kv_policy=kv_policy) as trace:
            ids, _ = answers(thinker, batch, 2)
        assert_kept_alike(trace, batch, expected[name])
        assert ids.tolist() == [single.ids.tolist() for single in expected[name]]
        assert torch.equal(answers(thinker, batch, 2)[1], before[1])
