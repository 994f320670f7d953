"""Rows for random keys and bits. Operands that are keys cannot be drawn as numbers: for these
primitives the laws are checked in test_bits.py.
"""

from funcgrad.primitives import bits as b
from funcgrad.primitives.random_gamma import random_gamma_p
from tests.primitives.cases import Case, integers, positive

LAWS = ("abstract", "stage", "jit", "value", "derivative", "transpose", "second", "batch", "loops")
IN_TEST_BITS = dict.fromkeys(LAWS, "its operand is a key: test_bits.py")
NO_JIT = {"jit": "its result is a key: test_bits.py", "stage": "its result is a key: test_bits.py"}

WORDS = integers(0, 1 << 32, 3, 2, dtype="uint32")

CASES = [
    Case(b.random_seed_p, [integers(-5, 5, 4)], {"impl": "fry"}, skip=NO_JIT),
    Case(b.random_seed_p, [integers(0, 1 << 40, 4, dtype="int64")], {"impl": "fry"}, skip=NO_JIT),
    Case(b.random_wrap_p, [WORDS], {"impl": "fry"}, skip=NO_JIT),
    Case(b.random_unwrap_p, [WORDS], skip=IN_TEST_BITS),
    Case(b.random_clone_p, [WORDS], skip=IN_TEST_BITS),
    Case(b.random_split_p, [WORDS], {"shape": (2,)}, skip=IN_TEST_BITS),
    Case(b.random_fold_in_p, [WORDS, integers(0, 9, 3, dtype="uint32")], skip=IN_TEST_BITS),
    Case(b.random_bits_p, [WORDS], {"bit_width": 32, "shape": (2,)}, skip=IN_TEST_BITS),
    Case(random_gamma_p, [WORDS, positive(3)], {"log_space": False}, skip=IN_TEST_BITS),
    *(
        Case(
            b.threefry2x32_p,
            [integers(0, 1 << 32, *shape, dtype="uint32") for shape in shapes],
            skip={"loops": "it has two results: test_bits.py runs its scalar rule"},
        )
        for shapes in (((20,),) * 4, ((), (), (3,), (3,)), ((2, 3), (), (2, 3), ()), ((0,),) * 4)
    ),
]
