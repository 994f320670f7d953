"""What lies between a function and its results: traced, lowered, compiled. Each can be looked
at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from funcgrad import tree
from funcgrad.api.flat import call_leaves
from funcgrad.api.shapes import ShapeDtypeStruct
from funcgrad.control.call import arrays_of, buffers_of
from funcgrad.core import backend
from funcgrad.core.avals import typeof
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.errors import user_facing

NATIVE = ("kernels", "llvm", "asm")


class MemoryStats(NamedTuple):
    """Estimated bytes of memory of a compiled program; arguments that it may overwrite are
    `alias`.
    """

    argument_size_in_bytes: int
    output_size_in_bytes: int
    alias_size_in_bytes: int
    temp_size_in_bytes: int
    peak_memory_in_bytes: int
    generated_code_size_in_bytes: int = 0


class _Stage:
    """What all stages know: the program, and the structure of its arguments and results."""

    def __init__(
        self,
        fun_name: str,
        jaxpr: Jaxpr,
        captured: Sequence[Any],
        in_tree: Any,
        out_tree: Any,
        donated: tuple[bool, ...],
    ) -> None:
        self.fun_name, self.jaxpr = fun_name, jaxpr
        self._captured, self.in_tree, self.out_tree, self._donated = (
            captured,
            in_tree,
            out_tree,
            donated,
        )

    @property
    def in_avals(self) -> Any:
        """Abstract values of the arguments, in their structure."""
        return tree.unflatten(self.in_tree, self.jaxpr.in_avals)

    @property
    def out_info(self) -> Any:
        """Shapes and dtypes of the results, in their structure."""
        structs = [
            ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in self.jaxpr.out_avals
        ]
        return tree.unflatten(self.out_tree, structs)

    def _next(self, stage: type) -> Any:
        return stage(
            self.fun_name, self.jaxpr, self._captured, self.in_tree, self.out_tree, self._donated
        )


class Traced(_Stage):
    """A function traced for one signature: `jit(f).trace(*args)`."""

    def lower(self) -> Lowered:
        """The next stage."""
        return self._next(Lowered)


class Lowered(_Stage):
    """A program ready to be compiled: `jit(f).lower(*args)`."""

    def as_text(self, dialect: str = "jaxpr") -> str:
        """The program as text: `jaxpr` as traced, `optimized` after the compiler's passes; of the
        NumPy engine `program` as steps and `python` as generated code; of the native engine
        `kernels`, `llvm` as code for LLVM and `asm` as code for this machine.
        """
        if dialect == "jaxpr":
            return str(self.jaxpr)
        engine = "llvm" if dialect in NATIVE else backend.engine_name()
        return backend.load(engine).as_text(self.jaxpr, dialect)

    def cost_analysis(self) -> dict[str, float]:
        """Estimates for the program as traced, nothing fused: "flops" (arithmetic operations) and
        "bytes accessed".
        """
        flops, moved = backend.load("analysis").unfused_cost(self.jaxpr)
        return {"flops": float(flops), "bytes accessed": float(moved)}

    def compile(self) -> Compiled:
        """The next stage."""
        return self._next(Compiled)


class Compiled(_Stage):
    """A compiled program: call it with arguments of exactly its signature."""

    @user_facing
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, in_tree = call_leaves(self.fun_name, args, kwargs)
        if in_tree != self.in_tree:
            raise TypeError(
                f"{self.fun_name} was compiled for arguments {self.in_tree}, but got {in_tree}."
            )
        avals = self.jaxpr.in_avals[len(self._captured) :]
        for k, (x, aval) in enumerate(zip(leaves, avals)):
            if typeof(x).strong() != aval.strong():
                raise TypeError(
                    f"{self.fun_name} was compiled for {aval} in place {k}, but got {typeof(x)}."
                )
        buffers = buffers_of([*self._captured, *leaves])
        outs = backend.compiled(self.jaxpr)(buffers)
        return tree.unflatten(self.out_tree, arrays_of(self.jaxpr.out_avals, outs))

    def cost_analysis(self) -> dict[str, float]:
        """Estimates for the program as it runs: "flops" (arithmetic operations) and "bytes
        accessed".

        Example:
            >>> import funcgrad as fg
            >>> import funcgrad.numpy as jnp
            >>> x = jnp.ones((2, 3))
            >>> fg.jit(lambda x: x @ x.T).lower(x).compile().cost_analysis()
            {'flops': 24.0, 'bytes accessed': 64.0}
        """
        cost = backend.load("analysis").cost_of(self.jaxpr, self._donated)
        return {"flops": float(cost.flops), "bytes accessed": float(cost.bytes)}

    def memory_analysis(self) -> MemoryStats:
        """Estimated bytes of arguments, results, temporaries, and of all of them at the worst
        moment.
        """
        analysis = backend.load("analysis")
        cost = analysis.cost_of(self.jaxpr, self._donated)
        given = zip(self.jaxpr.args[len(self._captured) :], self._donated)
        return MemoryStats(
            argument_size_in_bytes=cost.arguments,
            output_size_in_bytes=cost.results,
            alias_size_in_bytes=sum(analysis.size_of(v) for v, donated in given if donated),
            temp_size_in_bytes=cost.temporaries,
            peak_memory_in_bytes=cost.peak,
        )

    def as_text(self, dialect: str = "optimized") -> str:
        """The program as text, as `Lowered.as_text`."""
        return self._next(Lowered).as_text(dialect)
