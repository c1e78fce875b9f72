"""What stands in front of `generate` while a model is attached: hooks do not see how it was called."""

from __future__ import annotations

import copy
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from torch import Tensor

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.adapter import Adapter
from seats_ops.integrations.huggingface.guards.refusals import check_generate
from seats_ops.integrations.huggingface.speech import (
    check_speech,
    check_spoken,
    layers_heard,
    wants_speech,
    whole_prompt_states,
)


class Guard:
    """Stands in front of one instance's `generate` and looks at its arguments.

    Kept beyond the block it does nothing, and a copy of the model has none.
    """

    def __init__(self, module: Any, adapter: Adapter, check: Callable[[dict[str, Any]], None]) -> None:
        self.module = module
        self.adapter = adapter
        self.check = check
        self.had_own = "generate" in module.__dict__
        self.generate = module.generate
        self.signature = inspect.signature(self.generate)
        # Without its attributes: those of a wrapper around an earlier guard have the names of ours.
        functools.update_wrapper(self, self.generate, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.adapter.lets_through():
            return self.generate(*args, **kwargs)
        frame = sys._getframe()
        self.adapter.begin_call(frame)
        try:
            self.adapter.was_reached = True
            arguments = dict(self.signature.bind_partial(*args, **kwargs).arguments)
            self.check({**arguments.pop("kwargs", {}), **arguments})
            return self.run(*args, **kwargs)
        finally:
            self.adapter.end_call(frame)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """`generate`, whose arguments have been looked at."""
        return self.generate(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self.generate, memo)

    def __reduce__(self) -> tuple[Any, ...]:
        return copy.copy, (self.generate,)

    def restore(self) -> None:
        """Leave the instance as it was found; what somebody else has put in front meanwhile stays."""
        if self.module.__dict__.get("generate") is not self:
            return
        if self.had_own:
            self.module.__dict__["generate"] = self.generate
        else:
            self.module.__dict__.pop("generate", None)


class ThinkerGuard(Guard):
    """Also makes sure that the hooks saw the generation."""

    def __init__(self, thinker: Any, adapter: Adapter) -> None:
        super().__init__(thinker, adapter, self._look)

    def _look(self, arguments: dict[str, Any]) -> None:
        text_model, own = self.adapter.text_model, self.adapter.family.arguments
        kv_policy = self.adapter.options.kv_policy
        check_generate(self.module.generation_config, arguments, kv_policy, text_model, own)
        self.adapter.check_clock(arguments)
        prompts = [arguments.get(name) for name in ("input_ids", "inputs")]
        self.adapter.sources = next((len(ids) for ids in prompts if isinstance(ids, Tensor)), None)
        if self.adapter.heard:
            check_spoken(self.module.generation_config, arguments)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        seen = self.adapter.num_forwards
        try:
            result = super().run(*args, **kwargs)
        finally:
            self.adapter.sources = None
        if self.adapter.num_forwards == seen:
            raise UnsupportedModelState(
                "model: expected its hooks to run, got a `generate` that went past them (a compiled forward does); its "
                "output is not pruned"
            )
        prefill, self.adapter.spoken = self.adapter.spoken, None
        if prefill is not None:
            first, *later = result.hidden_states
            norm = self.adapter.text_model.norm
            result.hidden_states = (whole_prompt_states(first, prefill, norm, self.adapter.heard), *later)
        return result


class FullModelGuard(Guard):
    """Lets a full model speak: its talker reads hidden states in the columns of the whole prompt."""

    def __init__(self, model: Any, adapter: Adapter) -> None:
        super().__init__(model, adapter, self._look)

    def _look(self, arguments: dict[str, Any]) -> None:
        self.adapter.heard = ()
        if self.module.has_talker and wants_speech(self.module, arguments):
            check_speech(self.module, arguments)
            self.adapter.heard = layers_heard(self.module)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().run(*args, **kwargs)
        finally:
            self.adapter.heard, self.adapter.spoken = (), None
