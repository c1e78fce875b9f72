"""Turns: one call at a time, over when its frame is gone."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from seats_ops import UnsupportedModelState
from seats_ops.integrations.huggingface import turns as module
from seats_ops.integrations.huggingface.turns import Turns, methods_run_of


def in_a_thread(call: Callable[[], Any]) -> Any:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except UnsupportedModelState as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def taken(turns: Turns) -> bool:
    """The turn of a call that is over when this returns, and has not said so."""
    turns.take(sys._getframe())
    return turns.is_mine()


def test_a_call_lasts_as_long_as_its_frame() -> None:
    turns = Turns()
    assert not turns.is_taken() and not turns.is_mine()
    assert taken(turns)
    assert not turns.is_taken() and not turns.is_mine()
    assert in_a_thread(lambda: taken(turns))
    assert not turns.is_taken()


def test_what_a_call_calls_is_a_part_of_it() -> None:
    turns, frame = Turns(), sys._getframe()
    turns.take(frame)
    assert taken(turns)
    assert turns.is_mine()
    turns.end(sys._getframe(0))
    assert not turns.is_taken()


def test_the_end_of_a_part_is_not_the_end() -> None:
    turns = Turns()
    turns.take(sys._getframe())

    def part() -> None:
        turns.take(sys._getframe())
        turns.end(sys._getframe())

    part()
    assert turns.is_mine()


def test_others_are_refused_and_see_it() -> None:
    turns = Turns()
    turns.take(sys._getframe())
    assert isinstance(in_a_thread(lambda: taken(turns)), UnsupportedModelState)
    assert in_a_thread(turns.is_taken) and not in_a_thread(turns.is_mine)
    turns.end(sys._getframe())
    assert in_a_thread(lambda: taken(turns)) is True


def test_of_many_who_want_to_be_next_one_is() -> None:
    """After a call that never said that it was over, with threads switched as often as can be."""
    turns, interval = Turns(), sys.getswitchinterval()
    inside, most, refused = 0, 0, 0
    start, done = threading.Barrier(4), threading.Lock()

    def attempt() -> None:
        nonlocal inside, most
        turns.take(sys._getframe())
        inside += 1
        most = max(most, inside)
        time.sleep(1e-5)
        inside -= 1

    def work() -> None:
        nonlocal refused
        start.wait()
        for _ in range(200):
            try:
                attempt()
            except UnsupportedModelState:
                with done:
                    refused += 1

    taken(turns)
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert most == 1 and inside == 0 and refused > 0
    assert not turns.is_taken()


class _Model:
    """Its code counts as that of transformers."""

    def forward(self, look: Callable[[], bool]) -> tuple[bool, torch.Tensor | None]:
        """What is found, and what is left of a local variable after that."""
        local = torch.zeros(1)
        watched = weakref.ref(local)
        found = look()
        del local
        return found, watched()


def test_looking_for_methods_keeps_nothing_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a look would leave behind is freed by the next one, of a thread that goes on meanwhile: a crash."""
    monkeypatch.setattr(module, "_TRANSFORMERS", __file__)
    model, other = _Model(), _Model()
    assert model.forward(lambda: methods_run_of({id(model)})) == (True, None)
    assert model.forward(lambda: methods_run_of({id(other)})) == (False, None)
