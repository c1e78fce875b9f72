"""A round of requests to an engine, whatever the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Asked:
    """What is asked for in a round.

    Attributes:
        requests: prompts, each with a clip of its own.
        seconds: of a clip, two frames each, and its sound.
        side: pixels of a frame's side.
        tokens: of an answer.
    """

    requests: int
    seconds: int
    side: int
    tokens: int

    def check(self, concurrency: Sequence[int], width: int | None) -> None:
        """Raise ValueError for what cannot be served.

        Args:
            concurrency: requests at once.
            width: of a decoder with random weights, whose checkpoint has bounds of its own; None of another model.
        """
        most = (600, 1120) if width is None else (20, 224)
        if not 1 <= min(concurrency) <= max(concurrency) <= self.requests:
            got = ", ".join(map(str, concurrency))
            raise ValueError(f"concurrency: expected 1 to {self.requests}, the requests of a round, got {got}")
        if not 2 <= self.seconds <= most[0]:
            raise ValueError(f"seconds: expected 2 to {most[0]}, got {self.seconds}")
        if not 56 <= self.side <= most[1] or self.side % 28:
            raise ValueError(f"side: expected a multiple of 28 from 56 to {most[1]}, got {self.side}")
        if self.tokens < 2:
            raise ValueError(f"tokens: expected 2 at least, got {self.tokens}")
        if width is not None and (width < 64 or width % 64):
            raise ValueError(f"width: expected a multiple of 64, got {width}")


@dataclass
class Round:
    """Seconds, on the clock of the caller.

    Attributes:
        seconds: from the first request given to the last answer.
        first_tokens: of every request, from when it was given.
        preparing: before the round: media read and prompts written, which a server does in another process.
        prompt_tokens: of a request, as the engine counts them.
    """

    seconds: float = 0.0
    first_tokens: list[float] = field(default_factory=list)
    preparing: float = 0.0
    prompt_tokens: int = 0


class Engine(Protocol):
    """What a round needs of an engine."""

    def add(self, name: str, prepared: Any) -> None:
        """Give it a request."""

    def step(self) -> Sequence[tuple[str, int, bool]]:
        """Let it work: (request, tokens of its answer so far, whether it has ended)."""


def run_round(engine: Engine, prepared: Sequence[Any], concurrency: int, now: Callable[[], float]) -> Round:
    """`concurrency` requests at once: one that has ended makes room for the next."""
    found, given, waiting, running = Round(), dict[str, float](), list(enumerate(prepared)), 0
    start = now()
    while waiting or running:
        while waiting and running < concurrency:
            number, request = waiting.pop(0)
            given[str(number)] = now()
            engine.add(str(number), request)
            running += 1
        for name, tokens, ended in engine.step():
            if tokens and name in given:
                found.first_tokens.append(now() - given.pop(name))
            running -= ended
    found.seconds = now() - start
    return found
