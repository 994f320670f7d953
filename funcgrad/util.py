"""Small tools: strict zips, lists taken apart and put together, optional imports, weak memory.

Everything else in the package may lean on this file; it leans on the standard library alone.
"""

import functools
import importlib
import importlib.util
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, TypeVar

# The function of `hashlib`, which loads OpenSSL too; that takes two milliseconds.
_digests = "_blake2" if importlib.util.find_spec("_blake2") else "hashlib"
blake2b: Any = importlib.import_module(_digests).blake2b

LOADED = time.time_ns()  # the package's modules are as their files were then

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


def safe_zip(*sequences: Iterable[Any]) -> list[tuple[Any, ...]]:
    """The tuples of elements at equal positions; lengths must agree.

    >>> safe_zip([1, 2], "ab")
    [(1, 'a'), (2, 'b')]
    """
    return list(zip(*sequences, strict=True))


def safe_map(function: Callable[..., T], *sequences: Iterable[Any]) -> list[T]:
    """The results of a function on elements at equal positions; lengths must agree."""
    if len(sequences) == 1:
        return list(map(function, sequences[0]))
    return [function(*elements) for elements in zip(*sequences, strict=True)]


def unzip2(pairs: Iterable[tuple[A, B]]) -> tuple[list[A], list[B]]:
    """The first and the second elements of pairs; two empty lists if there are none."""
    firsts: list[A] = []
    seconds: list[B] = []
    for first, second in pairs:
        firsts.append(first)
        seconds.append(second)
    return firsts, seconds


def unzip3(triples: Iterable[tuple[A, B, C]]) -> tuple[list[A], list[B], list[C]]:
    """The first, second and third elements of triples."""
    firsts: list[A] = []
    seconds: list[B] = []
    thirds: list[C] = []
    for first, second, third in triples:
        firsts.append(first)
        seconds.append(second)
        thirds.append(third)
    return firsts, seconds, thirds


def partition(flags: Iterable[bool], values: Iterable[T]) -> tuple[list[T], list[T]]:
    """The values whose flag is false, and those whose flag is true; `merge` undoes it.

    >>> partition([False, True, False], "abc")
    (['a', 'c'], ['b'])
    """
    unset: list[T] = []
    chosen: list[T] = []
    for flag, value in zip(flags, values, strict=True):
        (chosen if flag else unset).append(value)
    return unset, chosen


def merge(flags: Iterable[bool], unset: Iterable[T], chosen: Iterable[T]) -> list[T]:
    """One list that takes the next of `chosen` where a flag is true, else the next of `unset`.

    >>> merge([False, True, False], "ac", "b")
    ['a', 'b', 'c']
    """
    rest, picked = list(unset), list(chosen)
    ahead = sum(flags := list(flags))
    if (len(rest), len(picked)) != (len(flags) - ahead, ahead):
        raise ValueError(
            f"merge: {len(rest)} and {len(picked)} values do not fit {len(flags)} flags"
        )
    sources = iter(rest), iter(picked)
    return [next(sources[bool(flag)]) for flag in flags]


def split_list(values: Sequence[T], sizes: Sequence[int]) -> list[list[T]]:
    """Pieces of the given sizes, and one more with what is left.

    >>> split_list([1, 2, 3, 4], [1, 2])
    [[1], [2, 3], [4]]
    """
    pieces, start = [], 0
    for size in sizes:
        pieces.append(list(values[start : start + size]))
        start += size
    if start > len(values):
        raise ValueError(f"split_list: sizes {list(sizes)} exceed the length {len(values)}")
    return [*pieces, list(values[start:])]


_EXTRAS = {
    "PIL": "data",
    "autograd": "bench",
    "cudnn": "cuda13",
    "cupy": "cuda13",
    "cupyx": "cuda13",
    "datasets": "data",
    "graphviz": "viz",
    "jax": "bench",
    "matplotlib": "viz",
    "mpi4py": "mpi",
    "plotext": "viz",
    "safetensors": "nn",
    "sklearn": "demo",
    "torch": "bench",
    "tqdm": "nn",
}


@functools.cache
def optional(name: str) -> ModuleType:
    """An optional third-party module, imported at its first use.

    Raises `ImportError` that says what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        top = name.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != top:
            raise
        raise ImportError(
            f"{name} is needed here but not installed: {_advice(top)}", name=name
        ) from None


def _advice(package: str) -> str:
    if package in _EXTRAS:
        return f'pip install "funcgrad[{_EXTRAS[package]}]"'
    return f"pip install {package}"


def log() -> Any:
    """Where messages go; `logging` is loaded for the first of them."""
    return optional("logging").getLogger("funcgrad")


def weak_memo(function: Callable[..., T]) -> Callable[..., T]:
    """Remember results for as long as the first argument lives.

    The first argument is compared by its own equality (identity, for programs); the others must be
    hashable.
    """
    memory: weakref.WeakKeyDictionary[Any, dict[Any, T]] = weakref.WeakKeyDictionary()

    @functools.wraps(function)
    def remembered(subject: Any, *rest: Any) -> T:
        results = memory.get(subject)
        if results is None:
            results = memory.setdefault(subject, {})
        if rest not in results:
            results[rest] = function(subject, *rest)
        return results[rest]

    remembered.memory = memory  # type: ignore[attr-defined]  # tests count what is remembered
    return remembered
