"""What each model family can do under `attach`, found by doing it: the page docs/support.md and its test.

`python -m tests.integrations.huggingface.support` writes down the cells of the transformers that is installed, and the
page with those of the pinned one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path

import transformers

from tests.integrations.huggingface import version_records
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.guards.refusals import REFUSED
from tests.integrations.huggingface.support_checks import (
    Case,
    NotApplicable,
    agrees,
    batches,
    bfloat16,
    clock,
    compiled,
    flash,
    flex,
    generation_option,
    hidden_states,
    images,
    labels,
    later_turn,
    loop,
    media_in_a_later_turn,
    replay,
    sampling,
    several_answers,
    several_videos,
    speech,
    streaming,
    training,
)

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "support.md"
PINNED = re.findall(r"^transformers==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)[0]

FEATURES: dict[str, Callable[[Case], None]] = {
    "`generate`, greedy": agrees,
    "a decoding loop by hand": loop,
    "per-layer KV": functools.partial(agrees, kv_policy="per-layer"),
    "eager attention": functools.partial(agrees, attention="eager"),
    "FlashAttention-2 (its kernels replaced by torch)": flash,
    "flex attention": flex,
    "bfloat16": bfloat16,
    "several videos of unequal grids": several_videos,
    "images kept, thinned, dropped": images,
    "batches, padded": batches,
    "sampling": sampling,
    "beam search": functools.partial(several_answers, num_beams=3, do_sample=False),
    "`num_return_sequences`": functools.partial(several_answers, num_beams=1, num_return_sequences=2, do_sample=True),
    "streaming": streaming,
    "text in a later turn": later_turn,
    "media in a later turn": media_in_a_later_turn,
    "hidden states": hidden_states,
    "training, gradient checkpointing": training,
    '`windows="time"`': clock,
    "a recorded trace as a schedule": replay,
    "speech": speech,
    "`labels`": labels,
    "assisted decoding": functools.partial(generation_option, assistant_model=None),
    "prompt lookup": functools.partial(generation_option, prompt_lookup_num_tokens=2),
    "chunked prefill": functools.partial(generation_option, prefill_chunk_size=8),
    "static cache": functools.partial(generation_option, cache_implementation="static"),
    "quantised cache": functools.partial(generation_option, cache_implementation="quantized"),
    "a compiled model": compiled,
}


def outcome(family: str, feature: str) -> str:
    """ "works", "refused" or "n/a"."""
    case = Case(family)
    try:
        FEATURES[feature](case)
    except NotApplicable:
        return "n/a"
    except REFUSED:
        return "refused"
    return "works"


def page() -> str:
    """All of it, as it was written down."""
    table = version_records.cells()[PINNED]
    lines = [
        "# Support",
        "",
        "Written by the tests, which find it again on every run: a cell says what happened when the feature was used",
        f"on a small random model of the family, with transformers {PINNED}; other versions are [below](#versions).",
        '"refused" is an error before any token is produced, ours or that of transformers; reasons are in',
        '[limitations.md](limitations.md). What "works" means is in',
        "[the checks](../tests/integrations/huggingface/support_checks.py): most compare with an oracle that runs the",
        "whole prompt, or with the same prompt alone.",
        "",
        f"| | {' | '.join(f'`{family}`' for family in SMALL)} |",
        f"| --- |{' --- |' * len(SMALL)}",
        *(f"| {name} | {' | '.join(table[name])} |" for name in FEATURES),
        "",
        *version_records.section(table, list(SMALL)),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    found = {feature: [outcome(family, feature) for family in SMALL] for feature in FEATURES}
    version_records.add_cells(transformers.__version__, found)
    PAGE.write_text(page(), encoding="utf-8")
