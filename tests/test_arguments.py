"""Arguments that are accepted and not read stand on one page of the docs, and no others do."""

import ast
import fnmatch
import importlib
import inspect
import pkgutil
import re
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn
from funcgrad import lax, ops

PAGE = Path(__file__).resolve().parent.parent / "docs" / "arguments_without_effect.md"
INNER = ("api", "backends", "compiler", "control", "core", "primitives", "transforms")
TO_BE_OVERRIDDEN = "funcgrad_nn"  # its classes' methods have arguments for those who override them


def public_modules():
    for package in (fg, funcgrad_nn):
        yield package
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if info.name.split(".")[1] not in INNER:
                yield importlib.import_module(info.name)


def public_functions():
    """Functions and public methods under the names by which users reach them."""
    for module in public_modules():
        short = module.__name__.removeprefix("funcgrad").lstrip(".")
        for name in getattr(module, "__all__", None) or own_functions(module):
            value, path = getattr(module, name), f"{short}.{name}".lstrip(".")
            if not isinstance(value, type):
                yield path, value
            elif value.__module__.startswith("funcgrad"):
                yield from methods(path, value)


def by_function() -> dict:
    """Every public function once, with all paths to it."""
    found: dict = {}
    for path, value in public_functions():
        function = inspect.unwrap(value) if callable(value) else None
        if inspect.isfunction(function) and "<" not in function.__code__.co_filename:
            found.setdefault(function, []).append(path)
    return found


def own_functions(module):
    public = (n for n in vars(module) if not n.startswith("_"))
    return [n for n in public if getattr(vars(module)[n], "__module__", "") == module.__name__]


def methods(path, owner):
    for name, value in vars(owner).items():
        function = getattr(value, "__func__", value)
        if not isinstance(function, types.FunctionType):
            continue
        if name == "__init__":
            yield path, function
        elif not name.startswith("_") and not owner.__module__.startswith(TO_BE_OVERRIDDEN):
            yield f"{path}.{name}", function


def unread(function) -> list[str]:
    """Parameters whose names do not occur in the function's body."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    if not isinstance(tree, ast.FunctionDef):  # a lambda
        return []
    read = {n.id for s in tree.body for n in ast.walk(s) if isinstance(n, ast.Name)}
    given = [a for a in ast.walk(tree.args) if isinstance(a, ast.arg)]
    return [a.arg for a in given if a.arg not in read | {"self", "cls"}]


def rows(heading: str) -> list[tuple[list[str], list[str]]]:
    """The functions and arguments of each row of a table of the page."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    table = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    return [tuple(re.findall(r"`([^`]+)`", cell) for cell in cells) for cells in table]


ON_THE_PAGE = [(f, a) for functions, given in rows("Never read") for f in functions for a in given]
NOT_READ = sorted((paths, a) for f, paths in by_function().items() for a in unread(f))


def test_the_script_sees_what_is_there():
    found = {path for path, _ in public_functions()}
    assert {"jit", "numpy.sum", "lax.scan", "scipy.linalg.svd", "custom_vjp.defvjp"} <= found
    assert (["jit"], "keep_unused") in NOT_READ and (["jit"], "static_argnums") not in NOT_READ


def test_what_is_not_read_is_on_the_page():
    """Such an argument must be made to matter, refused, or given its reason on the page."""
    missing = [
        (paths, argument)
        for paths, argument in NOT_READ
        if not any(a == argument and fnmatch.filter(paths, f) for f, a in ON_THE_PAGE)
    ]
    assert not missing


@pytest.mark.parametrize("pattern, argument", ON_THE_PAGE)
def test_what_is_on_the_page_is_not_read(pattern, argument):
    assert any(a == argument and fnmatch.filter(paths, pattern) for paths, a in NOT_READ)


# ---- written into programs ----------------------------------------------------------------------

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
ROWS = np.array([0, 0, 2])
IMAGE, KERNEL = X.reshape(1, 1, 3, 4), X[:2, :2].reshape(1, 1, 2, 2)


def products(precision):
    return [
        lax.dot(X, X.T, precision=precision),
        lax.dot_general(X, X, (((1,), (1,)), ((), ())), precision=precision),
        lax.conv(IMAGE, KERNEL, (1, 1), "SAME", precision=precision),
        jnp.matmul(X, X.T, precision=precision),
        jnp.einsum("ij,kj->ik", X, X, precision=precision),
    ]


def loops(unroll):
    def step(c, x):
        return c + x, c * x

    return [
        lax.scan(step, jnp.zeros(4), X, unroll=unroll),
        lax.fori_loop(0, 3, lambda i, c: c * 2 + i, 1.0, unroll=unroll),
    ]


def indexed(indices_are_sorted):
    given = dict(indices_are_sorted=indices_are_sorted)
    return [
        jnp.take(X, ROWS, axis=0, **given),
        jnp.asarray(X).at[ROWS].get(**given),
        jnp.asarray(X).at[ROWS].add(1.0, **given),
        ops.segment_sum(X, ROWS, 3, **given),
    ]


def recomputed(prevent_cse):
    f = fg.checkpoint(lambda x: jnp.sin(jnp.cos(x)).sum(), prevent_cse=prevent_cse)
    return [fg.grad(f)(jnp.asarray(X))]


WRITTEN = {
    "precision": (products, [None, "highest", "bfloat16"]),
    "unroll": (loops, [1, 3, True]),
    "indices_are_sorted": (indexed, [False, True]),
    "prevent_cse": (recomputed, [True, False]),
}


def test_every_row_is_tried():
    named = {a for _, given in rows("Written into programs, read by nobody") for a in given}
    assert named == set(WRITTEN)


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("argument", WRITTEN)
def test_results_are_the_same_bits(argument, jitted):
    build, choices = WRITTEN[argument]
    results = [fg.jit(build, static_argnums=0)(c) if jitted else build(c) for c in choices]
    first = fg.tree.leaves(results[0])
    for other in results[1:]:
        for a, b in zip(first, fg.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)


def compiled(argument, value):
    build, _ = WRITTEN[argument]
    return fg.jit(lambda: build(value)).lower().as_text("kernels")


@pytest.mark.parametrize("argument", WRITTEN)
def test_no_kernel_depends_on_them(argument):
    if fg.config.engine == "numpy":
        pytest.skip("kernels are the native engine's")
    pytest.importorskip("llvmlite")
    texts = {compiled(argument, value) for value in WRITTEN[argument][1]}
    assert len(texts) == 1


def test_programs_keep_them():
    texts = [
        str(fg.make_jaxpr(lambda: products("highest"))()),
        str(fg.make_jaxpr(lambda: loops(3))()),
        str(fg.make_jaxpr(lambda: indexed(True))()),
        str(fg.make_jaxpr(fg.grad(lambda x: fg.checkpoint(jnp.sin, prevent_cse=False)(x)))(1.0)),
    ]
    for text, setting in zip(
        texts, ["HIGHEST", "unroll=3", "indices_are_sorted=True", "prevent_cse=False"], strict=True
    ):
        assert setting in text


# ---- arguments that do matter, near those that do not --------------------------------------------


def test_make_jaxpr_knows_axes_given():
    text = str(fg.make_jaxpr(lambda x: lax.psum(x, "i"), axis_env=[("i", 4)])(1.0))
    assert "psum[axes=('i',)]" in text
    with pytest.raises(NameError, match="'i'"):
        fg.make_jaxpr(lambda x: lax.psum(x, "i"))(1.0)


@pytest.mark.parametrize("make", [jnp.array, lambda x: jnp.asarray(x, copy=True), jnp.copy])
def test_copies_survive_donation(make):
    x = jnp.arange(1000.0)
    kept = make(x)
    fg.jit(lambda x: x + 1, donate_argnums=0)(x)
    np.testing.assert_array_equal(kept, np.arange(1000.0, dtype=np.float32))
    with pytest.raises(RuntimeError, match="deleted"):
        np.asarray(x)


def test_arrays_are_shared_where_copies_are_not_wanted():
    x = jnp.arange(3.0)
    assert jnp.array(x, copy=False) is x and jnp.asarray(x) is x


def test_from_dlpack_refuses_to_share():
    with pytest.raises(ValueError, match="copy=False"):
        jnp.from_dlpack(np.ones(2, np.float32), copy=False)


@pytest.mark.parametrize("wanted", [{"precision": 2}, {"max_line_width": 20}])
def test_array_repr_is_formatted(wanted):
    x = jnp.array([1 / 3, 2 / 3, 1.0])
    assert jnp.array_repr(x, **wanted) != jnp.array_repr(x)


def test_eigh_refuses_parts():
    with pytest.raises(ValueError, match="eigvals"):
        fg.scipy.linalg.eigh(jnp.eye(2), eigvals=(0, 0))
