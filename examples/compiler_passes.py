"""What the compiler does to a program: each pass, and how many operations it leaves.

Dead code is dropped, what is computed twice is computed once, and neighbouring elementwise
operations become one kernel.
"""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.compiler.passes.fold import fold_constants
from funcgrad.compiler.passes.inline import inline_calls
from funcgrad.compiler.passes.share import share_common
from funcgrad.compiler.passes.simplify import simplify
from funcgrad.core.jaxpr import eval_jaxpr
from funcgrad.core.trace import EVAL
from funcgrad.transforms.dce import drop_dead

PASSES = (inline_calls, drop_dead, fold_constants, simplify, share_common)


@fg.jit
def wave(x):
    return jnp.sin(x) * jnp.exp(-x)


def wasteful(x):
    """Written without thinking: a value that nobody reads, and one that is computed twice."""
    parts = {"unused": jnp.cos(x) + 1.0, "first": wave(x), "second": wave(x)}
    return parts["first"] * 1.0 + parts["second"]


def main():
    x = jnp.linspace(0.0, 1.0, 1_000_000)
    program = fg.make_jaxpr(wasteful)(x)
    print(f"as written, {len(program.eqns)} operations:\n{program}\n")
    counts = []
    for step in PASSES:
        program = step(program)
        counts.append(len(program.eqns))
        print(f"after {step.__name__:14s} {counts[-1]:2d} operations")
    print(f"\n{program}\n")

    # By hand: two waves of 4, cosine, sum, product, sum are 12; without cosine and sum 10; without
    # the product with one 9; with the second wave being the first 5.
    assert counts == [12, 10, 10, 9, 5]

    compiled = fg.jit(wasteful)
    values = compiled(x)
    np.testing.assert_allclose(values, wasteful(x), rtol=1e-6)
    with fg.disable_jit():  # operation by operation, as it is written
        plain = wasteful(x)
    np.testing.assert_array_equal(eval_jaxpr(program, [x], EVAL)[0], plain)
    print("the passes changed no bit of the result")

    (step,) = compiled.explain().compilations[0].steps
    print(f"and all that remains runs as one {step.kind}:", *step.operations)
    assert step.kind == "kernel" and len(step.operations) == 5


if __name__ == "__main__":
    main()
