"""Primitives and control flow under JAX's names.

Operands of one call must agree in dtype and shape; nothing is promoted.
"""

from funcgrad.control.checkpoint import (
    optimization_barrier,
)  # fmt: skip
from funcgrad.control.collectives import (
    all_gather, all_to_all, axis_index, axis_size, pmax, pmean, pmin, ppermute, pshuffle, psum,
    psum_scatter,
)  # fmt: skip
from funcgrad.control.cond import (
    cond, switch,
)  # fmt: skip
from funcgrad.control.loop import (
    fori_loop, while_loop,
)  # fmt: skip
from funcgrad.control.mapping import (
    associative_scan, map,
)  # fmt: skip
from funcgrad.control.reduction import (
    reduce,
)  # fmt: skip
from funcgrad.control.scan import (
    scan,
)  # fmt: skip
from funcgrad.control.solvers import (
    custom_linear_solve, custom_root,
)  # fmt: skip
from funcgrad.lax.compositions import (
    DotDimensionNumbers, approx_max_k as _approx_max_k, approx_min_k as _approx_min_k,
    broadcast as _broadcast, broadcast_shapes as _broadcast_shapes, collapse as _collapse,
    select as _select, with_sharding_constraint as _with_sharding_constraint,
)  # fmt: skip
from funcgrad.lax.faces import public as _public
from funcgrad.primitives.activation import (
    relu_p,
)  # fmt: skip
from funcgrad.primitives.basis import (
    add as _add, add_p, convert_element_type as _convert_element_type, convert_element_type_p,
    div as _div, div_p, full as _full, mul as _mul, mul_p, neg as _neg, neg_p,
    select_n as _select_n, select_n_p, sub as _sub, sub_p,
)  # fmt: skip
from funcgrad.primitives.bits import (
    random_bits_p, random_clone_p, random_fold_in_p, random_seed_p, random_split_p, random_unwrap_p,
    random_wrap_p, threefry2x32_p,
)  # fmt: skip
from funcgrad.primitives.contract import (
    Precision, batch_matmul as _batch_matmul, dot as _dot, dot_general as _dot_general,
    dot_general_p,
)  # fmt: skip
from funcgrad.primitives.convert import (
    bitcast_convert_type as _bitcast_convert_type, bitcast_convert_type_p,
    reduce_precision as _reduce_precision, reduce_precision_p, stop_gradient as _stop_gradient,
    stop_gradient_p,
)  # fmt: skip
from funcgrad.primitives.convolution import (
    ConvDimensionNumbers, conv as _conv, conv_dimension_numbers as _conv_dimension_numbers,
    conv_general_dilated as _conv_general_dilated, conv_general_dilated_p,
    conv_transpose as _conv_transpose, conv_with_general_padding as _conv_with_general_padding,
)  # fmt: skip
from funcgrad.primitives.cumulative import (
    cumlogsumexp as _cumlogsumexp, cumlogsumexp_p, cummax as _cummax, cummax_p, cummin as _cummin,
    cummin_p, cumprod as _cumprod, cumprod_p, cumsum as _cumsum, cumsum_p,
)  # fmt: skip
from funcgrad.primitives.dynamic_slice import (
    dynamic_index_in_dim as _dynamic_index_in_dim, dynamic_slice as _dynamic_slice,
    dynamic_slice_in_dim as _dynamic_slice_in_dim, dynamic_slice_p,
    dynamic_update_index_in_dim as _dynamic_update_index_in_dim,
    dynamic_update_slice as _dynamic_update_slice,
    dynamic_update_slice_in_dim as _dynamic_update_slice_in_dim, dynamic_update_slice_p,
)  # fmt: skip
from funcgrad.primitives.elementwise.arithmetic import (
    abs as _abs, abs_p, clamp as _clamp, clamp_p, max as _max, max_p, min as _min, min_p,
    rem as _rem, rem_p, sign as _sign, sign_p,
)  # fmt: skip
from funcgrad.primitives.elementwise.complexes import (
    complex as _complex, complex_p, conj as _conj, conj_p, imag as _imag, imag_p, real as _real,
    real_p,
)  # fmt: skip
from funcgrad.primitives.elementwise.exponential import (
    exp as _exp, exp2 as _exp2, exp2_p, exp_p, expm1 as _expm1, expm1_p, log as _log,
    log1p as _log1p, log1p_p, log_p, logistic as _logistic, logistic_p,
)  # fmt: skip
from funcgrad.primitives.elementwise.powers import (
    cbrt as _cbrt, cbrt_p, integer_pow as _integer_pow, integer_pow_p, pow as _pow, pow_p,
    rsqrt as _rsqrt, rsqrt_p, sqrt as _sqrt, sqrt_p, square as _square, square_p,
)  # fmt: skip
from funcgrad.primitives.elementwise.rounding import (
    RoundingMethod, ceil as _ceil, ceil_p, floor as _floor, floor_p, is_finite as _is_finite,
    is_finite_p, nextafter as _nextafter, nextafter_p, round as _round, round_p,
)  # fmt: skip
from funcgrad.primitives.elementwise.trigonometry import (
    acos as _acos, acos_p, acosh as _acosh, acosh_p, asin as _asin, asin_p, asinh as _asinh,
    asinh_p, atan as _atan, atan2 as _atan2, atan2_p, atan_p, atanh as _atanh, atanh_p, cos as _cos,
    cos_p, cosh as _cosh, cosh_p, sin as _sin, sin_p, sinh as _sinh, sinh_p, tan as _tan, tan_p,
    tanh as _tanh, tanh_p,
)  # fmt: skip
from funcgrad.primitives.gather import (
    gather as _gather, gather_p, scatter_add as _scatter_add, scatter_add_p,
    scatter_sub as _scatter_sub, scatter_sub_p,
)  # fmt: skip
from funcgrad.primitives.index_maps import (
    GatherDimensionNumbers, GatherScatterMode, ScatterDimensionNumbers,
)  # fmt: skip
from funcgrad.primitives.linalg.factors import (
    cholesky_p, lu_p, lu_pivots_to_permutation_p, qr_p,
)  # fmt: skip
from funcgrad.primitives.linalg.solving import (
    linear_solve_p, triangular_solve_p,
)  # fmt: skip
from funcgrad.primitives.linalg.spectral import (
    eig_p, eigh_p, svd_p,
)  # fmt: skip
from funcgrad.primitives.logic import (
    and_p, bitwise_and as _bitwise_and, bitwise_not as _bitwise_not, bitwise_or as _bitwise_or,
    bitwise_xor as _bitwise_xor, clz as _clz, clz_p, eq as _eq, eq_p, ge as _ge, ge_p, gt as _gt,
    gt_p, le as _le, le_p, lt as _lt, lt_p, ne as _ne, ne_p, not_p, or_p,
    population_count as _population_count, population_count_p, shift_left as _shift_left,
    shift_left_p, shift_right_arithmetic as _shift_right_arithmetic, shift_right_arithmetic_p,
    shift_right_logical as _shift_right_logical, shift_right_logical_p, xor_p,
)  # fmt: skip
from funcgrad.primitives.movement import (
    broadcast_in_dim as _broadcast_in_dim, broadcast_in_dim_p, reduce_sum as _reduce_sum,
    reduce_sum_p, reshape as _reshape, reshape_p, transpose as _transpose, transpose_p,
)  # fmt: skip
from funcgrad.primitives.patches import (
    conv_general_dilated_patches as _conv_general_dilated_patches,
)  # fmt: skip
from funcgrad.primitives.random_gamma import (
    random_gamma_p,
)  # fmt: skip
from funcgrad.primitives.reduce import (
    argmax as _argmax, argmax_p, argmin as _argmin, argmin_p, reduce_and as _reduce_and,
    reduce_and_p, reduce_max as _reduce_max, reduce_max_p, reduce_min as _reduce_min, reduce_min_p,
    reduce_or as _reduce_or, reduce_or_p, reduce_prod as _reduce_prod, reduce_prod_p,
    reduce_xor as _reduce_xor, reduce_xor_p,
)  # fmt: skip
from funcgrad.primitives.scatter import (
    scatter as _scatter, scatter_max as _scatter_max, scatter_max_p, scatter_min as _scatter_min,
    scatter_min_p, scatter_mul as _scatter_mul, scatter_mul_p, scatter_p,
)  # fmt: skip
from funcgrad.primitives.shape import (
    broadcasted_iota as _broadcasted_iota, concatenate as _concatenate, concatenate_p, copy_p,
    expand_dims as _expand_dims, index_in_dim as _index_in_dim, iota as _iota, iota_p, rev as _rev,
    rev_p, split as _split, split_p, squeeze as _squeeze, squeeze_p,
)  # fmt: skip
from funcgrad.primitives.slicing import (
    pad as _pad, pad_p, slice as _slice, slice_in_dim as _slice_in_dim, slice_p,
)  # fmt: skip
from funcgrad.primitives.sort import (
    sort as _sort, sort_key_val as _sort_key_val, sort_p, top_k as _top_k, top_k_p,
)  # fmt: skip
from funcgrad.primitives.special.functions import (
    bessel_i0e as _bessel_i0e, bessel_i0e_p, bessel_i1e as _bessel_i1e, bessel_i1e_p, betainc,
    digamma as _digamma, digamma_p, erf as _erf, erf_inv as _erf_inv, erf_inv_p, erf_p,
    erfc as _erfc, erfc_p, igamma as _igamma, igamma_grad_a as _igamma_grad_a, igamma_grad_a_p,
    igamma_p, igammac as _igammac, igammac_p, lgamma as _lgamma, lgamma_p, polygamma as _polygamma,
    polygamma_p, random_gamma_grad as _random_gamma_grad, random_gamma_grad_p,
    regularized_incomplete_beta_p, zeta as _zeta, zeta_p,
)  # fmt: skip
from funcgrad.primitives.window import (
    reduce_window as _reduce_window, reduce_window_max_p, reduce_window_min_p,
)  # fmt: skip
from funcgrad.primitives.windowing import (
    padtype_to_pads as _padtype_to_pads,
)  # fmt: skip

abs = _public(_abs)
acos = _public(_acos)
acosh = _public(_acosh)
add = _public(_add)
approx_max_k = _public(_approx_max_k)
approx_min_k = _public(_approx_min_k)
argmax = _public(_argmax)
argmin = _public(_argmin)
asin = _public(_asin)
asinh = _public(_asinh)
atan = _public(_atan)
atan2 = _public(_atan2)
atanh = _public(_atanh)
batch_matmul = _public(_batch_matmul)
bessel_i0e = _public(_bessel_i0e)
bessel_i1e = _public(_bessel_i1e)
bitcast_convert_type = _public(_bitcast_convert_type)
bitwise_and = _public(_bitwise_and)
bitwise_not = _public(_bitwise_not)
bitwise_or = _public(_bitwise_or)
bitwise_xor = _public(_bitwise_xor)
broadcast = _public(_broadcast)
broadcast_in_dim = _public(_broadcast_in_dim)
broadcast_shapes = _public(_broadcast_shapes)
broadcasted_iota = _public(_broadcasted_iota)
cbrt = _public(_cbrt)
ceil = _public(_ceil)
clamp = _public(_clamp)
clz = _public(_clz)
collapse = _public(_collapse)
complex = _public(_complex)
concatenate = _public(_concatenate)
conj = _public(_conj)
conv = _public(_conv)
conv_dimension_numbers = _public(_conv_dimension_numbers)
conv_general_dilated = _public(_conv_general_dilated)
conv_general_dilated_patches = _public(_conv_general_dilated_patches)
conv_transpose = _public(_conv_transpose)
conv_with_general_padding = _public(_conv_with_general_padding)
convert_element_type = _public(_convert_element_type)
cos = _public(_cos)
cosh = _public(_cosh)
cumlogsumexp = _public(_cumlogsumexp)
cummax = _public(_cummax)
cummin = _public(_cummin)
cumprod = _public(_cumprod)
cumsum = _public(_cumsum)
digamma = _public(_digamma)
div = _public(_div)
dot = _public(_dot)
dot_general = _public(_dot_general)
dynamic_index_in_dim = _public(_dynamic_index_in_dim)
dynamic_slice = _public(_dynamic_slice)
dynamic_slice_in_dim = _public(_dynamic_slice_in_dim)
dynamic_update_index_in_dim = _public(_dynamic_update_index_in_dim)
dynamic_update_slice = _public(_dynamic_update_slice)
dynamic_update_slice_in_dim = _public(_dynamic_update_slice_in_dim)
eq = _public(_eq)
erf = _public(_erf)
erf_inv = _public(_erf_inv)
erfc = _public(_erfc)
exp = _public(_exp)
exp2 = _public(_exp2)
expand_dims = _public(_expand_dims)
expm1 = _public(_expm1)
floor = _public(_floor)
full = _public(_full)
gather = _public(_gather)
ge = _public(_ge)
gt = _public(_gt)
igamma = _public(_igamma)
igamma_grad_a = _public(_igamma_grad_a)
igammac = _public(_igammac)
imag = _public(_imag)
index_in_dim = _public(_index_in_dim)
integer_pow = _public(_integer_pow)
iota = _public(_iota)
is_finite = _public(_is_finite)
le = _public(_le)
lgamma = _public(_lgamma)
log = _public(_log)
log1p = _public(_log1p)
logistic = _public(_logistic)
lt = _public(_lt)
max = _public(_max)
min = _public(_min)
mul = _public(_mul)
ne = _public(_ne)
neg = _public(_neg)
nextafter = _public(_nextafter)
pad = _public(_pad)
padtype_to_pads = _public(_padtype_to_pads)
polygamma = _public(_polygamma)
population_count = _public(_population_count)
pow = _public(_pow)
random_gamma_grad = _public(_random_gamma_grad)
real = _public(_real)
reduce_and = _public(_reduce_and)
reduce_max = _public(_reduce_max)
reduce_min = _public(_reduce_min)
reduce_or = _public(_reduce_or)
reduce_precision = _public(_reduce_precision)
reduce_prod = _public(_reduce_prod)
reduce_sum = _public(_reduce_sum)
reduce_window = _public(_reduce_window)
reduce_xor = _public(_reduce_xor)
rem = _public(_rem)
reshape = _public(_reshape)
rev = _public(_rev)
round = _public(_round)
rsqrt = _public(_rsqrt)
scatter = _public(_scatter)
scatter_add = _public(_scatter_add)
scatter_max = _public(_scatter_max)
scatter_min = _public(_scatter_min)
scatter_mul = _public(_scatter_mul)
scatter_sub = _public(_scatter_sub)
select = _public(_select)
select_n = _public(_select_n)
shift_left = _public(_shift_left)
shift_right_arithmetic = _public(_shift_right_arithmetic)
shift_right_logical = _public(_shift_right_logical)
sign = _public(_sign)
sin = _public(_sin)
sinh = _public(_sinh)
slice = _public(_slice)
slice_in_dim = _public(_slice_in_dim)
sort = _public(_sort)
sort_key_val = _public(_sort_key_val)
split = _public(_split)
sqrt = _public(_sqrt)
square = _public(_square)
squeeze = _public(_squeeze)
stop_gradient = _public(_stop_gradient)
sub = _public(_sub)
tan = _public(_tan)
tanh = _public(_tanh)
top_k = _public(_top_k)
transpose = _public(_transpose)
with_sharding_constraint = _public(_with_sharding_constraint)
zeta = _public(_zeta)

__all__ = [
    "ConvDimensionNumbers", "DotDimensionNumbers", "GatherDimensionNumbers", "GatherScatterMode",
    "Precision", "RoundingMethod", "ScatterDimensionNumbers", "abs", "abs_p", "acos", "acos_p",
    "acosh", "acosh_p", "add", "add_p", "all_gather", "all_to_all", "and_p", "approx_max_k",
    "approx_min_k", "argmax", "argmax_p", "argmin", "argmin_p", "asin", "asin_p", "asinh",
    "asinh_p", "associative_scan", "atan", "atan2", "atan2_p", "atan_p", "atanh", "atanh_p",
    "axis_index", "axis_size", "batch_matmul", "bessel_i0e", "bessel_i0e_p", "bessel_i1e",
    "bessel_i1e_p", "betainc", "bitcast_convert_type", "bitcast_convert_type_p", "bitwise_and",
    "bitwise_not", "bitwise_or", "bitwise_xor", "broadcast", "broadcast_in_dim",
    "broadcast_in_dim_p", "broadcast_shapes", "broadcasted_iota", "cbrt", "cbrt_p", "ceil",
    "ceil_p", "cholesky_p", "clamp", "clamp_p", "clz", "clz_p", "collapse", "complex",
    "complex_p", "concatenate", "concatenate_p", "cond", "conj", "conj_p", "conv",
    "conv_dimension_numbers", "conv_general_dilated", "conv_general_dilated_p",
    "conv_general_dilated_patches", "conv_transpose", "conv_with_general_padding",
    "convert_element_type", "convert_element_type_p", "copy_p", "cos", "cos_p", "cosh", "cosh_p",
    "cumlogsumexp", "cumlogsumexp_p", "cummax", "cummax_p", "cummin", "cummin_p", "cumprod",
    "cumprod_p", "cumsum", "cumsum_p", "custom_linear_solve", "custom_root", "digamma",
    "digamma_p", "div", "div_p", "dot", "dot_general", "dot_general_p", "dynamic_index_in_dim",
    "dynamic_slice", "dynamic_slice_in_dim", "dynamic_slice_p", "dynamic_update_index_in_dim",
    "dynamic_update_slice", "dynamic_update_slice_in_dim", "dynamic_update_slice_p", "eig_p",
    "eigh_p", "eq", "eq_p", "erf", "erf_inv", "erf_inv_p", "erf_p", "erfc", "erfc_p", "exp",
    "exp2", "exp2_p", "exp_p", "expand_dims", "expm1", "expm1_p", "floor", "floor_p", "fori_loop",
    "full", "gather", "gather_p", "ge", "ge_p", "gt", "gt_p", "igamma", "igamma_grad_a",
    "igamma_grad_a_p", "igamma_p", "igammac", "igammac_p", "imag", "imag_p", "index_in_dim",
    "integer_pow", "integer_pow_p", "iota", "iota_p", "is_finite", "is_finite_p", "le", "le_p",
    "lgamma", "lgamma_p", "linear_solve_p", "log", "log1p", "log1p_p", "log_p", "logistic",
    "logistic_p", "lt", "lt_p", "lu_p", "lu_pivots_to_permutation_p", "map", "max", "max_p",
    "min", "min_p", "mul", "mul_p", "ne", "ne_p", "neg", "neg_p", "nextafter", "nextafter_p",
    "not_p", "optimization_barrier", "or_p", "pad", "pad_p", "padtype_to_pads", "pmax", "pmean",
    "pmin", "polygamma", "polygamma_p", "population_count", "population_count_p", "pow", "pow_p",
    "ppermute", "pshuffle", "psum", "psum_scatter", "qr_p", "random_bits_p", "random_clone_p",
    "random_fold_in_p", "random_gamma_grad", "random_gamma_grad_p", "random_gamma_p",
    "random_seed_p", "random_split_p", "random_unwrap_p", "random_wrap_p", "real", "real_p",
    "reduce", "reduce_and", "reduce_and_p", "reduce_max", "reduce_max_p", "reduce_min",
    "reduce_min_p", "reduce_or", "reduce_or_p", "reduce_precision", "reduce_precision_p",
    "reduce_prod", "reduce_prod_p", "reduce_sum", "reduce_sum_p", "reduce_window",
    "reduce_window_max_p", "reduce_window_min_p", "reduce_xor", "reduce_xor_p",
    "regularized_incomplete_beta_p", "relu_p", "rem", "rem_p", "reshape", "reshape_p", "rev",
    "rev_p", "round", "round_p", "rsqrt", "rsqrt_p", "scan", "scatter", "scatter_add",
    "scatter_add_p", "scatter_max", "scatter_max_p", "scatter_min", "scatter_min_p",
    "scatter_mul", "scatter_mul_p", "scatter_p", "scatter_sub", "scatter_sub_p", "select",
    "select_n", "select_n_p", "shift_left", "shift_left_p", "shift_right_arithmetic",
    "shift_right_arithmetic_p", "shift_right_logical", "shift_right_logical_p", "sign", "sign_p",
    "sin", "sin_p", "sinh", "sinh_p", "slice", "slice_in_dim", "slice_p", "sort", "sort_key_val",
    "sort_p", "split", "split_p", "sqrt", "sqrt_p", "square", "square_p", "squeeze", "squeeze_p",
    "stop_gradient", "stop_gradient_p", "sub", "sub_p", "svd_p", "switch", "tan", "tan_p", "tanh",
    "tanh_p", "threefry2x32_p", "top_k", "top_k_p", "transpose", "transpose_p",
    "triangular_solve_p", "while_loop", "with_sharding_constraint", "xor_p", "zeta", "zeta_p",
]  # fmt: skip
