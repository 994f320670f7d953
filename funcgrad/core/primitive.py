"""A primitive: one operation, with all that it means stated in one place.

Each field is one rule; docs/adding_a_primitive.md explains them. A rule that is missing is None,
and whoever needs it raises an error that names the primitive and the transformation.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from funcgrad.core import backend, dtypes
from funcgrad.core.array import ConcreteArray, DeviceArray, KeyArray, Tracer, is_on_cpu
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.backend import NUMPY, quiet
from funcgrad.core.trace import EVAL, Axis, current_trace, escaped, running
from funcgrad.errors import missing_rule

Rule = Callable[..., Any]

registry: weakref.WeakSet[Primitive] = weakref.WeakSet()


def one(*args: Any, **params: Any) -> Any:
    """A partial derivative that is identically one: nothing is multiplied."""
    raise AssertionError("`one` is a marker and is never called")


def minus_one(*args: Any, **params: Any) -> Any:
    """A partial derivative that is identically minus one: the tangent is negated."""
    raise AssertionError("`minus_one` is a marker and is never called")


class Primitive:
    """An operation on arrays. Operands are positional, parameters are keywords and hashable."""

    def __init__(
        self,
        name: str,
        *,
        abstract: Rule | None = None,
        value: Rule | None = None,
        partials: Sequence[Rule | None] | None = None,
        linear: Iterable[int] | None = None,
        multilinear: Iterable[int] | None = None,
        constant: bool = False,
        jvp: Rule | None = None,
        transpose: Rule | None = None,
        batch: Rule | None = None,
        split: Rule | None = None,
        loops: Rule | None = None,
        weak: Rule | None = None,
        effects: Rule | None = None,
        names: Rule | None = None,
        pull: Rule | None = None,
        multiple_results: bool = False,
        keys: bool = False,
    ) -> None:
        stated = [form for form in (partials, linear, multilinear, jvp) if form is not None]
        if len(stated) + constant > 1:
            raise TypeError(f"Primitive {name}: state the derivative in exactly one form.")
        self.name = name
        self.abstract, self.value = abstract, value
        self.partials = tuple(partials) if partials is not None else None
        self.linear = tuple(linear) if linear is not None else None
        self.multilinear = tuple(multilinear) if multilinear is not None else None
        self.constant, self.jvp = constant, jvp
        self.transpose, self.batch, self.split, self.loops = transpose, batch, split, loops
        self.weak, self.effects, self.names = weak, effects, names
        # `transpose` for operations whose operands are all linear: (ct, **params) -> cotangents
        self.pull = pull
        self.multiple_results, self.keys = multiple_results, keys
        # compiled derivatives of single operations, by signature (transforms/units.py)
        self.units: dict[Any, Any] | None = None if multiple_results or keys else {}
        registry.add(self)

    def __repr__(self) -> str:
        return self.name

    def bind(self, *args: Any, **params: Any) -> Any:
        """Hands the operation to the current trace. Returns an array, or a list when
        `multiple_results`.
        """
        trace = current_trace()
        return self.evaluate(args, params) if trace is EVAL else trace.process(self, args, params)

    def rule(self, field: str, transform: str) -> Rule:
        """The rule in `field`; MissingRuleError naming primitive and transformation if there is
        none.
        """
        rule = getattr(self, field)
        return rule if rule is not None else missing_rule(self.name, transform)

    def results(self, args: Sequence[Any], params: dict[str, Any]) -> list[ShapedArray]:
        """Abstract values of the results, weak types included."""
        avals = [typeof(a) for a in args]
        out = self.rule("abstract", "tracing")(*avals, **params)
        outs = out if self.multiple_results else [out]
        weak = self.is_weak([aval.weak_type for aval in avals], params)
        return [ShapedArray(o.shape, o.dtype, True) for o in outs] if weak else list(outs)

    def is_weak(self, flags: Sequence[bool], params: dict[str, Any]) -> bool:
        """Is the result weakly typed? By default when all operands are."""
        if self.weak is not None:
            return self.weak(flags, params)
        return bool(flags) and all(flags)

    def evaluate(self, args: Sequence[Any], params: dict[str, Any]) -> Any:
        """Computes the results from arrays, by the `value` rule."""
        buffers, weak = [], bool(args)
        for a in args:
            if type(a) is ConcreteArray:
                buffers.append(a._buffer)
                weak = weak and a._weak
            elif type(a) is KeyArray and not self.keys:
                return self._evaluate_on_keys(args, params)
            else:
                buffers.append(buffer_of(a, self))
                weak = weak and type(a) in _WEAK_SCALARS
        if self.value is None:
            missing_rule(self.name, "evaluation")
        try:
            if backend._device_namespace is None:
                out = quiet.run(self.value, NUMPY, *buffers, **params)
            else:
                out = backend.evaluate(self.value, buffers, params)
        except Exception:
            self._explain(args, params)
            raise
        if self.keys:
            return self._wrap_keys(out, args, params)
        if self.weak is not None:
            weak = self.weak([_is_weak(a) for a in args], params)
        wrap = ConcreteArray if backend._device_namespace is None else wrap_values
        return [wrap(o, weak) for o in out] if self.multiple_results else wrap(out, weak)

    def _explain(self, args: Sequence[Any], params: dict[str, Any]) -> None:
        """NumPy refused; the abstract rule can say why, in the user's terms."""
        try:
            self.results(args, params)
        except (TypeError, ValueError) as error:
            raise error from None

    def _wrap_keys(self, out: Any, args: Sequence[Any], params: dict[str, Any]) -> Any:
        wrapped = [
            KeyArray(o, aval.dtype) if dtypes.is_key(aval.dtype) else ConcreteArray(o)
            for o, aval in zip(out if self.multiple_results else [out], self.results(args, params))
        ]
        return wrapped if self.multiple_results else wrapped[0]

    def _evaluate_on_keys(self, args: Sequence[Any], params: dict[str, Any]) -> Any:
        """Keys are rows of 32-bit words: what moves arrays moves keys, batched over the words."""
        words = [ConcreteArray(a._buffer) if type(a) is KeyArray else a for a in args]
        dims = [a.ndim if type(a) is KeyArray else None for a in args]
        axis = Axis(next(a.dtype.words for a in args if type(a) is KeyArray))
        with running(EVAL):
            out, out_dims = self.rule("batch", "evaluation on keys")(axis, words, dims, **params)
        dtype = next(a.dtype for a in args if type(a) is KeyArray)
        outs = zip(out, out_dims) if self.multiple_results else [(out, out_dims)]
        wrapped = [
            o if d is None else KeyArray(np.moveaxis(o._buffer, d, -1), dtype) for o, d in outs
        ]
        return wrapped if self.multiple_results else wrapped[0]


class Construct(Primitive):
    """A primitive whose parameters hold programs: calls, loops, branches, custom rules. Always
    several results.

    `run(args, **params)` computes it from Arrays; the other rules are those of any primitive, with
    `split` for a mix of known and unknown operands.
    """

    def __init__(self, name: str, *, run: Rule, **rules: Any) -> None:
        super().__init__(name, multiple_results=True, **rules)
        self.run = run

    def evaluate(self, args: Sequence[Any], params: dict[str, Any]) -> Any:
        for a in args:
            if isinstance(a, Tracer):
                raise escaped(a, self.name)
        return self.run(args, **params)

    def results(self, args: Sequence[Any], params: dict[str, Any]) -> list[ShapedArray]:
        return list(self.rule("abstract", "tracing")(*map(typeof, args), **params))


_WEAK_SCALARS = (int, float, complex)


def _is_weak(x: Any) -> bool:
    return x._weak if type(x) is ConcreteArray else type(x) in _WEAK_SCALARS


def buffer_of(x: Any, primitive: Primitive) -> Any:
    """The buffer of an operand that is not a plain Array: a key array, a NumPy value, a Python
    number.
    """
    if isinstance(x, ConcreteArray):
        return x._buffer
    if isinstance(x, (np.ndarray, np.generic)):
        return x
    if isinstance(x, Tracer):
        raise escaped(x, primitive.name)
    return typeof(x).dtype.type(x)


def wrap_buffer(buffer: Any, aval: ShapedArray) -> Any:
    """A buffer as an Array of that type."""
    if dtypes.is_key(aval.dtype):
        return KeyArray(buffer, aval.dtype)
    return wrap_values(buffer, aval.weak_type)


def wrap_values(buffer: Any, weak: bool = False) -> ConcreteArray:
    """A buffer of numbers as an Array of the class for where it is."""
    return ConcreteArray(buffer, weak) if is_on_cpu(buffer) else DeviceArray(buffer, weak)


def result_buffer(x: Any, aval: ShapedArray) -> Any:
    """The buffer of a program's result, which may be a number that stood in the program."""
    return x._buffer if isinstance(x, ConcreteArray) else np.asarray(x, aval.dtype)
