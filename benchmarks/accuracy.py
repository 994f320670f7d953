"""Errors of the native backend's functions: `python -m benchmarks.accuracy [--every 37]`.

float32 functions of one number run over every n-th of all float32 values and are compared with
float64; float64 ones, and those of two numbers, over log-uniform samples, random bit patterns and
hard cases, compared with extended precision, or with mpmath where NumPy has no such function. The
error is counted in units in the last place of the exact result; for functions with zeros that
floating-point numbers miss (lgamma, digamma), in units at 1/2 where the result is smaller.
`--write` puts the table into docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import platform
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.special

from benchmarks import peers
from funcgrad.backends.llvm.target import host
from funcgrad.core import dtypes
from tests.backends.scalar_kernels import compiled_operation

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "accuracy.md"
CHUNK = 1 << 20
SAMPLES = 1 << 19
LEVELS = ("avx512", "avx2", "sse") if platform.machine() in ("x86_64", "AMD64") else ("neon",)


class Function(NamedTuple):
    """The exact function, the bounds in float32 and float64, and where float64 is sampled."""

    exact: Callable[..., Any]
    bound: float = 4
    bound_float64: float = 4
    low: float = 1e-30
    high: float = 1e4
    hard: Sequence[float] = ()
    near_zero: bool = False  # errors are absolute where the result is below 1/2


# ---- exact functions -----------------------------------------------------------------------------


def logistic(x: Any) -> Any:
    power = np.exp(-np.abs(x))
    return np.where(x < 0, power, 1) / (1 + power)


def erf_inv_of_rounded_square(x: Any) -> Any:
    """erf_inv as it is defined here: x g(x**2) with the square rounded to the type of x."""
    narrow = np.float32 if x.dtype == np.float64 else np.float64
    root = np.sqrt((x.astype(narrow) ** 2).astype(np.float64))
    root = np.where(root == 0, 1e-30, root)
    return x * (scipy.special.erfinv(root) / root)


def with_mpmath(name: str) -> Callable[..., Any]:
    """mpmath's function on extended precision numbers; scipy's on float64."""

    def exact(x: Any) -> Any:
        if x.dtype == np.float64:
            return getattr(scipy.special, SCIPY[name])(x)
        mp = peers.load("mpmath")
        with mp.workdps(40):
            return np.array([_extended(mp, name, float(v)) for v in x.tolist()])

    exact.__name__ = name
    return exact


SCIPY = {"erf": "erf", "erfc": "erfc", "lgamma": "gammaln", "digamma": "digamma"}


def _extended(mp: Any, name: str, x: float) -> Any:
    """One value as an extended precision number: its leading part and the rest."""
    value = _by_mpmath(mp, name, x)
    head = float(value)
    if not np.isfinite(head):
        return np.longdouble(head)
    return np.longdouble(head) + np.longdouble(float(value - head))


def _by_mpmath(mp: Any, name: str, x: float) -> Any:
    pole = x <= 0 and x == np.floor(x)
    if np.isnan(x) or (name == "digamma" and (pole or x == -np.inf)):
        return mp.nan
    if name == "lgamma":
        if pole or np.isinf(x):
            return mp.inf
        return mp.loggamma(x) if x > 100 else mp.log(abs(mp.gamma(x)))
    if name == "erfc" and x > 30:
        return mp.mpf(0)
    return getattr(mp, name)(mp.mpf(x))


HALF_TURNS = [k * np.pi / 2 for k in (1, 2, 3, 4, 11, 355, 103993 * 2, 10**6, 2**40 + 1)]
TURNS = (*HALF_TURNS, 6381956970095103.0 * 2.0**797, 5.319372648326541e255, 2.0**1023)
ENDS = (709.7, 709.79, 710.4, 710.5, 708.3, 744.4, 745.1, 745.2, 1023.99, 1024.0, 1074.9)
UNIT = tuple(1 + s * 2.0**-k for s in (1, -1) for k in (1, 2, 10, 26, 52))

FUNCTIONS = {
    "exp": Function(np.exp, 2, high=745, hard=ENDS),
    "exp2": Function(np.exp2, 2, high=1075, hard=ENDS),
    "expm1": Function(np.expm1, 2, high=710, hard=ENDS),
    "log": Function(np.log, 2, low=1e-300, high=1e300, hard=UNIT),
    "log1p": Function(np.log1p, 2, high=1e300, hard=UNIT),
    "logistic": Function(logistic, 2, high=745, hard=ENDS),
    "sin": Function(np.sin, 2, high=1e7, hard=TURNS),
    "cos": Function(np.cos, 2, high=1e7, hard=TURNS),
    "tan": Function(np.tan, high=1e7, hard=TURNS),
    "asin": Function(np.arcsin, high=1, hard=UNIT),
    "acos": Function(np.arccos, high=1, hard=UNIT),
    "atan": Function(np.arctan, high=1e20, hard=UNIT),
    "sinh": Function(np.sinh, 2, high=710, hard=ENDS),
    "cosh": Function(np.cosh, 2, high=710, hard=ENDS),
    "tanh": Function(np.tanh, 2, high=25, hard=ENDS),
    "asinh": Function(np.arcsinh, high=1e300),
    "acosh": Function(np.arccosh, low=1e-3, high=1e300, hard=UNIT),
    "atanh": Function(np.arctanh, high=1, hard=UNIT),
    "sqrt": Function(np.sqrt, 0.51, 0.51, high=1e300),
    "rsqrt": Function(lambda x: 1 / np.sqrt(x), 2, high=1e300),
    "cbrt": Function(np.cbrt, low=1e-300, high=1e300),
    "erf": Function(with_mpmath("erf"), high=6),
    "erfc": Function(with_mpmath("erfc"), low=1e-3, high=27),
    "erf_inv": Function(erf_inv_of_rounded_square, 4, np.nan, high=1),
    "lgamma": Function(with_mpmath("lgamma"), 4, 16, low=1e-3, high=180, near_zero=True),
    "digamma": Function(with_mpmath("digamma"), 4, 16, low=1e-3, high=180, near_zero=True),
    "atan2": Function(np.arctan2, high=1e20),
    "pow": Function(np.power, low=1e-3, high=1e3),
}
BINARY = ("atan2", "pow")


# ---- samples -------------------------------------------------------------------------------------


def all_float32(every: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Every n-th float32 number, in chunks."""
    for start in range(0, 1 << 32, every * CHUNK):
        stop = min(start + every * CHUNK, 1 << 32)
        yield (np.arange(start, stop, every, dtype=np.uint64).astype(np.uint32).view(np.float32),)


def log_uniform(rng: Any, low: float, high: float, count: int) -> np.ndarray:
    size = np.exp(rng.uniform(np.log(low), np.log(high), count))
    return size * rng.choice([-1.0, 1.0], count)


def with_special_values(x: np.ndarray, function: Function, rng: Any) -> np.ndarray:
    """The sample with hard cases, their neighbours, random bits, and what is not a number."""
    hard = np.array([*function.hard, 0.0, 1.0, 2.0, np.inf, np.nan, 5e-324, 1e-310, 1e308])
    near = [hard, np.nextafter(hard, 0), np.nextafter(hard, np.inf)]
    bits = rng.integers(0, 1 << 64, x.size // 4, dtype=np.uint64).view(np.float64)
    return np.concatenate([x, *near, *(-h for h in near), bits])


def samples(name: str, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """Operands for a function where not all numbers can be tried."""
    function = FUNCTIONS[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    count = 1 << 11 if name in SCIPY else SAMPLES
    x = log_uniform(rng, function.low, function.high, count)
    if name not in BINARY:
        return (with_special_values(x, function, rng)[: 2 * count].astype(dtype),)
    if name == "pow":
        x = np.abs(x)
        reach = (88 if dtype == np.float32 else 709) * rng.uniform(-1.05, 1.05, count)
        y = np.where(rng.random(count) < 0.5, log_uniform(rng, 0.1, 30, count), reach / np.log(x))
    else:
        y = x * log_uniform(rng, 1e-6, 1e6, count)
    special = np.array([0.0, 1.0, -1.0, 0.5, 2.0, 3.0, np.inf, np.nan, -2.0, -3.0, -np.inf, -0.0])
    first, second = (grid.ravel() for grid in np.meshgrid(special, special))
    return np.concatenate([x, first]).astype(dtype), np.concatenate([y, second]).astype(dtype)


# ---- errors --------------------------------------------------------------------------------------


class Worst(NamedTuple):
    """The largest error in units in the last place, where, and how many results are of a wrong
    kind: finite, infinite or NaN.
    """

    ulps: float
    argument: float
    wrong: int

    def __or__(self, other: Worst) -> Worst:  # type: ignore[override]
        larger = max(self, other, key=lambda worst: worst.ulps)
        return larger._replace(wrong=self.wrong + other.wrong)


NOTHING = Worst(0.0, 0.0, 0)


def errors(got: np.ndarray, exact: np.ndarray, near_zero: bool) -> tuple[np.ndarray, np.ndarray]:
    """Errors where the result is finite, and which results are of a wrong kind. What overflows by
    less than half a unit may be finite or infinite.
    """
    rounded = exact.astype(got.dtype)
    spacing = np.spacing(np.abs(rounded)).astype(exact.dtype)
    if near_zero:
        spacing = np.maximum(spacing, np.finfo(got.dtype).eps / 2)
    ulps = np.abs(got.astype(exact.dtype) - exact) / spacing
    both = np.isfinite(got) & np.isfinite(rounded)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    edge = np.abs(exact) > np.finfo(got.dtype).max * (1 - 2.0**-20)
    return np.where(both, ulps, 0), ~(both | same | edge)


def worst_of(got: np.ndarray, exact: np.ndarray, x: np.ndarray, near_zero: bool) -> Worst:
    ulps, wrong = errors(got, exact, near_zero)
    at = int(ulps.argmax())
    return Worst(float(ulps[at]), float(x[at]), int(wrong.sum()))


def measured(name: str, dtype: np.dtype, every: int) -> dict[str, Worst]:
    """The worst error of one function per target."""
    function = FUNCTIONS[name]
    unary = name not in BINARY
    enumerable = dtype == dtypes.float32 and unary
    batches = all_float32(every) if enumerable else iter([samples(name, dtype)])
    wide = np.float64 if enumerable else np.longdouble if dtype == np.float64 else np.float64
    count = 1 if unary else 2
    kernels = {}
    for level in LEVELS:
        target = host(level)
        lanes = target.lanes(dtype.itemsize)
        kernels[level] = compiled_operation(name, [dtype] * count, dtype, lanes, target)
    found = dict.fromkeys(LEVELS, NOTHING)
    for operands in batches:
        exact = function.exact(*(x.astype(wide) for x in operands))
        for level, kernel in kernels.items():
            found[level] |= worst_of(kernel(*operands), exact, operands[0], function.near_zero)
    return found


# ---- the table -----------------------------------------------------------------------------------

HEAD = """# Accuracy of the native backend's functions

Largest errors in units in the last place of the exact result. This table is made by
`python -m benchmarks.accuracy --every {every} --write`: float32 functions of one number over every
{every}th of all float32 values (subnormal, infinite and NaN included), the others over {samples}
log-uniform samples and hard cases. That infinities, NaN and zeros are where they belong is checked
too. The errors of lgamma and digamma are relative to at least 1/2, since both have zeros between
floating-point numbers; on the negative axis they are those of two larger terms. erf_inv is defined
through the rounded square of its argument, as the primitive is; the exact value of that is not
known to enough digits for float64.

| function | bound | {levels} | bound, float64 | {levels} |
|---|---|{rule}|---|{rule}|
"""


def row(name: str, single: dict[str, Worst], double: dict[str, Worst]) -> str:
    """One line: bounds, and errors per target."""
    function = FUNCTIONS[name]
    cells = [name, f"{function.bound:g}", *map(cell, single.values())]
    bound = "" if np.isnan(function.bound_float64) else f"{function.bound_float64:g}"
    cells += [bound, *(cell(w) if bound else "" for w in double.values())]
    return f"| {' | '.join(cells)} |"


def cell(worst: Worst) -> str:
    text = f"{worst.ulps:.2f}"
    return f"{text} ({worst.wrong} wrong)" if worst.wrong else text


def table(names: Sequence[str], every: int, say: Callable[[str], None]) -> str:
    """All rows, printed as they are found."""
    head = HEAD.format(
        every=every,
        samples=SAMPLES,
        levels=" | ".join(LEVELS),
        rule="|".join("---" for _ in LEVELS),
    )
    rows = []
    say(head)
    for name in names:
        with np.errstate(all="ignore"):
            found = [measured(name, t, every) for t in (dtypes.float32, dtypes.float64)]
        rows.append(row(name, *found))
        say(rows[-1])
    return head + "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=37, help="stride through the float32 values")
    parser.add_argument("--only", help="names of functions, separated by commas")
    parser.add_argument("--write", action="store_true", help="write docs/accuracy.md")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(FUNCTIONS)
    text = table(names, options.every, lambda line: print(line, flush=True))
    if options.write:
        DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
