"""Einstein summation: sums of products written with letters, lowered to dot_general.

A call is parsed into labels per operand, operands are freed of what concerns them alone (repeated
labels, sums), then contracted pair by pair along a path. Everything that does not depend on values
is planned once for given labels and shapes.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

from funcgrad.core.array import Array
from funcgrad.core.avals import typeof
from funcgrad.core.dtypes import bool_
from funcgrad.numpy.promote import promote_dtypes
from funcgrad.primitives.basis import convert_element_type, reduce_sum, reshape, transpose
from funcgrad.primitives.contract import canonical_result_type, dot_general
from funcgrad.primitives.reduce import reduce_or
from funcgrad.primitives.slicing import slice_in_dim

__all__ = ["einsum", "einsum_path"]

Labels = tuple[Any, ...]


# ---------------------------------------------------------------- from notation to labels


def _parsed(name, subscripts, operands):
    """The operands, the labels of each of their dimensions, and those of the result."""
    if isinstance(subscripts, str):
        ranks = tuple(typeof(x).ndim for x in operands)
        return list(operands), *_from_string(name, subscripts, ranks)
    arguments: list[Any] = [subscripts, *operands]
    output = tuple(arguments.pop()) if len(arguments) % 2 else None
    arrays = arguments[::2]
    sublists = [tuple(sublist) for sublist in arguments[1::2]]
    ranks = tuple(typeof(x).ndim for x in arrays)
    return arrays, *_labelled(name, sublists, output, ranks)


@functools.lru_cache(maxsize=1024)
def _from_string(name, subscripts, ranks):
    text = subscripts.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    terms = [_letters(name, term) for term in inputs.split(",")]
    if len(terms) != len(ranks):
        raise ValueError(
            f"{name}: subscripts {subscripts!r} describe {len(terms)} operands, but there are "
            f"{len(ranks)}. Separate one group of letters per operand by commas."
        )
    return _labelled(name, terms, _letters(name, output) if arrow else None, ranks)


def _letters(name, term):
    """The letters of one operand, `...` as Ellipsis."""
    letters = tuple(Ellipsis if part == "..." else part for part in _tokens(term))
    wrong = [c for c in letters if c is not Ellipsis and not c.isalnum()]
    if wrong or letters.count(Ellipsis) > 1:
        raise ValueError(
            f"{name}: {term!r} is not a group of letters with at most one ellipsis '...'."
        )
    return letters


def _tokens(term):
    head, dots, tail = term.partition("...")
    return (*head, dots, *tail) if dots else tuple(head)


def _labelled(name, terms, output, ranks):
    """Ellipses replaced by labels ("...", k), counted from the back; the implicit result found."""
    inputs = [
        _expanded(name, term, rank, i)
        for i, (term, rank) in enumerate(zip(terms, ranks, strict=True))
    ]
    broadcast = max(
        (sum(isinstance(label, tuple) for label in labels) for labels in inputs), default=0
    )
    dots = tuple(("...", k) for k in range(broadcast, 0, -1))
    if output is None:
        named = [label for labels in inputs for label in labels if not isinstance(label, tuple)]
        once = sorted(label for label in set(named) if named.count(label) == 1)
        return inputs, (*dots, *once)
    result = tuple(itertools.chain.from_iterable(dots if o is Ellipsis else (o,) for o in output))
    known = set(itertools.chain.from_iterable(inputs))
    for label in result:
        if result.count(label) > 1:
            raise ValueError(f"{name}: {label!r} appears more than once in the result.")
        if label not in known:
            raise ValueError(f"{name}: {label!r} is in the result, but no operand has it.")
    return inputs, result


def _expanded(name, term, rank, position):
    missing = rank - sum(label is not Ellipsis for label in term)
    if missing < 0 or (missing > 0 and Ellipsis not in term):
        letters = "".join("..." if label is Ellipsis else str(label) for label in term)
        raise ValueError(
            f"{name}: {letters!r} does not fit operand {position}, whose rank is {rank}. "
            "Write one letter for each dimension, or '...' for several."
        )
    dots = tuple(("...", k) for k in range(missing, 0, -1))
    return tuple(itertools.chain.from_iterable(dots if t is Ellipsis else (t,) for t in term))


def _sizes(name, inputs, shapes):
    """The size of each label. Size 1 is stretched to the size that other operands have."""
    sizes: dict[Any, Any] = {}
    for position, (labels, shape) in enumerate(zip(inputs, shapes, strict=True)):
        for label, size in zip(labels, shape, strict=True):
            known = sizes.setdefault(label, size)
            if known == 1:
                sizes[label] = size
            elif size not in (1, known):
                raise ValueError(
                    f"{name}: {_shown(label)} has size {size} in operand {position}, but size "
                    f"{known} "
                    "before. Sizes of a letter must agree."
                )
    return sizes


def _shown(label):
    return "a dimension of '...'" if isinstance(label, tuple) else repr(label)


# ---------------------------------------------------------------- the order of contractions


def _path(sizes, terms, output, optimize):
    """Which operands are contracted when: pairs of positions; results are appended at the end."""
    if isinstance(optimize, (list, tuple)):
        return [tuple(step) for step in optimize if not isinstance(step, str)]
    if len(terms) <= 2:
        return [tuple(range(len(terms)))]
    if optimize is False:
        return [(0, 1)] + [(0, n - 1) for n in range(len(terms) - 1, 1, -1)]
    terms, path = [frozenset(term) for term in terms], []
    while len(terms) > 1:
        pair = min(
            itertools.combinations(range(len(terms)), 2),
            key=lambda pair: _cost(sizes, terms, frozenset(output), pair),
        )
        path.append(pair)
        kept = _kept(terms, frozenset(output), pair)
        terms = [term for i, term in enumerate(terms) if i not in pair] + [kept]
    return path


def _kept(terms, output, pair):
    """The labels that remain after contracting a pair."""
    others = output.union(*(term for i, term in enumerate(terms) if i not in pair))
    return (terms[pair[0]] | terms[pair[1]]) & others


def _cost(sizes, terms, output, pair):
    """Greedy: what a step adds to the memory in use, then how many products it computes."""

    def volume(labels):
        return math.prod(sizes[label] for label in labels)

    first, second = (terms[i] for i in pair)
    growth = volume(_kept(terms, output, pair)) - volume(first) - volume(second)
    # An outer product is never the first thing to do.
    return not first & second, growth, volume(first | second), pair


# ---------------------------------------------------------------- operands and pairs


def _single(x: Array, labels: Labels, sizes: dict, kept: frozenset) -> tuple[Array, Labels]:
    """One operand with what concerns it alone done: stretched sizes, diagonals, sums."""
    x, labels = _without_stretched(x, labels, sizes)
    for label in set(labels):
        while labels.count(label) > 1:
            x, labels = _diagonal(x, labels, label)
    summed = tuple(i for i, label in enumerate(labels) if label not in kept)
    if summed:
        x = (reduce_or if x.dtype == bool_ else reduce_sum)(x, summed)
        labels = tuple(label for label in labels if label in kept)
    return x, labels


def _without_stretched(x, labels, sizes):
    """Drops dimensions of size 1 whose label is larger elsewhere: products repeat them anyway."""
    kept = [i for i, label in enumerate(labels) if x.shape[i] == sizes[label]]
    if len(kept) == len(labels):
        return x, labels
    return reshape(x, tuple(x.shape[i] for i in kept)), tuple(labels[i] for i in kept)


def _diagonal(x, labels, label):
    """Two dimensions of one label become one: every (n+1)-th element of their joint dimension."""
    first = labels.index(label)
    second = labels.index(label, first + 1)
    others = [d for d in range(x.ndim) if d not in (first, second)]
    x = transpose(x, (*others, first, second))
    n = x.shape[-1]
    x = reshape(x, (*x.shape[:-2], n * n))
    x = slice_in_dim(x, 0, n * n, n + 1, axis=x.ndim - 1)
    return x, (*(labels[d] for d in others), label)


def contract_pair(
    x: Array,
    y: Array,
    x_labels: Labels,
    y_labels: Labels,
    wanted: Sequence[Any],
    precision: Any = None,
    preferred_element_type: Any = None,
) -> tuple[Array, Labels]:
    """The product of two operands summed over the labels they share that are not `wanted`.

    The operands are exchanged if that brings the result closer to the order of `wanted`.
    """
    shared = set(x_labels) & set(y_labels)
    batch = tuple(label for label in wanted if label in shared)
    x_free = tuple(label for label in x_labels if label not in shared)
    y_free = tuple(label for label in y_labels if label not in shared)
    order = tuple(label for label in wanted if label in shared or label in x_free + y_free)
    if order == (*batch, *y_free, *x_free) and x_free and y_free:
        x, y, x_labels, y_labels, x_free, y_free = y, x, y_labels, x_labels, y_free, x_free
    summed = [label for label in x_labels if label in shared and label not in batch]

    def positions(labels, chosen):
        return tuple(labels.index(label) for label in chosen)

    numbers = (
        (positions(x_labels, summed), positions(y_labels, summed)),
        (positions(x_labels, batch), positions(y_labels, batch)),
    )
    product = dot_general(x, y, numbers, precision, preferred_element_type)
    return product, (*batch, *x_free, *y_free)


def transposed(x: Array, labels: Labels, output: Labels) -> Array:
    """`x`, whose dimensions are called `labels`, in the order of `output`."""
    return transpose(x, tuple(labels.index(label) for label in output))


# ---------------------------------------------------------------- public faces


def einsum(
    subscripts: Any,
    /,
    *operands: Any,
    out: None = None,
    optimize: Any = "auto",
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """Sums of products of elements of the operands, by the Einstein convention.

    `subscripts` names each dimension of each operand by a letter, as in "bij,bjk->bik": elements
    with equal letters are multiplied, and letters that the result lacks are summed over. A letter
    twice in one operand takes its diagonal; "..." stands for dimensions that broadcast. Without
    "->", the result has the letters that occur once, in alphabetical order. Operands and lists of
    integers may alternate instead: einsum(x, [0, 1], y, [1, 2], [0, 2]).

    `optimize` chooses the order for three operands and more: by default greedily, False from left
    to right, or an explicit list of pairs. Products are accumulated in and have the type
    `preferred_element_type`, else the operands' common type; `precision` as in `lax.dot_general`.
    Raises `ValueError` if subscripts and shapes do not fit.

    >>> import numpy as np
    >>> x, y = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    >>> einsum("ij,kj->ik", x, y).shape
    (2, 4)
    """
    if out is not None:
        raise ValueError("einsum: out is not supported, since arrays are immutable.")
    arrays, inputs, output = _parsed("einsum", subscripts, operands)
    arrays = list(promote_dtypes("einsum", *arrays))
    result_type = canonical_result_type(preferred_element_type)
    sizes = _sizes("einsum", inputs, [x.shape for x in arrays])
    terms = []
    for i, (x, labels) in enumerate(zip(arrays, inputs, strict=True)):
        kept = frozenset(output).union(*(inputs[:i] + inputs[i + 1 :]))
        terms.append(_single(x, labels, sizes, kept))
    path = _path(sizes, [labels for _, labels in terms], output, optimize)
    for step in path if len(terms) > 1 else ():
        terms = _stepped(terms, step, output, precision, result_type)
    (result, labels), *left = terms
    if left:
        raise ValueError(f"einsum: the path {path} leaves {len(left) + 1} operands uncontracted.")
    if result_type is not None and result.dtype != result_type:
        result = convert_element_type(result, result_type)
    return transposed(result, labels, output)


def _stepped(terms, step, output, precision, result_type):
    """The operands after one step of the path: some of them replaced by their product."""
    chosen = [terms[i] for i in step]
    rest = [term for i, term in enumerate(terms) if i not in step]
    product, labels = chosen[0]
    for position, (x, x_labels) in enumerate(chosen[1:], 1):
        later = [labels for _, labels in (*rest, *chosen[position + 1 :])]
        wanted = tuple(dict.fromkeys((*output, *itertools.chain.from_iterable(later))))
        product, labels = contract_pair(
            product, x, labels, x_labels, wanted, precision, result_type
        )
        product, labels = _single(product, labels, _own_sizes(product, labels), frozenset(wanted))
    return [*rest, (product, labels)]


def _own_sizes(x, labels):
    return dict(zip(labels, x.shape, strict=True))


def einsum_path(subscripts: Any, /, *operands: Any, optimize: Any = "auto") -> tuple[list, str]:
    """The order in which `einsum` contracts these operands, and a line that describes it."""
    arrays, inputs, output = _parsed("einsum_path", subscripts, operands)
    sizes = _sizes("einsum_path", inputs, [typeof(x).shape for x in arrays])
    path = _path(sizes, inputs, output, optimize)
    naive = math.prod(sizes.values()) * max(len(inputs), 1)
    return ["einsum_path", *path], f"contraction order {path}; naive cost {naive:.3e} products"
