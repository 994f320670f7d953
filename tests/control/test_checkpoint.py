"""checkpoint: what it keeps under each policy, names of values, barriers, the memory it saves."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.ad_checkpoint import (
    checkpoint_name,
    checkpoint_policies as policies,
    print_saved_residuals,
    saved_residuals,
)
from funcgrad.backends.llvm import target
from funcgrad.compiler.pipeline import prepared
from funcgrad.core import backend
from funcgrad.core.jaxpr import Jaxpr, subjaxprs


def model(w: Any, x: Any) -> Any:
    hidden = checkpoint_name(jnp.sin(x @ w), "hidden")
    other = checkpoint_name(jnp.log1p(hidden), "other")
    return jnp.sum((other * other) @ w)


W, X = jnp.full((3, 3), 0.3), jnp.arange(6.0).reshape(2, 3) / 5


def count(jaxpr: Jaxpr, name: str) -> int:
    """Equations of that name, inner programs included."""
    return sum(
        (e.primitive.name == name) + sum(count(j, name) for j in subjaxprs(e.params))
        for e in jaxpr.eqns
    )


def recomputed(policy: Any) -> tuple[int, int]:
    """How often the gradient computes `sin` and `log1p` of the model."""
    f = fg.checkpoint(model, policy=policy)
    jaxpr = fg.make_jaxpr(fg.grad(f))(W, X)
    return count(jaxpr, "sin"), count(jaxpr, "log1p")


@pytest.mark.parametrize(
    "policy, computed",
    [
        (policies.everything_saveable, (1, 1)),
        (policies.nothing_saveable, (2, 2)),
        (policies.dots_saveable, (2, 2)),
        (policies.save_only_these_names("other"), (2, 1)),
        (policies.save_only_these_names("hidden"), (1, 2)),
        (policies.save_only_these_names("hidden", "other"), (1, 1)),
        (policies.save_any_names_but_these("other"), (1, 2)),
        (
            policies.save_from_both_policies(
                policies.save_only_these_names("hidden"), policies.save_only_these_names("other")
            ),
            (1, 1),
        ),
        (policies.save_anything_except_these_names("hidden"), (1, 1)),
    ],
)
def test_policies_say_what_is_computed_again(policy: Any, computed: Any) -> None:
    assert recomputed(policy) == computed
    wanted = fg.grad(model)(W, X)
    for transform in (lambda g: g, fg.jit):
        found = transform(fg.grad(fg.checkpoint(model, policy=policy)))(W, X)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_equal_policies_are_one() -> None:
    """Programs are kept by policy: an equal one must not make them anew."""
    assert policies.save_only_these_names("a") == policies.save_only_these_names("a")
    assert hash(policies.save_only_these_names("a")) == hash(policies.save_only_these_names("a"))


def test_names_are_for_trees_and_change_nothing() -> None:
    tree = checkpoint_name({"a": 1.0, "b": (jnp.arange(3), None)}, "t")
    assert fg.tree.structure(tree) == fg.tree.structure({"a": 0, "b": (0, None)})
    f = lambda x: checkpoint_name(x * x, "square")
    x = jnp.array([1.0, 2.0])
    np.testing.assert_array_equal(fg.vmap(fg.grad(f))(x), 2 * x)
    np.testing.assert_array_equal(fg.jit(fg.vmap(fg.grad(f)))(x), 2 * x)
    with pytest.raises(TypeError, match="must be a string"):
        checkpoint_name(x, 3)


# ---- what is kept, against jax -------------------------------------------------------------------

POLICIES = {
    "none": None,
    "nothing": ("nothing_saveable",),
    "everything": ("everything_saveable",),
    "dots": ("dots_saveable",),
    "dots without batch": ("dots_with_no_batch_dims_saveable",),
    "hidden": ("save_only_these_names", "hidden"),
    "other": ("save_only_these_names", "other"),
    "both names": ("save_only_these_names", "hidden", "other"),
    "all but hidden": ("save_anything_except_these_names", "hidden"),
    "names but hidden": ("save_any_names_but_these", "hidden"),
}


def kept_by(lib: Any, name: Any, saved_residuals: Any, policy: Any) -> list[tuple[Any, str]]:
    """Shapes and kinds of origin of what the checkpointed model keeps, constants aside."""
    n = lib.numpy

    def f(w: Any, x: Any) -> Any:
        hidden = name(n.sin(x @ w), "hidden")
        batched = n.einsum("ij,ijk->ik", hidden, n.ones((2, 3, 3)) * x[0, 0])
        other = name(n.exp(n.cos(batched @ w)), "other")
        return n.sum(n.tanh(other) * other)

    rule = policy and getattr(lib.checkpoint_policies, policy[0])
    rule = rule(*policy[1:]) if policy and policy[1:] else rule
    w, x = n.asarray(np.asarray(W)), n.asarray(np.asarray(X))
    found = saved_residuals(lib.checkpoint(f, policy=rule), w, x)
    words = [(aval.shape, origin.split(" from /")[0].split(" at ")[0]) for aval, origin in found]
    named = ("named", "from the argument", "output of dot_general")
    return sorted(w if w[1].startswith(named) else (w[0], "computed") for w in words
                  if "constant" not in w[1])  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("name", POLICIES)
def test_what_is_kept_is_what_jax_keeps(name: str) -> None:
    jax = pytest.importorskip("jax")
    from jax._src.ad_checkpoint import saved_residuals as of_jax
    from jax.ad_checkpoint import checkpoint_name as name_of_jax

    ours = kept_by(fg, checkpoint_name, saved_residuals, POLICIES[name])
    theirs = kept_by(jax, name_of_jax, of_jax, POLICIES[name])
    if "everything" in name or "all but" in name:  # rules differ in which factors they keep
        assert len(ours) <= len(theirs)
    else:
        assert ours == theirs


def test_residuals_say_where_they_come_from(capsys: Any) -> None:
    print_saved_residuals(fg.checkpoint(model), W, X)
    assert set(capsys.readouterr().out.splitlines()) == {
        "f32[3,3] from the argument w", "f32[2,3] from the argument x"
    }  # fmt: skip
    f = lambda p, *, scale: fg.jit(jnp.sin)(p["a"]) * scale
    found = saved_residuals(f, {"a": X}, scale=X)
    origins = [origin for _, origin in found]
    assert "from the argument scale" in origins
    assert any(o.startswith("output of cos from") and "test_checkpoint.py" in o for o in origins)
    constant = jnp.ones((2, 3))
    assert [o for _, o in saved_residuals(lambda x: x * constant, X)] == ["from a constant"]


# ---- memory -------------------------------------------------------------------------------------


def peak_of_gradient(wrap: Any, layers: int = 40, size: int = 50_000) -> int:
    """Bytes that the compiled gradient of a deep chain takes at most."""

    def block(x: Any) -> Any:
        for _ in range(5):
            x = jnp.sin(jnp.cos(x) * x)
        return x

    def f(x: Any) -> Any:
        for _ in range(layers // 5):
            x = wrap(block)(x)
        return jnp.sum(x)

    g, x = fg.jit(fg.grad(f)), jnp.linspace(0.0, 1.0, size)
    g(x)
    tracemalloc.start()
    g(x)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def test_memory_is_saved() -> None:
    """8 blocks of 5 layers: 8 + 5 layers' values live at a time instead of 40."""
    with fg.config.override(engine="numpy"):  # tracemalloc sees NumPy's memory
        assert peak_of_gradient(fg.checkpoint) < 0.6 * peak_of_gradient(lambda f: f)


def test_memory_of_native_programs_is_saved() -> None:
    """8 blocks of 4 layers: 8 + 4 layers' values lie in the arena at a time instead of 32."""
    pytest.importorskip("llvmlite")
    size, layers = 64, 32

    def arena(wrap: Any) -> int:
        def block(x: Any, w: Any) -> Any:
            for _ in range(4):
                x = jnp.tanh(x @ w)
            return x

        def f(x: Any, w: Any) -> Any:
            for _ in range(layers // 4):
                x = wrap(block)(x, w)
            return jnp.sum(x)

        x = jnp.ones((size, size))
        jaxpr = fg.make_jaxpr(fg.grad(f))(x, x)
        assembly = backend.load("assembly")
        made = assembly.Assembly(prepared(jaxpr), (False, False), target.host())
        return made.layout.bytes // (4 * size * size)

    assert arena(fg.checkpoint) <= 8 + 4 + 2
    assert arena(lambda f: f) >= layers


def test_a_checkpointed_scan_keeps_carries_only() -> None:
    def peak(wrap: Any) -> int:
        def body(c: Any, _: Any) -> Any:
            for _ in range(8):
                c = jnp.sin(c) * jnp.cos(c)
            return c, None

        f = lambda x: jnp.sum(lax.scan(wrap(body), x, None, length=50)[0])
        g, x = fg.jit(fg.grad(f)), jnp.ones(5000)
        g(x)
        tracemalloc.start()
        g(x)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    with fg.config.override(engine="numpy"):
        assert peak(fg.checkpoint) < 0.3 * peak(lambda f: f)


# ---- barriers -----------------------------------------------------------------------------------


def test_nothing_is_shared_across_a_barrier() -> None:
    def f(x: Any) -> Any:
        return jnp.sin(x) + jnp.sin(lax.optimization_barrier(x))

    assert fg.jit(f).lower(1.0).as_text("optimized").count("sin ") == 2
    assert (
        fg.jit(lambda x: jnp.sin(x) + jnp.sin(x)).lower(1.0).as_text("optimized").count("sin ") == 1
    )
    assert np.isclose(fg.jit(f)(1.0), 2 * np.sin(1.0))


def test_a_barrier_is_the_identity_under_every_transformation() -> None:
    def f(x: Any, y: Any) -> Any:
        a, tree = lax.optimization_barrier((x * y, {"y": y, "n": 3, "none": None}))
        assert tree["none"] is None
        return jnp.sin(a) * tree["y"]

    g = lambda x, y: jnp.sin(x * y) * y
    transforms = [
        fg.grad,
        fg.jit,
        lambda h: fg.grad(h, (0, 1)),
        lambda h: fg.jit(fg.grad(h)),
        lambda h: fg.hessian(h, (0, 1)),
        lambda h: fg.grad(fg.checkpoint(h)),
    ]
    for transform in transforms:
        found, wanted = (fg.tree.leaves(transform(h)(0.3, 0.7)) for h in (f, g))
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    xs = jnp.array([0.1, 0.2])
    found, wanted = (fg.vmap(fg.grad(h), (0, None))(xs, 0.7) for h in (f, g))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_barrier_of_which_only_a_part_is_used():
    def f(x, y, z):
        a, b, c = lax.optimization_barrier((x, y, z))
        return jnp.sum(a * c)

    args = jnp.array([1.0, 2.0]), jnp.array([3.0]), jnp.array([5.0, 7.0])
    slopes = fg.grad(f, (0, 1, 2))(*args)
    for found, wanted in zip(slopes, (args[2], [0.0], args[0]), strict=True):
        np.testing.assert_array_equal(found, wanted)
    value, tangent = fg.jvp(lambda y: f(args[0], y, args[2]), (args[1],), (args[1],))
    assert (value, tangent) == (19.0, 0.0)
