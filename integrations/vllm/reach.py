"""How far the positions of a request reach: an engine looks them up in a table, and ends where one lies beyond it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from seats_ops.integrations.vllm.channels import LONGEST
from seats_ops.integrations.vllm.features import unit_of

REMEMBERED = 100_000
"""Items whose length in positions is known after they left for the engine's cache."""


class Reach:
    """Adds up how far the media of a request go on without tokens, as positions do where tokens were dropped.

    Args:
        table: contexts of the model's config that an engine has positions for.
    """

    def __init__(self, table: int) -> None:
        self.table = table
        self.ends: OrderedDict[str, int] = OrderedDict()

    def check(self, config: Any, context: int, made: Any, modalities: Iterable[str]) -> None:
        """Raise ValueError for media after which text and answer may not be numbered any more.

        Args:
            config: of the model or thinker.
            context: tokens of a prompt with its answer at most.
            made: a processor's result, in which items that the engine has are None.
            modalities: those whose items stand for themselves.
        """
        ahead = 0
        for modality in modalities:
            names, items, places = (made[key][modality] for key in ("mm_hashes", "mm_kwargs", "mm_placeholders"))
            for name, item, place in zip(names, items, places, strict=True):
                # First by name: what a cache between processes hands on of an item that it has is not the item.
                if name in self.ends:
                    self.ends.move_to_end(name)
                elif item is not None:
                    data = {key: None if field is None else field.data for key, field in item.items()}
                    self.ends[name] = unit_of(config, modality, data).end
                ahead += self.ends.get(name, LONGEST) - place.length
        while len(self.ends) > REMEMBERED:
            self.ends.popitem(last=False)
        most = self.table * config.get_text_config().max_position_embeddings - context
        if ahead > most:
            raise ValueError(
                f"media: expected positions at most {most} ahead of tokens, got {ahead}; shorter media, another `fps` "
                "or an engine with a lower max_model_len have room"
            )
