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


def test_closures_over_traced_values_get_plain_zeros():
    def outer(k):
        f = fg.custom_jvp(lambda x, y: x * y * k)

        def rule(primals, tangents):
            (x, y), (s, t) = primals, tangents
            return f(x, y), (s * y + t * x) * k  # no zero is symbolic here

        f.defjvp(rule, symbolic_zeros=True)
        return fg.grad(lambda x: f(x, 3.0))(2.0)

    assert float(fg.jit(outer)(5.0)) == 15.0


def test_forward_rules_are_told_what_may_be_differentiated():
    seen = []

    @fg.custom_vjp
    def f(x, n):
        return x * n

    def fwd(x, n):
        seen.append((x.perturbed, n.perturbed))
        return x.value * n.value, n.value

    f.defvjp(fwd, lambda n, ct: (7.0 * ct, None), symbolic_zeros=True)
    assert float(fg.grad(f)(2.0, 3)) == 7.0
    assert float(fg.jit(fg.grad(f))(2.0, 3)) == 7.0
    assert set(seen) == {(True, False)}
