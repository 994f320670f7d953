"""What tests of native kernels share: levels of vectors, and functions compiled from builders."""

import ctypes

import numpy as np

from funcgrad.backends.llvm.builder import PTR
from funcgrad.backends.llvm.engine import compiled
from funcgrad.backends.llvm.target import LEVELS, host

WIDTHS = {"avx512": 64, "avx2": 32, "sse": 16}
DTYPES = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "i64": np.int64}
MARGIN = 64  # elements around each array that nothing may read into results or write


def levels():
    """This machine's level and those below it."""
    best = host()
    if "x86_64" not in best.triple:
        return [None]
    return [level for level in LEVELS if WIDTHS.get(level, 128) <= best.vector_bytes]


def entry_point(module, arguments, write):
    """A function of pointers, compiled."""
    module.function("entry_point", [PTR] * arguments, None, write)
    text = module.text().replace("define internal void @entry_point", "define void @entry_point")
    code = compiled(text, ("entry_point",), module.target)
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(code.addresses["entry_point"])
    function.code = code
    return function
