"""What native code once got wrong. Each case is a program and what it must agree with."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.config import config

# ---- sums keep their digits
# ----------------------------------------------------------------------------

COUNT = 1 << 21  # one after the other, so many equal numbers lose a tenth of a percent and more
TENTH = np.float32(0.1)

LONG_SUMS: dict[str, tuple[tuple[int, ...], Any]] = {
    "all": ((COUNT,), jnp.sum),
    "all of a matrix": ((COUNT // 1024, 1024), jnp.sum),
    "rows": ((2, COUNT), lambda x: jnp.sum(x, axis=1)),
    "columns": ((COUNT, 2), lambda x: jnp.sum(x, axis=0)),
    "many columns": ((COUNT // 32, 32), lambda x: jnp.sum(x, axis=0)),
    "short rows added up": ((COUNT // 64, 64), lambda x: (x - x.mean(1)[:, None], jnp.sum(x))[1]),
    "middle": ((2, COUNT // 4, 3), lambda x: jnp.sum(x, axis=1)),
    "mean": ((COUNT,), jnp.mean),
    "complex": ((COUNT,), lambda x: jnp.sum(lax.complex(x, -x)).imag),
    "gradient of a bias": ((COUNT // 16, 16), lambda x: fg.grad(lambda b: jnp.sum(x * b))(x[0])),
    "product with a vector": ((2, COUNT), lambda x: 10 * x @ x[0]),
    "vector with a product": ((COUNT, 2), lambda x: 10 * x[:, 0] @ x),
    "product": ((COUNT, 2), lambda x: 10 * x.T @ x),
    "product of rows": ((3, COUNT), lambda x: 10 * x @ x.T),
}


@pytest.mark.parametrize("name", LONG_SUMS)
def test_long_sums_keep_their_digits(name: str) -> None:
    shape, function = LONG_SUMS[name]
    with config.override(engine="llvm"):
        found = np.asarray(fg.jit(function)(jnp.full(shape, TENTH)))
    count = COUNT
    if found.ndim:
        count = np.prod(shape) // (found.size if "product" not in name else 1)
        count = COUNT if "product" in name else count
    expected = float(TENTH) if name == "mean" else count * float(TENTH)
    np.testing.assert_allclose(np.abs(found), expected, rtol=4e-5)


# ---- programs that once failed to compile, or gave something else than NumPy
# ----------------------------------------------------------------------------

Case = tuple[Any, tuple[tuple[int, ...], ...]]


def convolution_of_one_feature(x: Any, w: Any) -> Any:
    """Vectors run along features, of which there is one."""
    return lax.conv_general_dilated(x, w, (2,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))


PROGRAMS: dict[str, Case] = {
    "convolution of one feature": (convolution_of_one_feature, ((1, 5, 7), (2, 7, 1))),
    "convolution with one result": (
        lambda x, w: jnp.tanh(convolution_of_one_feature(x, w)) * 2,
        ((1, 1, 1), (1, 1, 1)),
    ),
    "product with its operand turned around": (
        lambda x: jnp.einsum("abc,abc->c", x, jnp.flip(x, 0)),
        ((2, 7, 100),),
    ),
    "product over two dimensions of a slice": (
        lambda x: jnp.einsum("iab,jab->ij", x[:, :, ::2], x[:, :, 1::2]),
        ((9, 8, 10),),
    ),
}


def operands(shapes: tuple[tuple[int, ...], ...]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(s), "float64") for s in shapes]


def added_to_rows(c: Any, x: Any) -> Any:
    """Sums that a loop updates in place."""
    return lax.scan(lambda c, r: (c.at[0].add(r).at[2].max(r), r * 2), c, x)


DONATED: dict[str, Case] = {
    "updates by a loop in place": (added_to_rows, ((4, 5), (3, 5))),
    "adding in place": (lambda a, b: a.at[1].add(b), ((4, 5), (5,))),
    "adding twice in place": (lambda a, b: a.at[np.array([1, 1])].add(b), ((4, 5), (5,))),
    "multiplying in place": (lambda a, b: a.at[1:3].multiply(b), ((4, 5), (5,))),
    "extremes in place": (lambda a, b: a.at[1].max(b).at[2].min(b), ((4, 5), (5,))),
    "read behind a guard after its place is written": (
        lambda a, b: (a + 1, (a * b).sum(0), jnp.pad(a[:, :9], ((0, 0), (0, 1)))),
        ((100, 10), (100, 10)),
    ),
    "two that read each other": (
        lambda a, b: (a + jnp.pad(b[:, 1:], ((0, 0), (1, 0))), b * 2, a.sum(0)),
        ((100, 10), (100, 10)),
    ),
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", [*PROGRAMS, *DONATED])
def test_programs_agree(name: str) -> None:
    function, shapes = {**PROGRAMS, **DONATED}[name]
    donated = tuple(range(len(shapes))) if name in DONATED else ()
    found = []
    for engine in ("llvm", "numpy"):
        with config.override(engine=engine):
            compiled = fg.jit(function, donate_argnums=donated)
            found.append(fg.tree.leaves(compiled(*operands(shapes))))
    for native, numpy in zip(*found, strict=True):
        np.testing.assert_allclose(native, numpy, rtol=1e-12, atol=1e-12)


def test_long_programs_run_in_pieces():
    """Products are kernels of their own; LLVM would take long for one function with all of them."""
    rotation = np.roll(np.eye(64, dtype=np.float32), 1, axis=0)

    def turned(x):
        for step in range(150):
            x = rotation @ x + (step % 3 == 0)
        return x

    x = jnp.arange(64.0 * 64).reshape(64, 64)
    text = fg.jit(turned).lower(x).as_text("llvm")
    pieces = re.findall(r"^define .*@segment0_from\d+\(.*optnone", text, re.MULTILINE)
    assert len(pieces) > 3
    assert len(re.findall(r"^define .*@kernel_", text, re.MULTILINE)) < 10  # each is made once
    wanted = np.asarray(x)
    for step in range(150):
        wanted = rotation @ wanted + (step % 3 == 0)
    np.testing.assert_array_equal(fg.jit(turned)(x), wanted)


def twice_from_the_largest(x):
    """What the second maximum is of is computed again, in another kernel, to find its places."""
    squares = x * x
    y = jnp.tanh(squares - squares.max(1, keepdims=True)) * x[:, :1]
    return jnp.sin((y - y.max(1, keepdims=True)) ** 2).sum()


def test_what_is_computed_again_has_the_same_bits():
    x = operands([(2, 3, 8, 8)])[0]
    found = []
    for engine in ("llvm", "numpy"):
        with config.override(engine=engine):
            found.append(fg.jit(fg.grad(twice_from_the_largest))(x))
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", ((5,), (1000,), (33, 7)), ids=str)
def test_arithmetic_has_the_bits_of_numpy(shape):
    """Products and sums are rounded one by one."""

    def program(x, y):
        z = x * y + x
        w = (z * z - x * y) / (y * y + 1.5)
        return z, w, jnp.sqrt(jnp.abs(w)) * x - y, w.max(-1), w == w.max(-1, keepdims=True)

    numbers = np.random.default_rng(3)
    x, y = (numbers.standard_normal(shape).astype(np.float32) for _ in range(2))
    with config.override(engine="llvm"):
        native = fg.jit(program)(x, y)
    with fg.disable_jit():
        eager = program(jnp.asarray(x), jnp.asarray(y))
    for n, e in zip(native, eager, strict=True):
        np.testing.assert_array_equal(n, e)


@pytest.mark.parametrize(
    "name", ("exp", "tanh", "erf", "erfc", "log", "sin", "logistic", "pow", "lgamma")
)
def test_functions_have_the_same_bits_in_any_number_of_lanes(name):
    x = np.linspace(0.1, 4.0, 67, dtype=np.float32)
    function = jnp.power if name == "pow" else getattr(lax, name)
    args = (x, x[::-1].copy()) if name == "pow" else (x,)
    with config.override(engine="llvm"):
        together = np.asarray(fg.jit(lambda *a: function(*a))(*args))
        for size in (1, 2, 3, 5, 8, 15):
            alone = fg.jit(lambda *a: function(*a))(*(a[:size] for a in args))
            np.testing.assert_array_equal(alone, together[:size])
