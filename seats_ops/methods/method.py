"""Published methods by name: what each means by its numbers, where it comes from, and the schedule it makes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

from seats_ops.extensions import import_modules_of, load_all
from seats_ops.operators.inputs import joined_inputs
from seats_ops.operators.stage import count_kind_of
from seats_ops.schedule import Schedule
from seats_ops.validation import check_ratio, describe

PACKAGE = "seats_ops.methods"
"""Where ours are; entry points of this group, in other packages, are modules that register methods."""
F = TypeVar("F", bound=Callable[..., Schedule])


@dataclass(frozen=True)
class Protocol:
    """What a reader must know to compare a method's numbers with another's, a few words each.

    Where an option changes it, what holds without stands before a semicolon.

    Attributes:
        ratio: what the ratio is a share of, and where it is measured.
        group: tokens that share one budget.
        rounding: of ratio times tokens.
        minimum: tokens that a group keeps at least.
        ties: which of equal scores goes first.
        score: its source and reduction.
        merge: what becomes of dropped tokens.
        row_sum: of the merge's coefficients, "-" without one.
        positions: kept or renumbered.
        order: of the tokens kept.
        kv: of earlier layers, of tokens dropped inside the LLM: "sliced" or "long"; "-" where none are.
        audio: what happens to audio.
        chance: "deterministic" or "seeded".
        count: how counts are known, of every stage once, see `Stage`.
        supplied: tensors that no model has and the caller gives, by name in `attach(..., external=...)`, "-" if none.

    Example:
        >>> from seats_ops.methods import Protocol
        >>> said = Protocol("share that enters the LLM", "modality", "attention in the encoder", audio="stays")
        >>> said.ratio, said.audio, said.ties
        ('share that enters the LLM', 'stays', 'lowest index')
    """

    ratio: str
    group: str
    score: str
    rounding: str = "round, half to even"
    minimum: str = "1"
    ties: str = "lowest index"
    merge: str = "none"
    row_sum: str = "-"
    positions: str = "kept"
    order: str = "ascending"
    kv: str = "-"
    audio: str = "as video"
    chance: str = "deterministic"
    count: str = "shape"
    supplied: str = "-"

    def said(self, *, usual: bool = True) -> dict[str, str]:
        """Texts by title; without `usual` only what differs from the defaults.

        Example:
            >>> list(said.said(usual=False))
            ['ratio', 'group', 'score', 'audio']
        """
        texts = {item: str(getattr(self, item.name)) for item in fields(self)}
        return {item.name.replace("_", " "): text for item, text in texts.items() if usual or text != item.default}

    def __str__(self) -> str:
        return "; ".join(f"{title}: {text}" for title, text in self.said().items())


@dataclass(frozen=True)
class Method:
    """A published method, or a baseline; call it for its schedule.

    Attributes:
        name: by which it is known, e.g. on the command line.
        build: function of `(config, ratio, **options)` that makes the schedule.
        protocol: see `Protocol`.
        source: paper and section, and the code that was read.

    Example:
        >>> from seats_ops.methods import method
        >>> evs = method("evs")
        >>> print(evs(None, 0.3))
        * prompt          all tokens
        * before the LLM  Select(scorer=TemporalChange(), budget=VideoShare(pruning_rate=0.7))
        | layers 1 to the last
    """

    name: str
    build: Callable[..., Schedule]
    protocol: Protocol
    source: str

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """Keyword options with their defaults."""
        parameters = list(inspect.signature(self.build).parameters.values())[2:]
        return {parameter.name: parameter.default for parameter in parameters}

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raises TypeError: no mapping. ValueError: names of another method's.

        Example:
            >>> method("random").check_options({"seed": 1})
        """
        if not isinstance(options, Mapping):
            raise TypeError(f"{self.name}: expected options by name, got {describe(options)}")
        unknown = sorted(map(str, set(options) - set(self.options)))
        if unknown:
            raise ValueError(f"{self.name}: expected options among {tuple(self.options)}, got {', '.join(unknown)}")

    def __call__(self, config: Any, ratio: float | Mapping[str, float], **options: Any) -> Schedule:
        """The schedule for a model's config.

        Args:
            config: of a model or its thinker; only methods that act inside the LLM look at it.
            ratio: in [0, 1], as `protocol.ratio` says; a mapping by modality where the method takes one.
            **options: of this method.

        Raises:
            ValueError: an option of another method, a ratio outside [0, 1] or that the method cannot reach.
            TypeError: the method makes something else than a schedule.
        """
        self.check_options(options)
        for name, share in ratio.items() if isinstance(ratio, Mapping) else (("ratio", ratio),):
            check_ratio(name, share)
        schedule: object = self.build(config, ratio, **options)
        if not isinstance(schedule, Schedule):
            raise TypeError(f"{self.name}: expected a Schedule of the function registered, got {describe(schedule)}")
        return schedule


def at_layer(schedule: Schedule, layer: int) -> Schedule:
    """What a schedule does before the LLM, done after a layer instead, on its hidden states; all else stays.

    Args:
        layer: 1-based. Stages that are there already come after those that are moved.

    Raises:
        ValueError: a layer below 1, or behind a stage that is there already, which would come first then.

    Example:
        >>> from seats_ops import DiversitySelector, Schedule
        >>> from seats_ops.methods import at_layer
        >>> print(at_layer(Schedule(DiversitySelector(0.25)), 2))
        * prompt         all tokens
        | layers 1 to 2
        * after layer 2  DiversitySelector(0.25)
        | layers 3 to the last
    """
    after = dict(schedule.after_layer)
    if schedule.before_llm and min(after, default=layer) < layer:
        raise ValueError(f"layer: expected one from 1 to {min(after)}, where the next stage acts, got {layer}")
    after[layer] = (*schedule.before_llm, *after.get(layer, ()))
    return Schedule((), after)


def inputs_of(schedule: Schedule) -> tuple[str, ...]:
    """Everything that the stages of a schedule ask for."""
    return joined_inputs(stage.inputs for _, stage in schedule.stages())


def count_kinds(schedule: Schedule) -> tuple[str, ...]:
    """How the counts of its stages are known, each kind once; see `Stage`."""
    return tuple(dict.fromkeys(count_kind_of(stage) for _, stage in schedule.stages()))


_METHODS: dict[str, Method] = {}


def register_method(name: str, protocol: Protocol, source: str) -> Callable[[F], F]:
    """Make a function of `(config, ratio, *, options)` known as a method.

    Raises:
        TypeError: not such a function. ValueError: the name is taken.

    Example:
        >>> from seats_ops import Ratio, Schedule, Select
        >>> from seats_ops.methods import Protocol, method, register_method
        >>> from seats_ops.operators.scorers import Saliency
        >>> said = Protocol("share that enters the LLM", "modality", "attention in the encoder")
        >>> @register_method("most-salient", said, "an example")
        ... def most_salient(config, ratio):
        ...     return Schedule(Select(Saliency(), Ratio(ratio)))
        >>> method("most-salient")(None, 0.1).before_llm[0].inputs
        ('saliency',)
    """

    def register(build: F) -> F:
        parameters = list(inspect.signature(build).parameters.values())
        first, rest = [p.name for p in parameters[:2]], parameters[2:]
        if first != ["config", "ratio"] or any(p.kind != p.KEYWORD_ONLY for p in rest):
            raise TypeError(f"register_method: expected a function of (config, ratio, *, ...), got {describe(build)}")
        known = _METHODS[name].build if name in _METHODS else build
        if (known.__module__, known.__qualname__) != (build.__module__, build.__qualname__):
            raise ValueError(f"register_method: expected another name than {name!r}, which is taken")
        _METHODS[name] = Method(name, build, protocol, source)
        return build

    return register


def methods() -> dict[str, Method]:
    """All methods by name, those of other packages too (entry points of the group "seats_ops.methods").

    Warns:
        UserWarning: an entry point that cannot be loaded, by its name; its methods are left out.

    Example:
        >>> from seats_ops.methods import methods
        >>> methods()["random"].options
        {'seed': 0}
    """
    import_modules_of(PACKAGE)
    for error in load_all(PACKAGE):
        warnings.warn(str(error), stacklevel=2)
    return dict(sorted(_METHODS.items()))


def method(name: str) -> Method:
    """One of them.

    Raises:
        ValueError: nobody registered the name; with the entry points that cannot be loaded.

    Example:
        >>> from seats_ops.methods import method
        >>> method("divprune").protocol.ratio
        'share that enters the LLM; a number is for video'
    """
    if name not in _METHODS:
        import_modules_of(PACKAGE)
    failed = [] if name in _METHODS else load_all(PACKAGE)
    if name not in _METHODS:
        also = "".join(f"; {error}" for error in failed)
        raise ValueError(f"method: expected one of {', '.join(sorted(_METHODS))}, got {name!r}{also}")
    return _METHODS[name]
