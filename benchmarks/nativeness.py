"""What is native code and what NumPy runs: `python -m benchmarks.nativeness [--write]`.

Every row of the table of primitives is put into programs of several constructs; an equation is
native if it becomes part of a kernel, a loop or a routine of compiled code. 500 random programs are
counted too. `--write` puts the table into docs/nativeness.md.
"""

from __future__ import annotations

import argparse
import collections
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import funcgrad as fg
from funcgrad import lax
from funcgrad.backends.llvm.assembly import is_native, native_unit
from funcgrad.backends.llvm.block import Block, Workshop
from funcgrad.backends.llvm.builder import Module
from funcgrad.backends.llvm.counted import is_counted
from funcgrad.backends.llvm.loops import BlockLoop, programs
from funcgrad.backends.llvm.target import host
from funcgrad.compiler.pipeline import prepared
from funcgrad.compiler.views import form_of
from funcgrad.core import dtypes
from funcgrad.core.jaxpr import Eqn, Jaxpr
from funcgrad.core.loops import Call
from tests.primitives.cases import Case, all_cases
from tests.primitives.test_laws import arrays, differentiable, flat
from tests.test_random_programs import BINARY, UNARY, build, inputs

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "nativeness.md"
PROGRAMS = 500


class Equation(NamedTuple):
    """One equation of a compiled program: whose loop or branch it stands in, and how it runs."""

    eqn: Eqn
    construct: str
    native: bool


def equations(jaxpr: Jaxpr) -> Iterator[Equation]:
    """All equations of a program after the passes, those of loops and branches included."""
    shop = Workshop(Module(host()), is_native, native_unit)
    yield from _of_block(Block(prepared(jaxpr), shop), "top")


def _of_block(block: Block, construct: str) -> Iterator[Equation]:
    units = {unit.eqn: unit for unit in block.units if unit.eqn is not None}
    for e in block.jaxpr.eqns:
        if e not in units:
            yield Equation(e, construct, True)
            continue
        loop = block.loops[units[e]]
        yield Equation(e, construct, loop is not None)
        form = form_of(e)
        if not isinstance(form, Call):
            continue
        if is_counted(e):
            (body,) = programs(e, form)
            yield from _of_block(Block(prepared(body), block.shop), form.kind)
        elif isinstance(loop, BlockLoop):
            for inner in loop.blocks:
                yield from _of_block(inner.block, form.kind)
        else:
            yield from _flat(e, form, loop is not None)


def _flat(e: Eqn, form: Call, native: bool) -> Iterator[Equation]:
    """The equations inside a loop that runs in registers, or outside."""
    for jaxpr in programs(e, form):
        for inner in jaxpr.eqns:
            yield Equation(inner, form.kind, native)
            if isinstance(inner_form := form_of(inner), Call):
                yield from _flat(inner, inner_form, native)


# ---- the table of primitives


def _repeated(f: Callable[..., Any], operands: Sequence[Any]) -> Callable[..., Any]:
    def loop(*args: Any) -> Any:
        start = [fg.numpy.zeros(x.shape, x.dtype) for x in fg.eval_shape(f, *args)]
        body = lambda s: (s[0] + 1, f(*args))
        return lax.while_loop(lambda s: s[0] < 2, body, (0, start))[1]

    return loop


def _scanned(f: Callable[..., Any], operands: Sequence[Any]) -> Callable[..., Any]:
    return lambda *args: lax.scan(lambda c, _: (c, f(*args)), 0, None, length=2)[1]


def _branched(f: Callable[..., Any], operands: Sequence[Any]) -> Callable[..., Any]:
    return lambda *args: lax.cond(args[0].ravel()[0] == args[0].ravel()[0], f, f, *args)


def _mapped(f: Callable[..., Any], operands: Sequence[Any]) -> Callable[..., Any]:
    return lambda *args: fg.vmap(f)(*(fg.numpy.stack([x, x]) for x in args))


def _pushed(f: Callable[..., Any], operands: Sequence[Any]) -> Callable[..., Any]:
    varied = differentiable(operands)

    def tangents(*args: Any) -> Any:
        moving = [x for x, v in zip(args, varied) if v]

        def of_these(*given: Any) -> Any:
            rest = iter(given)
            return f(*(next(rest) if v else x for x, v in zip(args, varied)))

        return fg.jvp(of_these, moving, [fg.numpy.ones_like(x) for x in moving])

    return tangents


CONSTRUCTS: dict[str, tuple[str, Callable[..., Any]]] = {
    "jit": ("jit", lambda f, operands: f),
    "vmap": ("batch", _mapped),
    "jvp": ("derivative", _pushed),
    "scan": ("jit", _scanned),
    "while": ("jit", _repeated),
    "cond": ("jit", _branched),
}
# What a construct itself adds to the program, which runs outside together with what it holds.
AROUND = {
    "jit": set(), "vmap": set(), "jvp": set(), "scan": {"scan"}, "while": {"while", "add", "lt"},
    "cond": {"cond"},
}  # fmt: skip


def cell(case: Case, params: dict[str, Any], construct: str) -> str | None:
    """How the equations of one row run inside a construct: "native", or the names of those that do
    not; None where the construct does not apply.
    """
    law, wrap = CONSTRUCTS[construct]
    if law in case.skip:
        return None
    operands = arrays(case.operands())
    if construct == "jvp" and not any(differentiable(case.operands())):
        return None
    if not operands and construct in ("vmap", "cond"):
        return None
    if construct == "cond" and operands[0].size == 0:
        return None
    wrapped = wrap(flat(case, params), operands)
    if any(dtypes.is_key(x.dtype) for x in operands):
        return None
    jaxpr = fg.make_jaxpr(lambda *args: _arrays(wrapped(*args)))(*operands)
    found = {x.eqn.primitive.name for x in equations(jaxpr) if not x.native}
    return "native" if not found else ", ".join(sorted(found - AROUND[construct]))


def _arrays(results: Any) -> tuple[Any, ...]:
    """The results but for tangents of integers, which have no values."""
    return tuple(x for x in fg.tree.leaves(results) if x.dtype != fg.float0)


def table() -> dict[tuple[str, str], dict[str, set[str]]]:
    """By primitive and dtype of the first operand, for each construct the cells of its rows."""
    found: dict[tuple[str, str], dict[str, set[str]]] = {}
    for _, case, params in all_cases():
        dtype = str(case.operands()[0].dtype) if case.args else ""
        row = found.setdefault((case.primitive.name, dtype), {c: set() for c in CONSTRUCTS})
        for construct in CONSTRUCTS:
            got = cell(case, params, construct)
            if got is not None:
                row[construct].add(got)
    return found


# ---- random numbers

RANDOM: dict[str, Callable[[Any], Any]] = {
    "bits": lambda k: fg.random.bits(k, (7,)),
    "uniform": lambda k: fg.random.uniform(k, (7,)),
    "normal": lambda k: fg.random.normal(k, (7,)),
    "truncated_normal": lambda k: fg.random.truncated_normal(k, -1.0, 1.0, (7,)),
    "bernoulli": lambda k: fg.random.bernoulli(k, 0.3, (7,)),
    "randint": lambda k: fg.random.randint(k, (7,), 0, 9),
    "categorical": lambda k: fg.random.categorical(k, fg.numpy.ones((3, 4))),
    "permutation": lambda k: fg.random.permutation(k, 10),
    "choice": lambda k: fg.random.choice(k, fg.numpy.arange(9), (4,)),
    "poisson": lambda k: fg.random.poisson(k, 2.0, (4,)),
    "gamma": lambda k: fg.random.gamma(k, 2.0, (7,)),
    "split, fold_in": lambda k: fg.random.normal(fg.random.fold_in(fg.random.split(k)[1], 3), (2,)),
    "split in scan": lambda k: lax.scan(
        lambda c, _: (fg.random.split(c)[0], fg.random.normal(c, (2,))), k, None, length=3
    )[1],
}


def random_functions() -> dict[str, set[str]]:
    """For each function of `random`, the primitives that are not native."""
    key = fg.random.key(0)
    return {
        name: {x.eqn.primitive.name for x in equations(fg.make_jaxpr(f)(key)) if not x.native}
        for name, f in RANDOM.items()
    }


# ---- random programs


def random_program(seed: int) -> Jaxpr:
    """A program of up to eight random steps, or its gradient."""
    rng = random.Random(seed)
    names = sorted([*UNARY, *BINARY])
    steps = []
    for _ in range(rng.randint(1, 8)):
        name = rng.choice(names)
        places = [rng.randint(0, 9) for _ in range(1 if name in UNARY else 2)]
        steps.append((name, *places))
    program = build(steps)
    if seed % 2:
        program = fg.grad(lambda x, y: fg.numpy.sum(build(steps)(x, y)))
    return fg.make_jaxpr(program)(*inputs())


def count(programs: int = PROGRAMS) -> tuple[int, int, collections.Counter[str]]:
    """Native equations, all equations, and those that are not native by primitive."""
    native = total = 0
    outside: collections.Counter[str] = collections.Counter()
    for seed in range(programs):
        for x in equations(random_program(seed)):
            total += 1
            native += x.native
            if not x.native:
                outside[x.eqn.primitive.name] += 1
    return native, total, outside


# ---- the document


def document() -> str:
    """The page: the count, then one line for primitives and dtypes that behave alike."""
    native, total, outside = count()
    lines = [
        "# What is native",
        "",
        "Written by `python -m benchmarks.nativeness --write`: how the native CPU engine runs each "
        "primitive, by the dtype of its first operand and the construct it stands in. *native*: "
        "part of a kernel, a loop or a routine of compiled code. Otherwise the primitives are "
        "named that NumPy runs between segments of native code.",
        "",
        f"Over {PROGRAMS} random programs {native} of {total} equations are native "
        f"({100 * native / total:.2f} %)"
        + (f"; the others: {', '.join(sorted(outside))}." if outside else "."),
        "",
        *_random_lines(),
        "| primitive | dtypes | " + " | ".join(CONSTRUCTS) + " |",
        "|---|---|" + "---|" * len(CONSTRUCTS),
    ]
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (primitive, dtype), row in sorted(table().items()):
        alike.setdefault((primitive, tuple(map(_text, row.values()))), []).append(dtype)
    for (primitive, cells), found in alike.items():
        if set(cells) == {_text(set())}:  # keys, which the lines above are about
            continue
        lines.append(f"| {primitive} | {', '.join(found)} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _random_lines() -> list[str]:
    found = random_functions()
    native = [name for name, others in found.items() if not others]
    rest = [f"{name} ({', '.join(sorted(others))})" for name, others in found.items() if others]
    return [f"Of `random` are native: {', '.join(native)}. Not: {', '.join(rest) or 'none'}.", ""]


def _text(cells: set[str]) -> str:
    if not cells:
        return "–"
    host_parts = sorted(cells - {"native"})
    if not host_parts:
        return "native"
    names = sorted({name for part in host_parts for name in part.split(", ")})
    return ("some rows: " if "native" in cells else "") + ", ".join(names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into the documentation")
    text = document()
    if parser.parse_args().write:
        DOCUMENT.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
