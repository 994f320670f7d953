"""Long bodies of loops are run in pieces, strip by strip, and give the same bits."""

from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import nn
from funcgrad.config import config

pytest.importorskip("llvmlite")

from funcgrad.backends.llvm import emit, strips
from funcgrad.backends.llvm.builder import Module
from funcgrad.backends.llvm.target import host
from funcgrad.compiler.affine import Loop, Sum
from funcgrad.compiler.kernel import Buffer, Kernel, Load, Reduction, Ref, Stage
from tests.backends.native import entry_point, levels

pytestmark = pytest.mark.filterwarnings("error:jit. native:RuntimeWarning")
numbers = np.random.default_rng(11)


def random(*shape, dtype=np.float32):
    return (numbers.standard_normal(shape) * 2).astype(dtype)


def chain(x):
    a = x * 0.5 + 0.1
    b = jnp.exp(-(a * a))
    return jnp.tanh(a + b) * b - a


def with_conditions(x, y):
    """Conditions and integers are kept from one piece to the next."""
    low, count = jnp.sin(x) < y, jnp.floor(x * 4).astype(jnp.int32)
    z = jnp.where(low, jnp.tanh(y), jnp.log1p(jnp.exp(x)))
    return jnp.where(low & (z > 0), jnp.cos(z), z) * count, count, low


def gates(c, i, f, g, o):
    new = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
    return new, nn.sigmoid(o) * jnp.tanh(new)


def of_rows(x, s):
    """A scalar for each row is one of the values."""
    centred = (x - x.mean(-1, keepdims=True)) * s
    return jnp.tanh(centred) * jnp.exp(-(centred * centred)) + jnp.sin(centred)


PROGRAMS = {
    "chain": (chain, lambda *shape: (random(*shape),)),
    "chain of doubles": (chain, lambda *shape: (random(*shape, dtype=np.float64),)),
    "chain of half numbers": (chain, lambda *shape: (random(*shape, dtype=np.float16),)),
    "complex chain": (chain, lambda *shape: ((random(*shape) + 1j * random(*shape)) / 4,)),
    "conditions": (with_conditions, lambda *shape: (random(*shape), random(*shape))),
    "gates": (gates, lambda *shape: tuple(random(*shape) for _ in range(5))),
    "rows": (of_rows, lambda *shape: (random(*shape), random(shape[-1]))),
    "sums": (
        lambda x, w: (chain(x).sum(), (jnp.sin(chain(x)) * w).max(-1), x.sum()),
        lambda *shape: (random(*shape), random(shape[-1])),
    ),
    "best places": (
        lambda x: (chain(jnp.sin(x)).argmax(-1), chain(x)), lambda *shape: (random(*shape),),
    ),
    "slopes": (
        lambda x: fg.grad(lambda x: nn.gelu(jnp.sin(x)).sum())(x), lambda *shape: (random(*shape),),
    ),
}  # fmt: skip
ELEMENTWISE = [n for n in PROGRAMS if n not in ("rows", "sums", "best places")]
SHAPES = ((1,), (16,), (64,), (255,), (256,), (257,), (5003,), (3, 130), (7, 640))


def compiled_anew(name):
    doubles = "doubles" in name
    return config.override(engine="llvm", enable_compilation_cache=False, enable_x64=doubles)


def leaves(tree):
    return [np.asarray(x) for x in fg.tree.leaves(tree)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", PROGRAMS)
def test_pieces_give_the_bits_of_the_whole(name, shape, monkeypatch):
    program, operands = PROGRAMS[name]
    args = operands(*shape)
    asked = []
    with compiled_anew(name):
        got = leaves(fg.jit(lambda *a: program(*a))(*args))
        monkeypatch.setattr(strips, "pieces", lambda body, *_: asked.append(body) or [])
        expected = leaves(fg.jit(lambda *a: program(*a))(*args))
    assert asked or args[0].size < 200
    for g, e in zip(got, expected, strict=True):
        if name == "sums":  # in another order: terms up to 2, of which 5000 are added by blocks
            np.testing.assert_allclose(g, e, rtol=1e-6, atol=1e-3)
        else:
            np.testing.assert_array_equal(g, e)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_place_of_an_element_does_not_matter(name):
    program, operands = PROGRAMS[name]
    args = [np.tile(x, 781) for x in operands(1)]
    with compiled_anew(name):
        for x in leaves(fg.jit(lambda *a: program(*a))(*args)):
            np.testing.assert_array_equal(x, x[0])


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_donated_operands_are_overwritten_in_strips(name):
    program, operands = PROGRAMS[name]
    args = operands(4099)
    with compiled_anew(name):
        expected = leaves(fg.jit(lambda *a: program(*a))(*args))
        donated = fg.jit(lambda *a: program(*a), donate_argnums=tuple(range(len(args))))
        for _ in range(3):
            got = leaves(donated(*(jnp.array(a) for a in args)))
            for g, e in zip(got, expected, strict=True):
                np.testing.assert_array_equal(g, e)


@pytest.mark.parametrize("level", levels())
def test_narrow_registers(level, monkeypatch):
    if level is not None:
        monkeypatch.setenv("FUNCGRAD_TARGET", level)
        host.cache_clear()
    x = random(1003)
    np.testing.assert_allclose(fg.jit(chain)(x), chain(jnp.asarray(x)), rtol=1e-5, atol=1e-6)
    host.cache_clear()


# ---- where bodies are cut ------------------------------------------------------------------------


def bodies(function, *args):
    """The innermost bodies that its kernels have."""
    found = []
    original = strips.pieces

    def seen(statements, results=()):
        found.append((list(statements), results))
        return original(statements, results)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emit.strips, "pieces", seen)
        fg.jit(lambda *a: function(*a)).lower(*args).as_text("llvm")
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_pieces_are_the_body_in_order(name):
    program, operands = PROGRAMS[name]
    for body, results in bodies(program, *operands(4096)):
        if not (parts := strips.pieces(body, results)):
            continue
        assert [id(s) for part in parts for s in part.statements] == [id(s) for s in body]
        known = set()
        for part in parts:
            assert known.issuperset(part.needed)
            made = {strips.made_by(s) for s in part.statements}
            inside = {v for b in body if (v := strips.made_by(b))}
            used = {v for s in part.statements for v in strips.uses(s)} & inside
            assert used <= made | set(part.needed)
            known |= set(part.kept)
        assert set(results) & inside <= made | set(parts[-1].needed)


def test_long_chains_are_cut_and_short_ones_are_not():
    x = random(4096)
    ((body, _),) = bodies(chain, x)
    assert len(strips.pieces(body)) == 2
    for short in (jnp.exp, jnp.tanh, lambda x: x * 2 + 1, nn.relu):
        assert not any(strips.pieces(b) for b, _ in bodies(short, x))


def test_all_of_the_gates_are_cut_apart():
    args = [random(4096) for _ in range(5)]
    ((body, _),) = bodies(gates, *args)
    parts = strips.pieces(body)
    assert 3 <= len(parts) <= 6
    assert max(strips.weight(part.statements) for part in parts) < strips.weight(body) / 2


def test_sums_of_single_elements_are_stored():
    """A stage may reduce over no loop at all, inside loops that are kept."""
    loop = Loop(40, "k", 0)
    source, target = Buffer("x", np.dtype("f4"), 40), Buffer("y", np.dtype("f4"), 40)
    at = Sum(0, ((loop, 1),))
    x = Ref(0, source.dtype, frozenset([loop]), False)
    total = Ref(1, source.dtype, frozenset([loop]), False)
    stage = Stage([loop], 0, [Load(x, source, at)], [Reduction(total, "add", x, target, at)])
    kernel = Kernel([], [stage], [source, target], [target])
    run = entry_point(
        Module(host()), 2,
        lambda b, *places: emit.Emitter(b, kernel, dict(zip(kernel.buffers, places))).run(),
    )  # fmt: skip
    given, found = random(40), np.zeros(40, np.float32)
    run(given.ctypes.data, found.ctypes.data)
    np.testing.assert_array_equal(found, given)
