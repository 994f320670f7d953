"""Mutants that are no mistakes: what they change cannot be seen, and why.

A mutant is named by its file, its function, the source that is changed (of a constant: what it
stands in; or, of both, the expression around it) and what becomes of it; `*` stands for anything.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from tests.mutation.mutants import Mutant

Name = tuple[str, str, str, str]  # file, function, source, change

EQUIVALENT: dict[str, list[Name]] = {
    "where the mapped dimension of a result lies is free: the rule says it": [
        ("primitives/basis.py", "elementwise_batch.rule", "r == rank", "Eq is NotEq"),
        ("primitives/basis.py", "elementwise_batch.rule", "next(*, 0)", "0 is 1"),
        ("primitives/convert.py", "_bitcast_batch", "*itemsize < *", "Lt is LtE"),
    ],
    "what is compared here is never equal": [
        ("primitives/movement.py", "reduction_batch.rule", "d < dim", "Lt is LtE"),
        ("primitives/shape.py", "_squeeze_batch", "d < dim", "Lt is LtE"),
        ("primitives/convert.py", "_bitcast_*", "*itemsize > *itemsize", "Gt is GtE"),
        ("primitives/basis.py", "_div_value", "safe < 0", "*"),
        ("primitives/elementwise/powers.py", "_integer_pow_*", "y > 0", "Gt is GtE"),
        ("primitives/special/gamma_functions.py", "_digamma_block", "x < 0", "Lt is LtE"),
        ("primitives/special/gamma_functions.py", "_zeta_block", "q > 0", "Gt is GtE"),
    ],
    "where it is equal, both sides give the same": [
        ("primitives/basis.py", "_div_value", "x < 0", "*"),
        ("primitives/basis.py", "_to_integer", "wide < *", "Lt is LtE"),
        ("primitives/logic.py", "_clz_value", "shift < width", "Lt is LtE"),
        ("primitives/cumulative.py", "_prefix_scan", "step < size", "Lt is LtE"),
        ("primitives/cumulative.py", "_run_doubling", "step < out.shape[0]", "Lt is LtE"),
        ("primitives/linalg/factors.py", "_lu_jvp", "n > k", "Gt is GtE"),
        ("primitives/linalg/spectral.py", "_svd_vector_tangents", "? > k", "Gt is GtE"),
        ("primitives/special/bessel_functions.py", "_scaled", "x > _LIMIT", "Gt is GtE"),
        ("primitives/special/bessel_functions.py", "_i1e_block", "size > _LIMIT", "Gt is GtE"),
        ("primitives/special/error_functions.py", "_erf_float64", "xp.abs(x) > 1", "Gt is GtE"),
        ("primitives/special/error_functions.py", "_erf_inv_*", "log *", "Lt* is Lt*"),
        ("primitives/special/error_functions.py", "_erf_inv_*", "log *", "Gt is GtE"),
        ("primitives/special/gamma_functions.py", "_lgamma_block", "x < 0.5", "Lt is LtE"),
        ("primitives/special/incomplete_functions.py", "_regions", "x <= *", "LtE is Lt"),
        ("primitives/special/incomplete_functions.py", "_gamma_factor", "a < _LARGE", "Lt is LtE"),
    ],
    "a later line, or the other operand of `|`, sees to the edge": [
        ("primitives/special/gamma_functions.py", "_zeta_block", "s > 1", "Gt is GtE"),
        ("primitives/special/gamma_functions.py", "_zeta_block", "s >= 1", "GtE is Gt"),
        ("primitives/special/incomplete_functions.py", "_regions", "x > 0", "Gt is GtE"),
        ("primitives/special/incomplete_functions.py", "_edges", "x >= 0", "GtE is Gt"),
        ("primitives/special/incomplete_functions.py", "_edges", "a >= 0", "GtE is Gt"),
        ("primitives/special/incomplete_functions.py", "_betainc_block", "a > 0", "Gt is GtE"),
        ("primitives/special/incomplete_functions.py", "_betainc_block", "b > 0", "Gt is GtE"),
        (
            "primitives/special/incomplete_functions.py",
            "_betainc_block",
            "allowed & (x > 0)",
            "Gt is GtE",
        ),
        ("primitives/special/incomplete_functions.py", "_betainc_block", "x < 1", "*"),
    ],
    "where a method that holds on both sides gives way to the next": [
        ("primitives/special/incomplete_functions.py", "_regions", "x <= 1", "1 is 2"),
        ("primitives/special/error_functions.py", "_erf_inv_float64", "-16", "16 is 17"),
        ("primitives/special/incomplete_functions.py", "_betainc_inside", "x > *", "Gt is GtE"),
        ("primitives/special/incomplete_functions.py", "_betainc_inside", "(a + 1) / *", "*"),
        ("primitives/special/incomplete_functions.py", "_betainc_inside", "a + *", "*"),
        ("primitives/special/incomplete_functions.py", "_beta_factor", "* >= _LARGE", "*"),
        ("primitives/special/incomplete_functions.py", "_beta_factor", "* < _LARGE", "*"),
        ("primitives/special/incomplete_functions.py", "_beta_fraction", "* < _TINY", "*"),
    ],
    "a limit of work, not of what is computed: blocks, views, terms": [
        ("primitives/special/numerics.py", "in_blocks.value", "flat[0].size <= BLOCK", "LtE is Lt"),
        ("primitives/movement.py", "_broadcast_in_dim_value", "* > _SMALL", "Gt is GtE"),
        ("primitives/contract.py", "_plan", "* >= *", "GtE is Gt"),
        ("primitives/contract.py", "_operand_cotangent", "(*batch, *kept, *free)", "*swapped"),
        ("primitives/special/gamma_functions.py", "_zeta_block", "q > -_LOWEST", "Gt is GtE"),
        ("primitives/special/gamma_functions.py", "_zeta_regular", "_LOWEST + 1", "*"),
        ("primitives/linalg/factors.py", "_fitted", "(rows, columns)", "first two swapped"),
        ("primitives/linalg/factors.py", "_fitted", "-2", "*"),
        ("primitives/slicing.py", "_unpadded", "max(0, -high)", "0 is 1"),
    ],
    "an iteration stops a step sooner or later, when it has converged; its start decides no more": [
        ("primitives/special/incomplete_functions.py", "_series", "* > *", "Gt is GtE"),
        ("primitives/special/incomplete_functions.py", "_fraction", "* > *", "Gt is GtE"),
        ("primitives/special/incomplete_functions.py", "_fraction", "1 / q", "*"),
        ("primitives/special/incomplete_functions.py", "_beta_fraction", "* > *", "Gt is GtE"),
        ("primitives/special/incomplete_functions.py", "_beta_fraction", "new - half_way", "*"),
    ],
    "a power of two by which both parts of a ratio are scaled": [
        ("primitives/special/incomplete_functions.py", "_fraction", "1 / _RESCALE", "1 is 2"),
        ("primitives/special/incomplete_functions.py", "_fraction", "xp.where(*)", "1.0 is 2.0"),
    ],
    "a sign that is lost: in a comparison with 0, under abs, or under copysign": [
        ("primitives/basis.py", "_div_value", "x - quotient * safe", "operands swapped"),
        ("primitives/special/gamma_functions.py", "_lgamma_reflected", "x - *", "*swapped"),
        ("primitives/special/incomplete_functions.py", "_fraction", "new_value - value", "*"),
        ("primitives/special/error_functions.py", "_erf_float64", "1 - *", "operands swapped"),
    ],
    "a stand-in where the result is replaced: any harmless number does": [
        ("primitives/basis.py", "_div_value", "y == 0", "0 is 1"),
        ("primitives/basis.py", "_to_integer", "wide.dtype.type(0)", "0 is 1"),
        ("primitives/special/functions.py", "_i1e_slope", "_like(x, 1)", "1 is 2"),
        ("primitives/special/error_functions.py", "_erf_float64", "-1", "1 is 2"),
        ("primitives/special/error_functions.py", "_erf_float64", "xp.clip(*)", "1 is 2"),
        ("primitives/convolution.py", "_conv_abstract", "[0]", "0 is 1"),
    ],
    "max(-1, x) is max(x, -1)": [
        ("primitives/special/error_functions.py", "_erf_float64", "xp.clip(x, -1, 1)", "*swapped"),
    ],
    "the operation is commutative": [
        ("primitives/cumulative.py", "_prefix_scan", "combine(*)", "*swapped"),
        ("primitives/cumulative.py", "_run_doubling", "combine(*)", "*swapped"),
        ("primitives/reduce.py", "_folded", "function(*)", "*swapped"),
        ("primitives/reduce.py", "_folded", "[function(*)*]", "first two swapped"),
        ("primitives/cumulative.py", "_logaddexp_of_pairs", "(earlier, later)", "*"),
        ("primitives/cumulative.py", "_extremum_of_triples", "(earlier, later)", "*"),
        ("primitives/cumulative.py", "_product_of_pairs", "(earlier, later)", "*"),
        ("primitives/elementwise/powers.py", "_pow_abstract", "elementwise_abstract(*)*", "*"),
        ("primitives/basis.py", "_select_n_abstract", "[which, *cases]", "first two swapped"),
    ],
    "both forms of the sum are right between 0 and 1, where neither overflows": [
        ("primitives/cumulative.py", "_logaddexp_of_pairs", "full(*)", "0 is 1"),
    ],
    "these have equal shapes, or equal types": [
        ("primitives/cumulative.py", "_prefix_scan", "parts[0]", "0 is 1"),
        ("primitives/special/incomplete_functions.py", "_series", "[*ones*ones*]", "*swapped"),
        ("control/cond.py", "<lambda>", "branches[0]", "0 is 1"),
        ("control/cond.py", "_cond_*", "branches[0]", "0 is 1"),
        ("control/cond.py", "_select_form", "branches[0]", "0 is 1"),
        ("control/cond.py", "_known_branches", "branches[0]", "0 is 1"),
        ("primitives/linalg/factors.py", "_identity_from", "-1", "*"),
        ("primitives/linalg/solving.py", "_check_right_hand_side", "a.shape[-1]", "1 is 2"),
        ("primitives/bits.py", "_threefry2x32_batch", "[0, 0]", "first two swapped"),
    ],
    "float32 is worked in as it is, and no type has five bytes or nine": [
        ("primitives/special/numerics.py", "in_blocks.value", "own.itemsize >= 4", "*"),
        ("primitives/cumulative.py", "_run_logaddexp", "x.dtype.itemsize >= 4", "*"),
        ("primitives/shape.py", "_iota_value", "dtype.itemsize < 4", "*"),
        ("primitives/basis.py", "_to_integer", "x.dtype.itemsize < 8", "*"),
        ("primitives/linalg/spectral.py", "_eig_abstract", "x.dtype.itemsize <= 4", "4 is 5"),
    ],
    "rows of a right-hand side are independent: theirs and the lanes' order is free": [
        ("primitives/linalg/solving.py", "_triangular_batch", "2 if left_side else 0", "0 is 1"),
    ],
    "a product of mixed types is computed in the wider one": [
        ("primitives/contract.py", "_operand_cotangent", "other_type.dtype != *", "NotEq is Eq"),
    ],
    "a refused operation is explained once more, by the abstract rule": [
        ("primitives/slicing.py", "_pad_value", "_pad_abstract(*)", "*swapped"),
        ("primitives/slicing.py", "_slice_value", "min(strides) > 0", "Gt is GtE"),
    ],
    "an early exit: without elements the general case gives zeros too": [
        ("primitives/convolution.py", "_rhs_cotangent", "typeof(ct).size == 0 or *", "Or is And"),
    ],
    "no floating type has a mantissa of eight bits": [
        ("primitives/random_gamma.py", "_uniform", "nmant < 8", "*"),
    ],
    "never run: rules are asked where a tangent is not zero, and keys have none": [
        ("primitives/random_gamma.py", "_random_gamma_jvp", "(out, Zero(*))", "*swapped"),
    ],
    "a drawn number is not equal to a bound": [
        ("primitives/random_gamma.py", "_accepted_cubes", "u >= *", "GtE is Gt"),
        ("primitives/random_gamma.py", "_accepted_cubes", "xp.log(u) >= *", "GtE is Gt"),
    ],
    "an early acceptance, which the exact test below implies": [
        ("primitives/random_gamma.py", "_accepted_cubes", "number(0.0331) * *", "Mult is Add"),
        ("primitives/random_gamma.py", "_accepted_cubes", "number(0.0331)", "0.0331 is 1.0331"),
    ],
    "one more term than is needed is summed as it is": [
        ("primitives/special/gamma_functions.py", "_term_below", "q < 0", "*"),
    ],
    "a sign is its own reciprocal": [
        ("primitives/special/bessel_functions.py", "*", "k.mul(far, k.sign(wide))", "mul is div"),
    ],
    "only the product of the two is used": [
        ("primitives/special/gamma_functions.py", "_zeta_regular", "(s, power / q)", "*swapped"),
        ("primitives/special/gamma_functions.py", "_zeta_regular", "(factor * *)", "*swapped"),
    ],
    "what is at hand is kept once more: more memory, the same values": [
        ("control/scan.py", "_scan_split", "r not in given and r not in rows", "And is Or"),
    ],
    "a comparison takes rank 0 beside arrays": [
        ("control/scan.py", "_frozen_lanes", "broadcast_in_dim(i, *)", "*dropped"),
    ],
    "0 / a is 0 but where 1 / a overflows, in one of 2**23 draws": [
        ("primitives/random_gamma.py", "_gamma_vector", "log_u == 0", "0 is 1"),
    ],
    "NumPy itself wraps and rounds; the guard is for modules that do not": [
        ("primitives/shape.py", "_iota_value", "xp.arange(*", "branches swapped"),
    ],
    "NumPy takes any negative size for the one to be found": [
        ("primitives/random_gamma.py", "_random_gamma_value", "-1", "1 is 2"),
        ("primitives/special/numerics.py", "in_blocks.value", "-1", "1 is 2"),
    ],
    "both are empty": [
        ("control/checks.py", "_check_*", "(check_p.bind(*), [])", "first two swapped"),
        ("control/callback.py", "_debug_jvp", "(debug_callback_p.bind(*), [])", "*swapped"),
    ],
    "a zero cotangent is written out: more work, the same sum": [
        ("control/call.py", "call_transpose.rule", "transpose_jaxpr(*)", "False is True"),
    ],
    "a list from which as many are taken as are needed": [
        ("control/call.py", "call_transpose.rule", "len(ct_nonzero) - len(outs)", "Sub is Add"),
        ("control/solvers.py", "_solve_transpose", "len(args) - consts", "Sub is Add"),
        ("control/solvers.py", "_solve_batch", "len(args) - consts", "Sub is Add"),
        ("primitives/linalg/solving.py", "_solve_batch", "moveaxis(b, b_dim, 2)", "2 is 3"),
    ],
    "the factor of a matrix that has none is NaN throughout": [
        ("primitives/linalg/factors.py", "_cholesky_value", ":1", "1 is 2"),
    ],
    "whatever completes a factor to a square matrix cancels": [
        ("primitives/linalg/factors.py", "_lu_jvp", "add(upper, *)", "add is sub"),
        ("primitives/linalg/factors.py", "_identity_from", "sub(eye, *)", "*swapped"),
    ],
    "the diagonal is ones, said or not": [
        ("primitives/linalg/factors.py", "_lu_jvp", "unit_diagonal=True", "True is False"),
    ],
    "a promise to compilers, which need not be given": [
        ("primitives/dynamic_slice.py", "_dynamic_*_batch", "unique_indices=True", "*"),
        ("primitives/dynamic_slice.py", "_dynamic_*_batch", "indices_are_sorted=True", "*"),
    ],
    "a window as large as its dimension begins at 0": [
        ("primitives/dynamic_slice.py", "_zero_start", "full((), 0, *)", "0 is 1"),
    ],
    "the diagonal is multiplied by zero: it must be finite": [
        ("primitives/linalg/spectral.py", "_reciprocal_sums", "add(sub(*), ones)", "add is sub"),
        ("primitives/linalg/spectral.py", "_reciprocal_sums", "sub(sums, diagonal)", "sub is add"),
        ("primitives/linalg/spectral.py", "_reciprocal_sums", "sub(sums, diagonal)", "second*"),
        (
            "primitives/linalg/spectral.py",
            "_reciprocal_sums",
            "diagonal_matrix_of(full(*))",
            "1 is 2",
        ),
    ],
    "an update that is dropped gets no cotangent, marked or not": [
        ("primitives/scatter.py", "_survivors", "add(iota(*), 1)", "second of add dropped"),
        ("primitives/scatter.py", "_survivors", "add(iota(*), 1)", "1 is 2"),
    ],
    "more is looked at by the check, which allows what is right": [
        ("primitives/slicing.py", "_slice_value", "min(*) >= 0", "*"),
        ("primitives/slicing.py", "_slice_value", "min(strides) > 0", "0 is 1"),
        ("primitives/slicing.py", "_slice_value", "default=0", "0 is 1"),
        ("primitives/slicing.py", "_slice_size", "(size, start, limit)", "first two swapped"),
    ],
    "a mask longer than what it marks, or a mark on what is made so anyway": [
        ("control/scan.py", "_scan_batch", "len(jaxpr.outputs) - ncarry", "Sub is Add"),
        ("control/scan.py", "_scan_batch", "(False,)", "False is True"),
        ("control/scan.py", "_batch_counted", "len(jaxpr.outputs) - ncarry", "Sub is Add"),
        ("control/scan.py", "_scan_split", "len(jaxpr.outputs) - ncarry", "Sub is Add"),
        ("control/scan.py", "_hoisted", "len(jaxpr.args) - len(consts)", "Sub is Add"),
        (
            "control/loop.py",
            "_frozen_lanes",
            "batch_jaxpr(cond_jaxpr, axis, *, (True,))",
            "True is False",
        ),
    ],
    "how a loop is cut into segments, or unrolled, is a matter of memory and time": [
        ("control/loop.py", "_repeated_in_segments", "{*}", "1 is 2"),
        ("control/loop.py", "_repeated_in_segments", "{*'prevent_cse': False}", "False is True"),
        ("control/loop.py", "_while_split", "{*'prevent_cse': False}", "False is True"),
        ("control/loop.py", "_repeated", "unroll=1", "1 is 2"),
        ("control/loop.py", "_repeated_in_segments", "add(convert*)", "1 is 2"),
        ("control/loop.py", "_repeated_in_segments", "sub(add(*)*)", "*"),
        ("control/loop.py", "_repeated_in_segments", "div(sub(*)*)", "first*dropped"),
        ("control/loop.py", "_repeated_in_segments", "min_of(size, *)", "operands*"),
    ],
    "without inputs a loop is the same backward": [
        ("control/loop.py", "_repeated_in_segments", "{*'reverse': False*}", "False is True"),
        ("control/loop.py", "_repeated", "reverse=False", "False is True"),
    ],
    "operands that only say which lanes there are": [
        ("control/loop.py", "_while_split", "[*choose(init, carry_known)]", "*swapped"),
    ],
    "two counters of one type": [
        ("control/loop.py", "_repeated_in_segments", "[COUNTER, COUNTER, *]", "*swapped"),
    ],
    "a value of rank 0 may be repeated in every lane": [
        ("primitives/bits.py", "_threefry2x32_batch", "d is None", "Is is IsNot"),
        ("primitives/bits.py", "_random_fold_in_batch", "d is None", "Is is IsNot"),
    ],
    "the order in which fields, or arrays, are looked at": [
        ("control/loop.py", "_while_batch", "(body, cond_jaxpr)", "first two swapped"),
        ("control/scan.py", "_scan_run", "[*consts, *carry, *xs]", "first two swapped"),
        ("primitives/window.py", "_with_dimension", "('window_dimensions', *)", "*swapped"),
        ("primitives/gather.py", "_check_scatter", "('inserted_window_dims', *)", "*swapped"),
    ],
    "the order of names in a dictionary": [
        ("primitives/gather.py", "_gather_transpose", "('mode', *)", "first two swapped"),
    ],
}


def names_of(mutant: Mutant) -> list[Name]:
    """The entries that say that the mutant is none; nothing if it is one."""
    return [name for names in EQUIVALENT.values() for name in names if covers(name, mutant)]


def covers(name: Name, mutant: Mutant) -> bool:
    file, function, source, change = name
    return (
        mutant.file == file
        and fnmatchcase(mutant.function, function)
        and fnmatchcase(mutant.what, change)
        and any(fnmatchcase(text, source.replace("[", "[[]")) for text in mutant.sources)
    )
