"""The machine that code is made for: its name, features and the width of its vectors."""

from __future__ import annotations

import functools
import os
import platform
from typing import Any, NamedTuple

from funcgrad.util import optional


class Target(NamedTuple):
    """`vector_bytes` is the width of a register; `fma` says whether products and sums fuse in
    hardware.
    """

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    fma: bool = True

    def lanes(self, itemsize: int) -> int:
        """How many numbers of that size fit into a register."""
        return max(self.vector_bytes // itemsize, 1)

    @property
    def attributes(self) -> str:
        """What every function says of itself."""
        width = f'"prefer-vector-width"="{8 * self.vector_bytes}"'
        return f'nounwind {width} "no-trapping-math"="true"'


LEVELS = ("avx512", "avx2", "sse", "neon")
X86_64 = ("x86_64", "amd64")


def llvm() -> Any:
    """llvmlite's binding, loaded when the first program is compiled; None where it is missing."""
    return optional("llvmlite.binding")


@functools.lru_cache(maxsize=8)
def host(level: str | None = None) -> Target:
    """The machine that we run on, or a lower level of it (`avx2`, `sse`), for tests."""
    binding = llvm()
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = dict(binding.get_host_cpu_features())
    level = level or os.environ.get("FUNCGRAD_TARGET") or _best(features)
    triple = binding.get_process_triple()
    if level == "neon":
        return Target(triple, binding.get_host_cpu_name(), _listed(features), 16)
    if level == "avx512":
        return Target(triple, binding.get_host_cpu_name(), _listed(features), 64)
    if level == "avx2":
        kept = {n: on and not n.startswith(("avx512", "avx10")) for n, on in features.items()}
        return Target(triple, "x86-64-v3", _listed({**kept, "fma": True, "f16c": True}), 32)
    if level == "sse":
        return Target(triple, "x86-64-v2", "", 16, fma=False)
    raise ValueError(f"FUNCGRAD_TARGET: needs one of {', '.join(LEVELS)}, but got {level!r}.")


def _best(features: dict[str, bool]) -> str:
    if platform.machine().lower() not in X86_64:
        return "neon"
    wide = all(features.get(n) for n in ("avx512f", "avx512bw", "avx512dq", "avx512vl"))
    return "avx512" if wide else "avx2" if features.get("avx2") and features.get("fma") else "sse"


def _listed(features: dict[str, bool]) -> str:
    return ",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(features.items()))
