"""An answer with the logits it was chosen from, freely or along given tokens, and how far two of them agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from seats_ops.compare.records import Agreement


@dataclass(frozen=True)
class Answer:
    """What a model generated greedily after a prompt.

    Attributes:
        tokens: ids, the one that ends the answer included.
        logits: [tokens, vocab] float32, as the model gave them, before anything of its generation config changed them.
    """

    tokens: tuple[int, ...]
    logits: Tensor


class _Along(LogitsProcessor):
    """Nothing but the next of the given tokens can be chosen."""

    def __init__(self, tokens: Sequence[int], prompt: int) -> None:
        self.tokens, self.prompt = tokens, prompt

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        only = torch.full_like(scores, -torch.inf)
        only[:, self.tokens[input_ids.shape[1] - self.prompt]] = 0
        return only


def answer(model: Any, inputs: Mapping[str, Any], max_new_tokens: int) -> Answer:
    """What the model answers by itself."""
    return _generate(model, inputs, max_new_tokens)


def answer_along(model: Any, inputs: Mapping[str, Any], tokens: Sequence[int]) -> Answer:
    """The logits at every place of an answer that is given (teacher forcing), through the model's own `generate`."""
    return _generate(model, inputs, len(tokens), logits_processor=[_Along(tokens, inputs["input_ids"].shape[1])])


def _generate(model: Any, inputs: Mapping[str, Any], length: int, **options: Any) -> Answer:
    output = model.generate(
        **inputs,
        max_new_tokens=length,
        do_sample=False,
        num_beams=1,
        output_logits=True,
        return_dict_in_generate=True,
        **options,
    )
    tokens = output.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    return Answer(tuple(tokens), torch.cat(output.logits).float())


def agreement(full: Answer, pruned: Answer, along: Answer) -> Agreement:
    """How far a pruned model says what the full one says.

    Args:
        full: of the model with all tokens.
        pruned: of the pruned model.
        along: the pruned model's logits along the tokens of `full`.

    Raises:
        ValueError: `along` does not follow `full`.
    """
    if along.tokens != full.tokens:
        raise ValueError(f"along: expected the tokens of full, {full.tokens}, got {along.tokens}")
    pairs = list(zip(full.tokens, pruned.tokens, strict=False))
    log_p, log_q = (each.logits.double().log_softmax(-1) for each in (full, along))
    # Where p is 0 its logarithm is -inf, and what it adds is 0.
    divergence = torch.where(log_p.isneginf(), 0.0, log_p.exp() * (log_p - log_q)).sum(-1)
    same_top = full.logits.argmax(-1) == along.logits.argmax(-1)
    return Agreement(
        tokens=sum(a == b for a, b in pairs) / max(len(full.tokens), len(pruned.tokens)),
        first_token=pairs[0][0] == pairs[0][1],
        common_prefix=sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)),
        kl=tuple(divergence.tolist()),
        top1=float(same_top.double().mean()),
    )
