"""Hooks that know whose they are: taken away as one, let through once their block has ended, left out of copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, Protocol

from torch import nn

from seats_ops.errors import UnsupportedModelState


class Owner(Protocol):
    """Whose hooks they are."""

    def lets_through(self) -> bool:
        """The call that comes by is none of the owner's any more."""


class Hook:
    """One function on one module, for one owner."""

    def __init__(self, owner: Owner, function: Callable[..., Any]) -> None:
        self.owner = owner
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return None if self.owner.lets_through() else self.function(*args)

    def __reduce__(self) -> tuple[type[Gone], tuple[()]]:
        # A copy of a model, or one that was saved, has no owner.
        return Gone, ()


class Gone:
    """What stands for a `Hook` in a copy of its module: takes itself away when the copy first runs."""

    def __call__(self, module: nn.Module, *_: Any) -> None:
        _take_away(module, lambda hook: hook is self)


class Hooks:
    """The hooks of one owner on the modules of one model.

    Args:
        root: module that all the others are in.
        owner: see `Hook`.
    """

    def __init__(self, root: nn.Module, owner: Owner) -> None:
        self.root = root
        self.owner = owner
        self.modules: list[nn.Module] = []
        # Path -> (parent, name in it, module) of every module that has a hook, and of those it is in.
        self.places: dict[str, tuple[nn.Module, str, nn.Module]] = {}

    def before(self, module: nn.Module, function: Callable[..., Any]) -> None:
        """`function(module, args, kwargs)` before every forward of `module`."""
        # Before there is a hook, so that one is found even if registering it is interrupted.
        self.modules.append(module)
        module.register_forward_pre_hook(Hook(self.owner, function), with_kwargs=True)

    def after(self, module: nn.Module, function: Callable[..., Any], always: bool = False) -> None:
        """`function(module, args, output)` after it; with `always` also after one that raised, output None."""
        self.modules.append(module)
        module.register_forward_hook(Hook(self.owner, function), always_call=always)

    def note_places(self) -> None:
        """Remember where the modules are, for `check`."""
        path_of = {id(module): path for path, module in self.root.named_modules()}
        parts = [path_of[id(module)].split(".") for module in self.modules if module is not self.root]
        for path in {path for names in parts for path in accumulate(names, "{}.{}".format)}:
            parent, _, name = path.rpartition(".")
            self.places[path] = self.root.get_submodule(parent), name, self.root.get_submodule(path)

    def check(self) -> None:
        """Raise UnsupportedModelState if the model is no longer made of the modules that have the hooks."""
        for path, (parent, name, module) in self.places.items():
            found = parent._modules.get(name)
            if found is not module:
                raise UnsupportedModelState(
                    f"model: expected the modules it had when it was attached, got another {path}, "
                    f"{type(found).__name__}; leave the block before modules are changed (adapters added, layers "
                    "replaced), and attach anew"
                )

    def remove(self) -> None:
        """Take all of them away; may be called again, also after it was interrupted."""
        for module in self.modules:
            _take_away(module, lambda hook: isinstance(hook, Hook) and hook.owner is self.owner)


def owners_on(module: nn.Module) -> Iterator[Any]:
    """Owners of the hooks on a module, in order."""
    for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
        if isinstance(hook, Hook):
            yield hook.owner


def _take_away(module: nn.Module, wanted: Callable[[Any], bool]) -> None:
    """Handles do it too, but an interrupt can come between a registration and its handle."""
    for hooks, *notes in (
        (module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs),
        (module._forward_hooks, module._forward_hooks_with_kwargs, module._forward_hooks_always_called),
    ):
        for number in [number for number, hook in hooks.items() if wanted(hook)]:
            for note in notes:
                note.pop(number, None)
            hooks.pop(number, None)
