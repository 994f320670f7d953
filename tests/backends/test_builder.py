"""Code that the builder of LLVM's text writes: loops and what they carry, run on this machine."""

import ctypes
import re

import numpy as np
import pytest

from funcgrad.backends.llvm import engine
from funcgrad.backends.llvm.builder import I64, PTR, Module
from funcgrad.backends.llvm.target import host
from tests.backends.scalar_kernels import entry_text

ROWS, COLUMNS = 7, 24


def indices(first):
    """Where a nest over rows and columns writes: at multiples of both counters."""

    def write(b, out, begin, end):
        def row(i, _):
            b.loop(first, COLUMNS, 3, [], lambda j, _: cell(i, j))

        def cell(i, j):
            place = b.add(b.mul(i, b.const(COLUMNS, I64)), j)
            three = b.mul(j, b.const(3, I64))
            total = b.add(b.add(b.mul(i, b.const(100, I64)), three), b.mul(j, b.const(3, I64)))
            b.store(total, b.element(out, place, "i64"))

        b.loop(begin, end, 1, [], row)

    module = Module(host())
    module.function("kernel", [PTR, I64, I64], None, write)
    return entry_text(module, "kernel")


@pytest.mark.parametrize("begin,end", [(0, ROWS), (2, 5), (3, 3)])
@pytest.mark.parametrize("first", [0, 6])
def test_loops_carry_multiples_of_what_they_count(begin, end, first):
    text = indices(first)
    code = engine.compiled(text, ("kernel",), host())
    out = np.full((ROWS, COLUMNS), -1)
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    kernel(code.addresses["kernel"])(out.ctypes.data, begin, end)
    wanted = np.full_like(out, -1)
    i, j = np.ix_(range(begin, end), range(first, COLUMNS, 3))
    wanted[i, j] = 100 * i + 6 * j
    np.testing.assert_array_equal(out, wanted)


def test_products_in_loops_from_a_fixed_start_become_sums():
    text = indices(0)
    assert not re.search(r"mul i64 %i_head\d+, 3$", text, re.MULTILINE)
    assert len(re.findall(r"x3 = phi", text)) == 1  # wanted twice, carried once
    assert len(re.findall(r"mul i64 %i_head\d+, (?:24|100)$", text, re.MULTILINE)) == 2


def test_products_behind_a_loop_are_products():
    module = Module(host())

    def write(b, out):
        counters = []
        b.loop(0, 4, 1, [], lambda i, _: counters.append(i))
        b.store(b.mul(counters[0], b.const(3, I64)), out)

    module.function("kernel", [PTR], None, write)
    code = engine.compiled(entry_text(module, "kernel"), ("kernel",), host())
    out = np.zeros(1, np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code.addresses["kernel"])(out.ctypes.data)
    assert out[0] == 12


# A loop whose strength LLVM would reduce: two streams, twelve elements a turn.
STREAMS = """
define void @kernel(ptr %a, ptr %b, i64 %n) {
entry:
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %j, %head ]
  %k = mul i64 %i, 12
  %p = getelementptr float, ptr %a, i64 %k
  %q = getelementptr float, ptr %b, i64 %k
  %x = load float, ptr %p
  store float %x, ptr %q
  %j = add i64 %i, 1
  %more = icmp slt i64 %j, %n
  br i1 %more, label %head, label %done
done:
  ret void
}
"""


def test_options_of_llvm_hold_for_our_code_only():
    """Other libraries of this process compile as they did."""

    def alone():
        module = engine.llvm().parse_assembly(STREAMS)
        return engine.machine(host()).emit_assembly(module)

    before = alone()
    ours = engine.assembly(STREAMS, host())
    assert (ours == before) is not host().is_x86
    assert alone() == before
    with pytest.raises(RuntimeError):
        engine.object_code("define broken", host())
    assert alone() == before


def test_unknown_versions_of_llvm_keep_their_passes(monkeypatch):
    """They end the process for an option that they have not."""

    class Later:
        llvm_version_info = (99, 0, 0)

        def __getattr__(self, name):
            assert name != "set_option"
            return getattr(real, name)

    real = engine.llvm()
    monkeypatch.setattr(engine, "llvm", Later)
    assert engine.object_code(STREAMS, host())
