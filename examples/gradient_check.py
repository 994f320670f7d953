"""Checking a derivative of one's own: differences find what is wrong, and where.

Ten mistakes that were made in real systems of this kind, each as a rule that looks right.
"""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp


def check_gradient(function, *arguments, step=1e-5, tolerance=1e-6):
    """Compare `grad` with central differences in float64, entry by entry.

    Raises `AssertionError` with the argument, the entry, and both values where they differ most.
    """
    with fg.enable_x64(True):
        arguments = [np.array(argument, np.float64) for argument in arguments]
        total = lambda *arguments: jnp.sum(function(*arguments))
        grads = fg.grad(total, argnums=tuple(range(len(arguments))))(*arguments)
        for number, (argument, slope) in enumerate(zip(arguments, grads, strict=True)):
            if slope.shape != argument.shape:
                raise AssertionError(
                    f"argument {number} has shape {argument.shape}, its gradient {slope.shape}"
                )
            expected = differences(total, arguments, number, step)
            errors = abs(np.asarray(slope) - expected)
            worst = np.unravel_index(errors.argmax(), errors.shape)
            if not errors[worst] <= tolerance * max(1.0, abs(expected).max()):
                raise AssertionError(
                    f"argument {number}, entry {tuple(map(int, worst))}: the gradient is "
                    f"{slope[worst]:.4f}, but differences give {expected[worst]:.4f}"
                )


def differences(total, arguments, number, step):
    """The gradient in one argument from two values of the function for each entry."""
    slopes = np.empty_like(arguments[number])
    for entry in np.ndindex(slopes.shape):
        ends = []
        for sign in (1, -1):
            moved = arguments[number].copy()
            moved[entry] += sign * step
            ends.append(float(total(*arguments[:number], moved, *arguments[number + 1 :])))
        slopes[entry] = (ends[0] - ends[1]) / (2 * step)
    return slopes


def with_rule(function, backward):
    """`function` with a gradient of its own: backward(cotangent, *arguments) -> cotangents."""
    wrapped = fg.custom_vjp(function)
    wrapped.defvjp(lambda *args: (function(*args), args), lambda args, ct: backward(ct, *args))
    return wrapped


X = np.array([[0.5, 1.5, 2.0], [1.2, 0.7, 0.3]])
ROW = np.array([[0.4, 0.9, 1.1]])
WRONG = {
    "a sum over the batch that is a mean": (
        with_rule(lambda x, b: x + b, lambda ct, x, b: (ct, ct.mean(axis=0, keepdims=True))),
        (X, ROW),
    ),
    "x * x, where one share is lost": (with_rule(lambda x: x * x, lambda ct, x: (ct * x,)), (X,)),
    "x - x, where only the first counts": (with_rule(lambda x: x - x, lambda ct, x: (ct,)), (X,)),
    "1 - x without the sign": (with_rule(lambda x: 1 - x, lambda ct, x: (ct,)), (X,)),
    "a power whose exponent gets nothing": (
        with_rule(lambda x, y: x**y, lambda ct, x, y: (ct * y * x ** (y - 1), jnp.zeros_like(y))),
        (X, X),
    ),
    "an index that assigns instead of adding": (
        with_rule(
            lambda x: x[np.array([0, 0, 1])],
            lambda ct, x: (jnp.zeros_like(x).at[np.array([0, 0, 1])].set(ct),),
        ),
        (X,),
    ),
    "log-softmax, taken for 1 - exp": (
        with_rule(
            lambda x: fg.nn.log_softmax(x),
            lambda ct, x: (ct * (1 - jnp.exp(fg.nn.log_softmax(x))),),
        ),
        (X,),
    ),
    "layer norm without its mean terms": (
        with_rule(lambda x: fg.nn.standardize(x), lambda ct, x: (ct / x.std(-1, keepdims=True),)),
        (X,),
    ),
    "a convolution whose input gets zeros": (
        with_rule(lambda x: jnp.convolve(x[0], ROW[0]), lambda ct, x: (jnp.zeros_like(x),)),
        (X,),
    ),
    "a quotient whose sign is lost": (
        with_rule(lambda x, y: x / y, lambda ct, x, y: (ct / y, ct * x / y**2)),
        (X, X + 1),
    ),
}
RIGHT = {
    "sin(x) y": (lambda x, y: jnp.sin(x) * y, (X, X)),
    "broadcasting": (lambda x, b: x * b + b, (X, ROW)),
    "a power": (lambda x, y: x**y, (X, X)),
    "repeated indices": (lambda x: x[np.array([0, 0, 1])] ** 2, (X,)),
    "layer norm": (fg.nn.standardize, (X,)),
}


def main():
    for name, (function, arguments) in RIGHT.items():
        check_gradient(function, *arguments)
        print(f"right  {name}")
    for name, (function, arguments) in WRONG.items():
        try:
            check_gradient(lambda *args, f=function: jnp.exp(f(*args)), *arguments)
        except AssertionError as error:
            print(f"wrong  {name}:\n       {error}")
        else:
            raise SystemExit(f"not found: {name}")


if __name__ == "__main__":
    main()
