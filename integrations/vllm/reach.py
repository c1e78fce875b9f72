"""How far the positions of a request reach: an engine looks them up in a table, and ends where one lies beyond it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seats_ops.integrations.vllm.channels import LONGEST
from seats_ops.integrations.vllm.features import unit_of

REMEMBERED = 100_000
"""Items whose length in positions is known after they left for the engine's cache."""


class Reach:
    """Adds up how far the media of a request go on without tokens, as positions do where tokens were dropped.

    Threads may share it.

    Args:
        table: contexts of the model's config that an engine has positions for.
    """

    def __init__(self, table: int) -> None:
        self.table = table
        self._ends: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, config: Any, names: Mapping[str, Sequence[str]], items: Mapping[str, Sequence[Any]]) -> None:
        """Remember how long items are in positions, while they are at hand.

        Args:
            config: of the model or thinker.
            names: of items by modality.
            items: the same items.
        """
        found = {}
        for modality, each in items.items():
            for name, item in zip(names[modality], each, strict=True):
                data = {key: None if field is None else field.data for key, field in item.items()}
                found[name] = unit_of(config, modality, data).end
        with self._lock:
            self._ends |= found
            for name in found:
                self._ends.move_to_end(name)
            while len(self._ends) > REMEMBERED:
                self._ends.popitem(last=False)

    def check(self, config: Any, context: int, made: Any, modalities: Iterable[str]) -> None:
        """Raise ValueError for media after which text and answer may not be numbered any more.

        Args:
            config: of the model or thinker.
            context: tokens of a prompt with its answer at most.
            made: a processor's result, of items that were noted.
            modalities: those whose items stand for themselves.
        """
        ahead = 0
        for modality in modalities:
            names, places = (made[key][modality] for key in ("mm_hashes", "mm_placeholders"))
            ahead += sum(self._end(name) - place.length for name, place in zip(names, places, strict=True))
        most = self.table * config.get_text_config().max_position_embeddings - context
        if ahead > most:
            raise ValueError(
                f"media: expected positions at most {most} ahead of tokens, got {ahead}; shorter media, another `fps` "
                "or an engine with a lower max_model_len have room"
            )

    def _end(self, name: str) -> int:
        with self._lock:
            if name not in self._ends:
                return LONGEST
            self._ends.move_to_end(name)
            return self._ends[name]
