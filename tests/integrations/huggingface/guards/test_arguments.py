"""Every argument of the installed transformers is known: a new one fails here before it can go past the adapter."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import GenerationConfig
from transformers.modeling_flash_attention_utils import FlashAttentionKwargs
from transformers.utils.generic import TransformersKwargs

from seats_ops.integrations.huggingface.compat import CACHE_NAMES, LACKS
from seats_ops.integrations.huggingface.families.family import FAMILIES, find_family
from seats_ops.integrations.huggingface.guards.arguments import (
    FORWARD,
    FULL_MODEL,
    GENERATE,
    INSIDE,
    PASSES,
    REFUSED,
    TRANSLATED,
)
from tests.integrations.huggingface.families.families import SMALL, pristine_of

PAGE = Path(__file__).parents[4] / "docs" / "adapter.md"
THINKERS = [getattr(transformers, family.thinker) for family in FAMILIES]
FULL_MODELS = [getattr(transformers, family.full_model) for family in FAMILIES if family.full_model]
FURTHER = {*TransformersKwargs.__optional_keys__, *FlashAttentionKwargs.__optional_keys__}
PARTS = re.compile("(thinker|talker|token2wav)_(.+)")


def names_of(function: Callable[..., Any]) -> set[str]:
    """Parameters by name; `return_dict` where a decorator takes it, and what the function takes from its rest."""
    parameters = inspect.signature(function).parameters.values()
    names = {p.name for p in parameters if p.name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    if any(p.name == "kwargs" for p in parameters):
        source = inspect.getsource(inspect.unwrap(function))
        names |= set(re.findall(r"kwargs\.pop\(\s*\"(\w+)\"", source))
        names |= {"return_dict"} & set(getattr(function, "__code__", function).co_consts)
    return names


def forward_names() -> Iterator[str]:
    for cls in THINKERS:
        yield from names_of(cls.forward)
    yield from FURTHER


def generate_names() -> Iterator[str]:
    for cls in THINKERS:
        for function in (cls.generate, cls.prepare_inputs_for_generation, cls._extract_generation_mode_kwargs):
            yield from names_of(function)
    yield from (name for name in vars(GenerationConfig()) if not name.startswith("_"))


def inner_names() -> Iterator[str]:
    for name in SMALL:
        model = pristine_of(name)
        text_model = find_family(model)[0].text_model(model)
        for module in (text_model, text_model.layers[0]):
            yield from names_of(type(module).forward)


def full_model_names() -> Iterator[str]:
    for cls in FULL_MODELS:
        yield from names_of(cls.generate)


def test_arguments_of_forward() -> None:
    found = set(forward_names())
    assert len(found) > 30
    assert found | {*CACHE_NAMES} == set(FORWARD) - set(LACKS)


def test_arguments_and_settings_of_generate() -> None:
    # Of models with an encoder, not given by a caller, or, before 5.23, of models that no family has.
    internal = {"decoder_attention_mask", "custom_generate_kwargs", "kwargs", "token_type_ids"}
    found = set(generate_names()) - internal
    assert len(found) > 80
    assert found - set(FORWARD) - set(GENERATE) == set()
    # `labels` and `debug_io` are read from the rest by other functions than these.
    assert set(GENERATE) - found == {"labels", "debug_io"}


def test_arguments_of_a_full_model() -> None:
    found = {name for name in full_model_names()}
    parts = {match[0]: match for name in found if (match := PARTS.fullmatch(name))}
    assert found - set(parts) == set(FULL_MODEL)
    spoken_to = {match[2] for match in parts.values() if match[1] == "thinker"}
    assert len(spoken_to) > 1 and spoken_to <= set(FORWARD) | set(GENERATE)


def test_what_decoders_and_their_layers_are_called_with() -> None:
    found = set(inner_names())
    assert found - set(INSIDE) - set(FORWARD) == set()
    assert set(INSIDE) <= found | {*CACHE_NAMES, *LACKS}


def test_a_name_that_is_new_is_seen() -> None:
    def forward(self: Any, input_ids: Any, columns_to_forget: Any = None, **kwargs: Any) -> Any:
        return kwargs.pop("rows_to_forget")

    assert names_of(forward) == {"input_ids", "columns_to_forget", "rows_to_forget"}


def test_every_entry_says_why() -> None:
    for table in (FORWARD, GENERATE, FULL_MODEL, INSIDE):
        for name, argument in table.items():
            assert argument.treatment in (PASSES, TRANSLATED, REFUSED), name
            assert len(argument.reason) > 10, name
            assert argument.treatment == REFUSED or not argument.harmless, name


@pytest.mark.parametrize(("title", "table"), [("forward", FORWARD), ("generate", GENERATE)])
def test_the_page_shows_the_table(title: str, table: dict[str, Any]) -> None:
    grouped: dict[tuple[str, str], list[str]] = {}
    for name, argument in table.items():
        allowed = "".join(f", or {value!r}" for value in argument.harmless)
        grouped.setdefault((argument.treatment + allowed, argument.reason), []).append(f"`{name}`")
    rows = [f"| {', '.join(names)} | {treatment} | {reason} |" for (treatment, reason), names in grouped.items()]
    head = [f"| Argument of `{title}` | | Why |", "| --- | --- | --- |"]
    assert "\n".join([*head, *rows]) + "\n\n" in PAGE.read_text(encoding="utf-8")
