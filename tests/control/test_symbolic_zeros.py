"""Rules with symbolic_zeros see which tangents are zero, under every transformation, as in JAX."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp


def function(lib, seen):
    jnp, Zero = lib.numpy, lib.custom_derivatives.SymbolicZero

    @lib.custom_jvp
    def f(x, y, n):
        return jnp.sin(x) * y * n

    def rule(primals, tangents):
        (x, y, n), marks = primals, [type(t) is Zero for t in tangents]
        seen.append("".join("0" if m else "t" for m in marks))
        out = f(x, y, n)
        terms = []
        if not marks[0]:
            terms.append(tangents[0] * jnp.cos(x) * y * n)
        if not marks[1]:
            terms.append(tangents[1] * jnp.sin(x) * n)
        return out, sum(terms) if terms else tangents[0]

    f.defjvp(rule, symbolic_zeros=True)
    return f


STACKS = {
    "grad x": lambda lib, f: lib.grad(lambda v: f(v, 3.0, 2)),
    "grad y": lambda lib, f: lib.grad(lambda v: f(0.5, v, 2)),
    "both": lambda lib, f: lib.grad(lambda v: f(v, 2.0 * v, 2)),
    "grad of jit": lambda lib, f: lib.grad(lambda v: lib.jit(f, static_argnums=2)(v, 3.0, 2)),
    "jit of grad": lambda lib, f: lib.jit(lib.grad(lambda v: f(0.5, v, 2))),
    "vmap of grad": lambda lib, f: (
        lambda v: lib.vmap(lib.grad(lambda u: f(u, 3.0, 2)))(lib.numpy.stack([v, v]))
    ),
    "grad of vmap": lambda lib, f: lib.grad(
        lambda v: lib.vmap(lambda u: f(u, v, 2))(lib.numpy.arange(3.0)).sum()
    ),
    "second": lambda lib, f: lib.grad(lib.grad(lambda v: f(v, 3.0, 2))),
    "checkpoint": lambda lib, f: lib.grad(lib.checkpoint(lambda v: f(v, 3.0, 2))),
    "jvp": lambda lib, f: lambda v: lib.jvp(lambda u: f(u, 3.0, 2), (v,), (v,))[1],
}


def chained(lib, f):
    """The rule of `f` sees that of `floor` return a zero."""
    floor = lib.custom_jvp(lib.numpy.floor)
    zero = lib.custom_derivatives.SymbolicZero

    def rule(primals, tangents):
        out = floor(*primals)
        return out, zero.from_primal_value(out)

    floor.defjvp(rule, symbolic_zeros=True)
    return lambda v: f(floor(v), v, 2)


STACKS["after a zero"] = lambda lib, f: lib.grad(chained(lib, f))
STACKS["after a zero, jit"] = lambda lib, f: lib.grad(lib.jit(chained(lib, f)))
STACKS["after a zero, vmap"] = lambda lib, f: lib.grad(
    lambda v: lib.vmap(chained(lib, f))(v * lib.numpy.arange(3.0)).sum()
)


@pytest.mark.oracle
@pytest.mark.parametrize("name", STACKS)
def test_rules_see_zeros_where_jax_has_them(name):
    jax = pytest.importorskip("jax")
    ours, theirs = [], []
    got = STACKS[name](fg, function(fg, ours))(jnp.float32(0.7))
    expected = STACKS[name](jax, function(jax, theirs))(jax.numpy.float32(0.7))
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    # Which tangents any rule saw as zero; here a rule is traced for none zero as well.
    assert {m for m in ours if "0" in m[:2]} == {m for m in theirs if "0" in m[:2]}


def test_a_zero_tangent_may_be_returned():
    @fg.custom_jvp
    def f(x):
        return jnp.floor(x)

    zero = fg.custom_derivatives.SymbolicZero
    f.defjvp(lambda p, t: (f(*p), zero(p[0].aval)), symbolic_zeros=True)
    assert float(fg.grad(f)(1.5)) == 0.0
    assert "SymbolicZero(f32[2])" == repr(zero(jnp.ones(2).aval))
    assert (zero(jnp.ones(2).aval).shape, zero(jnp.ones(2).aval).dtype) == ((2,), np.float32)


def refusing(lib, seen):
    """A rule that cannot be staged where `y` is differentiated, over a value closed over."""

    def outer(k):
        f = lib.custom_jvp(lambda x, y: x * y * k)

        def rule(primals, tangents):
            (x, y), (s, t) = primals, tangents
            if type(t) is not lib.custom_derivatives.SymbolicZero:
                raise NotImplementedError("no derivative in y")
            seen.append(type(s).__name__)
            return f(x, y), s * y * k

        f.defjvp(rule, symbolic_zeros=True)
        return f

    return outer


@pytest.mark.parametrize("wrap", ["plain", "jit", "inner jit", "vmap", "scan"])
def test_closures_over_traced_values(wrap):
    outer = refusing(fg, seen := [])
    in_x = {
        "plain": lambda k: fg.grad(lambda x: outer(k)(x, 3.0))(2.0),
        "jit": fg.jit(lambda k: fg.grad(lambda x: outer(k)(x, 3.0))(2.0)),
        "inner jit": fg.jit(lambda k: fg.grad(lambda x: fg.jit(outer(k))(x, 3.0))(2.0)),
        "vmap": lambda k: fg.vmap(lambda k: fg.grad(lambda x: outer(k)(x, 3.0))(2.0))(
            jnp.stack([k])
        )[0],
        "scan": lambda k: fg.lax.scan(
            lambda c, _: (c + fg.grad(lambda x: outer(k)(x, 3.0))(2.0), None), 0.0, None, length=1
        )[0],
    }[wrap]
    assert float(in_x(jnp.float32(5.0))) == 15.0 and seen
    with pytest.raises(NotImplementedError, match="no derivative in y"):
        fg.grad(lambda y: outer(5.0)(2.0, y))(3.0)


def pair(lib, seen):
    """A custom_vjp of two results that notes what it is told."""
    n, derivatives = lib.numpy, lib.custom_derivatives

    @lib.custom_vjp
    def f(x, y, count):
        return n.sin(x) * y, x * y * count

    def fwd(x, y, count):
        seen.append(("fwd", x.perturbed, y.perturbed))
        x, y, count = x.value, y.value, count.value
        return f(x, y, count), (x, y, count)

    def bwd(kept, cts):
        (x, y, count), (a, b) = kept, cts
        zero = [type(ct) is derivatives.SymbolicZero for ct in cts]
        seen.append(("bwd", *zero))
        a, b = (n.zeros(ct.shape) if z else ct for ct, z in zip(cts, zero))
        return a * n.cos(x) * y + b * y * count, a * n.sin(x) + b * x * count, None

    f.defvjp(fwd, bwd, symbolic_zeros=True)
    return f


PAIRS = {
    "x, first": lambda lib, f: lib.grad(lambda v: f(v, 3.0, 2)[0]),
    "x, second": lambda lib, f: lib.grad(lambda v: f(v, 3.0, 2)[1]),
    "y, both": lambda lib, f: lib.grad(lambda v: sum(f(0.5, v, 2))),
    "both": lambda lib, f: lib.grad(lambda v: sum(f(v, v, 2))),
    "jit": lambda lib, f: lib.jit(lib.grad(lambda v: f(v, 3.0, 2)[0])),
    "grad of jit": lambda lib, f: lib.grad(lib.jit(lambda v: f(v, 3.0, 2)[0])),
    "vmap of grad": lambda lib, f: (
        lambda v: lib.vmap(lib.grad(lambda u: f(u, 3.0, 2)[0]))(lib.numpy.stack([v, v]))
    ),
    "grad of vmap": lambda lib, f: lib.grad(
        lambda v: lib.vmap(lambda u: f(u, v, 2)[0])(lib.numpy.arange(3.0)).sum()
    ),
    "checkpoint": lambda lib, f: lib.grad(lib.checkpoint(lambda v: f(v, 3.0, 2)[0])),
    "scan": lambda lib, f: lib.grad(
        lambda v: lib.lax.scan(lambda c, _: (f(c, v, 2)[0], None), v, None, length=3)[0]
    ),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", PAIRS)
def test_backward_rules_see_what_is_perturbed_and_which_cotangents_are_zero(name):
    jax = pytest.importorskip("jax")
    ours, theirs = [], []
    got = PAIRS[name](fg, pair(fg, ours))(jnp.float32(0.7))
    expected = PAIRS[name](jax, pair(jax, theirs))(jax.numpy.float32(0.7))
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    # Here rules are traced for nothing being zero as well.
    full = {("fwd", True, True), ("bwd", False, False)}
    assert set(ours) | full == set(theirs) | full


def test_forward_rules_are_told_what_is_differentiated():
    seen = []

    @fg.custom_vjp
    def f(x, n):
        return x * n

    def fwd(x, n):
        seen.append((x.perturbed, n.perturbed))
        return x.value * n.value, n.value

    zero = fg.custom_derivatives.SymbolicZero(jnp.ones(()).aval)
    f.defvjp(fwd, lambda n, ct: (7.0 * ct, zero), symbolic_zeros=True)
    assert float(fg.grad(f)(2.0, 3)) == 7.0
    assert float(fg.jit(fg.grad(f))(2.0, 3)) == 7.0
    assert set(seen) == {(True, False)}


def test_a_forward_rule_may_refuse():
    @fg.custom_vjp
    def f(x, y):
        return x * y

    def fwd(x, y):
        if y.perturbed:
            raise NotImplementedError("no derivative in y")
        return x.value * y.value, y.value

    f.defvjp(fwd, lambda y, ct: (y * ct, None), symbolic_zeros=True)
    assert float(fg.jit(fg.grad(f))(2.0, 3.0)) == 3.0
    with pytest.raises(NotImplementedError, match="no derivative in y"):
        fg.grad(f, argnums=1)(2.0, 3.0)
