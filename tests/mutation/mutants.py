"""Mutants: a function's source with one thing wrong in it, as a code object that takes its place.

The module of a function is parsed, one node below the function is changed, the statement is
compiled that it stands in, and the code object at the function's place is taken out. Put into the
live function, it breaks that one rule for everybody who holds it, without importing anything again.
"""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

SAME_OTHERWISE = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.Mod: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
# Calls whose meaning is known: what may be said instead.
OTHER_FUNCTIONS = {
    "sin": "cos", "cos": "sin", "sinh": "cosh", "cosh": "sinh", "exp": "log", "log": "exp",
    "add": "sub", "sub": "add", "mul": "div", "div": "mul", "max": "min", "min": "max",
    "reduce_max": "reduce_min", "reduce_min": "reduce_max", "lt": "gt", "gt": "lt", "le": "ge",
    "ge": "le", "eq": "ne", "ne": "eq", "real": "imag", "imag": "real",
}  # fmt: skip
# Swapping their operands changes nothing, or nothing that is a rule's business.
UNORDERED = {
    "add", "mul", "max", "min", "maximum", "minimum", "multiply", "eq", "ne", "logical_and",
    "logical_or", "bitwise_and", "bitwise_or", "bitwise_xor", "and_", "or_", "xor", "isinstance",
    "getattr", "hasattr", "zip", "map", "get",
}  # fmt: skip
FIRST_OF_TWO = {"add", "sub", "mul", "div"}  # a term or a factor can be dropped
COMMUTATIVE = ast.Add | ast.Mult | ast.BitAnd | ast.BitOr | ast.BitXor
DROPPED = {"neg", "conj", "rev", "instantiate", "broadcast_in_dim", "reduce_sum", "transpose"}

Place = tuple[str, str, int]  # a file within the package, a digest of a statement, a line of it
Change = tuple[str, Callable[[ast.AST], ast.AST]]


@dataclass
class Mutant:
    """One wrong version of a function."""

    functions: list[FunctionType]  # all that share the code: a factory makes many
    code: CodeType
    file: str  # within the package
    lines: range  # of the statement's part that is changed
    column: int
    node: Any  # what is changed
    around: tuple[Any, ...]  # what it stands in, and what that stands in
    what: str

    @property
    def fragment(self) -> str:
        """The source that is changed."""
        return ast.unparse(self.node)

    @property
    def context(self) -> str:
        """The same, or what a constant stands in."""
        return self.sources[0]

    @functools.cached_property
    def sources(self) -> tuple[str, str]:
        """What is changed, or what a constant stands in; and the expression around that."""
        nodes = (self.node, *self.around, *self.around)
        is_constant = isinstance(self.node, ast.Constant)
        inner, outer = nodes[1:3] if is_constant else nodes[:2]
        if not isinstance(outer, ast.expr):
            outer = inner
        return tuple(" ".join(ast.unparse(node).split()) for node in (inner, outer))

    @property
    def places(self) -> list[Place]:
        """The lines that are changed."""
        filename = self.functions[0].__code__.co_filename
        return [place_of(filename, line) for line in self.lines]

    @property
    def function(self) -> str:
        """The name of the function that is wrong."""
        return short_name(self.functions[0])

    def __str__(self) -> str:
        place = f"{self.file}:{self.lines[0]}:{self.column}"
        return f"{place}  {self.function}  {self.context}  {self.what}"

    def __enter__(self) -> None:
        self.right = self.functions[0].__code__
        self._put(self.code)

    def __exit__(self, *exc: object) -> None:
        self._put(self.right)

    def _put(self, code: CodeType) -> None:
        for function in self.functions:
            function.__code__ = code


@functools.cache
def place_of(filename: str, line: int) -> Place:
    """What is known of a line holds as long as the statement of its module is the same."""
    statement = excerpt(filename, line).body[-1]
    start, end = first_line(statement), statement.end_lineno
    text = "\n".join(source(filename).splitlines()[start - 1 : end])
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return sys.intern(file_of(filename)), sys.intern(digest), line - start


def file_of(filename: str) -> str:
    """A file within the package, the same on every machine."""
    return filename.rpartition("/funcgrad/")[2]


def short_name(function: FunctionType) -> str:
    """Its own, after that of the function it is made in."""
    return function.__qualname__.replace(".<locals>", "")


# ---- changes of a node ---------------------------------------------------------------------------


def changes(node: ast.AST) -> Iterator[Change]:
    """What can go wrong at a node."""
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp):
        if (other := SAME_OTHERWISE.get(type(node.op))) is not None:
            yield f"{type(node.op).__name__} is {other.__name__}", with_field("op", other())
    if isinstance(node, ast.BinOp) and not isinstance(node.op, COMMUTATIVE):
        yield "operands swapped", lambda n: rebuilt(n, left=n.right, right=n.left)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        other = SAME_OTHERWISE[type(node.ops[0])]
        yield f"{type(node.ops[0]).__name__} is {other.__name__}", with_field("ops", [other()])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield "sign dropped", lambda n: n.operand
    if isinstance(node, ast.IfExp):
        yield "branches swapped", lambda n: rebuilt(n, body=n.orelse, orelse=n.body)
    if isinstance(node, ast.If) and node.orelse:
        yield "branches swapped", lambda n: rebuilt(n, body=n.orelse, orelse=n.body)
    if isinstance(node, ast.Constant):
        yield from constant_changes(node)
    if isinstance(node, ast.List | ast.Tuple) and len(node.elts) >= 2 and is_value(node):
        yield "first two swapped", lambda n: rebuilt(n, elts=[n.elts[1], n.elts[0], *n.elts[2:]])
    if isinstance(node, ast.Call):
        yield from call_changes(node)


def is_value(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Load)


def constant_changes(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield f"{value} is {not value}", with_field("value", not value)
    elif isinstance(value, int | float):
        yield f"{value} is {value + 1}", with_field("value", value + 1)


def call_changes(node: ast.Call) -> Iterator[Change]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    plain = not any(isinstance(a, ast.Starred) for a in node.args)
    if plain and len(node.args) >= 2 and name not in UNORDERED:
        yield (
            f"operands of {name} swapped",
            lambda n: rebuilt(n, args=[n.args[1], n.args[0], *n.args[2:]]),
        )
    if name in OTHER_FUNCTIONS:
        yield (
            f"{name} is {OTHER_FUNCTIONS[name]}",
            lambda n: rebuilt(n, func=renamed(n.func, OTHER_FUNCTIONS[name])),
        )
    if plain and len(node.args) == 2 and name in FIRST_OF_TWO:
        yield f"second of {name} dropped", lambda n: n.args[0]
        yield f"first of {name} dropped", lambda n: n.args[1]
    if plain and node.args and name in DROPPED:
        yield f"{name} dropped", lambda n: n.args[0]


def renamed(func: ast.expr, name: str) -> ast.expr:
    if isinstance(func, ast.Attribute):
        return rebuilt(func, attr=name)
    return rebuilt(func, id=name)


def with_field(field: str, value: Any) -> Callable[[ast.AST], ast.AST]:
    return lambda node: rebuilt(node, **{field: value})


def rebuilt(node: Any, **fields: Any) -> Any:
    """A copy of a node with other fields."""
    copied = copy.copy(node)
    for name, value in fields.items():
        setattr(copied, name, value)
    return copied


# ---- where functions stand in their modules ------------------------------------------------------


@functools.cache
def source(filename: str) -> str:
    with open(filename, encoding="utf-8") as file:
        return file.read()


@functools.cache
def parsed(filename: str) -> ast.Module:
    return ast.parse(source(filename))


@functools.cache
def excerpt(filename: str, line: int) -> ast.Module:
    """A module of the statement that the line stands in and of imports, which code depends on."""
    body = parsed(filename).body
    imports = [s for s in body if isinstance(s, ast.Import | ast.ImportFrom)]
    found = [s for s in body if first_line(s) <= line <= (s.end_lineno or 0)]
    return ast.Module([*imports, *found], [])


@functools.cache
def compiled(filename: str, line: int) -> CodeType:
    return compile(excerpt(filename, line), filename, "exec")


def inner(code: CodeType) -> list[CodeType]:
    return [c for c in code.co_consts if isinstance(c, CodeType)]


def path_to(code: CodeType, whole: CodeType) -> tuple[int, ...] | None:
    """The way from a module's code to a function's: its number at each level."""
    for i, candidate in enumerate(inner(whole)):
        if same_place(candidate, code):
            return (i,)
        if (rest := path_to(code, candidate)) is not None:
            return (i, *rest)
    return None


def same_place(a: CodeType, b: CodeType) -> bool:
    return (a.co_name, a.co_firstlineno) == (b.co_name, b.co_firstlineno) and a.co_code == b.co_code


def at(path: tuple[int, ...], code: CodeType) -> CodeType:
    for i in path:
        code = inner(code)[i]
    return code


def node_of(function: FunctionType) -> ast.AST | None:
    """The definition of a function: the one on its line whose compiled form is the function's."""
    code = function.__code__
    kinds = (ast.Lambda, ast.FunctionDef)
    tree = excerpt(code.co_filename, code.co_firstlineno)
    found = [
        n for n in ast.walk(tree) if isinstance(n, kinds) and first_line(n) == code.co_firstlineno
    ]
    if len(found) > 1:
        columns = [p for p in code.co_positions() if p[0] is not None and p[2]]
        start = min((line, column) for line, _, column, _ in columns)
        end = max((line, column) for _, line, _, column in columns if line is not None)
        found = [n for n in found if covers(n, start, end)]
        found.sort(key=lambda n: (n.end_lineno - n.lineno, n.end_col_offset - n.col_offset))
    return found[0] if found else None


def first_line(node: Any) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def covers(node: Any, start: tuple[int, int], end: tuple[int, int]) -> bool:
    first, last = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
    return first <= start and end <= last


# ---- mutants of a function -----------------------------------------------------------------------


class Replaced(ast.NodeTransformer):
    """The tree with one node changed; nodes on the way are copied, so that the original stays."""

    def __init__(self, target: ast.AST, change: Callable[[ast.AST], ast.AST]) -> None:
        self.target, self.change = target, change

    def visit(self, node: ast.AST) -> Any:
        if node is self.target:
            return ast.copy_location(self.change(node), node)
        return self.generic_visit(copy.copy(node))

    def generic_visit(self, node: Any) -> Any:
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                setattr(node, name, [self.visit(v) if isinstance(v, ast.AST) else v for v in value])
            elif isinstance(value, ast.AST):
                setattr(node, name, self.visit(value))
        return node


def mutable_nodes(node: Any, around: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """The nodes that decide what is computed, each with the two around it: no messages,
    annotations, docstrings.
    """
    within = (node, *around[:1])
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert | ast.arguments):
        return
    if isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise):
        return  # tests of errors see to it
    if isinstance(node, ast.keyword) and node.arg in ("strict", "copy"):
        return  # whether `astype` may return its operand: a matter of time alone
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        yield node, around  # the order of what is searched is none
        yield from mutable_nodes(node.left, within)
        return
    yield node, around
    for name, value in ast.iter_fields(node):
        if (
            name in ("annotation", "returns", "decorator_list")
            or isinstance(value, ast.Tuple)
            and (isinstance(node, ast.ExceptHandler))
        ):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from mutable_nodes(child, within)


def mutants(functions: list[FunctionType]) -> Iterator[Mutant]:
    """All wrong versions of the functions, which share one code."""
    function = functions[0]
    filename, line = function.__code__.co_filename, function.__code__.co_firstlineno
    path, node = path_to(function.__code__, compiled(filename, line)), node_of(function)
    if path is None or node is None:
        return
    for part, around in mutable_nodes(node):
        if part is node:
            continue
        for what, change in changes(part):
            tree = ast.fix_missing_locations(Replaced(part, change).visit(excerpt(filename, line)))
            try:
                code = at(path, compile(tree, filename, "exec"))
            except (IndexError, SyntaxError):
                continue
            if code.co_freevars == function.__code__.co_freevars and code.co_code + repr_of(
                code
            ) != (function.__code__.co_code + repr_of(function.__code__)):
                lines = range(part.lineno, part.end_lineno + 1)
                yield Mutant(
                    functions, code, file_of(filename), lines, part.col_offset, part, around, what
                )


def repr_of(code: CodeType) -> bytes:
    return repr((code.co_consts, code.co_names)).encode()
