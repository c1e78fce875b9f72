"""What launchers ask of Triton, recorded instead of run: no GPU needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

from triton.compiler.compiler import make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from seats_ops.testing.aot import TARGETS


@dataclass(frozen=True)
class Launch:
    """One launch that did not happen.

    Attributes:
        kernel: the `triton.jit` function.
        args: positional arguments, tensors among them.
        options: keyword arguments: `constexpr` values, warps, stages.
        grid: programs.
    """

    kernel: Any
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    grid: tuple[int, ...]

    @property
    def name(self) -> str:
        return str(self.kernel.fn.__name__)

    @property
    def constants(self) -> dict[str, Any]:
        """The `constexpr` arguments by name."""
        return {p.name: self.options[p.name] for p in self.kernel.params if p.is_constexpr}

    @property
    def signature(self) -> dict[str, str]:
        """Triton types of the other arguments by name, as a `KernelConfig` has them."""
        types = {p.name: kind for p, (kind, _) in zip(self.kernel.params, self._bound()[0], strict=True)}
        return {name: kind.replace("u1", "i1") for name, kind in types.items() if kind != "constexpr"}

    def key(self) -> str:
        """What decides whether Triton compiles again: equal keys share one compiled kernel."""
        specialization, options = self._bound()
        return f"{self.name} {specialization} {sorted(options.items())}"

    def _bound(self) -> tuple[list[tuple[str, Any]], dict[str, Any]]:
        """Type and specialisation of every argument, and the options that are left."""
        bind = create_function_from_signature(self.kernel.signature, self.kernel.params, make_backend(TARGETS["sm_90"]))
        _, specialization, options = bind(*self.args, **self.options)
        return specialization, options


@contextlib.contextmanager
def record_launches() -> Iterator[list[Launch]]:
    """Collect all launches inside the block; what the kernels would have written stays as it was allocated.

    Calls of primitives must name backend="triton"; tensors may lie on the CPU.
    """
    launches: list[Launch] = []

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        launches.append(Launch(self, args, options, tuple(grid)))

    with (
        mock.patch.object(JITFunction, "run", run),
        mock.patch("seats_ops.backend.why_not_triton", lambda primitive, tensor: None),
    ):
        yield launches
