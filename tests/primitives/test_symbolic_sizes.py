"""Abstract rules on symbolic sizes: the shape they state, for the size put in, is the concrete
one.
"""

from __future__ import annotations

from typing import Any

import pytest

from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.dims import Dim, symbol
from tests.primitives.cases import Case, all_cases
from tests.primitives.test_laws import arrays

N = symbol("n")
SHAPE_PARAMETERS = ("shape", "new_sizes", "limit_indices", "slice_sizes", "sizes")


def substituted(x: Any, size: int) -> Any:
    """`size` replaced by the symbol, in shapes."""
    if type(x) is tuple:
        return tuple(substituted(v, size) for v in x)
    return N if type(x) is int and x == size else x


def concrete(shape: Any, size: int) -> tuple[int, ...]:
    return tuple(d.evaluate({"n": size}) if isinstance(d, Dim) else d for d in shape)


def attempts(case: Case) -> list[int]:
    """The sizes that occur in a row, each to be replaced in turn."""
    return sorted({d for x in arrays(case.operands()) for d in x.shape if d > 1})


def agrees(case: Case, params: dict[str, Any], size: int) -> bool:
    """Does the rule state the right shapes for `size` made symbolic? False if it says, by an error,
    that it cannot: the size may be one that others are computed from, or the length of an index.
    """
    operands = arrays(case.operands())
    avals = [
        ShapedArray(substituted(a.shape, size), a.dtype, a.weak_type) for a in map(typeof, operands)
    ]
    changed = {k: substituted(v, size) if k in SHAPE_PARAMETERS else v for k, v in params.items()}
    try:
        out = case.primitive.abstract(*avals, **changed)  # type: ignore[misc]
    except (TypeError, ValueError):
        return False
    outs = out if case.primitive.multiple_results else [out]
    expected = case.primitive.results(operands, params)
    stated = [(concrete(o.shape, size), o.dtype) for o in outs]
    assert stated == [(e.shape, e.dtype) for e in expected], (avals, changed)
    return True


BY_PRIMITIVE: dict[str, list[tuple[Case, dict[str, Any]]]] = {}
for _, _case, _params in all_cases():
    if "abstract" not in _case.skip and attempts(_case):
        BY_PRIMITIVE.setdefault(_case.primitive.name, []).append((_case, _params))


@pytest.mark.parametrize("name", sorted(BY_PRIMITIVE))
def test_abstract_rule_on_symbolic_sizes(name: str) -> None:
    tried = [
        agrees(case, params, size) for case, params in BY_PRIMITIVE[name] for size in attempts(case)
    ]
    assert any(tried), f"{name}: no size of any row can be symbolic"


def test_polynomials() -> None:
    m = symbol("m")
    assert N + N == 2 * N and N - N == 0 and (N + 1) * (N - 1) == N * N - 1
    assert (4 * N + 6) // 2 == 2 * N + 3 and (4 * N) % 2 == 0 and (N * m) // m == N
    assert ((3 * N + 4) // 2).evaluate({"n": 5}) == 9 and ((N + 7) // 3).evaluate({"n": 4}) == 3
    assert N >= 1 and N + 2 > 2 and not N < 1 and 0 < N
    with pytest.raises(TypeError, match="depends on symbolic sizes"):
        bool(N > 3)
    with pytest.raises(TypeError, match="symbolic"):
        range(N)
    assert hash(N + 1) == hash(1 + N) and repr(2 * N + 1) == "2*n + 1"
