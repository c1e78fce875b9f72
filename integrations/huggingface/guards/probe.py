"""Whether pruning comes out right, tried on a tiny random model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seats_ops.integrations.huggingface.compat import CACHE_NAMES, cache_of
from seats_ops.integrations.huggingface.families.family import Family
from seats_ops.integrations.huggingface.guards.full_length import hidden_where_dropped
from seats_ops.integrations.huggingface.guards.probe_model import AUDIO, IMAGE, LAYERS, VIDEO, tiny_model, tiny_prompt
from seats_ops.operators.diversity_selector import DiversitySelector
from seats_ops.operators.modality_dropper import ModalityDropper
from seats_ops.operators.stage import MEDIA
from seats_ops.operators.stage_pruner import StagePruner
from seats_ops.schedule import Schedule
from seats_ops.trace import PruneTrace

STEPS = 2
TOLERANCE = 1e-4  # of the largest logit
Attach = Callable[..., contextlib.AbstractContextManager[PruneTrace]]
KEEPS = Schedule(DiversitySelector(dict.fromkeys(MEDIA, 1.0)), {1: StagePruner(1.0), 3: ModalityDropper(())})
DROPS = Schedule(DiversitySelector(dict.fromkeys(MEDIA, 0.5)), {1: StagePruner(0.5), 3: ModalityDropper(MEDIA)})


class Untried(Exception):
    """A tiny model of the class does not even run by itself."""


def problem_with(family: Family, cls: Any, attach: Attach) -> str:
    """The check that fails and what it found; empty if none does.

    Args:
        family: of the class.
        cls: of models.
        attach: (model, schedule, family=..., kv_policy=...) -> a context with the trace.

    Raises:
        Untried: see there.
    """
    try:
        model = tiny_model(family, cls)
        probe = Probe(family, model, tiny_prompt(family, model.config), attach)
    except Exception as error:
        raise Untried(f"{type(error).__name__}: {error}") from error
    for name, check in (
        ("a schedule that keeps everything", probe.keeps_everything),
        ("a schedule that drops, in generate", probe.drops_in_generate),
        ("a schedule that drops, in forwards by hand, with a cache per layer", probe.drops_in_a_loop),
    ):
        try:
            check()
        except _Wrong as wrong:
            return f"{name}: {wrong}"
        except Exception as error:
            return f"{name}: {type(error).__name__}: {error}"
    return ""


class Probe:
    """The checks on one model and prompt; each raises `_Wrong`, or whatever fails."""

    def __init__(self, family: Family, model: Any, prompt: dict[str, Tensor], attach: Attach) -> None:
        self.family, self.model, self.prompt, self.attach = family, model, prompt, attach
        self.layers = family.text_model(model).layers
        ids = prompt["input_ids"]
        self.length = ids.shape[1]
        placeholders = torch.tensor([IMAGE, VIDEO, AUDIO], dtype=torch.int64, device="cpu")
        self.num_text = int((~torch.isin(ids, placeholders)).sum())
        self.unpruned = torch.cat(self.run().logits)

    def keeps_everything(self) -> None:
        """It changes no bit."""
        with self.attach(self.model, KEEPS, family=self.family) as trace:
            logits, cache = self.generate()
        _equal("prompt", trace.prompt_lengths, [self.length])
        _equal("keys", _keys(cache), [self.length + STEPS - 1] * LAYERS)
        if not torch.equal(logits, self.unpruned):
            raise _Wrong(f"expected the logits without it to the last bit, got {_distance(logits, self.unpruned)}")

    def drops_in_generate(self) -> None:
        """The prompt's keys are those of its text, which is all that is left."""
        self.drops("uniform", self.generate, [self.num_text] * LAYERS)

    def drops_in_a_loop(self) -> None:
        """Every layer's keys are those of the tokens that it saw."""
        self.drops("per-layer", self.loop, None)

    def drops(self, kv_policy: str, answer: Callable[[], tuple[Tensor, Any]], held: list[int] | None) -> None:
        """Lengths, and logits as of the whole prompt."""
        with self.attach(self.model, DROPS, family=self.family, kv_policy=kv_policy) as trace:
            logits, cache = answer()
        counts = [stage.num_tokens for stage in trace.stages]
        _equal("prompt", trace.prompt_lengths, [self.length])
        _equal("tokens left", counts[-1:], [self.num_text])
        if not self.length > counts[0] > counts[-1]:
            raise _Wrong(f"tokens: expected fewer than {self.length} after the first stage, got {counts}")
        held = held or [counts[0], counts[1], counts[1], counts[2]]
        _equal("keys of the prompt", trace.kv_lengths, held)
        _equal("keys", _keys(cache), [n + STEPS - 1 for n in held])
        _equal("length of the cache", cache.get_seq_length(), self.length + STEPS - 1)
        kept = [(stage.layer, stage.kept_indices[0]) for stage in trace.stages]
        with hidden_where_dropped(self.layers, kept, self.length, kv_policy):
            expected, _ = answer()
        if not (logits - expected).abs().max() < TOLERANCE * expected.abs().max():
            raise _Wrong(f"expected the logits of the whole prompt under masks, got {_distance(logits, expected)}")

    def run(self) -> Any:
        """`generate`."""
        options = {"max_new_tokens": STEPS, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
        return self.model.generate(**self.prompt, **options)

    def generate(self) -> tuple[Tensor, Any]:
        """Logits [STEPS, vocabulary] and the cache that is left."""
        output = self.run()
        return torch.cat(output.logits), cache_of(output)

    def loop(self) -> tuple[Tensor, Any]:
        """The same of forwards, about tokens that are given."""
        output = self.model(**self.prompt, use_cache=True)
        logits, cache = [output.logits[0, -1]], cache_of(output)
        for token in range(1, STEPS):
            ids = torch.full((1, 1), token, dtype=torch.int64, device="cpu")
            logits.append(self.model(input_ids=ids, **{CACHE_NAMES[0]: cache}).logits[0, -1])
        return torch.stack(logits), cache


class _Wrong(Exception):
    """What a check found."""


def _keys(cache: Any) -> list[int]:
    return [layer.keys.shape[-2] for layer in cache.layers]


def _equal(what: str, got: Any, expected: Any) -> None:
    if got != expected:
        raise _Wrong(f"{what}: expected {expected}, got {got}")


def _distance(logits: Tensor, expected: Tensor) -> str:
    return f"some that differ by up to {(logits - expected).abs().max():.2g} of {expected.abs().max():.2g}"
