"""One compiled signature of a jitted function, and the code generated for calling it.

After a few calls, matching the arguments and building the result are done by Python functions
written for this very structure, shapes and dtypes: straight-line comparisons cost a fraction of
flattening a tree and hashing a key. Where the engine offers to check and wrap the leaves itself,
they only take the trees apart and put them together.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.api.signature import kind_of
from funcgrad.control.call import arrays_of, buffers_of
from funcgrad.core import backend
from funcgrad.core.array import DELETED, ConcreteArray, is_on_cpu
from funcgrad.core.dtypes import is_key
from funcgrad.core.jaxpr import Jaxpr

_GENERATE_AFTER = 2  # calls; before that the general way costs less than generating code

MISS = object()  # what `fast` returns if the arguments do not fit


class Entry:
    """A program with everything that a call needs.

    Once it was called a few times, `fast` takes arguments that fit; where these are nothing but
    leaves, and so are the results, `direct` takes them as they come, or returns None. Else `run`
    on buffers, and `finish` the result.
    """

    __slots__ = (
        "jaxpr", "in_tree", "out_tree", "statics", "donated", "state", "avals", "out_avals",
        "calls", "fast", "direct", "_run", "finish",
    )  # fmt: skip

    def __init__(
        self,
        jaxpr: Jaxpr,
        in_tree: tree.PyTreeDef,
        out_tree: tree.PyTreeDef,
        statics: tuple[tuple[Any, Any], ...],
        donated: tuple[bool, ...],
        state: Any,
    ) -> None:
        self.jaxpr, self.in_tree, self.out_tree = jaxpr, in_tree, out_tree
        self.statics, self.donated, self.state = statics, donated, state
        self.avals = jaxpr.in_avals
        self.out_avals = jaxpr.out_avals
        self.calls = 0
        self.fast: Callable[..., Any] = _missed
        self.direct: Callable[..., Any] | None = None
        self._run: Callable[[Sequence[Any]], list[Any]] | None = None
        self.finish: Callable[[Sequence[Any]], Any] = self._unflatten

    def run(self, buffers: Sequence[Any]) -> list[Any]:
        """The results' buffers."""
        if self._run is None:
            self._run = backend.compiled(self.jaxpr, self.donated)
        return self._run(buffers)

    def call(self, leaves: Sequence[Any]) -> Any:
        """Runs on Arrays that fit, giving donated ones up."""
        if any(self.donated):
            return self.finish(self.run(self._take_donated(leaves)))
        return self.finish(self.run(buffers_of(leaves)))

    def _unflatten(self, buffers: Sequence[Any]) -> Any:
        self.calls += 1
        if self.calls == _GENERATE_AFTER and all(map(is_on_cpu, buffers)):
            self._generate()
        return tree.unflatten(self.out_tree, arrays_of(self.out_avals, buffers))

    def _take_donated(self, leaves: Sequence[Any]) -> list[Any]:
        """Buffers of all leaves; a donated one that somebody else can see is replaced by a copy."""
        repeated = len({id(x) for x in leaves}) < len(leaves)
        buffers = []
        for x, given in zip(leaves, self.donated):
            if given:
                buffers.append(x._buffer.copy() if repeated else _owned(x))
            else:
                buffers.append(x._buffer)
        for x, given in zip(leaves, self.donated):
            if given:
                x._buffer = DELETED
        return buffers

    def _generate(self) -> None:
        """Writes `finish`, and `fast` unless something in the arguments needs the general way."""
        leaves = list(range(len(self.out_avals)))
        result = tree.unflatten(self.out_tree, leaves)
        direct = getattr(self._run, "direct", lambda: None)()
        source = _Writer(self.out_avals).expression(result)
        if source is not None:
            self.finish = _compile(f"def finish(o):\n    return {source}\n", "finish", {})
        fast = None if direct is None else _Matcher(self, direct).direct_call(result)
        if fast is not None and self._is_flat(result):
            self.direct = direct
        if fast is None and not any(self.donated):
            fast = self._through_buffers()
        self.fast = fast or _missed

    def _is_flat(self, result: Any) -> bool:
        """Are the arguments leaves in their order, and the result one leaf or a tuple of them?"""
        args, kwargs = tree.unflatten(self.in_tree, list(range(len(self.avals))))
        if kwargs or self.statics or not all(type(a) is int for a in args):
            return False
        return type(result) is int or (
            type(result) is tuple and len(result) != 1 and all(type(o) is int for o in result)
        )

    def _through_buffers(self) -> Callable[..., Any] | None:
        match, run, finish = _Matcher(self).build(), self._run, self.finish
        if match is None:
            return None

        def fast(args: Any, kwargs: Any) -> Any:
            buffers = match(args, kwargs)
            return MISS if buffers is MISS else finish(run(buffers))  # type: ignore[misc]

        return fast


# Stands for the entry of a function that was not called yet: it is for no configuration.
NOTHING = Entry.__new__(Entry)
NOTHING.state = None


def _missed(args: Any, kwargs: Any) -> Any:
    """The fast way of an entry that has none."""
    return MISS


def _compile(source: str, name: str, names: dict[str, Any]) -> Callable[..., Any]:
    scope = {"Array": ConcreteArray, "MISS": MISS, **names}
    exec(compile(source, f"<funcgrad {name}>", "exec"), scope)
    return scope[name]


class _Writer:
    """Writes the expression that builds a tree of results from the list of their buffers."""

    def __init__(self, avals: Sequence[Any], wrapped: bool = False) -> None:
        self.avals, self.wrapped = avals, wrapped

    def expression(self, node: Any) -> str | None:
        """None for structures that only `tree.unflatten` can build."""
        if isinstance(node, int):
            aval = self.avals[node]
            if self.wrapped:
                return f"o{node}"
            return None if is_key(aval.dtype) else f"Array(o[{node}], {aval.weak_type})"
        if node is None:
            return "None"
        if type(node) in (tuple, list):
            return self._sequence(node)
        if type(node) is dict and all(type(k) in (str, int) for k in node):
            parts = [self.expression(v) for v in node.values()]
            if None in parts:
                return None
            return "{" + ", ".join(f"{k!r}: {p}" for k, p in zip(node, parts)) + "}"
        return None

    def _sequence(self, node: Sequence[Any]) -> str | None:
        parts = [self.expression(v) for v in node]
        if None in parts:
            return None
        inner = ", ".join(parts)  # type: ignore[arg-type]
        return f"[{inner}]" if type(node) is list else f"({inner}{',' if len(parts) == 1 else ''})"


class _Unmatchable(Exception):
    """The structure needs the general way."""


class _Matcher:
    """Writes the function that takes `(args, kwargs)` to buffers if they fit this entry, and to
    MISS otherwise; or the one that calls the engine with the leaves.
    """

    def __init__(self, entry: Entry, direct: Callable[..., Any] | None = None) -> None:
        self.entry, self.direct = entry, direct
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}
        # By position among the leaves: dicts may be visited in another order.
        self.buffers: dict[int, str] = {}
        self.count = 0

    def build(self) -> Callable[..., Any] | None:
        """None if only the general way will do."""
        if any(is_key(a.dtype) for a in self.entry.avals) or not self._visited():
            return None
        body = "".join(f"        {line}\n" for line in self.lines)
        source = (
            "def match(args, kwargs):\n    try:\n"
            f"{body}        return [{self._leaves()}]\n"
            "    except (KeyError, ValueError):\n        return MISS\n"
        )
        return _compile(source, "match", self.names)

    def direct_call(self, result: Any) -> Callable[..., Any] | None:
        """From arguments to the tree of results, whose leaves are numbers in `result`."""
        built = _Writer(self.entry.out_avals, wrapped=True).expression(result)
        if built is None or not self._visited():
            return None
        body = "".join(f"        {line}\n" for line in self.lines) or "        pass\n"
        count = len(self.entry.out_avals)
        parts = ", ".join(f"o{n}" for n in range(count))
        unpack = f"    {parts} = o\n" if count > 1 else ""
        source = (
            f"def fast(args, kwargs):\n    try:\n{body}"
            "    except (KeyError, ValueError):\n        return MISS\n"
            f"    {'o' if count != 1 else 'o0'} = direct({self._leaves()})\n"
            f"    if {'o' if count != 1 else 'o0'} is None:\n        return MISS\n"
            f"{unpack}    return {built}\n"
        )
        return _compile(source, "fast", {**self.names, "direct": self.direct})

    def _leaves(self) -> str:
        return ", ".join(self.buffers[i] for i in sorted(self.buffers))

    def _visited(self) -> bool:
        """Writes the lines that take the arguments apart; False if they need the general way."""
        entry = self.entry
        args, kwargs = tree.unflatten(entry.in_tree, list(range(len(entry.avals))))
        args = list(args)
        statics = dict(entry.statics)
        for i in sorted(k for k in statics if isinstance(k, int)):
            args.insert(i, _Static(statics[i]))
        kwargs = {**kwargs, **{n: _Static(v) for n, v in statics.items() if isinstance(n, str)}}
        try:
            self._sequence("args", tuple(args))
            self._dict("kwargs", kwargs)
        except _Unmatchable:
            return False
        return True

    def _name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def _constant(self, value: Any) -> str:
        name = self._name("c")
        self.names[name] = value
        return name

    def _unless(self, condition: str) -> None:
        self.lines.append(f"if {condition}: return MISS")

    def _node(self, name: str, node: Any) -> None:
        if isinstance(node, int):
            self._leaf(name, node)
        elif isinstance(node, _Static):
            self._static(name, node.value)
        elif node is None:
            self._unless(f"{name} is not None")
        elif type(node) in (tuple, list):
            self._unless(f"type({name}) is not {type(node).__name__}")
            self._sequence(name, node)
        elif type(node) is dict and all(type(k) in (str, int) for k in node):
            self._unless(f"type({name}) is not dict")
            self._dict(name, node)
        else:
            raise _Unmatchable

    def _sequence(self, name: str, node: Sequence[Any]) -> None:
        if not node:
            self._unless(name)
            return
        items = [self._name("x") for _ in node]
        self.lines.append(f"{', '.join(items)}{',' if len(items) == 1 else ''} = {name}")
        for item, child in zip(items, node):
            self._node(item, child)

    def _dict(self, name: str, node: dict[Any, Any]) -> None:
        self._unless(f"len({name}) != {len(node)}" if node else name)
        for key, child in node.items():
            item = self._name("x")
            self.lines.append(f"{item} = {name}[{key!r}]")
            self._node(item, child)

    def _static(self, name: str, value: Any) -> None:
        constant = self._constant(value)
        kind = f"type({name}) is not type({constant})"
        if type(value) is tuple:
            kind = f"{self._constant(kind_of)}({name}) != {self._constant(kind_of(value))}"
        self._unless(f"{kind} or {name} != {constant}")

    def _leaf(self, name: str, index: int) -> None:
        if self.direct is not None:
            self.buffers[index] = name
            return
        aval, buffer = self.entry.avals[index], self._name("b")
        self.buffers[index] = buffer
        self._unless(f"type({name}) is not Array")
        self.lines.append(f"{buffer} = {name}._buffer")
        dtype = self._constant(aval.dtype)
        wrong_weak = f"not {name}._weak" if aval.weak_type else f"{name}._weak"
        self._unless(
            f"{buffer}.dtype is not {dtype} or {buffer}.shape != {aval.shape!r} or {wrong_weak}"
        )


class _Static:
    """Marks a static argument among the leaves."""

    def __init__(self, value: Any) -> None:
        self.value = value


# ---- donation
# ----------------------------------------------------------------------------------------


def _references(x: ConcreteArray) -> int:
    buffer = x._buffer
    return sys.getrefcount(buffer)


# What a buffer that nobody else can see counts here.
_SOLE = _references(ConcreteArray(np.zeros(1)))


def _owned(x: ConcreteArray) -> Any:
    """The array's buffer if it may be overwritten, else a copy of it."""
    if _references(x) > _SOLE or not isinstance(x._buffer, np.ndarray):
        return x._buffer.copy()
    buffer = x._buffer
    return buffer if buffer.base is None and buffer.flags.writeable else buffer.copy()
