"""What a request takes of an engine: tokens of its prompt, blocks of the KV cache, room in the context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seats_ops import Schedule
from seats_ops.cost import PromptLengths, token_counts
from seats_ops.cost.decoder_sizes import context_length, decoder_sizes
from seats_ops.methods.seats import family_name

from .plan_options import PlanOptions

BLOCK_SIZE = 16
"""Tokens of a KV block that vLLM 0.32 takes on a GPU with FlashAttention, where nobody says; on a CPU it takes 128."""
NUMBER = 2
"""Bytes of a number in bfloat16."""
GIB = 2**30
ARCHITECTURES = {
    "qwen2_5_omni": "SeatsQwen2_5OmniModel",
    "qwen3_omni_moe": "SeatsQwen3OmniModel",
    "qwen2_5_vl": "SeatsQwen2_5_VLModel",
    "qwen3_vl": "SeatsQwen3VLModel",
}
"""Family -> the architecture that the plugin serves it by."""


@dataclass(frozen=True)
class Request:
    """A prompt and its answer in an engine.

    Attributes:
        tokens: of the prompt.
        blocks: of the KV cache, when the last token of the answer is there.
        kv_bytes: of these blocks, all layers.
        fits: whether the context takes it.
        at_once: how many such requests the cache holds; None where nobody said how large it is.
    """

    tokens: int
    blocks: int
    kv_bytes: int
    fits: bool
    at_once: int | None


@dataclass(frozen=True)
class Serving:
    """One request with all tokens and pruned.

    Attributes:
        block_size, answer: tokens.
        block_bytes: of all layers.
        context: tokens of a prompt with its answer at most.
        cache: bytes; None where nobody said.
    """

    block_size: int
    block_bytes: int
    answer: int
    context: int
    cache: int | None
    whole: Request
    pruned: Request


def check_served(config: Any, model: str) -> None:
    """Raise ValueError for a model that the plugin for vLLM does not serve."""
    if str(getattr(config, "model_type", "")).removesuffix("_thinker") not in ARCHITECTURES:
        raise ValueError(f"--engine: expected a model of {', '.join(ARCHITECTURES)} with it, got {model}")


def plan_serving(asked: PlanOptions, config: Any, schedule: Schedule, lengths: PromptLengths) -> Serving:
    """What one request takes of vLLM with the plugin.

    Args:
        config: of a thinker that `check_served` let through.
        lengths: of the prompt.

    Raises:
        TypeError, ValueError: a schedule that cannot be served, with the reason; a context or a cache that is too
            small even for the pruned request, or for the engine to start.
    """
    from seats_ops.integrations.vllm import overrides

    overrides(schedule, ARCHITECTURES[family_name(config)])
    size, answer = asked.block_size or BLOCK_SIZE, asked.answer_tokens or 1
    decoder = decoder_sizes(config)
    block_bytes = 2 * size * decoder.kv_width * NUMBER * decoder.layers
    context = _context(asked, config)
    pruned = token_counts(schedule, lengths)[-1].total
    if pruned + answer > context:
        raise ValueError(
            f"--max-model-len: expected at least {pruned + answer}, for the pruned prompt of {pruned} tokens and an "
            f"answer of {answer}, got {context}"
        )
    held = _blocks_held(asked.kv_cache, size, block_bytes, context)

    def request(tokens: int) -> Request:
        # The last token of an answer is never read, so that it has no keys.
        blocks = _blocks(tokens + answer - 1, size)
        fits = tokens + answer <= context
        at_once = None if held is None else held // blocks if fits else 0
        return Request(tokens, blocks, blocks * block_bytes, fits, at_once)

    return Serving(size, block_bytes, answer, context, asked.kv_cache, request(lengths.total), request(pruned))


def _context(asked: PlanOptions, config: Any) -> int:
    longest = int(context_length(config.text_config))
    wanted = asked.max_model_len or longest
    if wanted > longest:
        raise ValueError(f"--max-model-len: expected at most {longest}, the model's context, got {wanted}")
    return wanted


def _blocks_held(cache: int | None, size: int, block_bytes: int, longest: int) -> int | None:
    """Blocks that requests share: all of the cache but one, which stands for tokens that nobody keeps."""
    if cache is None:
        return None
    held, needed = cache // block_bytes - 1, _blocks(longest, size)
    if held < needed:
        least = (needed + 1) * block_bytes / GIB
        raise ValueError(
            f"--kv-cache: expected at least {least:.2f} GiB, as vLLM starts with no less than a request of {longest} "
            f"tokens takes, got {cache / GIB:.2f} GiB"
        )
    return held


def _blocks(tokens: int, size: int) -> int:
    return -(-tokens // size)
