"""Random programs that nest control flow, calls, custom rules and derivatives, for any library of
JAX's form.

A nest is a tuple (kind, inner nests); it means a function of a vector of three to another. Values
stay within a few units, however deep, and are smooth except where predicates change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Nest = tuple[Any, ...]
Function = Callable[[Any], Any]

# ---- leaves: functions of the library's numpy and a vector

LEAVES: dict[str, Callable[[Any, Any], Any]] = {
    "sin": lambda n, x: n.sin(x),
    "tanh": lambda n, x: 1.5 * n.tanh(x),
    "square": lambda n, x: x * x / (1 + x * x),
    "flip": lambda n, x: x[::-1],
    "sums": lambda n, x: n.cumsum(x) / 3,
    "centred": lambda n, x: x - n.mean(x),
    "row": lambda n, x: n.zeros(3, x.dtype).at[1].set(x[0]) + n.exp(-x * x),
}


# ---- constructs: each takes the library and inner functions


def _scan(lib: Any, f: Function) -> Function:
    n = lib.numpy

    def body(x: Any) -> Any:
        def step(carry: Any, row: Any) -> Any:
            c, i = carry
            c = 0.5 * f(c + 0.1 * x) + row * i
            return (c, i + 1), (n.sum(c), row)

        (last, _), (sums, rows) = lib.lax.scan(step, (x, 1), n.outer(x, n.cos(x)) / 4)
        return n.tanh(last) + sums / 8 + rows[2]

    return body


def _reverse_scan(lib: Any, f: Function) -> Function:
    def body(x: Any) -> Any:
        step = lambda c, v: (f(c) * v, c)
        last, ys = lib.lax.scan(step, x, lib.numpy.tanh(x[:2]), reverse=True)
        return last + lib.numpy.sin(ys[0]) * x[1]

    return body


def _fori(lib: Any, f: Function) -> Function:
    return lambda x: lib.lax.fori_loop(0, 3, lambda i, c: lib.numpy.sin(f(c) + 0.1 * i * x), x)


def _while(lib: Any, f: Function) -> Function:
    """As many trips as the values want, at most four."""
    n = lib.numpy

    def body(x: Any) -> Any:
        going = lambda c: (c[0] < 4) & (n.sum(c[1] ** 2) < 2.0 + x[0] ** 2)
        step = lambda c: (c[0] + 1, 0.3 * f(c[1]) + 1.2 * c[1] + 0.2 * x)
        return n.tanh(lib.lax.while_loop(going, step, (0, 0.5 * x))[1])

    return body


def _cond(lib: Any, f: Function, g: Function) -> Function:
    return lambda x: lib.lax.cond(
        lib.numpy.sum(x) > 0.3, lambda v: f(v) * v[0], lambda v: g(v) + 0.1 * x, lib.numpy.cos(x)
    )


def _switch(lib: Any, f: Function, g: Function) -> Function:
    def body(x: Any) -> Any:
        index = (x[0] > 0).astype("int32") + (x[1] > 0).astype("int32")
        return lib.lax.switch(index, [f, lambda v: v * x, g], 0.5 * x)

    return body


def _map(lib: Any, f: Function) -> Function:
    rows = lambda x: lib.numpy.outer(lib.numpy.sin(x), x)
    return lambda x: lib.numpy.sum(lib.lax.map(lambda r: f(r) * x, rows(x)), 0) / 3


def _vmap(lib: Any, f: Function) -> Function:
    rows = lambda x: lib.numpy.outer(lib.numpy.sin(x), x) + 0.5
    return lambda x: lib.numpy.sum(lib.vmap(lambda r: f(r) * x)(rows(x)), 0) / 3


def _custom_jvp(lib: Any, f: Function) -> Function:
    """Its rule says half of the true derivative."""
    ruled = lib.custom_jvp(lambda x: f(x))

    @ruled.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        out, tangent = lib.jvp(f, primals, tangents)
        return out, 0.5 * tangent

    return lambda x: ruled(x) + lib.numpy.sin(x)


def _custom_vjp(lib: Any, f: Function) -> Function:
    """Its rule says the cosine of what it is given."""
    ruled = lib.custom_vjp(lambda x: f(x))
    ruled.defvjp(
        lambda x: (f(x), lib.numpy.cos(x)), lambda kept, ct: (kept * ct,)
    )  # fmt: skip
    return lambda x: ruled(x) + lib.numpy.sin(x)


def _gradient(lib: Any, f: Function) -> Function:
    n = lib.numpy
    return lambda x: n.tanh(lib.grad(lambda y: n.sum(n.sin(f(y)) * x))(x))


def _tangent(lib: Any, f: Function) -> Function:
    return lambda x: lib.numpy.tanh(lib.jvp(f, (x,), (lib.numpy.cos(x),))[1])


def _running(lib: Any, f: Function) -> Function:
    return lambda x: lib.lax.associative_scan(lambda a, b: a * b + 0.1 * a + 0.2 * b, f(x))


def _captured(lib: Any, f: Function) -> Function:
    """A compiled function of nothing that closes over the argument."""
    return lambda x: lib.jit(lambda: f(lib.numpy.sin(x)) + x)()


CONSTRUCTS: dict[str, tuple[int, Callable[..., Function]]] = {
    "sequence": (2, lambda lib, f, g: lambda x: g(f(x))),
    "mix": (2, lambda lib, f, g: lambda x: f(x) * lib.numpy.cos(g(x))),
    "jit": (1, lambda lib, f: lib.jit(lambda x: f(x) + x / 2)),
    "captured": (1, _captured),
    "checkpoint": (1, lambda lib, f: lib.checkpoint(lambda x: lib.numpy.sin(f(x)) * x)),
    "scan": (1, _scan),
    "reverse scan": (1, _reverse_scan),
    "fori": (1, _fori),
    "while": (1, _while),
    "cond": (2, _cond),
    "switch": (2, _switch),
    "map": (1, _map),
    "vmap": (1, _vmap),
    "running": (1, _running),
    "custom_jvp": (1, _custom_jvp),
    "custom_vjp": (1, _custom_vjp),
    "gradient": (1, _gradient),
    "tangent": (1, _tangent),
}
REVERSE = {"gradient"}
NO_FORWARD_MODE = "custom_vjp"


def built(lib: Any, nest: Nest, leaves: Any = None) -> Function:
    """The function that a nest means, in a library; with other `leaves`, if given."""
    leaves = leaves or LEAVES
    kind, *inner = nest
    if kind in leaves:
        return lambda x: leaves[kind](lib.numpy, x)
    return CONSTRUCTS[kind][1](lib, *(built(lib, each, leaves) for each in inner))


def kinds(nest: Nest) -> set[str]:
    """The names of all constructs in it."""
    return {nest[0], *(k for inner in nest[1:] for k in kinds(inner))}


def has_inside(nest: Nest, outer: set[str], inner: str) -> bool:
    """Does one of the `outer` constructs hold an `inner` one?"""
    found = nest[0] in outer and any(inner in kinds(each) for each in nest[1:])
    return found or any(has_inside(each, outer, inner) for each in nest[1:])


def _grown(smaller: Any) -> Any:
    def of(kind: str) -> Any:
        return st.tuples(st.just(kind), *[smaller] * CONSTRUCTS[kind][0])

    return st.sampled_from(sorted(CONSTRUCTS)).flatmap(of)


NESTS = st.recursive(st.sampled_from([(name,) for name in LEAVES]), _grown, max_leaves=5)
