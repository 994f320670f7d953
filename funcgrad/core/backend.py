"""Where values live and what computes them: array namespaces, devices, and engines for programs,
all by name.

A `Namespace` is what primitives' `value` rules see as `xp`: NumPy's or CuPy's functions, with
reductions and contractions of narrow floats done in float32. Backends are modules named in
`_MODULES`, imported at first use: the one place where something below reaches for something above.
"""

from __future__ import annotations

import contextvars
import functools
import importlib
import importlib.util
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.config import config
from funcgrad.core import dtypes

_MODULES = {
    "reference": "funcgrad.backends.reference",
    "numpy": "funcgrad.backends.numpy",
    "llvm": "funcgrad.backends.llvm.native",
    "watched": "funcgrad.backends.watched",
    "profile": "funcgrad.backends.profiling",
    "analysis": "funcgrad.compiler.analysis",
    "sparsity": "funcgrad.compiler.sparsity",
    "lanes": "funcgrad.compiler.lanes",
    "assembly": "funcgrad.backends.llvm.assembly",
    "routines": "funcgrad.backends.llvm.routines",
    "outside": "funcgrad.backends.llvm.outside",
    "explained": "funcgrad.backends.llvm.explained",
    "direct": "funcgrad.backends.llvm.direct",
    "cache": "funcgrad.backends.llvm.cache",
    "cupy": "funcgrad.backends.cupy.device",
}

NARROW = (dtypes.bfloat16, dtypes.float16)


def load(name: str) -> Any:
    """The backend module of that name."""
    return importlib.import_module(_MODULES[name])


def _in_float32(name: str) -> Callable[..., Any]:
    """The module's function `name`, which for narrow floats computes in float32 and rounds once."""

    def function(self: Namespace, x: Any, *args: Any, dtype: Any = None, **kwargs: Any) -> Any:
        wide = getattr(self.module, name)
        if x.dtype in NARROW and dtype is None:
            operands = [
                a.astype(np.float32) if getattr(a, "dtype", None) in NARROW else a for a in args
            ]
            return wide(x.astype(np.float32), *operands, **kwargs).astype(x.dtype)
        if dtype is not None:
            kwargs["dtype"] = dtype
        return wide(x, *args, **kwargs)

    function.__name__ = name
    return function


class Namespace:
    """NumPy's or CuPy's functions, as `value` rules use them; what is not defined here is the
    module's own.
    """

    # Of several values assigned to one place by an index array, the last stays; and `ufunc.at`
    # takes every dtype. Devices write in parallel.
    writes_in_order = True

    def __init__(self, module: Any) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.module, name)
        setattr(self, name, value)  # the next look-up is an ordinary one
        return value

    def reduce_sum(self, x: Any, axes: tuple[int, ...]) -> Any:
        """The sum over `axes` in the dtype of `x`."""
        dtype = x.dtype
        return self.module.add.reduce(x, axis=axes, dtype=dtypes.accumulator(dtype)).astype(
            dtype, copy=False
        )

    sum = _in_float32("sum")
    prod = _in_float32("prod")
    cumsum = _in_float32("cumsum")
    cumprod = _in_float32("cumprod")
    matmul = _in_float32("matmul")
    dot = _in_float32("dot")

    def einsum(self, subscripts: str, *operands: Any, **kwargs: Any) -> Any:
        """The module's einsum; narrow floats in float32, rounded once."""
        dtype = operands[0].dtype
        if dtype in NARROW:
            wide = [operand.astype(np.float32) for operand in operands]
            return self.module.einsum(subscripts, *wide, **kwargs).astype(dtype)
        return self.module.einsum(subscripts, *operands, **kwargs)


NUMPY = Namespace(np)


# ---- NumPy's floating-point warnings
# ---------------------------------------------------------------


class _Quiet(threading.local):
    """A context per thread in which NumPy reports no floating-point errors.

    Entering a ready-made context costs some 20 ns; `numpy.errstate` costs several times what an
    operation does. Only leaf functions run in it: it cannot be entered twice.
    """

    def __init__(self) -> None:
        context = contextvars.Context()
        context.run(np.seterr, all="ignore")
        self.run = context.run


quiet = _Quiet()


def physical_shape(aval: Any) -> tuple[Any, ...]:
    """The shape of the buffer: keys have one more dimension, of words."""
    return (*aval.shape, aval.dtype.words) if dtypes.is_key(aval.dtype) else aval.shape


def physical_dtype(aval: Any) -> np.dtype:
    """The dtype of the buffer."""
    return dtypes.uint32 if dtypes.is_key(aval.dtype) else aval.dtype


# ---- engines
# -----------------------------------------------------------------------------------------


def engine_name() -> str:
    """The engine that runs compiled programs here."""
    name = config.current().engine
    return _automatic() if name == "auto" else name


@functools.lru_cache(maxsize=1)
def _automatic() -> str:
    """Native code where llvmlite is installed; where it is not, somebody should hear of it once."""
    if importlib.util.find_spec("llvmlite"):
        return "llvm"
    warnings.warn(
        "jit: llvmlite is not installed, so NumPy runs compiled programs, which is slower. Install "
        "it (pip install llvmlite), or choose this: FUNCGRAD_ENGINE=numpy.",
        RuntimeWarning,
        stacklevel=2,
    )
    return "numpy"


def compiled(jaxpr: Any, donated: tuple[bool, ...] = ()) -> Callable[[Sequence[Any]], list[Any]]:
    """The program as a function of buffers, one per argument; `donated` marks those it may
    overwrite.

    Kept on the program, per engine and configuration.
    """
    return _compiled(jaxpr, donated, engine_name())


def compiled_briefly(jaxpr: Any) -> Callable[[Sequence[Any]], list[Any]]:
    """As `compiled`, for small programs that run outside of `jit`: by NumPy calls, since native
    code takes longer to make than they take to run.
    """
    name = engine_name()
    return _compiled(jaxpr, (), "numpy" if name == "llvm" else name)


def _compiled(
    jaxpr: Any, donated: tuple[bool, ...], engine: str
) -> Callable[[Sequence[Any]], list[Any]]:
    key = ("compiled", engine, config.current().trace_key, donated)
    found = jaxpr._memo.get(key)
    if found is None:
        found = jaxpr._memo[key] = load(_in_force(engine)).compile(jaxpr, donated)
    return found


def _in_force(engine: str) -> str:
    state = config.current()
    return "watched" if state.debug_nans or state.debug_infs else engine


def compiled_loop(
    primitive: Any, jaxpr: Any, avals: Sequence[Any], params: dict[str, Any]
) -> Callable[[Sequence[Any]], list[Any]] | None:
    """A loop over `jaxpr` with operands of these types as one function of buffers in main memory;
    None if the engine has no code for whole loops. Kept on the program.
    """
    key = ("loop", engine_name(), config.current().trace_key, *avals, *params.items())
    if key not in jaxpr._memo:
        make = getattr(load(_in_force(engine_name())), "compile_loop", None)
        jaxpr._memo[key] = None if make is None else make(primitive, avals, params)
    return jaxpr._memo[key]


# ---- devices
# -----------------------------------------------------------------------------------------


class Device:
    """A place where arrays live: `cpu:0`, `cuda:1`."""

    __slots__ = ("platform", "id")

    def __init__(self, platform: str, id: int = 0) -> None:
        self.platform, self.id = platform, id

    @property
    def device_kind(self) -> str:
        """The kind of hardware, in words."""
        return self.platform

    @property
    def process_index(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and (self.platform, self.id) == (other.platform, other.id)

    def __hash__(self) -> int:
        return hash((self.platform, self.id))

    def __repr__(self) -> str:
        return f"Device({self})"

    def __str__(self) -> str:
        return f"{self.platform}:{self.id}"


CPU = Device("cpu")

# The namespace of device arrays, once somebody has made one; until then no operand need be looked
# at.
_device_namespace: Any = None


def register_device_namespace(namespace: Any) -> None:
    """Called by a device backend when its first array is made."""
    global _device_namespace
    _device_namespace = namespace


def namespace_of(buffers: Sequence[Any]) -> Any:
    """The namespace that computes with these buffers; with nothing but constants of rank 0, that of
    the default device.
    """
    if _device_namespace is None:
        return NUMPY
    if any(_device_namespace.owns(buffer) for buffer in buffers):
        return _device_namespace
    device = config.current().default_device
    if device is None or device == CPU or any(buffer.ndim for buffer in buffers):
        return NUMPY
    return _device_namespace


def evaluate(value: Callable[..., Any], buffers: Sequence[Any], params: dict[str, Any]) -> Any:
    """A primitive's `value` on these buffers, on the device that they are on."""
    xp = namespace_of(buffers)
    if xp is NUMPY:
        return quiet.run(value, xp, *buffers, **params)
    device = xp.home(buffers)
    with xp.on(device):
        return quiet.run(value, xp, *xp.place(buffers, device), **params)


def device_of(buffer: Any) -> Device:
    """Where a buffer lives."""
    if _device_namespace is not None and _device_namespace.owns(buffer):
        return _device_namespace.device_of(buffer)
    return CPU
