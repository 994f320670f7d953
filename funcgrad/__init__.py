"""funcgrad: composable transformations of Python functions on arrays, with a compiler of its own.

`grad`, `vjp`, `jvp`, `vmap` and `jit` compose to any depth over functions written with
`funcgrad.numpy`.
"""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING, Any as _Any

from funcgrad import (
    errors as errors,
    numpy,
    tree,
    tree_util,
)
from funcgrad.api.autodiff import grad, jvp, linear_transpose, linearize, value_and_grad, vjp
from funcgrad.api.checkpoint import checkpoint, checkpoint_policies, remat
from funcgrad.api.compile import clear_cache, clear_caches, jit
from funcgrad.api.devices import (
    block_until_ready,
    default_backend,
    default_device,
    device_count,
    device_get,
    device_put,
    devices,
    local_device_count,
    local_devices,
    process_count,
    process_index,
)
from funcgrad.api.inspect import disable_jit, enable_x64, make_jaxpr
from funcgrad.api.jacobians import hessian, jacfwd, jacrev
from funcgrad.api.settings import (
    checking_leaks,
    debug_infs,
    debug_nans,
    default_matmul_precision,
    ensure_compile_time_eval,
    log_compiles,
    named_call,
    named_scope,
    numpy_dtype_promotion,
    numpy_rank_promotion,
    transfer_guard,
    transfer_guard_device_to_device,
    transfer_guard_device_to_host,
    transfer_guard_host_to_device,
)
from funcgrad.api.profile import profile
from funcgrad.api.shapes import ShapeDtypeStruct, eval_shape, typeof
from funcgrad.api.vectorize import vmap
from funcgrad.config import config
from funcgrad.control.callback import effects_barrier, pure_callback
from funcgrad.control.closures import closure_convert, custom_gradient
from funcgrad.control.custom import custom_jvp
from funcgrad.control.custom_vjp import custom_vjp
from funcgrad.core import pretty as _pretty  # noqa: F401 - gives programs their printed form
from funcgrad.core.array import Array
from funcgrad.core.backend import Device
from funcgrad.core.dtypes import float0
from funcgrad.errors import (
    hide_from_pytest as _hide_from_pytest,
    install_excepthook as _install_excepthook,
)

__version__ = "0.1.0"
if _TYPE_CHECKING:
    from funcgrad import (
        ad_checkpoint,
        custom_batching,
        custom_derivatives,
        debug,
        dtypes,
        experimental,
        flatten_util,
        lax,
        nn,
        ops,
        random,
        scipy,
        sparse,
        typing,
    )

# Modules that many programs never touch: imported when they are first named.
_LAZY = frozenset(
    (
        "ad_checkpoint",
        "custom_batching",
        "custom_derivatives",
        "debug",
        "dtypes",
        "experimental",
        "flatten_util",
        "lax",
        "nn",
        "ops",
        "random",
        "scipy",
        "sparse",
        "typing",
    )
)
jacobian = jacrev
_install_excepthook()
_hide_from_pytest()


def __getattr__(name: str) -> _Any:
    if name in _LAZY:
        module = _importlib.import_module(f"funcgrad.{name}")
        _hide_from_pytest()
        return module
    raise AttributeError(f"module 'funcgrad' has no attribute {name!r}")


__all__ = [
    "Array", "Device", "ShapeDtypeStruct", "__version__", "ad_checkpoint", "block_until_ready",
    "checking_leaks", "checkpoint", "checkpoint_policies", "clear_cache", "clear_caches",
    "closure_convert", "config", "custom_batching", "custom_derivatives", "custom_gradient",
    "custom_jvp", "custom_vjp", "debug", "debug_infs", "debug_nans", "default_backend",
    "default_device", "default_matmul_precision", "device_count", "device_get", "device_put",
    "devices", "disable_jit", "dtypes", "effects_barrier", "enable_x64", "ensure_compile_time_eval",
    "errors", "eval_shape", "experimental", "flatten_util", "float0", "grad", "hessian", "jacfwd",
    "jacobian", "jacrev", "jit", "jvp", "lax", "linear_transpose", "linearize",
    "local_device_count", "local_devices", "log_compiles", "make_jaxpr", "named_call",
    "named_scope", "nn", "numpy", "numpy_dtype_promotion", "numpy_rank_promotion", "ops",
    "process_count", "process_index", "profile", "pure_callback", "random", "remat", "scipy",
    "sparse", "transfer_guard", "transfer_guard_device_to_device", "transfer_guard_device_to_host",
    "transfer_guard_host_to_device", "tree", "tree_util", "typeof", "typing", "value_and_grad",
    "vjp", "vmap",
]  # fmt: skip
