"""Which tokens are the question, in prompts as the families' chat templates write them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import Schedule, TokenLayout
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.prompt.question import TurnTokens, question_tokens
from tests.integrations.huggingface.asking import Asks
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.prompts import Text, Video, build_prompt

WORDS = {"<|im_start|>": 1, "<|im_end|>": 2, "<|endoftext|>": 3, "<vision>": 4, "</vision>": 5, "<audio>": 6}
WORDS |= {"</audio>": 7, "\n": 8, "system": 9, "user": 10, "assistant": 11, "<|user|>": 12, "<|assistant|>": 13}
WORDS |= {"<|end|>": 14, "V": 15, "A": 16, "I": 17}
KINDS = {"V": 1, "A": 2, "I": 3}
QWEN = TurnTokens(frozenset({2, 3}), frozenset({1, 2, 3, 4, 5, 6, 7}))
PHI = TurnTokens(frozenset({14, 3}), frozenset({3, 14}))
OPEN = "<|im_end|> \n <|im_start|> assistant \n"
SYSTEM = "<|im_start|> system \n be kind <|im_end|> \n <|im_start|> user \n"

PROMPTS = {
    "qwen": (QWEN, f"{SYSTEM} <vision> V V </vision> what is this {OPEN}", "what is this"),
    "interleaved": (QWEN, f"{SYSTEM} <vision> <audio> V A V A </audio> </vision> who {OPEN}", "who"),
    "timestamps": (QWEN, f"{SYSTEM} 0.5 <vision> V </vision> 1.5 <vision> V </vision> who {OPEN}", "who"),
    "words before, too": (QWEN, f"{SYSTEM} look <vision> I </vision> who {OPEN}", "who"),
    "media last": (QWEN, f"{SYSTEM} who <vision> I </vision> {OPEN}", f"</vision> {OPEN}"),
    "a line break": (QWEN, f"{SYSTEM} <vision> V </vision> \n who \n {OPEN}", "\n who \n"),
    "another turn": (
        QWEN,
        f"{SYSTEM} <vision> V </vision> who {OPEN} a cat <|im_end|> \n <|im_start|> user \n which one {OPEN}",
        "which one",
    ),
    "an answer begun": (QWEN, f"{SYSTEM} <vision> V </vision> who {OPEN} it is a", "who"),
    "another turn, an answer begun": (
        QWEN,
        f"{SYSTEM} <vision> V </vision> who {OPEN} a cat <|im_end|> \n <|im_start|> user \n which one {OPEN} it is a",
        "\n <|im_start|> user \n which one",
    ),
    "no template": (QWEN, "<vision> V </vision> who is it", "who is it"),
    "the end of a text": (QWEN, "<vision> V </vision> who is it <|endoftext|>", "who is it"),
    "no special tokens": (TurnTokens(), f"{SYSTEM} <vision> V </vision> who {OPEN}", f"</vision> who {OPEN}"),
    "text alone": (QWEN, f"{SYSTEM} who is it {OPEN}", "who is it"),
    "phi": (PHI, "<|user|> I I what is this <|end|> <|assistant|>", "what is this"),
    "phi, another turn": (
        PHI,
        "<|user|> I A who <|end|> <|assistant|> me <|end|> <|user|> and who else <|end|> <|assistant|>",
        "and who else",
    ),
}


def ids_of(text: str) -> list[int]:
    """A number for every word; those that have none are numbered by their letters."""
    return [WORDS[word] if word in WORDS else 100 + sum(word.encode()) for word in text.split(" ") if word]


def layout_of(prompts: list[str]) -> tuple[torch.Tensor, TokenLayout]:
    ids = [ids_of(prompt) for prompt in prompts]
    kinds = {WORDS[word]: kind for word, kind in KINDS.items()}
    flat = [token for row in ids for token in row]
    offsets = torch.tensor([0, *map(len, ids)]).cumsum(0)
    positions = torch.cat([torch.arange(len(row)) for row in ids])
    return torch.tensor(flat), TokenLayout(torch.tensor([kinds.get(token, 0) for token in flat]), positions, offsets)


@pytest.mark.parametrize("name", PROMPTS)
def test_question(name: str) -> None:
    tokens, prompt, expected = PROMPTS[name]
    ids, layout = layout_of([prompt])
    question = question_tokens(ids, layout, tokens)
    assert ids[question].tolist() == ids_of(expected)
    assert bool((question.nonzero().diff(dim=0) == 1).all())


def test_questions_of_a_batch() -> None:
    mine = [(prompt, expected) for tokens, prompt, expected in PROMPTS.values() if tokens is QWEN]
    ids, layout = layout_of([prompt for prompt, _ in mine])
    question = question_tokens(ids, layout, QWEN)
    for (_, expected), row in zip(mine, range(len(mine)), strict=True):
        here = question & (layout.rows() == row)
        assert ids[here].tolist() == ids_of(expected)


def test_an_empty_prompt_asks_nothing() -> None:
    layout = TokenLayout(torch.zeros(2, dtype=torch.long), torch.arange(2), torch.tensor([0, 0, 2]))
    assert question_tokens(torch.tensor([50, 51]), layout, QWEN).tolist() == [True, True]


def test_special_tokens_of_a_model() -> None:
    model: Any = SimpleNamespace(
        config=SimpleNamespace(bos_token_id=1, vision_end_token_id=5, eos_token_id=None),
        generation_config=SimpleNamespace(eos_token_id=[2, 3], pad_token_id=3),
    )
    found = TurnTokens.from_model(model, SimpleNamespace(eos_token_id=2, audio_end_token_id=7))
    assert found.ends == {2, 3} and found.around == {1, 2, 3, 5, 7}
    assert TurnTokens.from_model(nn.Module.__new__(type("Bare", (), {"config": None})), None) == TurnTokens()


@pytest.mark.parametrize("entry", ["generate", "forward"])
def test_inside_a_model(entry: str) -> None:
    """Of a prompt whose last words are an end of turn and the opening of another."""
    model = small_thinker("sdpa")
    model.generation_config.eos_token_id = [288, 289]
    inputs = build_prompt(model.config, Text(4), Video((3, 4, 6), 1.0, mel_frames=130), Text(9))
    inputs["input_ids"][0, -5:] = torch.tensor([288, 20, 287, 21, 20])
    stage = Asks(("question",))
    with torch.no_grad(), attach(model, Schedule(stage, {3: stage})):
        model(**inputs) if entry == "forward" else model.generate(**inputs, max_new_tokens=1, do_sample=False)
    total = inputs["input_ids"].shape[1]
    for seen in stage.seen[:2]:
        assert seen["layout"].question.nonzero().flatten().tolist() == [total - 9 + i for i in range(4)]
