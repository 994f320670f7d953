"""The machine that code is made for: its name, features and the width of its vectors."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from typing import Any, NamedTuple

from funcgrad.backends.llvm import cache
from funcgrad.util import optional


class Target(NamedTuple):
    """`vector_bytes` is the width of a register; `fma` says whether products and sums fuse in
    hardware; `compiler` are the versions of what makes the code.
    """

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    fma: bool = True
    compiler: str = ""

    def lanes(self, itemsize: int) -> int:
        """How many numbers of that size fit into a register."""
        return max(self.vector_bytes // itemsize, 1)

    @property
    def is_arm(self) -> bool:
        """An ARM processor of 64 bits, whatever the system calls it."""
        return self.triple.startswith(("aarch64", "arm64"))

    @property
    def is_x86(self) -> bool:
        """An x86 processor of 64 bits."""
        return self.triple.startswith(X86_64)

    @property
    def attributes(self) -> str:
        """What every function says of itself."""
        width = f'"prefer-vector-width"="{8 * self.vector_bytes}"'
        return f'nounwind {width} "no-trapping-math"="true"'


LEVELS = ("avx512", "avx2", "sse", "neon")
FORMAT = 1  # of what is kept of a machine
PROCESSOR = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
X86_64 = ("x86_64", "amd64")


@functools.lru_cache(maxsize=1)
def llvm() -> Any:
    """llvmlite's binding, loaded when the first program is compiled."""
    binding = optional("llvmlite.binding")
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding


@functools.lru_cache(maxsize=8)
def host(level: str | None = None) -> Target:
    """The machine that we run on, or a lower level of it (`avx2`, `sse`), for tests."""
    level = level or os.environ.get("FUNCGRAD_TARGET")
    key = cache.key_of(("machine", FORMAT, level, *described())) if described() else ""
    kept = cache.get(key) if key else None
    if kept is not None:
        return Target(*json.loads(kept))
    found = _detected(level)._replace(compiler=_versions())
    if key:
        cache.put(key, json.dumps(found).encode())
    return found


def _versions() -> str:
    return f"llvmlite {optional('llvmlite').__version__}, LLVM {llvm().llvm_version_info}"


@functools.lru_cache(maxsize=1)
def described() -> tuple[object, ...]:
    """What the system says of the processor, and the state of llvmlite's files and of this one:
    enough to know a target again without loading LLVM. Nothing where the system does not say it.
    """
    try:
        with open("/proc/cpuinfo") as file:
            first = file.read(1 << 14).partition("\n\n")[0]
        spec = importlib.util.find_spec("llvmlite")
        if spec is None or spec.origin is None:
            return ()
        binding = os.path.join(os.path.dirname(spec.origin), "binding")
        files = [os.stat(path) for path in (spec.origin, binding, __file__)]
    except (OSError, ValueError):
        return ()
    lines = dict(line.split("\t", 1) for line in first.splitlines() if "\t" in line)
    if "flags" not in lines:
        return ()
    said = [lines.get(name) for name in PROCESSOR]
    return (*said, spec.origin, *((f.st_mtime_ns, f.st_size) for f in files))


def _detected(level: str | None) -> Target:
    binding = llvm()
    features = dict(binding.get_host_cpu_features())
    triple = binding.get_process_triple()
    level = level or _best(triple, features)
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


def _best(triple: str, features: dict[str, bool]) -> str:
    """By the process, not by the machine, which may run code of another kind of processor."""
    if not triple.startswith(X86_64):
        return "neon"
    wide = all(features.get(n) for n in ("avx512f", "avx512bw", "avx512dq", "avx512vl"))
    return "avx512" if wide else "avx2" if features.get("avx2") and features.get("fma") else "sse"


def _listed(features: dict[str, bool]) -> str:
    return ",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(features.items()))
