"""The hooks that carry a schedule into a thinker, and nothing that outlives them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_causal_mask

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.prefill import Prefill
from seats_ops.integrations.refusals import check_forward
from seats_ops.integrations.saliency import ATTRIBUTE, Encoded
from seats_ops.integrations.token_layout import build_token_layout
from seats_ops.layout import Modality, TokenLayout
from seats_ops.schedule import Schedule
from seats_ops.trace import PruneTrace


@dataclass
class Call:
    """One forward of the thinker."""

    kwargs: dict[str, Any]
    input_ids: Tensor
    is_prefill: bool
    visual: list[Encoded] = field(default_factory=list)
    audio: list[Encoded] = field(default_factory=list)
    prefill: Prefill | None = None
    masks: dict[tuple[int, int], Any] = field(default_factory=dict)


class Adapter:
    """Owns the hooks of one `attach`."""

    def __init__(
        self, family: Any, schedule: Schedule, kv_policy: str, backend: str, saliency_segments: str
    ) -> None:
        self.family = family
        self.schedule = schedule
        self.kv_policy = kv_policy
        self.backend = backend
        self.saliency_segments = saliency_segments
        self.trace = PruneTrace()
        self.generate_called = False
        self.call: Call | None = None
        self.handles: list[Any] = []
        self.prefills = 0
        stages = [*schedule.before_llm, *(s for group in schedule.after_layer.values() for s in group)]
        self.needs_saliency = any("saliency" in s.inputs and getattr(s, "weighted", True) for s in stages)
        self.needs_blocks = any("features" in s.inputs for s in stages)

    def register(self) -> None:
        """Put all hooks in place."""
        family = self.family
        options = (self.saliency_segments, self.needs_saliency, self.backend)
        if self.needs_blocks:
            self.handles += family.watch_vision(*options, lambda e: self._note("visual", e))
            self.handles += family.watch_audio(*options, lambda e: self._note("audio", e))
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

    def check_ran(self) -> None:
        """Raise UnsupportedModelState if `generate` was called and no prefill came by the hooks."""
        if self.generate_called and not self.prefills:
            raise UnsupportedModelState(
                "model: expected its hooks to run, got a `generate` that skipped them (is the forward compiled?); its "
                "output is not pruned"
            )

    def _note(self, tower: str, encoded: Encoded) -> None:
        # `generate` encodes images and videos before the first forward; those arrive in `mm_encoder_outputs`.
        if self.call is not None:
            getattr(self.call, tower).append(encoded)

    def _begin(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.call = None
        input_ids = kwargs.get("input_ids", args[0] if args else None)
        check_forward(input_ids, kwargs)
        cache = kwargs.get("past_key_values")
        is_prefill = cache is None or cache.get_seq_length() == 0
        if not is_prefill and input_ids.shape[1] > 1:
            media = self.family.media
            ids = torch.tensor([media.video_id, media.audio_id, media.image_id], device=input_ids.device)
            if bool(torch.isin(input_ids, ids).any()):
                raise UnsupportedModelState(
                    "input_ids: expected text only when a cache holds an earlier prompt, got new audio, video or image tokens"
                )
        self.call = Call(dict(kwargs), input_ids, is_prefill)

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
        self.prefills += 1

    def _enter_text(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.call is None:
            raise UnsupportedModelState(
                "model: expected to be called through the thinker, whose input_ids tell media from text, got a call of an "
                "inner module"
            )
        if not self.call.is_prefill:
            return None
        layout = self._layout()
        saliency = self._saliency(layout, kwargs["inputs_embeds"].device) if self.needs_saliency else None
        self.call.prefill = Prefill(self.family, layout, saliency, self.trace, self.backend)
        return args, self.call.prefill.enter(self.schedule.before_llm, kwargs)

    def _layout(self) -> TokenLayout:
        assert self.call is not None
        kwargs = self.call.kwargs
        grids = kwargs.get("video_grid_thw")
        if grids is None:
            encoded = self._encoded(Modality.VIDEO)
            grids = None if encoded is None else encoded.grid_thw
        mask = kwargs.get("attention_mask")
        layout = build_token_layout(
            self.call.input_ids,
            self.family.media,
            video_grid_thw=grids if self.needs_blocks else None,
            attention_mask=mask,
        )
        if len(layout) != self.call.input_ids.shape[1]:
            raise UnsupportedModelState(
                f"attention_mask: expected no padding, got {self.call.input_ids.shape[1] - len(layout)} masked tokens"
            )
        return layout

    def _encoded(self, modality: Modality) -> Encoded | None:
        """What the tower said of one modality: from precomputed outputs, else from this call's own encoding."""
        assert self.call is not None
        outputs = self.call.kwargs.get("mm_encoder_outputs") or {}
        output = outputs.get(modality.name.lower())
        if output is not None:
            return getattr(output, ATTRIBUTE, None)
        if modality == Modality.AUDIO:
            return self.call.audio[0] if self.call.audio else None
        # Images are encoded before videos where a prompt has both.
        order = [m for m, name in ((Modality.IMAGE, "pixel_values"), (Modality.VIDEO, "pixel_values_videos"))
                 if self.call.kwargs.get(name) is not None]
        if modality not in order or len(self.call.visual) != len(order):
            return None
        return self.call.visual[order.index(modality)]

    def _saliency(self, layout: TokenLayout, device: torch.device) -> Tensor:
        """float32 [T]: saliency of audio, video and images in the order of the prompt, 0 for text."""
        saliency = torch.zeros(len(layout), device=device)
        lengths = {m: sum(n for kind, n in layout.blocks or () if kind == m) for m in Modality}
        for modality in (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE):
            if lengths[modality] == 0:
                continue
            encoded = self._encoded(modality)
            if encoded is None or encoded.saliency is None:
                raise UnsupportedModelState(
                    f"mm_encoder_outputs: expected {modality.name.lower()} features with saliency from a tower that ran inside "
                    "`attach`, got none; let the model encode, or use DiversitySelector(..., weighted=False)"
                )
            if encoded.num_tokens != lengths[modality]:
                raise ValueError(
                    f"input_ids: expected {encoded.num_tokens} {modality.name.lower()} tokens as the encoder produced, got "
                    f"{lengths[modality]}"
                )
            saliency = saliency.masked_scatter(layout.is_modality(modality), encoded.saliency.to(device, saliency.dtype))
        return saliency

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
                attention_mask=call.kwargs.get("attention_mask"),
                past_key_values=cache,
                layer_idx=index,
            )
        return call.masks[sizes[1]]
