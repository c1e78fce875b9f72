"""The hooks that carry a schedule into a thinker, and nothing that outlives them."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_causal_mask

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.call import Call
from seats_ops.integrations.prefill import Prefill
from seats_ops.integrations.refusals import check_forward
from seats_ops.integrations.saliency import Encoded
from seats_ops.schedule import Schedule
from seats_ops.trace import PruneTrace


class Adapter:
    """Owns the hooks of one `attach`."""

    def __init__(self, family: Any, schedule: Schedule, kv_policy: str, backend: str, needs_blocks: bool) -> None:
        self.family = family
        self.schedule = schedule
        self.kv_policy = kv_policy
        self.backend = backend
        self.needs_blocks = needs_blocks
        self.trace = PruneTrace()
        self.call: Call | None = None
        self.num_forwards = 0
        self.was_reached = False
        self.handles: list[Any] = []
        self.argument_names = tuple(inspect.signature(family.thinker.forward).parameters)

    def register(self) -> None:
        """Put all hooks in place."""
        family = self.family
        if self.needs_blocks:
            watches = family.watch_towers(
                functools.partial(self._note, "visual"), functools.partial(self._note, "audio")
            )
            self.handles += [handle for watch in watches for handle in watch.handles]
        text = family.text_model
        self.handles += [
            family.thinker.register_forward_pre_hook(self._begin, with_kwargs=True),
            family.thinker.register_forward_hook(self._end, always_call=True),
            text.register_forward_pre_hook(self._enter_text, with_kwargs=True),
            text.register_forward_hook(self._leave_text),
        ]
        for index, layer in enumerate(text.layers):
            hook = self._layer_hook(index)
            self.handles.append(layer.register_forward_pre_hook(hook, with_kwargs=True))

    def remove(self) -> None:
        """Take all hooks away and forget the last call."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        self.call = None

    def _note(self, tower: str, encoded: Encoded) -> None:
        # `generate` encodes images and videos before the first forward; those arrive in `mm_encoder_outputs`.
        if self.call is not None:
            getattr(self.call, tower).append(encoded)

    def _begin(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.call = None
        self.was_reached = True
        arguments = {**dict(zip(self.argument_names, args, strict=False)), **kwargs}
        input_ids = check_forward(arguments)
        cache = arguments.get("past_key_values")
        is_prefill = cache is None or cache.get_seq_length() == 0
        if not is_prefill and input_ids.shape[1] > 1:
            media = self.family.media
            ids = torch.tensor([media.video_id, media.audio_id, media.image_id], device=input_ids.device)
            if bool(torch.isin(input_ids, ids).any()):
                raise UnsupportedModelState(
                    "input_ids: expected text only after an earlier prompt in the cache, got tokens of new media"
                )
        self.call = Call(arguments, input_ids, is_prefill)
        self.num_forwards += 1

    def _end(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        call, self.call = self.call, None
        if output is None or call is None or not call.is_prefill:
            return
        expected = {0, *self.schedule.after_layer}
        fired = set() if call.prefill is None else call.prefill.fired
        if fired != expected:
            raise UnsupportedModelState(
                f"model: expected stages to run after layers {sorted(expected)}, got {sorted(fired)} (is a part of it "
                "compiled?)"
            )

    def _enter_text(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.call is None:
            raise UnsupportedModelState(
                "model: expected to be called through the thinker, whose input_ids tell media from text, got a call of "
                "an inner module"
            )
        if not self.call.is_prefill:
            return None
        layout = self.call.layout(self.family.media, self.needs_blocks)
        needed = self.family.saliency.needed
        saliency = self.call.saliency(layout, kwargs["inputs_embeds"].device) if needed else None
        self.call.prefill = Prefill(self.family, layout, saliency, self.trace, self.backend)
        return args, self.call.prefill.enter(self.schedule.before_llm, kwargs)

    def _leave_text(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        prefill = self.call.prefill if self.call is not None else None
        if prefill is not None and output.past_key_values is not None:
            prefill.prune_cache(output.past_key_values, self.kv_policy)

    def _layer_hook(self, index: int) -> Any:
        stages = self.schedule.after_layer.get(index, ())

        def before_layer(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            call = self.call
            if call is None:
                return None
            hidden, rest = (args[0], args[1:]) if args else (kwargs["hidden_states"], ())
            if call.prefill is None:
                mask = self._decode_mask(call, index, hidden, kwargs)
                return None if mask is None else (args, {**kwargs, "attention_mask": mask})
            if index == 0:
                return None
            hidden, kwargs = call.prefill.before_layer(index, stages, hidden, kwargs)
            return ((hidden, *rest), kwargs) if args else ((), {**kwargs, "hidden_states": hidden})

        return before_layer

    def _decode_mask(self, call: Call, index: int, hidden: Tensor, kwargs: dict[str, Any]) -> Any:
        """The mask for a layer whose cache differs from that of layer 0, for which the text model made its mask."""
        cache = kwargs.get("past_key_values")
        if cache is None or kwargs.get("attention_mask") is None:
            return None
        sizes = [cache.layers[i].get_mask_sizes(hidden.shape[1]) for i in (0, index)]
        if index == 0 or sizes[0] == sizes[1]:
            return None
        if sizes[1] not in call.masks:
            call.masks[sizes[1]] = create_causal_mask(
                config=self.family.text_model.config,
                inputs_embeds=hidden,
                attention_mask=call.arguments.get("attention_mask"),
                past_key_values=cache,
                layer_idx=index,
            )
        return call.masks[sizes[1]]
