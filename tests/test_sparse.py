"""Sparse Jacobians and Hessians against dense ones; patterns, colourings and products counted."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax, random, sparse
from funcgrad.compiler import sparsity
from funcgrad.compiler.coloring import column_colors, star_colors
from funcgrad.primitives.linalg.solving import triangular_solve
from funcgrad.sparse import sparse_hessian, sparse_jacobian

scipy_sparse = pytest.importorskip("scipy.sparse")
N = 6
X = jnp.asarray(np.random.default_rng(0).uniform(0.5, 1.5, N).astype("f4"))
KEY = random.key(0)
INDICES = jnp.array([4, 0, 0, 3])
BANDED = jnp.asarray(np.triu(np.tril(np.ones((N, N)), 1), -1).astype("f4"))
LAPLACE = jnp.asarray(np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], "f4"))


def grid(x):
    return jnp.outer(x, jnp.arange(1.0, 5.0)).reshape(1, 1, 4, N)


def stencil(x, groups=1):
    image = jnp.concatenate([grid(x), grid(x[::-1])], 1) if groups == 2 else grid(x)
    kernel = jnp.broadcast_to(LAPLACE, (groups, 1, 3, 3))
    return lax.conv_general_dilated(image, kernel, (1, 1), "SAME", feature_group_count=groups)


def heat(x):
    """A few explicit steps of diffusion, in a loop with a computed index."""
    return lax.fori_loop(1, N, lambda i, y: y.at[i].add(0.5 * y[i - 1]), x)


def carried(x):
    return lax.scan(lambda c, r: (c * r[0] + r[1], (c, r[1])), x[0], x[2:].reshape(2, 2))


# Functions whose pattern must be found exactly: it is what is nonzero at a random point.
EXACT = {
    "elementwise": lambda x: jnp.sin(x) * x + 1 / x,
    "scalar": lambda x: x * x[2],
    "constant": lambda x: jnp.floor(x) + jnp.sign(x),
    "stop_gradient": lambda x: lax.stop_gradient(x) * x[::-1],
    "integers": lambda x: x * jnp.arange(N) % 2,
    "mask": lambda x: jnp.where(jnp.arange(N) < 2, x, 2 * x[::-1]),
    "zero factor": lambda x: jnp.triu(jnp.outer(x, x)),
    "slices": lambda x: x[1:] - x[:-1] ** 2,
    "steps": lambda x: x[::-2] * x[1::2],
    "gather": lambda x: x[INDICES] ** 2,
    "fill": lambda x: x.at[jnp.array([0, 99])].get(mode="fill", fill_value=0.0) ** 2,
    "rows": lambda x: x.reshape(3, 2)[jnp.array([2, 0])].T,
    "scatter": lambda x: x.at[jnp.array([0, 3])].set(x[1:3] ** 2),
    "scatter add": lambda x: jnp.zeros(3).at[jnp.array([0, 2, 0])].add(x[:3] ** 2),
    "scatter multiply": lambda x: x.at[jnp.array([1, 4])].multiply(3.0),
    "concatenate": lambda x: jnp.concatenate([x[:2] ** 2, jnp.ones(2), x[3:]]),
    "pad": lambda x: jnp.pad(x * x, (2, 1)),
    "transposed": lambda x: jnp.broadcast_to(x.reshape(2, 3).T, (2, 3, 2)),
    "split": lambda x: jnp.split(x, 3)[1] * 2,
    "roll": lambda x: x * jnp.roll(x, 1) * jnp.roll(x, -1),
    "sum": lambda x: jnp.sum(x.reshape(3, 2) ** 2, 1),
    "mean": lambda x: x - x.reshape(2, 3).mean(0).repeat(2),
    "cumsum": lambda x: jnp.cumsum(x.reshape(3, 2) ** 2, 0),
    "reverse cumsum": lambda x: lax.cumsum(x, reverse=True),
    "banded": lambda x: BANDED @ jnp.sin(x),
    "matrices": lambda x: (x.reshape(3, 2) @ jnp.array([[1.0, 0], [2, 3]])) ** 2,
    "batches": lambda x: jnp.einsum("bij,bj->bi", jnp.ones((3, 2, 2)), x.reshape(3, 2)),
    "outer": lambda x: jnp.outer(x[:2], x[3:]),
    "windows": lambda x: lax.reduce_window(
        x, 0.0, lax.add, (3,), (2,), [(1, 1)], window_dilation=(2,)
    ),
    "stencil": stencil,
    "stencil of groups": lambda x: stencil(x, 2),
    "kernel": lambda x: jnp.convolve(jnp.ones(4), x[:3], mode="valid"),
    "jit": lambda x: fg.jit(lambda y: y[1:] * 2)(x),
    "checkpoint": lambda x: fg.checkpoint(lambda y: y[1:] * y[:-1])(x),
    "loop": heat,
    "scan": carried,
    "reverse scan": lambda x: lax.scan(lambda c, r: (c, r * 2), 1.0, x, reverse=True)[1],
    "known branch": lambda x: lax.cond(INDICES[0] > 2, lambda x: x * x, lambda x: x[::-1], x),
    "map": lambda x: lax.map(lambda r: r[0] * r[1:], x.reshape(2, 3)),
    "tree": lambda x: {"a": x[:2] * 2, "b": (x[2], jnp.sin(x[3:]))},
    "vmap": lambda x: fg.vmap(lambda r: r.sum() * r)(x.reshape(3, 2)),
    "random mask": lambda x: jnp.where(random.bernoulli(KEY, 0.5, (N,)), x, 0.0),
    "random scan": lambda x: lax.scan(
        lambda c, k: (c * random.uniform(k), c[0]), x, random.split(KEY, 3)
    )[1],
    "complex": lambda x: jnp.real(jnp.exp(1j * x) * (2 + 1j)),
    "associative scan": lambda x: lax.associative_scan(lax.mul, x),
    "transposed convolution": lambda x: lax.conv_general_dilated(
        x.reshape(1, 1, N), jnp.ones((1, 1, 2)), (1,), [(1, 1)], lhs_dilation=(2,)
    ),
    "lanes of branches": fg.vmap(lambda r: lax.cond(r > 1, jnp.sin, jnp.cos, r)),
    "lanes of loops": fg.vmap(lambda r: lax.while_loop(lambda q: q < 10, lambda q: q * 2, r)),
    "empty": lambda x: x[:0],
    "dynamic row": lambda x: lax.dynamic_slice(x.reshape(3, 2), (INDICES[1], 1), (2, 1)),
    "dynamic update": lambda x: lax.dynamic_update_slice(x, x[:2] ** 2, (INDICES[3],)),
}


def wavering(x):
    return lax.while_loop(lambda y: y.sum() < 50, lambda y: y.at[1].add(y[0] ** 2) + y, x)


# Functions whose pattern depends on values, or is not followed: it must contain what is nonzero.
SAFE = {
    "branch": lambda x: lax.cond(x[0] > 1, lambda x: x * x, lambda x: x[::-1], x),
    "max": lambda x: x / jnp.max(x),
    "sort": jnp.sort,
    "while": wavering,
    "unknown row": lambda x: x.reshape(3, 2)[jnp.argmax(x) // 2] ** 2,
    "unknown update": lambda x: x.reshape(3, 2).at[jnp.argmin(x) // 2].set(x[:2] ** 2),
    "unknown slice": lambda x: lax.dynamic_slice(x.reshape(3, 2), (jnp.argmax(x) // 4, 0), (2, 2)),
    "unknown window": lambda x: lax.dynamic_update_slice(x, x[:2] ** 2, (jnp.argmax(x),)),
    "unknown sum": lambda x: jnp.zeros((3, 2)).at[jnp.argsort(x)[:3] // 2].add(x.reshape(3, 2)),
    "solve": lambda x: jnp.linalg.solve(jnp.diag(x) + BANDED, x),
    "prod": lambda x: jnp.prod(x.reshape(2, 3), 0),
    "cumprod": jnp.cumprod,
    "softmax": lambda x: fg.nn.softmax(x.reshape(2, 3)),
    "max windows": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (3,), (1,), "SAME"),
}


def positive(x):
    """Three positive definite matrices, of one number each and a common shape."""
    a = jnp.stack([x[:3], jnp.ones(3), jnp.ones(3), x[3:]], 1).reshape(3, 2, 2)
    return a @ a.transpose(0, 2, 1) + 3 * jnp.eye(2)


def triangle(left, lower, transpose):
    """Systems of a constant triangular matrix: its factor of ones, 6 x 6."""
    a = jnp.tril(jnp.ones((N, N))) if lower else jnp.triu(jnp.ones((N, N)))

    def f(x):
        b = jnp.outer(x, jnp.arange(1.0, 3.0)) if left else jnp.outer(jnp.ones(2), x)
        flags = {"left_side": left, "lower": lower, "transpose_a": transpose}
        return triangular_solve(a, b, **flags)

    return f


# What is computed by library calls or in loops: the functions and how many entries are looked for.
BLOCKS = {
    "inverse": (lambda x: jnp.linalg.inv(positive(x)), 24),
    "solve, each": (lambda x: jnp.linalg.solve(positive(x), jnp.ones((3, 2, 1))), 12),
    "Cholesky": (lambda x: jnp.linalg.cholesky(positive(x)), 24),
    "sorted rows": (lambda x: jnp.sort(x.reshape(3, 2), 1), 12),
    "known loop": (lambda x: lax.while_loop(
        lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1] + jnp.roll(c[1], 1)), (0, x))[1], 18),
    "bound known": (lambda x: fg.jit(
        lambda n: lax.fori_loop(0, n, lambda i, c: jnp.roll(c, 1) ** 2, x))(3), 6),
    "unknown loop": (lambda x: lax.while_loop(
        lambda c: c.sum() < 300, lambda c: 2 * c.reshape(3, 2)[:, ::-1].ravel(), x), 12),
    "windows": (lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2,), (1,), "VALID"), 10),
    "gradient of windows": (fg.grad(lambda x: jnp.sum(
        lax.reduce_window(x, -jnp.inf, lax.max, (2,), (2,), "VALID") ** 2)), 12),
}  # fmt: skip
for flags in itertools.product((False, True), repeat=3):
    BLOCKS[f"triangle {flags}"] = triangle(*flags), 42


@pytest.mark.parametrize("name", BLOCKS)
def test_patterns_of_library_calls_and_loops(name):
    f, entries = BLOCKS[name]
    jacobian = sparse_jacobian(f)
    for x in (X, X[::-1], jnp.sin(7 * X) + 1.1):
        check(f, jacobian(x), x)
    assert jacobian.pattern.nnz == entries


def raveled(f):
    return lambda *args: jnp.concatenate([jnp.ravel(o) for o in fg.tree.leaves(f(*args))])


def check(f, found, x=X):
    """The entries are those of the dense Jacobian; 1e-5: products sum columns in other orders."""
    dense = np.asarray(fg.jacfwd(raveled(f))(x))
    np.testing.assert_allclose(found.toarray(), dense, rtol=1e-5, atol=1e-5)
    return dense


@pytest.mark.parametrize("name", EXACT)
def test_exact_patterns(name):
    jacobian = sparse_jacobian(EXACT[name])
    dense = check(EXACT[name], jacobian(X))
    np.testing.assert_array_equal(jacobian.pattern.toarray(), dense != 0)


@pytest.mark.parametrize("name", SAFE)
def test_safe_patterns(name):
    jacobian = sparse_jacobian(SAFE[name])
    for x in (X, X[::-1], jnp.sin(7 * X) + 1.1):
        check(SAFE[name], jacobian(x), x)


@pytest.mark.parametrize("name", [*EXACT, *SAFE])
def test_reverse_mode(name):
    f = {**EXACT, **SAFE}[name]
    check(f, sparse_jacobian(f, mode="rev")(X))


def test_partly_unknown_indices_keep_the_other_dimensions():
    jacobian = sparse_jacobian(SAFE["unknown row"])
    jacobian(X)
    even = np.arange(N) % 2 == 0
    np.testing.assert_array_equal(jacobian.pattern.toarray(), [even, ~even])


def test_long_scan_goes_to_a_fixpoint(monkeypatch):
    monkeypatch.setattr(sparsity, "STEPS", 1)

    def f(x):
        carry, ys = lax.scan(lambda c, r: (c + r[0], c * r[1]), x[:2].sum(), x.reshape(3, 2))
        return carry, ys, lax.fori_loop(0, 3, lambda i, y: y.at[1].add(y[0]), x)

    jacobian = sparse_jacobian(f)
    check(f, jacobian(X))
    np.testing.assert_array_equal(
        jacobian.pattern.toarray()[0], [True, True, True, False, True, False]
    )
    expected = np.eye(N, dtype=bool)
    expected[1, 0] = True
    np.testing.assert_array_equal(jacobian.pattern.toarray()[4:], expected)


def test_custom_rules_count():
    @fg.custom_jvp
    def straight_through(x):
        return jnp.round(x)

    straight_through.defjvp(lambda primals, tangents: (jnp.round(primals[0]), tangents[0]))
    jacobian = sparse_jacobian(straight_through)
    np.testing.assert_array_equal(jacobian(X).toarray(), np.eye(N))


# ---- random programs
# ---------------------------------------------------------------------------------


def random_program(choices):
    """Each number picks a step that keeps the shape (N,)."""
    steps = [
        jnp.sin,
        lambda x: x * x[::-1],
        lambda x: jnp.where(jnp.arange(N) % 2 == 0, x, 1.0),
        lambda x: x.at[2:4].multiply(2.0),
        lambda x: jnp.roll(x, 2) + x,
        lambda x: BANDED @ x,
        lambda x: jnp.zeros(N).at[jnp.array([0, 0, 5])].add(x[:3]),
        lambda x: x + x.reshape(2, 3).sum(0).repeat(2),
        lambda x: x[jnp.array([1, 1, 2, 3, 5, 0])] ** 2,
        lambda x: lax.scan(lambda c, r: (c + r, c), x[0], x)[1],
        lambda x: fg.vmap(jnp.cumsum)(x.reshape(3, 2)).reshape(N),
        lambda x: jnp.pad(x[1:-1], 1),
        lambda x: jnp.maximum(x, 0.3),
    ]

    def program(x):
        for c in choices:
            x = jnp.tanh(steps[c % len(steps)](x))
        return x

    return program


@hypothesis.given(st.lists(st.integers(0, 12), min_size=1, max_size=5))
@hypothesis.settings(max_examples=25)
def test_random_programs(choices):
    f = random_program(choices)
    for mode in ("fwd", "rev"):
        check(f, sparse_jacobian(f, mode)(X))

    def energy(x):
        return jnp.sum(f(x) ** 2)

    dense = np.asarray(fg.hessian(energy)(X))
    scale = max(1.0, abs(dense).max())
    np.testing.assert_allclose(
        sparse_hessian(energy)(X).toarray() / scale, dense / scale, atol=1e-5
    )


# ---- Hessians
# ----------------------------------------------------------------------------------------

HESSIANS = {
    "tridiagonal": (lambda x: jnp.sum((x[1:] - x[:-1] ** 2) ** 2), 3),
    "diagonal": (lambda x: jnp.sum(x**3), 1),
    "arrow": (lambda x: jnp.sum(x[1:] * x[0] ** 2) + jnp.sum(x**3), 2),
    "arrow at the end": (lambda x: jnp.sum(x[:-1] * x[-1] ** 2) + jnp.sum(x**3), 2),
    "linear": (lambda x: jnp.sum(x[1:]), 1),
    "block": (lambda x: jnp.prod(x[:2]) + jnp.prod(x[2:4]) + x[4] * x[5], 2),
    "dense": (lambda x: jnp.sum(x) ** 3, N),
    "ring": (lambda x: jnp.sum(x * jnp.roll(x, 1)), 3),
}


@pytest.mark.parametrize("name", HESSIANS)
def test_hessians(name):
    f, products = HESSIANS[name]
    hessian = sparse_hessian(f)
    dense = np.asarray(fg.hessian(f)(X))
    found = hessian(X)
    np.testing.assert_allclose(found.toarray(), dense, rtol=1e-5, atol=1e-5)
    assert found.nnz == np.count_nonzero(dense)
    assert hessian.products == products


def test_tridiagonal_hessian_takes_three_products(monkeypatch):
    """Counted: the rows that go through the derivative."""
    counted = []

    def counting(function, varied, seeds, original=sparse._pushed):
        counted.append(len(seeds))
        return original(function, varied, seeds)

    monkeypatch.setattr(sparse, "_pushed", counting)
    size = 10_000

    def rosenbrock(x):
        return jnp.sum((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2)

    hessian = sparse_hessian(rosenbrock)
    x = jnp.linspace(-1.0, 1.0, size)
    found = hessian(x)
    assert counted == [3] and hessian.products == 3
    assert found.shape == (size, size) and found.nnz == 3 * size - 2
    inner = np.asarray(x[1:-1], np.float64)
    expected = 1200 * inner**2 - 400 * np.asarray(x[2:], np.float64) + 202
    np.testing.assert_allclose(found.diagonal()[1:-1], expected, rtol=1e-4)
    np.testing.assert_allclose(found.diagonal(1), -400 * np.asarray(x[:-1]), rtol=1e-4, atol=1e-3)
    hessian(2 * x)
    assert counted == [3], "the second call runs what was compiled"


# ---- colourings
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_columns_of_one_color_share_no_row(seed):
    pattern = np.random.default_rng(seed).random((12, 10)) < 0.2
    colors = column_colors(scipy_sparse.csr_array(pattern))
    for color in set(colors):
        assert pattern[:, colors == color].sum(1).max() <= 1
    assert pattern.sum(1).max() <= max(colors) + 1


@pytest.mark.parametrize("seed", range(8))
def test_star_colors(seed):
    """Neighbours differ, and no path of four vertices has only two colours."""
    size = 9
    half = np.triu(np.random.default_rng(seed).random((size, size)) < 0.25, 1)
    pattern = half | half.T
    colors = star_colors(scipy_sparse.csr_array(pattern | np.eye(size, dtype=bool)))
    for path in itertools.permutations(range(size), 4):
        if all(pattern[a, b] for a, b in itertools.pairwise(path)):
            assert len({colors[v] for v in path}) > 2
    assert all(colors[a] != colors[b] for a, b in zip(*np.nonzero(pattern)))


# ---- calling
# -----------------------------------------------------------------------------------------


def test_result_is_scipy_sparse_with_the_dtype_of_the_output():
    found = sparse_jacobian(lambda x: x * 2)(X)
    assert isinstance(found, scipy_sparse.csr_array)
    assert found.dtype == np.float32 and found.shape == (N, N)
    wide = sparse_jacobian(lambda x: x * 2)(jnp.asarray(np.ones(3)))
    assert wide.dtype == jnp.asarray(np.ones(3)).dtype
    assert sparse_jacobian(lambda x: x * 2)(X.astype("bfloat16")).dtype == np.float32


def test_under_transformations_the_values_alone():
    jacobian = sparse_jacobian(lambda x: x[1:] * x[:-1])
    values = fg.jit(jacobian)(X)
    assert isinstance(values, fg.Array) and values.shape == (2 * (N - 1),)
    found = jacobian(X)
    np.testing.assert_array_equal(values, found.data)
    np.testing.assert_array_equal(jacobian.values(X), found.data)
    np.testing.assert_array_equal(jacobian.pattern.indices, found.indices)
    np.testing.assert_array_equal(jacobian.pattern.indptr, found.indptr)
    batch = fg.vmap(jacobian)(jnp.stack([X, 2 * X]))
    np.testing.assert_allclose(batch[1], 2 * found.data)
    slope = fg.grad(lambda x: jacobian(x).sum())(X)
    np.testing.assert_allclose(slope, [1, 2, 2, 2, 2, 1])


def test_closure_over_a_tracer():
    def outer(scale, x):
        return sparse_jacobian(lambda x: scale * x[1:] * x[:-1])(x).sum()

    np.testing.assert_allclose(fg.jit(outer)(2.0, X), 2 * (X[1:] + X[:-1]).sum(), rtol=1e-6)
    np.testing.assert_allclose(fg.grad(outer)(2.0, X), (X[1:] + X[:-1]).sum(), rtol=1e-6)


def test_further_arguments_and_trees():
    def f(scale, params, *, shift):
        return {"u": scale * params["a"] ** 2, "v": params["b"].sum() + shift}

    jacobian = sparse_jacobian(f, argnums=1)
    params = {"a": jnp.arange(1.0, 4.0), "b": jnp.ones((2, 2))}
    found = jacobian(2.0, params, shift=1.0)
    expected = np.zeros((4, 7))
    expected[:3, :3] = np.diag([4.0, 8, 12])
    expected[3, 3:] = 1
    np.testing.assert_array_equal(found.toarray(), expected)
    assert jacobian.products == 1  # its rows share no column
    np.testing.assert_array_equal(jacobian(4.0, params, shift=1.0).toarray()[0, 0], 8.0)


def test_integer_arguments_are_indices():
    jacobian = sparse_jacobian(lambda x, i: x[i] ** 2)
    for indices in ([0, 3], [5, 5]):
        found = jacobian(X, jnp.array(indices))
        assert found.nnz == 2
        check(lambda x: x[jnp.array(indices)] ** 2, found)


def test_given_sparsity():
    def f(x):
        return jnp.linalg.solve(jnp.diag(x), x**2)  # what is diagonal is not seen

    dense = sparse_jacobian(f)
    dense(X)
    assert dense.products == N
    for given in (np.eye(N), scipy_sparse.eye_array(N), scipy_sparse.coo_matrix(np.eye(N))):
        jacobian = sparse_jacobian(f, sparsity=given)
        check(f, jacobian(X))
        assert jacobian.products == 1
    hessian = sparse_hessian(lambda x: jnp.sum(f(x) ** 2), sparsity=np.eye(N))
    np.testing.assert_allclose(hessian(X).toarray(), 2 * np.eye(N), atol=1e-4)
    assert hessian.products == 1


def test_scalars_and_empty_arguments():
    assert sparse_jacobian(lambda x: x**3)(2.0).toarray() == 12
    assert sparse_jacobian(jnp.sum)(jnp.zeros(0)).shape == (1, 0)
    assert sparse_hessian(lambda x: x**3)(2.0).toarray() == 12


def test_mode_is_chosen_by_products():
    jacobian = sparse_jacobian(lambda x: jnp.sum(x**2))
    jacobian(X)
    assert jacobian.products == 1
    forward = sparse_jacobian(lambda x: jnp.sum(x**2), mode="fwd")
    forward(X)
    assert forward.products == N


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: sparse_jacobian(3), TypeError, "sparse_jacobian: needs a function"),
        (lambda: sparse_jacobian(jnp.sin, mode="both"), ValueError, 'mode is "fwd", "rev" or None'),
        (
            lambda: sparse_jacobian(jnp.sin)(jnp.arange(3)),
            TypeError,
            "sparse_jacobian: can only differentiate with respect to real floating-point arrays, "
            "but got i32[3]",
        ),
        (
            lambda: sparse_jacobian(lambda x: x > 0)(X),
            TypeError,
            "must return real floating-point arrays, but got bool[6]",
        ),
        (
            lambda: sparse_jacobian(jnp.sin, sparsity=np.eye(3))(X),
            ValueError,
            "sparsity must have shape (6, 6), outputs by inputs, but got (3, 3)",
        ),
        (lambda: sparse_jacobian(jnp.sin, argnums=1)(X), TypeError, "argnums must be the position"),
        (lambda: sparse_jacobian(jnp.sin).pattern, ValueError, "found at the first call"),
        (lambda: sparse_hessian(jnp.sin)(X), TypeError, "grad: the function must return a scalar"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
