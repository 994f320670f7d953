"""What is kept: traces die by reference counting, and calling again builds nothing."""

from __future__ import annotations

import contextlib
import gc
import weakref

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.core.jaxpr import Jaxpr

X = jnp.asarray([0.5, 1.0, 2.0])


@contextlib.contextmanager
def without_collector():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def smooth(x):
    return jnp.sum(jnp.sin(x) * jnp.exp(-x) + x**2)


def looped(x):
    step = lambda c, v: (jnp.sin(c * v), c)
    return lax.scan(step, x[0], x)[1].sum()


def branched(x):
    return lax.cond(x[0] > 0, lambda v: jnp.sum(v**2), lambda v: jnp.sum(v), x)


def trips(x):
    return lax.while_loop(lambda v: v[0] < 5, lambda v: v * 1.5, x).sum()


@fg.custom_jvp
def _ruled(x):
    return jnp.sin(x)


_ruled.defjvps(lambda t, out, x: 2 * t * jnp.cos(x))


def ruled(x):
    return _ruled(x).sum()


FUNCTIONS = [smooth, looped, branched, trips, ruled]
TRANSFORMS = {
    "grad": fg.grad,
    "value_and_grad": fg.value_and_grad,
    "jvp": lambda f: lambda x: fg.jvp(f, (x,), (x,)),
    "vmap": lambda f: lambda x: fg.vmap(f)(jnp.stack([x, x])),
    "grad of grad": lambda f: fg.grad(lambda x: fg.grad(f)(x).sum()),
    "hessian": fg.hessian,
    "jit": lambda f: fg.jit(lambda x: f(x)),
    "grad of jit": lambda f: fg.grad(fg.jit(lambda x: f(x))),
    "jit of grad": lambda f: fg.jit(fg.grad(f)),
    "checkpoint": lambda f: fg.grad(fg.checkpoint(f)),
    "linearize": lambda f: lambda x: fg.linearize(f, x)[1](x),
    "make_jaxpr": fg.make_jaxpr,
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_no_cycle_keeps_a_trace_alive(function, transform):
    traces = []

    def watched(x):
        if hasattr(x, "_trace"):
            traces.append(weakref.ref(x._trace))
        return function(x)

    with without_collector():
        TRANSFORMS[transform](watched)(X)
        alive = [t for t in traces if t() is not None]
    assert traces and not alive


def test_residuals_die_with_the_vjp_function():
    with without_collector():
        x = jnp.ones(1000)
        _, pull = fg.vjp(lambda v: jnp.sin(jnp.exp(v)), x)
        kept = weakref.ref(
            next(
                c.cell_contents
                for c in pull.__wrapped__.__closure__
                if hasattr(c.cell_contents, "residuals")
            )
        )
        assert kept() is not None
        del pull
        assert kept() is None


def test_an_exception_does_not_keep_the_trace_alive():
    traces = []

    def fails(x):
        traces.append(weakref.ref(x._trace))
        raise ValueError

    for transform in (fg.grad, fg.jit, fg.vmap, fg.checkpoint):
        with pytest.raises(ValueError):
            transform(fails)(X)
    gc.collect()
    assert len(traces) == 4 and not any(t() for t in traces)


def test_programs_die_with_their_function():
    def make():
        weights = jnp.ones(3)
        f = fg.jit(lambda x: x * weights)
        f(X), fg.grad(lambda x: f(x).sum())(X), fg.vmap(f)(jnp.ones((2, 3)))
        return weakref.ref(weights)

    ref = make()
    gc.collect()
    assert ref() is None


# ---- calling again


@contextlib.contextmanager
def constructions(monkeypatch):
    """Counts the programs built inside the block."""
    built = []
    original = Jaxpr.__init__

    def counting(self, *args, **kwargs):
        built.append(self)
        original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Jaxpr, "__init__", counting)
        yield built


inner = fg.jit(smooth)
inner_loop = fg.jit(looped)
inner_branch = fg.jit(branched)
inner_trips = fg.jit(trips)
INNER = [inner, inner_loop, inner_branch, inner_trips]
AGAIN = {
    "jit": lambda f: f,
    "grad": fg.grad,
    "grad of grad": lambda f: fg.grad(lambda x: fg.grad(f)(x).sum()),
    "third order": lambda f: fg.grad(lambda x: fg.grad(lambda y: fg.grad(f)(y).sum())(x).sum()),
    "jvp": lambda f: lambda x: fg.jvp(f, (x,), (x,)),
    "vmap": lambda f: lambda x: fg.vmap(f)(jnp.stack([x, x])),
    "vmap of grad": lambda f: lambda x: fg.vmap(fg.grad(f))(jnp.stack([x, x])),
    "grad of vmap": lambda f: fg.grad(lambda x: fg.vmap(f)(jnp.stack([x, x])).sum()),
    "hessian": fg.hessian,
    "linearize": lambda f: lambda x: fg.linearize(f, x),
    "jit of grad": lambda f: fg.jit(fg.grad(f)),
}


@pytest.mark.parametrize("transform", AGAIN)
@pytest.mark.parametrize("function", INNER, ids=lambda f: f.__name__)
def test_a_second_call_builds_no_program(function, transform, monkeypatch):
    """Derived programs are memoised, or every cache by identity would miss. linearize itself makes
    one program of what it recorded; that is not derived from another.
    """
    transformed = AGAIN[transform](function)
    for _ in range(3):  # single operations are compiled at the third encounter
        transformed(X)
    with constructions(monkeypatch) as built:
        transformed(X)
    assert len(built) <= 2 * (transform == "linearize")


def test_a_thousand_steps_hold_no_more_objects():
    @fg.jit
    def step(w):
        loss = lambda w: jnp.mean(jnp.tanh(w @ w) ** 2)
        return w - 0.1 * fg.grad(loss)(w)

    w = jnp.ones((4, 4))
    for _ in range(20):
        w = step(w)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(1000):
        w = step(w)
    gc.collect()
    assert len(gc.get_objects()) - before < 50
    assert np.isfinite(np.asarray(w)).all()
