"""Rows for special functions, away from poles and from where a difference quotient loses its
digits.

Derivatives in some operands are refused on purpose; test_special.py has those operands in which
there is one.
"""

from funcgrad.primitives.activation import relu_p
from funcgrad.primitives.special import functions as f
from tests.primitives.cases import Case, distinct, exactly, normal, positive, uniform

REFUSED = "has no derivative in one of its operands"
ONE_OPERAND_ONLY = dict.fromkeys(("derivative", "transpose", "second"), REFUSED)
FIRST_ONLY = {"second": "its derivative in the parameter has none"}

CASES = [
    *(
        Case(p, [make])
        for p, makers in (
            (f.erf_p, (normal(3, 4), normal(4, dtype="bfloat16"), normal(dtype="float64"))),
            (f.erfc_p, (normal(3, 4), normal(4, dtype="float16"), normal(0, 2))),
            (f.erf_inv_p, (uniform(-0.9, 0.9, 3, 4), uniform(-0.9, 0.9, 4, dtype="bfloat16"))),
            (f.lgamma_p, (positive(3, 4), uniform(-1.8, -1.2, 5), positive(4, dtype="bfloat16"))),
            (f.digamma_p, (positive(3, 4), uniform(-1.8, -1.2, 5), positive(4, dtype="float16"))),
            (f.bessel_i0e_p, (distinct(3, 4), uniform(8.5, 20, 5), normal(4, dtype="bfloat16"))),
            (f.bessel_i1e_p, (distinct(3, 4), uniform(-20, -8.5, 5), normal(4, dtype="float16"))),
        )
        for make in makers
    ),
    Case(relu_p, [normal(3, 4)]),
    Case(relu_p, [exactly([-2, 0, 3], "int8")]),
    Case(relu_p, [normal(5, dtype="bfloat16")]),
    Case(f.polygamma_p, [exactly([0.0, 1, 2, 3], "float32"), positive(4)], skip=ONE_OPERAND_ONLY),
    Case(f.zeta_p, [uniform(1.5, 4, 3), positive(3)], skip=ONE_OPERAND_ONLY),
    *(
        Case(p, args, skip=FIRST_ONLY)
        for p in (f.igamma_p, f.igammac_p)
        for args in (
            [positive(3, 4), positive(3, 4)],
            [uniform(3, 9, 5), uniform(1, 20, 5)],
            [positive(4, dtype="bfloat16"), positive(4, dtype="bfloat16")],
        )
    ),
    *(
        Case(p, [positive(4), uniform(0.1, 6, 4)], skip=ONE_OPERAND_ONLY)
        for p in (f.igamma_grad_a_p, f.random_gamma_grad_p)
    ),
    Case(
        f.regularized_incomplete_beta_p,
        [positive(5), positive(5), uniform(0, 1, 5)],
        skip=ONE_OPERAND_ONLY,
    ),
]
