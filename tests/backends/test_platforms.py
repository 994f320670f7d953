"""Code for other machines, made on this one: it is emitted, nobody is missing, and the linker of
its system can place it. That it also runs is the business of a machine of that kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.backends.llvm import crew, elf, engine, target
from funcgrad.backends.llvm.assembly import Assembly
from funcgrad.backends.llvm.builder import Module
from funcgrad.backends.llvm.direct import exported
from funcgrad.backends.llvm.dispatch import emit_dispatcher
from funcgrad.backends.llvm.gemm_plan import most_rows
from funcgrad.backends.llvm.narrow import has_float16
from funcgrad.backends.llvm.objects import Offsets
from funcgrad.backends.llvm.target import Target
from funcgrad.compiler.pipeline import prepared
from funcgrad.config import config

binding = pytest.importorskip("llvmlite.binding")

AVX2 = ("x86-64-v3", "", 32)
MACHINES = {
    "linux-x86": Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 64),
    "linux-sse": Target("x86_64-unknown-linux-gnu", "x86-64-v2", "", 16, fma=False),
    "linux-arm": Target("aarch64-unknown-linux-gnu", "neoverse-n1", "", 16),
    "macos-x86": Target("x86_64-apple-darwin23.0", *AVX2),
    "macos-arm": Target("arm64-apple-darwin23.0", "apple-m1", "", 16),
    "windows-x86": Target("x86_64-pc-windows-msvc", *AVX2),
    "windows-arm": Target("aarch64-pc-windows-msvc", "generic", "", 16),
}
MAGIC = {
    "linux-x86": b"\x7fELF\2\1\1", "linux-sse": b"\x7fELF\2\1\1", "linux-arm": b"\x7fELF\2\1\1",
    "macos-x86": b"\xcf\xfa\xed\xfe\7\0\0\1", "macos-arm": b"\xcf\xfa\xed\xfe\x0c\0\0\1",
    "windows-x86": b"\x64\x86", "windows-arm": b"\x64\xaa",
}  # fmt: skip
# What every process has: C's memory functions, and on Windows the check of large stack frames.
COMMON = {"memcpy", "memmove", "memset"}
PRESENT = {
    "linux": COMMON,
    "macos": COMMON | {"bzero", "__bzero"},
    "windows": COMMON | {"__chkstk"},
}

F32 = np.ones((6, 40), np.float32)
IMAGES = np.ones((2, 8, 8, 4), np.float32)
NHWC = ("NHWC", "HWIO", "NHWC")


def convolved(x, w):
    return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC)


def stepped(x):
    return lax.scan(lambda c, y: (jnp.tanh(c + y), c), jnp.zeros(40, jnp.float32), x)


PROGRAMS = {
    "functions": (lambda x: jnp.tanh(x) + jnp.sin(x) * jnp.exp(x), F32),
    "softmax": (lambda x: jnp.exp(x) / jnp.exp(x).sum(1, keepdims=True), F32),
    "product": (lambda x: jnp.maximum(x @ x.T, 0), np.ones((130, 70), np.float32)),
    "convolution": (convolved, IMAGES, np.ones((3, 3, 4, 8), np.float32)),
    "scan": (stepped, F32),
    "sort": (lambda x: jnp.sort(x, axis=0), F32),
    "half": (lambda x: jnp.exp(x) + x, F32.astype(np.float16)),
    "complex": (lambda x: jnp.exp(x) / x, F32.astype(np.complex64)),
    "integers": (lambda x, y: x // y + x % y, np.ones(55, np.int32), np.ones(55, np.int32)),
    "gather": (lambda x, i: x[i], F32, np.zeros(9, np.int32)),
}  # fmt: skip


def require(machine: Target) -> None:
    """Skip the test unless this LLVM has code for the machine."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    try:
        binding.Target.from_triple(machine.triple)
    except RuntimeError:
        pytest.skip("this LLVM is built without that processor")


@pytest.fixture(scope="module", params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> str:
    """A machine that this LLVM has code for."""
    require(MACHINES[request.param])
    return request.param


def text_of(name: str, machine: Target) -> str:
    function, *args = PROGRAMS[name]
    program = prepared(fg.make_jaxpr(function)(*args))
    made = Assembly(program, (False,) * len(program.args), machine)
    assert all(isinstance(part, str) for part in made.recipe.parts), "all of it is native"
    return made.text


def check(text: str, name: str) -> None:
    """It is an object file of that system, and what it calls is there."""
    machine = MACHINES[name]
    assert engine.object_code(text, machine).startswith(MAGIC[name])
    system, processor = name.split("-")
    missing = set(called(engine.assembly(text, machine), processor == "arm", system == "macos"))
    assert missing <= PRESENT[system]


def called(assembly: str, arm: bool, underscore: bool) -> Iterator[str]:
    """Functions that the assembly refers to without having them."""
    calls = r"\s(?:bl|b)\s+(NAME)|(NAME)@GOTPAGE\b" if arm else r"[\s,]\$(NAME)|\scallq\s+(NAME)"
    reference = calls.replace("NAME", r"[A-Za-z_][\w$.]*(?:@[0-9a-f]+)?")
    own = set(re.findall(r"^([^\s:]+):", assembly, re.MULTILINE))
    for found in re.finditer(reference, assembly):
        symbol = next(filter(None, found.groups()))
        if symbol not in own and symbol != "_GLOBAL_OFFSET_TABLE_":
            yield symbol.removeprefix("_") if underscore else symbol


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_programs(machine: str, name: str) -> None:
    check(text_of(name, MACHINES[machine]), machine)


def test_what_all_programs_share(machine: str) -> None:
    for emit in (crew.emit_crew, lambda module: emit_dispatcher(module, Offsets(16, 24, 32, 80))):
        module = Module(MACHINES[machine])
        names = emit(module)
        check(exported(module.text().replace(" noalias", ""), names), machine)


def test_a_missing_function_is_seen(machine: str) -> None:
    text = "declare double @nobody(double)\n" + (
        "define double @f(double %x) {\n  %y = call double @nobody(double %x)\n"
        "  %z = fadd double %y, 1.0\n  ret double %z\n}\n"
    )
    with pytest.raises(AssertionError, match="nobody"):
        check(text, machine)


def test_code_for_arm_reaches_everything() -> None:
    """LLVM's linker may put tables gigabytes from code: addresses are written out, not relative."""
    require(MACHINES["linux-arm"])
    found = engine.assembly(text_of("complex", MACHINES["linux-arm"]), MACHINES["linux-arm"])
    assert "movk" in found
    assert "adrp" not in found


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_what_is_known_of_machines(name: str) -> None:
    machine = MACHINES[name]
    assert (machine.is_arm, machine.is_x86) == (name.endswith("arm"), not name.endswith("arm"))
    assert has_float16(machine) == (name != "linux-sse")
    registers = 32 if machine.is_arm or name == "linux-x86" else 16
    assert most_rows(1, machine) == registers - (2 if machine.fma else 3)


@pytest.mark.parametrize(
    ("triple", "features", "level"),
    [
        ("arm64-apple-darwin23.0", {"neon": True}, "neon"),
        ("aarch64-pc-windows-msvc", {}, "neon"),
        ("x86_64-apple-darwin23.0", {"avx2": False, "sse4.2": True}, "sse"),
        ("x86_64-pc-windows-msvc", {"avx2": True, "fma": True}, "avx2"),
        ("x86_64-pc-windows-msvc", dict.fromkeys(("avx512f", "avx512bw"), True), "sse"),
    ],
)
def test_levels_of_processes(triple: str, features: dict[str, bool], level: str) -> None:
    assert target._best(triple, features) == level


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_code_is_found_again_without_our_linker(system, tmp_path, monkeypatch) -> None:
    """Where object files are not those of Linux, LLVM links what is on disk."""
    monkeypatch.setattr(elf, "PLATFORM", False)
    monkeypatch.setattr(elf, "Object", None)
    x = np.linspace(-2, 2, 37, dtype=np.float32)
    where = config.override(
        engine="llvm", enable_compilation_cache=True, cache_dir=str(tmp_path / system)
    )
    with where:
        first = np.asarray(fg.jit(lambda x: jnp.tanh(x) * 3)(x))
        monkeypatch.setattr(engine, "object_code", None)
        again = np.asarray(fg.jit(lambda x: jnp.tanh(x) * 3)(x))
    assert first.tobytes() == again.tobytes()
