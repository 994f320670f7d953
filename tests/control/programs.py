"""Functions of one vector to one scalar, written in control flow, for any library of JAX's form.

`unrolled` is such a library: its loops, branches, maps and calls are Python's, its derivatives
ours. What a construct means is what its unrolled program computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

import funcgrad as fg

# ---- control flow in Python ---------------------------------------------------------------------


def _index(tree: Any, i: int) -> Any:
    return fg.tree.map(lambda x: x[i], tree)


def _stack(items: Sequence[Any]) -> Any:
    return fg.tree.map(lambda *rows: fg.numpy.stack([fg.numpy.asarray(r) for r in rows]), *items)


def _size(tree: Any) -> int:
    return fg.tree.leaves(tree)[0].shape[0]


def _scan(
    f: Any, carry: Any, xs: Any = None, length: Any = None, reverse: bool = False, unroll: Any = 1
) -> Any:
    steps = range(_size(xs) if length is None else length)
    ys = []
    for i in reversed(steps) if reverse else steps:
        carry, y = f(carry, _index(xs, i))
        ys.append(y)
    return carry, _stack(ys[::-1] if reverse else ys)


def _while_loop(cond_fun: Any, body_fun: Any, value: Any) -> Any:
    while cond_fun(value):
        value = body_fun(value)
    return value


def _fori_loop(lower: Any, upper: Any, body_fun: Any, value: Any) -> Any:
    for i in range(int(lower), int(upper)):
        value = body_fun(i, value)
    return value


def _switch(index: Any, branches: Any, *operands: Any) -> Any:
    return branches[min(max(int(index), 0), len(branches) - 1)](*operands)


def _map(f: Any, xs: Any, *, batch_size: Any = None) -> Any:
    return _stack([f(_index(xs, i)) for i in range(_size(xs))])


def _associative_scan(fn: Any, elems: Any, reverse: bool = False) -> Any:
    size = _size(elems)
    order = range(size - 1, -1, -1) if reverse else range(size)
    found: list[Any] = []
    for i in order:
        found.append(fn(found[-1], _index(elems, i)) if found else _index(elems, i))
    return _stack(found[::-1] if reverse else found)


def _reduce(operand: Any, init: Any, computation: Any, dimensions: Any) -> Any:
    (axis,) = dimensions
    total = init
    for row in range(operand.shape[axis]):
        total = computation(total, fg.lax.index_in_dim(operand, row, axis, keepdims=False))
    return total


def _reduce_window(operand: Any, init: Any, f: Any, size: Any, strides: Any, padding: Any) -> Any:
    """Of vectors, without padding."""
    (width,), (stride,) = size, strides
    starts = range(0, operand.shape[0] - width + 1, stride)
    return _stack([_reduce(operand[i : i + width], init, f, (0,)) for i in starts])


def _custom_root(f: Any, guess: Any, solve: Any, tangent_solve: Any) -> Any:
    """Newton's method, written out: twenty steps, with the derivatives of those."""
    x = guess
    for _ in range(20):
        value, slope = fg.jvp(f, (x,), (fg.numpy.ones_like(x),))
        x = x - value / slope
    return x


def _custom_linear_solve(matvec: Any, b: Any, solve: Any, symmetric: bool = False) -> Any:
    return fg.numpy.linalg.solve(fg.jacfwd(matvec)(fg.numpy.zeros_like(b)), b)


def _vmap(f: Any) -> Any:
    return lambda xs: _stack([f(_index(xs, i)) for i in range(_size(xs))])


unrolled = SimpleNamespace(
    **{name: getattr(fg, name) for name in ("grad", "jvp", "vjp", "linearize", "custom_jvp")},
    numpy=fg.numpy,
    random=fg.random,
    jit=lambda f: f,
    checkpoint=lambda f: f,
    vmap=_vmap,
    lax=SimpleNamespace(
        scan=_scan,
        while_loop=_while_loop,
        fori_loop=_fori_loop,
        cond=lambda pred, yes, no, *operands: yes(*operands) if pred else no(*operands),
        switch=_switch,
        map=_map,
        associative_scan=_associative_scan,
        reduce=_reduce,
        reduce_window=_reduce_window,
        custom_root=_custom_root,
        custom_linear_solve=_custom_linear_solve,
        **{name: getattr(fg.lax, name) for name in ("add", "max", "select", "stop_gradient")},
    ),
)


# ---- programs -----------------------------------------------------------------------------------


def scan_captures(lib: Any, x: Any) -> Any:
    jnp = lib.numpy

    def body(c: Any, v: Any) -> Any:
        c = jnp.sin(c * v + x[0])
        return c, c * x[1]

    last, ys = lib.lax.scan(body, 0.5 * x[1], x)
    return last + jnp.sum(ys * x)


def scan_reversed(lib: Any, x: Any) -> Any:
    jnp = lib.numpy
    constant = jnp.asarray([0.5, 1.5], x.dtype)

    def body(c: Any, v: Any) -> Any:
        c = jnp.cos(c) * v + constant
        return c, (jnp.sum(c), v)

    last, (sums, same) = lib.lax.scan(body, x[:2], x, reverse=True, unroll=2)
    return jnp.sum(last) + jnp.sum(sums * same)


def scan_trees(lib: Any, x: Any) -> Any:
    """A carry of floats, an integer and None, of which one float is never changed."""
    jnp = lib.numpy

    def body(c: Any, row: Any) -> Any:
        w = c["w"] * jnp.tanh(row["a"] + c["fixed"])
        new = {"w": w, "n": c["n"] + row["k"], "none": None, "fixed": c["fixed"]}
        return new, {"w": w * c["n"], "nothing": None}

    init = {"w": x[0], "n": jnp.asarray(1), "none": None, "fixed": x[2]}
    last, ys = lib.lax.scan(body, init, {"a": x, "k": jnp.asarray([1, 2, 0])})
    return last["w"] * last["fixed"] + jnp.sum(ys["w"])


def scan_without_inputs(lib: Any, x: Any) -> Any:
    jnp = lib.numpy
    last, ys = lib.lax.scan(lambda c, _: (jnp.sin(c) * x, jnp.sum(c)), x, None, length=4)
    return jnp.sum(last) * jnp.sum(ys)


def scan_of_scan(lib: Any, x: Any) -> Any:
    jnp = lib.numpy

    def outer(c: Any, v: Any) -> Any:
        inner, ys = lib.lax.scan(lambda d, u: (jnp.sin(d * u * v), d * c), c, x)
        return inner + 0.1 * v, jnp.sum(ys)

    last, ys = lib.lax.scan(outer, x[0], x)
    return last + jnp.sum(ys)


def scan_of_matrices(lib: Any, x: Any) -> Any:
    """Products that depend on nothing that varies are the same in all steps."""
    jnp = lib.numpy
    w = jnp.outer(x, jnp.cos(x))
    last, _ = lib.lax.scan(lambda c, _: (jnp.tanh(c @ jnp.exp(jnp.sin(w))), None), x, None, 3)
    return jnp.sum(last)


def scan_of_checkpoint(lib: Any, x: Any) -> Any:
    jnp = lib.numpy
    body = lib.checkpoint(lambda c, v: (jnp.sin(jnp.sin(c) * v), c * x[0]))
    last, ys = lib.lax.scan(body, x[2], x)
    return last + jnp.sum(ys)


def scan_of_calls(lib: Any, x: Any) -> Any:
    jnp = lib.numpy
    step = lib.jit(lambda c, v: (jnp.sin(c + v) * x, jnp.sum(c)))
    last, ys = lib.lax.scan(step, x, x)
    return jnp.sum(last) + jnp.sum(ys**2)


def scan_of_custom_rule(lib: Any, x: Any) -> Any:
    jnp = lib.numpy

    @lib.custom_jvp
    def f(a: Any, b: Any) -> Any:
        return jnp.sin(a) * b

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        (a, b), (da, db) = primals, tangents
        return f(a, b), 3.0 * b * da + jnp.sin(a) * db

    last, ys = lib.lax.scan(lambda c, v: (f(c, v), f(v, c)), x[1], x)
    return last + jnp.sum(ys)


def scan_of_random_numbers(lib: Any, x: Any) -> Any:
    jnp = lib.numpy

    def body(carry: Any, v: Any) -> Any:
        key, c = carry
        key, own = lib.random.split(key)
        c = c * v + lib.random.uniform(own, (), x.dtype)
        return (key, c), c

    (_, last), ys = lib.lax.scan(body, (lib.random.key(3), x[0]), x)
    return last * jnp.sum(ys)


def branch(lib: Any, x: Any) -> Any:
    jnp = lib.numpy
    yes, no = (lambda v: jnp.sum(v**3) * x[0]), (lambda v: jnp.sum(jnp.cos(v)))
    return lib.lax.cond(jnp.sum(x) > 1.5, yes, no, x)


def branch_trees(lib: Any, x: Any) -> Any:
    """Branches that use different operands, one of them none, and return what they got."""
    jnp = lib.numpy

    def yes(d: Any) -> Any:
        return {"a": d["a"] * 2.0, "b": d["b"], "n": 1}

    def no(d: Any) -> Any:
        return {"a": jnp.ones_like(d["a"]), "b": jnp.sum(jnp.exp(d["a"])), "n": 2}

    out = lib.lax.cond(x[0] > 0.2, yes, no, {"a": x, "b": x[1]})
    return jnp.sum(out["a"] * out["b"]) * out["n"]


def branch_of_branch(lib: Any, x: Any) -> Any:
    jnp = lib.numpy

    def outer(v: Any) -> Any:
        return lib.lax.cond(v[1] > 0.5, lambda u: jnp.sum(u * v), lambda u: jnp.prod(u), v + x)

    return lib.lax.cond(x[0] > 0.2, outer, lambda v: jnp.sum(v), x)


def switched_steps(lib: Any, x: Any) -> Any:
    jnp = lib.numpy
    branches = [lambda c, v: c * v, lambda c, v: jnp.sin(c) + x[0], lambda c, v: c - v**2]

    def body(c: Any, row: Any) -> Any:
        v, i = row
        c = lib.lax.switch(i, branches, c, v)
        return c, c

    last, ys = lib.lax.scan(body, x[1], (x, jnp.asarray([2, 0, 5])))
    return last + jnp.sum(ys)


def branch_with_scan(lib: Any, x: Any) -> Any:
    jnp = lib.numpy

    def yes(v: Any) -> Any:
        return lib.lax.scan(lambda c, u: (jnp.sin(c * u), c), v[0], v)[0]

    return lib.lax.cond(x[0] * 3.0 > 0.5, yes, lambda v: v[0] * v[1], x)


def counted(lib: Any, x: Any) -> Any:
    return lib.numpy.sum(lib.lax.fori_loop(0, 3, lambda i, v: lib.numpy.sin(v) * x + i, x))


def searching(lib: Any, x: Any) -> Any:
    """The number of trips depends on the values, not smoothly."""
    jnp = lib.numpy

    def body(c: Any) -> Any:
        v, n = c
        return v * (1.0 + x[0]) + 0.1 * x, n + 1

    v, n = lib.lax.while_loop(lambda c: jnp.sum(c[0]) < 9.0, body, (x * x, 0))
    return jnp.sum(v * jnp.cos(x)) / n


def loop_of_loop(lib: Any, x: Any) -> Any:

    def inner(v: Any) -> Any:
        return lib.lax.while_loop(lambda u: u < 1.0 + v, lambda u: u * (1.5 + x[0]), v)

    return lib.lax.while_loop(lambda v: v < 6.0, lambda v: inner(v) * (1.0 + x[2]), 0.3 + x[1] ** 2)


def loop_of_scan(lib: Any, x: Any) -> Any:
    jnp = lib.numpy

    def body(v: Any) -> Any:
        return v + lib.lax.scan(lambda c, u: (jnp.sin(c) + u, None), v, x)[0]

    return lib.lax.while_loop(lambda v: v < 6.0, body, x[1])


def scan_of_loop(lib: Any, x: Any) -> Any:
    jnp = lib.numpy

    def body(c: Any, v: Any) -> Any:
        c = lib.lax.while_loop(lambda u: u < 2.0, lambda u: u * (1.2 + v), c)
        return 0.3 * c, jnp.sin(c)

    last, ys = lib.lax.scan(body, x[0] ** 2, x)
    return last * jnp.sum(ys)


def loop_of_branch(lib: Any, x: Any) -> Any:
    def body(c: Any) -> Any:
        n, v = c
        v = lib.lax.cond(v > 1.0, lambda u: lib.numpy.sqrt(u), lambda u: u * 3.0 * x[1], v)
        return n + 1, v

    return lib.lax.while_loop(lambda c: c[0] < 4, body, (0, x[0]))[1]


def mapped_rows(lib: Any, x: Any) -> Any:
    jnp = lib.numpy
    ys = lib.lax.map(lambda v: jnp.sin(v) * x[0], x) * lib.lax.map(jnp.exp, x, batch_size=2)
    return jnp.sum(ys * x)


def prefixes(lib: Any, x: Any) -> Any:
    jnp = lib.numpy
    longer = jnp.concatenate([x, jnp.sin(x), x[:1]])
    pair = lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1])
    a, b = lib.lax.associative_scan(pair, (longer, longer**2))
    c = lib.lax.associative_scan(lambda p, q: p * q + p + q, longer, reverse=True)
    return jnp.sum(a * b) + jnp.sum(c)


def selected(lib: Any, x: Any) -> Any:
    return lib.numpy.sum(lib.lax.select(x > 0.5, lib.numpy.sin(x), x**2) * x[::-1])


def reduced(lib: Any, x: Any) -> Any:
    """Sums and maxima over windows, and a fold by them."""
    jnp, lax = lib.numpy, lib.lax
    none, low = np.zeros((), x.dtype)[()], np.full((), -np.inf, x.dtype)[()]
    longer = jnp.concatenate([x, jnp.sin(x), 0.3 * x])
    sums = lax.reduce_window(longer, none, lax.add, (3,), (2,), "VALID")
    tops = lax.reduce_window(longer, low, lax.max, (4,), (1,), "VALID")
    return jnp.sum(sums**2) * jnp.sum(tops) + lax.reduce(jnp.outer(x, x), none, lax.add, (0,))[1]


def root(lib: Any, x: Any) -> Any:
    """Where y + y**3 is what the vector says: Newton's method inside, none of it differentiated."""
    jnp = lib.numpy
    f = lambda y: y + y**3 - x[0] * x[1] - x[2]

    def solve(f: Any, guess: Any) -> Any:
        step = lambda _, y: y - f(y) / lib.jvp(f, (y,), (jnp.ones_like(y),))[1]
        return lib.lax.fori_loop(0, 20, step, guess)

    y = lib.lax.custom_root(f, jnp.ones_like(x[0]), solve, lambda g, b: b / g(jnp.ones_like(b)))
    return y**2 * x[0]


def solved(lib: Any, x: Any) -> Any:
    """A system whose matrix and right-hand side depend on the vector."""
    jnp = lib.numpy
    matrix = jnp.outer(x, jnp.cos(x)) + 4 * jnp.eye(3, dtype=x.dtype)
    dense = lambda f: jnp.stack([f(row) for row in jnp.eye(3, dtype=x.dtype)], 1)
    matvec = lambda v: matrix @ v
    solve = lambda f, b: jnp.linalg.solve(dense(f), b)
    y = lib.lax.custom_linear_solve(matvec, jnp.sin(x), solve, solve)
    return jnp.sum(y * y * x)


def counted_by_data(lib: Any, x: Any) -> Any:
    stop = 2 + (x[0] > 0.25).astype("int32")
    return lib.numpy.sum(lib.lax.fori_loop(0, stop, lambda i, v: lib.numpy.sin(v) * x + i, x))


LOOPS_OF_UNKNOWN_LENGTH = (
    counted_by_data,
    searching,
    loop_of_loop,
    loop_of_scan,
    scan_of_loop,
    loop_of_branch,
)
PROGRAMS: tuple[Callable[[Any, Any], Any], ...] = (
    scan_captures, scan_reversed, scan_trees, scan_without_inputs, scan_of_scan, scan_of_matrices,
    scan_of_checkpoint, scan_of_calls, scan_of_custom_rule, scan_of_random_numbers, branch,
    branch_trees, branch_of_branch, switched_steps, branch_with_scan, counted, mapped_rows,
    prefixes, selected, reduced, root, solved, *LOOPS_OF_UNKNOWN_LENGTH,
)  # fmt: skip

# ---- transformations of such functions ----------------------------------------------------------


def _vector(lib: Any, x: Any, *values: float) -> Any:
    return lib.numpy.asarray(values, x.dtype)


TRANSFORMS: dict[str, Callable[[Any, Any], Any]] = {
    "grad": lambda lib, f: lambda x: lib.numpy.sum(lib.numpy.sin(lib.grad(f)(x))),
    "jvp": lambda lib, f: lambda x: lib.jvp(f, (x,), (lib.numpy.cos(x),))[1],
    "vjp": lambda lib, f: (
        lambda x: lib.numpy.sum(lib.vjp(f, x)[1](lib.numpy.asarray(2.0, x.dtype))[0] * x)
    ),
    "linearize": lambda lib, f: lambda x: lib.linearize(f, x)[1](x),
    "vmap": lambda lib, f: (
        lambda x: lib.numpy.sum(lib.vmap(lambda s: f(x * s))(_vector(lib, x, 1.0, 0.5, 1.3)))
    ),
    "jit": lambda lib, f: lib.jit(f),
    "checkpoint": lambda lib, f: lib.checkpoint(f),
}


def transformed(lib: Any, program: Any, stack: Sequence[str]) -> Callable[[Any], Any]:
    """The program under the transformations, the first of them innermost."""
    f: Any = lambda x: program(lib, x)
    for name in stack:
        f = TRANSFORMS[name](lib, f)
    return f
