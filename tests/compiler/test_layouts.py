"""Images with channels first: what is rewritten, where transposes are left, and that results stay.

Numbers are small integers, so that sums are exact in any order.
"""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax, nn
from funcgrad.compiler.passes.layouts import channels_last
from funcgrad.compiler.pipeline import optimise, prepared
from funcgrad.core.jaxpr import eval_jaxpr, subjaxprs
from funcgrad.core.trace import EVAL

numbers = np.random.default_rng(3)


def image(*shape):
    return numbers.integers(-3, 4, shape).astype(np.float32)


def convolve(x, w, padding="SAME", layout=("NCHW", "OIHW", "NCHW"), **options):
    return lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=layout, **options)


def pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def rewritten(f, *args):
    """The program before and after, with its operands."""
    before = optimise(fg.make_jaxpr(f)(*args))
    return before, channels_last(before)


def transposes(jaxpr):
    """The shapes of what is transposed."""
    return [e.args[0].aval.shape for e in jaxpr.eqns if e.primitive.name == "transpose"]


def convolutions(jaxpr):
    return [e.params["dimension_numbers"] for e in jaxpr.eqns if "conv_general" in str(e.primitive)]


def check(f, *args):
    """Results are the same, bit for bit. Returns the program after the pass."""
    before, after = rewritten(f, *args)
    operands = [jnp.asarray(a) for a in args]
    found, want = (eval_jaxpr(j, operands, EVAL) for j in (after, before))
    for one, other in zip(found, want, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    return after


def test_channels_last():
    x, w = image(2, 3, 6, 6), image(4, 3, 3, 3)
    before, after = rewritten(lambda x, w: pool(nn.relu(convolve(x, w, "VALID"))), x, w)
    assert [e.outs[0].aval.shape for e in before.eqns] == [(2, 4, 4, 4), (2, 4, 4, 4), (2, 4, 2, 2)]
    assert str(after) == (
        "{ lambda ; a:f32[2,3,6,6] b:f32[4,3,3,3]. let\n"
        "    c:f32[2,6,6,3] = transpose[permutation=(0, 2, 3, 1)] a\n"
        "    d:f32[2,4,4,4] = conv_general_dilated[\n"
        "      batch_group_count=1\n"
        "      dimension_numbers=ConvDimensionNumbers(lhs_spec=(0, 3, 1, 2), "
        "rhs_spec=(0, 1, 2, 3), out_spec=(0, 3, 1, 2))\n"
        "      feature_group_count=1\n"
        "      lhs_dilation=(1, 1)\n"
        "      padding=((0, 0), (0, 0))\n"
        "      rhs_dilation=(1, 1)\n"
        "      window_strides=(1, 1)\n"
        "    ] c b\n"
        "    e:f32[2,4,4,4] = relu d\n"
        "    f:f32[2,2,2,4] = reduce_window_max[\n"
        "      base_dilation=(1, 1, 1, 1)\n"
        "      padding=((0, 0), (0, 0), (0, 0), (0, 0))\n"
        "      window_dilation=(1, 1, 1, 1)\n"
        "      window_dimensions=(1, 2, 2, 1)\n"
        "      window_strides=(1, 2, 2, 1)\n"
        "    ] e\n"
        "    g:f32[2,4,2,2] = transpose[permutation=(0, 3, 1, 2)] f\n"
        "  in (g,) }"
    )


def network(x, w, v):
    x = pool(nn.relu(normalised(convolve(x, w))))
    x = nn.relu(normalised(convolve(x, v)) + x)
    return x.reshape(x.shape[0], -1).sum(1)


def normalised(x):
    centred = x - x.mean((0, 2, 3), keepdims=True)
    return centred * lax.rsqrt((centred**2).mean((0, 2, 3), keepdims=True) + 1)


def test_only_the_ends_of_a_network_are_transposed():
    args = image(2, 3, 8, 8), image(5, 3, 3, 3), image(5, 5, 3, 3)
    _, after = rewritten(fg.grad(lambda *args: network(*args).sum(), (1, 2)), *args)
    assert len(convolutions(after)) == 5 and transposes(after) == [(2, 3, 8, 8)]
    _, after = rewritten(network, *args)
    assert transposes(after) == [(2, 3, 8, 8), (2, 4, 4, 5)]


def test_results_of_a_network_stay():
    args = image(2, 3, 8, 8), image(5, 3, 3, 3), image(5, 5, 3, 3)
    step = fg.grad(lambda *args: network(*args).sum(), (0, 1, 2))
    before, after = rewritten(step, *args)
    operands = [jnp.asarray(a) for a in args]
    for one, other in zip(*(eval_jaxpr(j, operands, EVAL) for j in (after, before)), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-4)  # means are no integers


@pytest.mark.parametrize("layout", [("NHWC", "HWIO", "NHWC"), ("NHWC", "OHWI", "NHWC")])
def test_channels_that_are_last_stay(layout):
    w = image(3, 3, 3, 5) if layout[1] == "HWIO" else image(5, 3, 3, 3)
    step = fg.value_and_grad(
        lambda x, w: nn.relu(convolve(nn.relu(x), w, layout=layout)).sum(), (0, 1)
    )
    for size in (8, 2):  # windows may be larger than images
        before, after = rewritten(step, image(2, size, size, 3), w)
        assert after is before


def test_one_channel_needs_no_transpose():
    _, after = rewritten(lambda x, w: convolve(x, w), image(2, 1, 8, 8), image(4, 1, 3, 3))
    assert transposes(after) == [(2, 8, 8, 4)]


def bodies(jaxpr):
    return [j for e in jaxpr.eqns if e.primitive.name == "scan" for j in subjaxprs(e.params)]


def gated(x, w, images):
    """A recurrent network of images: two carries, and a row of images at each step."""

    def step(carry, image):
        h, c = carry
        c = nn.relu(convolve(h, w)) % 3 + c + image
        return (c % 5, c), h.max((2, 3))

    (h, c), tops = lax.scan(step, (x, x), images)
    return h - c, tops


def walk(f):
    return lambda x, w: lax.scan(lambda c, _: (f(convolve(c, w)) % 5, c.sum(1)), x, length=3)


x, w = image(2, 4, 6, 8), image(4, 4, 3, 3)
LOOPS = {  # and what is transposed outside of the loop, and inside
    "one carry": (walk(lambda x: x), (x, w), 2, 0),
    "gated": (gated, (x, w, image(3, 2, 4, 6, 8)), 2, 1),
    "gated, of images": (
        lambda x, w, images: gated(x, w, fg.vmap(lambda i: convolve(i, w))(images)),
        (x, w, image(3, 2, 4, 6, 8)), 3, 0,
    ),
    "gradients": (
        fg.grad(lambda x, w, images: (gated(x, w, images)[0] ** 2).sum(), (0, 1)),
        (x, w, image(3, 2, 4, 6, 8)), None, None,
    ),
    "a carry that has rows": (walk(lambda x: jnp.cumsum(x, 3)), (x, w), 0, 2),
    "a carry that turns": (
        walk(lambda x: x.reshape(2, 2, 2, 6, 8).swapaxes(1, 2).reshape(x.shape)), (x, w), 0, 2,
    ),
    "a loop in a loop": (
        lambda x, w: lax.scan(lambda c, w: (walk(nn.relu)(c, w)[0], None), x, w + w[:2, None])[0],
        (x, w), 2, 0,
    ),
    "a carry that only passes": (
        lambda x, w: lax.scan(lambda c, _: ((c[0], convolve(c[0], w)), None), (x, x), length=2)[0],
        (x, w), None, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_loops(name):
    f, args, outside, inside = LOOPS[name]
    after = check(f, *args)
    if outside is not None:
        assert len(transposes(after)) == outside
        assert [len(transposes(body)) for body in bodies(after)] == [inside]


def test_bodies_of_branches_have_channels_last():
    def f(x, w):
        return lax.cond(x.sum() > 0, lambda x: convolve(nn.relu(convolve(x, w)), w), lambda x: x, x)

    (branch,) = [e for e in optimise(fg.make_jaxpr(f)(x, w)).eqns if e.primitive.name == "cond"]
    after = [prepared(body) for body in subjaxprs(branch.params)]
    assert [len(convolutions(body)) for body in after] == [0, 2]
    assert [len(transposes(body)) for body in after] == [0, 2]


INSIDE = {  # what stands between two convolutions, and what is transposed there
    "nothing": (lambda x: x, 0),
    "maps": (lambda x: jnp.where(x > 0, x, -x).astype(jnp.int32).astype(jnp.float32), 0),
    "a bias": (lambda x: x + jnp.arange(4.0)[:, None, None], 0),
    "a row": (lambda x: x + jnp.arange(8.0), 0),
    "an image": (lambda x: x + jnp.arange(48.0).reshape(6, 8), 0),
    "sums": (lambda x: x - x.sum((2, 3), keepdims=True) + x.sum(0), 0),
    "largest channels": (lambda x: x - x.max(1, keepdims=True), 0),
    "pads": (lambda x: jnp.pad(x, ((0, 0), (0, 0), (1, 2), (0, 0)))[:, :, 1:7], 0),
    "joins": (lambda x: jnp.concatenate([x, x + 1], 1)[:, 1:5], 0),
    "reversed": (lambda x: jnp.flip(x, (1, 3)), 0),
    "larger": (lambda x: pool(jnp.repeat(jnp.repeat(x, 2, 2), 2, 3)), 0),
    "turned": (lambda x: jnp.swapaxes(jnp.swapaxes(x, 2, 3) * 2, 2, 3), 0),
    "groups of channels": (
        lambda x: (x.reshape(2, 2, 2, 6, 8) - x.reshape(2, 2, 2, 6, 8).max(2, keepdims=True))
        .reshape(x.shape), 0,
    ),
    "channels in another order": (
        lambda x: x.reshape(2, 2, 2, 6, 8).swapaxes(1, 2).reshape(x.shape), 2,
    ),
    "rows of images": (lambda x: jnp.cumsum(x, 3), 2),
    "picked channels": (lambda x: x[:, jnp.array([2, 0, 1, 1])], 2),
    "flat": (lambda x: (x.reshape(2, 4, -1) * 2).reshape(x.shape), 0),
    "flat with channels": (lambda x: (x.reshape(2, 3, -1) * 2).reshape(x.shape), 2),
    "products": (lambda x: jnp.einsum("nchw,cd->ndhw", x, jnp.arange(16.0).reshape(4, 4)), 0),
    "products of images": (
        lambda x: x + jnp.einsum("nchw,nchv->nwv", x % 7, x % 7)[:, None, :6], 0,
    ),
    "products of rows": (
        lambda x: jnp.einsum("nchw,mchw,hd->nmdw", x % 7, x % 7, jnp.eye(6))[:, :1] - x, None,
    ),
    "parts": (lambda x: jnp.concatenate(jnp.split(x, 2, 1)[::-1], 1), 0),
    "a barrier": (lax.optimization_barrier, None),
    "a branch": (lambda x: lax.cond(x.sum() > 0, lambda x: -x, lambda x: x, x), 2),
    "windows of channels": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "SAME"), 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INSIDE)
def test_what_stands_between_convolutions(name):
    inside, count = INSIDE[name]
    after = check(lambda x, w: convolve(inside(convolve(x, w)) % 5, w), x, w)
    if count is not None:
        assert len(transposes(after)) == 2 + count  # the first and the last one are the ends


OTHERS = {
    "groups": (lambda x, w: convolve(x, w[:, :2], feature_group_count=2), x, w),
    "gradients of groups": (
        fg.grad(lambda x, w: (convolve(x, w[:, :1], feature_group_count=4) ** 2).sum(), (0, 1)),
        x, w,
    ),
    "dilated": (
        lambda x, w: convolve(x, w, ((1, 2), (3, 1)), lhs_dilation=(2, 1), rhs_dilation=(1, 2)),
        x, w,
    ),
    "mapped": (lambda x, w: fg.vmap(convolve, (0, None))(x, w), image(3, 2, 4, 5, 6), w),
    "mapped weights": (lambda x, w: fg.vmap(convolve, (None, 0))(x, w), x, image(3, 4, 4, 3, 3)),
    "gradients of transposed ones": (
        fg.grad(lambda x, w: (lax.conv_transpose(
            x, w, (2, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")) ** 2).sum(), (0, 1)),
        x, w,
    ),
    "signals": (lambda x, w: lax.conv(x, w, (2,), "SAME") * 2, image(2, 3, 9), image(4, 3, 3)),
    "volumes": (
        lambda x, w: lax.conv(x, w, (1, 2, 1), "SAME") * 2, image(2, 3, 4, 5, 3),
        image(4, 3, 3, 2, 2),
    ),
    "other orders": (
        lambda x, w: convolve(x, w, layout=("CNHW", "IOHW", "NHCW")), image(4, 2, 6, 5), w,
    ),
    "images last": (
        lambda x, w: convolve(x, w, layout=("CHWN", "OIHW", "CHWN")), image(4, 6, 5, 2), w,
    ),
    "used twice": (lambda x, w: (y := convolve(x, w), y + x, jnp.cumsum(y, 2), y.sum(1)), x, w),
    "none": (lambda x, w: convolve(x, w), image(0, 4, 5, 5), w),
    "equal elements": (
        fg.grad(lambda x, w: (pool(nn.relu(convolve(x, w))) ** 2).sum(), (0, 1)),
        np.ones((2, 4, 6, 8), np.float32), w,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_convolutions(name):
    f, *args = OTHERS[name]
    check(f, *args)


STEPS = [inside for inside, _ in INSIDE.values()]


@given(st.lists(st.integers(-3, len(STEPS) - 1), max_size=6))
@settings(max_examples=25, deadline=None)
def test_any_order_of_steps(chosen):
    def f(x, w):
        for n in chosen:
            x = (STEPS[n](x) if n >= 0 else convolve(x, w)) % 5
        return convolve(x, w), x.sum(1)

    check(f, x, w)
