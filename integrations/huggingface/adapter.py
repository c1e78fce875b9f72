"""The hooks that carry a schedule into a thinker, and nothing that outlives them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.cache.decode import DecodeMasks
from seats_ops.integrations.huggingface.cache.kept_columns import hidden_to_keep, kept_columns
from seats_ops.integrations.huggingface.cache.prompt_cache import prune_cache
from seats_ops.integrations.huggingface.call import Call
from seats_ops.integrations.huggingface.compat import cache_argument, cache_of, rope_deltas
from seats_ops.integrations.huggingface.embedding import embedded
from seats_ops.integrations.huggingface.families.family import Family
from seats_ops.integrations.huggingface.families.towers import watch_towers
from seats_ops.integrations.huggingface.guards.refusals import (
    check_default_dtype,
    check_forward,
    check_keeps_columns,
    check_seconds_per_grid,
    wants_router_logits,
)
from seats_ops.integrations.huggingface.hooks import Hooks
from seats_ops.integrations.huggingface.prefill import Prefill
from seats_ops.integrations.huggingface.prompt.external import External, external_inputs
from seats_ops.integrations.huggingface.prompt.host_copies import HostCopies
from seats_ops.integrations.huggingface.prompt.question import TurnTokens
from seats_ops.integrations.huggingface.prompt.token_layout import MediaTokens
from seats_ops.integrations.huggingface.scores.saliency import Encoded, SaliencyOptions
from seats_ops.integrations.huggingface.turns import Turns, frame_of_forward, runs_forward_of
from seats_ops.integrations.ranks import tensor_parallel_group
from seats_ops.integrations.run import ScheduleRun
from seats_ops.operators.inputs import parse_input
from seats_ops.schedule import Schedule
from seats_ops.trace import PruneTrace

OF_TOWERS = ("saliency", "keys")
OF_QUESTION = {"instruction", "text_mean", "text_max"}


@dataclass(frozen=True)
class AttachOptions:
    """The keyword arguments of `attach`, checked."""

    kv_policy: str
    backend: str
    saliency_segments: str
    windows: str
    record: str | None = None
    external: Mapping[str, External] = field(default_factory=dict)


class Adapter:
    """Owns the hooks of one `attach`."""

    def __init__(
        self, family: Family, root: nn.Module, thinker: Any, schedule: Schedule, options: AttachOptions
    ) -> None:
        self.family = family
        self.thinker = thinker
        self.text_model = family.text_model(thinker)
        self.num_layers = len(self.text_model.layers)
        self.media = MediaTokens.from_config(
            thinker.config, audio_rate=family.audio_rate, audio_block=family.audio_block
        )
        self.schedule = schedule
        self.options = options
        inputs = frozenset(parse_input(name).name for _, stage in schedule.stages() for name in stage.inputs)
        self.asked = inputs
        self.renumbers = any(getattr(stage, "renumbers", False) for _, stage in schedule.stages())
        self.needs_blocks = bool(inputs & {"features", "saliency"})
        asked = {parse_input(name) for _, stage in schedule.stages() for name in stage.inputs}
        self.asked = frozenset(item.name for item in asked)
        of_towers = frozenset(item.name for item in asked if item.kind in OF_TOWERS)
        self.needs_blocks = bool(of_towers) or "features" in self.asked
        self.saliency = SaliencyOptions(
            options.saliency_segments, of_towers, options.backend, self.media.grids_per_block
        )
        self.external = {item.variant: options.external[item.variant] for item in asked if item.kind == "external"}
        asks = {item.variant.split("/")[0] for item in asked if item.kind == "scores"} & OF_QUESTION
        self.facts = frozenset(item.name for item in asked if item.is_fact) | ({"question"} if asks else set())
        self.turn_tokens = TurnTokens.from_model(thinker, self.text_model.config)
        self.trace = PruneTrace()
        self.turns = Turns()
        # The block has ended. A call that was under way goes on to its end as it began, all others pass untouched.
        self.closed = False
        self.call: Call | None = None
        self.num_forwards = 0
        # What the model remembered of a prompt's positions, by its cache.
        self.deltas: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        # Prompts of the `generate` that has not reached its first forward yet.
        self.sources: int | None = None
        self.was_reached = False
        # Entries of the hidden states that will be read in the columns of the prompt, and the prefill they come from.
        self.heard: tuple[int, ...] = ()
        self.spoken: Prefill | None = None
        self.hooks = Hooks(root, self)
        # The model holds its hooks, these hold the adapter, and this what ends it all.
        self.attachment: Any = None
        self.argument_names = tuple(inspect.signature(thinker.forward).parameters)

    def register(self) -> None:
        """Put all hooks in place."""
        hooks, text = self.hooks, self.text_model
        hooks.before(self.thinker, self._begin)
        # A decoder that embeds media has nothing else to tell where one of them ends; `generate` hides the grids of
        # videos, which a record names, from the forward call.
        recorded = self.options.record is not None or self.facts & {"grid", "seconds"}
        if self.needs_blocks or self.options.windows == "time" or self.family.embedding is not None or recorded:
            notes = functools.partial(self._note, "visual"), functools.partial(self._note, "audio")
            for watch in watch_towers(self.family, self.thinker, self.saliency, self._host, *notes):
                hooks.before(watch.tower, self._begin_tower)
                watch.register(hooks)
                hooks.after(watch.tower, self._end_tower, always=True)
        hooks.before(text, self._enter_text)
        for index, layer in enumerate(text.layers):
            hooks.before(layer, self._layer_hook(index))
        hooks.after(text, self._leave_text)
        hooks.after(self.thinker, self._end, always=True)
        hooks.note_places()

    def close(self) -> None:
        """Take all hooks away and forget the last call, unless one is under way: it will do so when it ends.

        May be called again, also after it was interrupted.
        """
        self.closed = True
        if not self.turns.is_taken():
            self._take_call()
            self.hooks.remove()

    def lets_through(self) -> bool:
        """Hooks have nothing to do: the block has ended, and the call that comes by is not one of those under way."""
        return self.closed and not self.turns.is_mine()

    def begin_call(self, frame: FrameType) -> None:
        """A call into the model begins; raises UnsupportedModelState if another thread's is under way."""
        self.turns.take(frame)
        self.hooks.check()
        if len(self.text_model.layers) != self.num_layers:
            raise UnsupportedModelState(
                f"model: expected {self.num_layers} layers, as when it was attached, got {len(self.text_model.layers)}"
            )

    def end_call(self, frame: FrameType) -> None:
        """It is over."""
        self.turns.end(frame)
        if self.closed:
            self.close()

    def _begin_tower(self, *_: Any) -> None:
        self.begin_call(frame_of_forward())

    def _end_tower(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        self._end_forward(frame_of_forward(), output)

    def _end_forward(self, frame: FrameType, output: Any) -> None:
        if output is None:
            # Something was raised, and torch is going through the very hooks that `close` would take away.
            self.turns.end(frame)
        else:
            self.end_call(frame)

    def _host(self) -> HostCopies:
        known = None if self.call is None else self.call.host
        return HostCopies({}) if known is None else known

    def _note(self, tower: str, encoded: Encoded) -> None:
        # `generate` encodes images and videos before the first forward; those arrive in `mm_encoder_outputs`.
        if self.call is not None:
            getattr(self.call, tower).append(encoded)
        elif not runs_forward_of(self.thinker):
            self.was_reached = True

    def _begin(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.begin_call(frame_of_forward())
        self._take_call()
        self.was_reached = True
        sources, self.sources = self.sources, None
        arguments = {**dict(zip(self.argument_names, args, strict=False)), **kwargs}
        check_default_dtype(self.family, arguments)
        input_ids = check_forward(arguments, self.text_model, self.family.arguments)
        self.check_clock(arguments)
        name, cache = cache_argument(arguments)
        is_prefill = cache is None or cache.get_seq_length() == 0
        if not is_prefill and arguments.get("position_ids") is None:
            self._check_positions(name, cache)
        if not is_prefill and input_ids.shape[1] > 1 and not bool(self.media.is_text(input_ids).all()):
            raise UnsupportedModelState(
                "input_ids: expected text only after an earlier prompt in the cache, got tokens of new media"
            )
        call = Call(arguments, input_ids, HostCopies(arguments) if is_prefill else None, sources)
        if is_prefill:
            call.check_rows(self.media)
        self.call = call
        self.num_forwards += 1
        if not call.keeps_columns:
            return None
        check_keeps_columns(self.argument_names)
        # The output is cut down to them where it leaves the decoder; the model is told to take all that comes.
        given = self.argument_names[: len(args)]
        args = tuple(... if name == "logits_to_keep" else value for name, value in zip(given, args, strict=True))
        return args, kwargs if "logits_to_keep" in given else {**kwargs, "logits_to_keep": ...}

    def _check_positions(self, name: str, cache: Any) -> None:
        """Raise UnsupportedModelState if the model would go on from the positions of another prompt."""
        now, then = rope_deltas(self.thinker), self.deltas.get(cache)
        if then is not None and now is not then and not (now.shape == then.shape and bool((now == then).all())):
            raise UnsupportedModelState(
                f"{name}: expected the cache of the model's latest prompt, got that of an earlier one: "
                "transformers counts the positions of new tokens from the latest; give position_ids"
            )

    def check_clock(self, arguments: dict[str, Any]) -> None:
        """Raise UnsupportedModelState for videos of unknown speed, where windows or stages go by time."""
        if self.options.windows == "time" or "seconds" in self.facts:
            check_seconds_per_grid(self.family.seconds_per_grid, arguments, self.options.windows)

    def _take_call(self) -> Call | None:
        """The call under way, which is over; torch does not run `_end` after a KeyboardInterrupt."""
        call, self.call = self.call, None
        if call is not None and call.masks is not None:
            call.masks.close()
        if call is not None and call.prefill is not None:
            call.prefill.undisturb()
        return call

    def _end(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        if not self.turns.is_mine():
            return  # turned away, as another thread's call is under way
        call = self._take_call()
        self._end_forward(frame_of_forward(), output)
        if call is None or output is None or not call.is_prefill:
            return
        if self.heard:
            self.spoken = call.prefill
        expected = {0, *self.schedule.after_layer}
        fired = set() if call.prefill is None else call.prefill.fired
        if fired != expected:
            raise UnsupportedModelState(
                f"model: expected stages to run after layers {sorted(expected)}, got {sorted(fired)} (is a part of it "
                "compiled?)"
            )

    def _enter_text(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self.call if self.turns.is_mine() else None
        if call is None:
            raise UnsupportedModelState(
                "model: expected to be called through the thinker, whose input_ids tell media from text, got a call of "
                "an inner module"
            )
        if not call.is_prefill:
            mask = kwargs.get("attention_mask")
            call.masks = DecodeMasks(self.text_model.config, cache_argument(call.arguments)[1], mask)
            return args, {**kwargs, "attention_mask": call.masks.for_text_model(call.input_ids.shape[1])}
        kwargs = embedded(self.family, self.text_model, kwargs)
        layout = call.layout(
            self.family, self.media, self.needs_blocks, self.options.windows, self.facts, self.turn_tokens
        )
        device = kwargs["inputs_embeds"].device
        given = call.encoded(sorted(self.saliency.asked), layout, self.media, device)
        given |= external_inputs(self.external, layout, device)
        saliency = given.pop("saliency", None)
        group = tensor_parallel_group(self.text_model)
        scores = self.options.record == "scores"
        items = call.items(layout, self.family, self.media, scores)
        run = ScheduleRun(
            layout, saliency, self.trace, self.options.backend, group, items=items, records_scores=scores, given=given
        )
        routes = wants_router_logits(call.arguments, self.argument_names, self.text_model.config)
        call.prefill = Prefill(
            self.text_model, run, call.grid(layout), bool(self.heard), routes, self.asked, self.renumbers
        )
        kwargs = call.prefill.enter(self.schedule.before_llm, kwargs)
        if call.keeps_columns and call.prefill.gathers:
            # Columns that are gone already are refused before a layer runs.
            kept_columns(call.prefill, call.columns_on_host())
        return args, kwargs

    def _leave_text(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        call = self.call
        if call is None or call.prefill is None:
            return
        if call.keeps_columns:
            asked = call.arguments["logits_to_keep"]
            hidden = hidden_to_keep(output.last_hidden_state, call.prefill, asked, call.columns_on_host())
            output.last_hidden_state = hidden
        cache = cache_of(output)
        if cache is not None:
            self.deltas[cache] = rope_deltas(self.thinker)
            prune_cache(call.prefill, cache, self.options.kv_policy)

    def _layer_hook(self, index: int) -> Any:
        stages = self.schedule.after_layer.get(index, ())

        def before_layer(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            call = self.call
            if call is None:
                return None
            hidden, rest = (args[0], args[1:]) if args else (kwargs["hidden_states"], ())
            if call.masks is not None and call.masks.differs(index):
                return args, {**kwargs, "attention_mask": call.masks.for_layer(index, hidden)}
            if call.prefill is None or (index == 0 and not call.prefill.acts_on_the_first):
                return None
            hidden, kwargs = call.prefill.before_layer(index, stages, hidden, kwargs)
            return ((hidden, *rest), kwargs) if args else ((), {**kwargs, "hidden_states": hidden})

        return before_layer
