"""The language of kernels: programs as text, and an interpreter that finds mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.compiler.affine import Loop, Sum, counter
from funcgrad.compiler.donation import without_copy
from funcgrad.compiler.interpret_kernel import KernelError, run_kernel
from funcgrad.compiler.kernel import (
    Accumulate,
    Buffer,
    Compute,
    Kernel,
    Load,
    Position,
    Reduction,
    Ref,
    Stage,
    Store,
)
from funcgrad.compiler.scalar import Constant
from tests.backends.kernel_programs import block_of

ROW = np.arange(12.0, dtype=np.float32).reshape(3, 4)


def kernels(function: Any, *operands: Any) -> str:
    """The text of a program's kernels, in order."""
    block = block_of(fg.make_jaxpr(function)(*operands))
    return "\n".join(str(block.kernels[u]) for u in block.units if u.eqn is None)


# ---- text
# ----------------------------------------------------------------------------------------------


def test_a_chain_is_one_kernel() -> None:
    assert kernels(lambda x: jnp.tanh(x) * 2 + x, ROW) == (
        "kernel(b0: float32[12], b1: out float32[12])\n"
        "for r0 in 12 {\n"
        "  for once {\n"
        "    v0 = load b0[r0]\n"
        "    v1:float32 = tanh v0\n"
        "    v2:float32 = mul v1, 2.0\n"
        "    v3:float32 = add v2, v0\n"
        "    store b1[r0] v3\n"
        "  }\n"
        "}"
    )


def test_a_reduction_and_its_readers_are_one_kernel() -> None:
    assert kernels(lambda x: x - jnp.max(x, 1, keepdims=True), ROW) == (
        "kernel(b0: float32[12], b1: out float32[12])\n"
        "for r0 in 3 {\n"
        "  for c1x4_0 in 4 {\n"
        "    v0 = load b0[4*r0 + c1x4_0]\n"
        "  } v1 = reduce(max) v0;\n"
        "  for k4x1_0 in 4 {\n"
        "    v2 = load b0[4*r0 + k4x1_0]\n"
        "    v3:float32 = sub v2, v1\n"
        "    store b1[4*r0 + k4x1_0] v3\n"
        "  }\n"
        "}"
    )


def test_views_are_positions() -> None:
    assert kernels(lambda x: -x.T[::-1], ROW) == (
        "kernel(b0: float32[12], b1: out float32[12])\n"
        "for r0 in 4, r1 in 3 {\n"
        "  for once {\n"
        "    v0 = load b0[4*r1 + -1*r0 + 3]\n"
        "    v1:float32 = neg v0\n"
        "    store b1[3*r0 + r1] v1\n"
        "  }\n"
        "}"
    )


def test_gathered_elements_are_guarded() -> None:
    text = kernels(lambda x, i: jnp.take(x, i, 0, mode="fill"), ROW, np.array([0, 5]))
    assert "load b1[" in text and " if v" in text and "select" in text


@pytest.mark.parametrize("number", [1, 2, 5])
def test_equal_programs_have_equal_kernels(number: int) -> None:
    """Kernels are emitted once for equal text, so that text must say everything."""
    one = kernels(lambda x: jnp.sum(jnp.sin(x) * number, 0), ROW)
    assert one == kernels(lambda x: jnp.sum(jnp.sin(x) * number, 0), ROW)
    assert one != kernels(lambda x: jnp.sum(jnp.sin(x) * (number + 1), 0), ROW)


# ---- mistakes
# ------------------------------------------------------------------------------------------


class Small:
    """A kernel of one stage over one loop, from x to out."""

    def __init__(self, extent: int = 4, size: int = 4) -> None:
        self.loop = Loop(extent, "i", 0)
        self.x = Buffer("x", np.dtype(np.float32), 4)
        self.out = Buffer("out", np.dtype(np.float32), size)
        self.read = Ref(0, self.x.dtype, frozenset([self.loop]), False)

    def run(self, *statements: Any, reductions: Any = (), rows: Any = ()) -> np.ndarray:
        loops = [] if rows else [self.loop]
        stage = Stage(loops, len(reductions) and 1, list(statements), list(reductions))
        kernel = Kernel(list(rows), [stage], [self.x, self.out], [self.out])
        arrays = {
            "x": np.arange(4, dtype=np.float32),
            "out": np.full(self.out.size, 7, np.float32),
        }
        run_kernel(kernel, arrays, lambda *_: None)
        return arrays["out"]

    @property
    def i(self) -> Sum:
        return counter(self.loop)


def test_a_kernel_runs() -> None:
    k = Small()
    doubled = Ref(1, k.x.dtype, k.read.loops, False)
    compute = Compute(doubled, "add", (k.read, k.read))
    found = k.run(Load(k.read, k.x, k.i), compute, Store(k.out, k.i, doubled))
    np.testing.assert_array_equal(found, [0, 2, 4, 6])


def test_sums_start_with_zero() -> None:
    k = Small(size=1)
    found = k.run(Load(k.read, k.x, k.i), Accumulate("add", k.out, Sum(0), k.read))
    assert found[0] == 6
    total = Ref(1, k.x.dtype, frozenset(), True)
    reduction = Reduction(total, "max", k.read, k.out, Sum(0))
    assert k.run(Load(k.read, k.x, k.i), reductions=[reduction])[0] == 3


ONE = Constant(np.float32(1))


def read_outside() -> None:
    k = Small(extent=5)
    k.run(Load(k.read, k.x, k.i), Store(k.out, Sum(0), ONE))


def written_outside() -> None:
    k = Small()
    k.run(Store(k.out, k.i + -1, ONE))


def written_twice() -> None:
    k = Small()
    k.run(Store(k.out, Sum(0), ONE), Store(k.out, Sum(0), ONE))


def turns_write_the_same() -> None:
    k = Small(size=1)
    k.run(Load(k.read, k.x, k.i), Store(k.out, Sum(0), k.read))


def not_all_written() -> None:
    k = Small(extent=3)
    k.run(Store(k.out, k.i, ONE))


def read_too_early() -> None:
    k = Small()
    k.run(Load(k.read, k.out, k.i), Store(k.out, k.i, ONE))


def unknown_value() -> None:
    k = Small()
    k.run(Store(k.out, k.i, k.read))


MISTAKES = {
    read_outside: "is outside", written_outside: "is outside", written_twice: "written twice",
    turns_write_the_same: "written twice", not_all_written: "not written everywhere",
    read_too_early: "before its elements are written", unknown_value: "read before it is known",
}  # fmt: skip


@pytest.mark.parametrize("wrong", MISTAKES, ids=lambda f: f.__name__)
def test_mistakes_are_found(wrong: Any) -> None:
    with pytest.raises(KernelError, match=MISTAKES[wrong]):
        wrong()


def test_rows_may_not_write_the_same() -> None:
    small = Small(size=1)
    with pytest.raises(KernelError, match="written twice"):
        small.run(Store(small.out, Sum(0), ONE), rows=[small.loop])


def test_guards_keep_accesses_inside() -> None:
    small = Small(extent=6)
    position = Ref(1, np.dtype(np.int64), frozenset([small.loop]), False)
    inside = Ref(2, np.dtype(bool), frozenset([small.loop]), False)
    from_loop = Position(position, small.i)
    test = Compute(inside, "lt", (position, Constant(np.int64(4))))
    load = Load(small.read, small.x, small.i, inside)
    found = small.run(from_loop, test, load, Store(small.out, small.i, small.read, inside))
    np.testing.assert_array_equal(found, [0, 1, 2, 3])


def test_scatters_may_write_again() -> None:
    x, places = np.zeros(4, np.float32), np.array([1, 1, 2])
    text = kernels(lambda x, i: x.at[i].set(1.0), x, places)
    assert text.count("store") == 2
    assert "accumulate(add)" in kernels(lambda x, i: x.at[i].add(1.0), x, places)


@pytest.mark.parametrize("name", ["set", "add", "max"])
def test_updates_begin_with_what_lies_there(name: str) -> None:
    def function(x: Any, i: Any) -> Any:
        return getattr(x.at[i], name)(np.float32(1))

    x, places = np.arange(-2, 4, dtype=np.float32), np.array([1, 1, 5], np.int32)
    block = block_of(fg.make_jaxpr(function)(x, places))
    last = block.units[-1]
    (old, _), (out,) = block.jaxpr.args, block.jaxpr.outputs
    kernel = without_copy(block.kernels[last], {out: old})
    assert len(kernel.stages) == 1 and str(kernel).splitlines()[0].endswith(") updates")
    arrays = {b.key: x.copy() for b in kernel.buffers}
    arrays[out] = arrays[old] = x.copy()
    arrays.update({k: places for k in arrays if k not in (out, old)})
    run_kernel(kernel, arrays, lambda *_: None)
    np.testing.assert_array_equal(arrays[out], function(jnp.asarray(x), places))
