"""Arrays: the public base class, concrete arrays over a NumPy or CuPy buffer, key arrays, and
tracers.

Everything here is thin: an array holds one buffer and a flag, and reads its shape and dtype from
the buffer. Operators and methods are installed from above by `funcgrad/numpy/methods.py`, since
they need the functions defined there.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from funcgrad import errors
from funcgrad.core import dtypes, transfers
from funcgrad.core.avals import ShapedArray

if TYPE_CHECKING:
    from funcgrad.core.interface import ArrayInterface
    from funcgrad.core.source import Source
    from funcgrad.core.trace import Trace
else:
    ArrayInterface = object


def immutable(attribute: str, method: str) -> Callable[[Any, Any], NoReturn]:
    """The setter of an attribute that NumPy lets one set; `method` returns a new array."""

    def refuse(array: Any, value: Any) -> NoReturn:
        raise AttributeError(
            f"arrays are immutable: x.{attribute} = {value!r:.40} is not possible. "
            f"Use x = x.{method}({value!r:.40}), which returns a new array."
        )

    return refuse


class Array(ArrayInterface):
    """Base of concrete arrays, key arrays and tracers: `isinstance(x, funcgrad.Array)` holds for
    all three.
    """

    __slots__ = ()
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    aval: ShapedArray

    shape = property(
        attrgetter("aval.shape"), immutable("shape", "reshape"), doc="The size of each dimension."
    )
    dtype = property(
        attrgetter("aval.dtype"),
        immutable("dtype", "astype"),
        doc="The element type: a `numpy.dtype`, or a key type.",
    )

    @property
    def weak_type(self) -> bool:
        """Did the type come from a Python number, so that it gives way to its partner's?"""
        return self.aval.weak_type

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(
                f"len() needs an array with dimensions, but got one of rank 0: {self!r:.60}. "
                "Use .size for the number of elements."
            )
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError(
                f"iteration over an array of rank 0: {self!r:.60} has no rows. Reshape it, or use "
                "it as it is."
            )
        return (self[i] for i in range(self.shape[0]))  # type: ignore[index]

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError(
            "arrays are immutable: x[i] = v is not possible. Use x = x.at[i].set(v), which returns "
            "a new array."
        )

    def __delitem__(self, index: Any) -> NoReturn:
        raise TypeError(
            "arrays are immutable: del x[i] is not possible. Use x = numpy.delete(x, i), which "
            "returns a new array."
        )


class Deleted:
    """Stands in the place of a buffer that was donated; every use raises."""

    def __getattr__(self, name: str) -> NoReturn:
        if name == "__wrapped__":  # inspect and doctest ask every object of a module
            raise AttributeError(name)
        raise RuntimeError(
            "Array has been deleted: it was donated to a jitted function. Use the function's "
            "result instead, "
            "or call it without donating this argument."
        )

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self.__getattr__("buffer")


DELETED = Deleted()


class ConcreteArray(Array):
    """An array with values: one buffer (a NumPy array or scalar, or a CuPy array) and the
    weak-type flag.
    """

    __slots__ = ("_buffer", "_weak", "__weakref__")

    def __init__(self, buffer: Any, weak: bool = False) -> None:
        self._buffer = buffer
        self._weak = weak

    @property
    def aval(self) -> ShapedArray:  # type: ignore[override]
        return ShapedArray(self._buffer.shape, self._buffer.dtype, self._weak)

    # read straight from the buffer: these are the hottest attributes of all
    shape = property(attrgetter("_buffer.shape"), immutable("shape", "reshape"))
    dtype = property(attrgetter("_buffer.dtype"), immutable("dtype", "astype"))
    ndim = property(attrgetter("_buffer.ndim"))
    weak_type = property(attrgetter("_weak"))

    @property
    def size(self) -> int:
        return int(self._buffer.size)

    def is_deleted(self) -> bool:
        """Was the buffer given away by donation?"""
        return self._buffer is DELETED

    def delete(self) -> None:
        """Gives the buffer up; later uses raise."""
        self._buffer = DELETED

    def block_until_ready(self) -> ConcreteArray:
        """Returns once the values are computed (at once on the CPU)."""
        buffer = self._buffer
        if type(buffer) is not np.ndarray and not (buffer is DELETED or is_on_cpu(buffer)):
            buffer.device.synchronize()
        return self

    def copy_to_host_async(self) -> None:
        """Values on the CPU are already there; on a device the copy is made when it is asked
        for.
        """

    # ---- what Python and NumPy ask of an array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        host = to_host(self._buffer)
        if dtype is not None and host.dtype != dtype:
            return host.astype(dtype)
        if copy:
            return np.array(host)
        view = host.view()
        view.flags.writeable = False
        return view

    def __dlpack__(self, **options: Any) -> Any:
        if isinstance(self._buffer, (np.ndarray, np.generic)):
            # Consumers may write to what they are given; a copy keeps this array immutable.
            options.pop("copy", None)
            return np.array(self._buffer).__dlpack__(**options)
        return self._buffer.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        if isinstance(self._buffer, np.generic):
            return (1, 0)
        return self._buffer.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> Any:
        if isinstance(self._buffer, (np.ndarray, np.generic)):
            raise AttributeError("__cuda_array_interface__: this array is on the CPU.")
        return self._buffer.__cuda_array_interface__

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"the truth value of an array of shape {self.shape} is ambiguous: use .any(), "
                ".all() or .size."
            )
        return bool(to_host(self._buffer).reshape(()))

    def __float__(self) -> float:
        return float(self._scalar("float"))

    def __int__(self) -> int:
        return int(self._scalar("int"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex"))

    def __index__(self) -> int:
        if self.ndim or not (dtypes.is_integer(self.dtype) or self.dtype == dtypes.bool_):
            raise TypeError(
                f"an index must be an integer array of rank 0, but this one is {self.aval}."
            )
        return int(to_host(self._buffer))

    def _scalar(self, what: str) -> Any:
        if self.ndim:
            raise TypeError(
                f"{what}() needs an array of rank 0, but this one has shape {self.shape}."
            )
        return to_host(self._buffer).reshape(())

    def __format__(self, spec: str) -> str:
        if self.ndim == 0:
            return format(to_host(self._buffer).reshape(()).item(), spec)
        if spec:
            raise TypeError(
                f"format: {spec!r} is for single numbers, but got {self.aval}. Format its elements."
            )
        return str(self)

    def __repr__(self) -> str:
        if self._buffer is DELETED:
            return "Array(deleted)"
        text = np.array2string(to_host(self._buffer), separator=", ", prefix="Array(")
        weak = ", weak_type=True" if self._weak else ""
        shape = f", shape={self.shape}" if not self.size and self.ndim > 1 else ""
        return f"Array({text}{shape}, dtype={self.dtype}{weak})"

    def __str__(self) -> str:
        return "Array(deleted)" if self._buffer is DELETED else str(to_host(self._buffer))

    def __reduce__(self) -> Any:
        return _rebuild, (np.array(to_host(self._buffer)), self._weak)

    def __copy__(self) -> ConcreteArray:
        return self

    def __deepcopy__(self, memo: Any) -> ConcreteArray:
        return ConcreteArray(self._buffer.copy(), self._weak)


class DeviceArray(ConcreteArray):
    """A concrete array whose buffer is on a device. A class of its own, so that shortcuts through
    NumPy, which ask for exactly `ConcreteArray`, leave it to the general way.
    """

    __slots__ = ()

    def __deepcopy__(self, memo: Any) -> DeviceArray:
        return DeviceArray(self._buffer.copy(), self._weak)


class KeyArray(ConcreteArray):
    """An array of random keys. Its buffer has one more dimension, of 32-bit words."""

    __slots__ = ("_dtype",)

    def __init__(self, buffer: Any, dtype: dtypes.KeyDtype) -> None:
        super().__init__(buffer)
        self._dtype = dtype

    @property
    def aval(self) -> ShapedArray:  # type: ignore[override]
        return ShapedArray(self._buffer.shape[:-1], self._dtype)

    @property
    def shape(self) -> tuple[Any, ...]:
        return self._buffer.shape[:-1]

    @property
    def dtype(self) -> Any:
        return self._dtype

    @property
    def ndim(self) -> int:
        return self._buffer.ndim - 1

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError("random keys are not numbers: use random.key_data(key) for their bits.")

    def __repr__(self) -> str:
        return f"Array({self.shape}, dtype={self.dtype}) overlaying:\n{to_host(self._buffer)}"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __reduce__(self) -> Any:
        return KeyArray, (np.array(to_host(self._buffer)), self._dtype)

    def __deepcopy__(self, memo: Any) -> KeyArray:
        return KeyArray(self._buffer.copy(), self._dtype)


def _rebuild(buffer: np.ndarray, weak: bool) -> ConcreteArray:
    return ConcreteArray(buffer, weak)


def is_on_cpu(buffer: Any) -> bool:
    """Is it a buffer of NumPy's?"""
    return isinstance(buffer, (np.ndarray, np.generic))


def to_host(buffer: Any, explicit: bool = False) -> Any:
    """The buffer as a NumPy array; from a device it is copied, `explicit` if the user said so."""
    if isinstance(buffer, np.ndarray):
        return buffer
    if isinstance(buffer, (np.generic, Deleted)):
        return np.asarray(buffer)
    transfers.guard("device_to_host", "from a device to the CPU", explicit)
    return buffer.get()


class Tracer(Array):
    """Stands for an array while a function is traced. Belongs to one trace; that trace says what
    is done with it.
    """

    __slots__ = ("_trace", "source", "__weakref__")

    _trace: Trace
    source: Source | None
    traced_by = "a transformation"

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise errors.TracerArrayConversionError(
            f"NumPy was given {self._described()}, whose values are not known while it is traced. "
            "Use the function of the same name in funcgrad.numpy."
        )

    def concrete(self) -> ConcreteArray | None:
        """The array with values behind the tracer, if there is one: under grad and jvp alone the
        primal.
        """
        return None

    def __bool__(self) -> bool:
        if (value := self.concrete()) is not None:
            return bool(value)
        raise errors.TracerBoolConversionError(
            f"a condition needs a concrete bool, but got {self._described()}. "
            "Use numpy.where(condition, a, b) or lax.cond, or mark the argument static."
        )

    def __float__(self) -> NoReturn:
        self._refuse("float()")

    def __int__(self) -> int:
        if (value := self.concrete()) is not None:
            return int(value)
        self._refuse("int()")

    def __complex__(self) -> NoReturn:
        self._refuse("complex()")

    def __index__(self) -> int:
        if (value := self.concrete()) is not None:
            return operator.index(value)
        raise errors.TracerIntegerConversionError(
            f"a Python integer is needed here (an index, a shape, a range), but got "
            f"{self._described()}. "
            "Index an array with it, use lax.fori_loop, or mark the argument static."
        )

    def item(self, *args: Any) -> Any:
        if (value := self.concrete()) is not None:
            return value.item(*args)
        self._refuse("item()")

    def tolist(self) -> Any:
        if (value := self.concrete()) is not None:
            return value.tolist()
        self._refuse("tolist()")

    def block_until_ready(self) -> Tracer:
        """There is nothing to wait for."""
        return self

    def __format__(self, spec: str) -> str:
        if spec and (value := self.concrete()) is not None:
            return format(value, spec)
        if spec:
            raise errors.ConcretizationTypeError(
                f"the format {spec!r} needs a concrete value, but got {self._described()}. "
                "Print with debug.print('{x}', x=x), which waits for the value."
            )
        return repr(self)

    def _refuse(self, what: str) -> NoReturn:
        raise errors.ConcretizationTypeError(
            f"{what} needs a concrete value, but got {self._described()}. "
            "Return the traced value itself, or mark the argument static."
        )

    def _described(self) -> str:
        return f"a traced value {self.aval} (traced by {self.traced_by})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}<{self.aval}>"

    def __deepcopy__(self, memo: Any) -> Tracer:
        return self

    def __copy__(self) -> Tracer:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self._described()} cannot be pickled: it has no values.")


def is_concrete(x: Any) -> bool:
    """Can Python ask for its value: is it no tracer, or one of grad or jvp alone?"""
    return not isinstance(x, Tracer) or x.concrete() is not None


def install_operators(methods: dict[str, Any], concrete: dict[str, Any] | None = None) -> None:
    """Gives all arrays their operators and methods; `concrete` holds faster forms for arrays
    with values.
    """
    for name, method in methods.items():
        setattr(Array, name, method)
    for name, method in (concrete or {}).items():
        setattr(ConcreteArray, name, method)
        setattr(DeviceArray, name, methods.get(name, method))


MethodTable = dict[str, Callable[..., Any]]
