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
    """Nothing but the next of the given tokens, int64 [B, N], can be chosen."""

    def __init__(self, tokens: Tensor, prompt: int) -> None:
        self.tokens, self.prompt = tokens, prompt

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        place = input_ids.shape[1] - self.prompt
        return torch.full_like(scores, -torch.inf).scatter_(1, self.tokens[:, place : place + 1], 0.0)


def answer(model: Any, inputs: Mapping[str, Any], max_new_tokens: int) -> Answer:
    """What the model answers by itself."""
    tokens, logits = generated(model, inputs, max_new_tokens)
    return Answer(tuple(tokens[0].tolist()), logits[0])


def answer_along(model: Any, inputs: Mapping[str, Any], tokens: Sequence[int]) -> Answer:
    """The logits at every place of an answer that is given (teacher forcing), through the model's own `generate`."""
    along = torch.tensor([tokens], dtype=torch.int64, device=inputs["input_ids"].device)
    found, logits = generated(model, inputs, len(tokens), along)
    return Answer(tuple(found[0].tolist()), logits[0])


def generated(model: Any, inputs: Mapping[str, Any], length: int, along: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Greedy answers of a batch, through the model's own `generate`.

    Args:
        model: a thinker.
        inputs: of B prompts, padded on the left.
        length: most tokens of an answer.
        along: int64 [B, length], tokens to follow instead of the likeliest.

    Returns:
        int64 [B, N] tokens, and float32 [B, N, vocab] logits as the model gave them. N is that of the longest answer;
        the others go on with padding.
    """
    prompt = inputs["input_ids"].shape[1]
    output = model.generate(
        **inputs,
        max_new_tokens=length,
        do_sample=False,
        num_beams=1,
        output_logits=True,
        return_dict_in_generate=True,
        **({} if along is None else {"logits_processor": [_Along(along, prompt)]}),
    )
    return output.sequences[:, prompt:], torch.stack(output.logits, 1).float()


def divergence(full: Tensor, pruned: Tensor) -> Tensor:
    """KL(full || pruned) in nats of the distributions behind logits [..., vocab]: float64 [...]."""
    log_p, log_q = (logits.double().log_softmax(-1) for logits in (full, pruned))
    # Where p is 0 its logarithm is -inf, and what it adds is 0.
    return torch.where(log_p.isneginf(), 0.0, log_p.exp() * (log_p - log_q)).sum(-1)


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
    same_top = full.logits.argmax(-1) == along.logits.argmax(-1)
    return Agreement(
        tokens=sum(a == b for a, b in pairs) / max(len(full.tokens), len(pruned.tokens)),
        first_token=pairs[0][0] == pairs[0][1],
        common_prefix=sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)),
        kl=tuple(divergence(full.logits, along.logits).tolist()),
        top1=float(same_top.double().mean()),
    )
