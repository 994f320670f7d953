"""The threads of this process that help with large kernels, and how many there are to be.

Workers are threads of Python that spend their lives in native code, without the interpreter's
lock; they sleep on Python's own locks, which are the same everywhere.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
import threading
from typing import Any

import numpy as np

from funcgrad.backends.llvm import crew
from funcgrad.backends.llvm.builder import Module
from funcgrad.backends.llvm.engine import compiled, linker
from funcgrad.backends.llvm.objects import function, keep_forever
from funcgrad.backends.llvm.target import host
from funcgrad.config import State, config

MOST = 64  # threads
STACK = 1 << 23  # bytes of a worker's stack: kernels keep small buffers there

_words = np.zeros(crew.WORKERS + crew.LINE * MOST + crew.LINE, np.int64)
RECORD = _words[-_words.ctypes.data % 64 // 8 :]  # begins at a line of the cache
ADDRESS = RECORD.ctypes.data
_lock = threading.Lock()
_wanted = 1
_started = 1  # the program's own thread counts
_needed = False  # has there been a program that is worth several threads?


def available() -> int:
    """The cores that this process may use, or fewer if OMP_NUM_THREADS says so."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    said = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(cores, int(said)) if said.isdigit() and int(said) > 0 else cores


def in_use() -> int:
    """How many threads run large kernels at the moment."""
    return int(RECORD[crew.THREADS])


def ready() -> None:
    """Starts workers, if there are to be some; called when a program that may need them is made.
    The process may use other cores than it did before.
    """
    global _needed
    _needed = True
    _want(config.current())
    if _started < _wanted:
        with _lock:
            _start()


def _start() -> None:
    global _started
    code = _code()
    RECORD[crew.RUN] = code.addresses["run_parts"]
    work = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(code.addresses["work"])
    before = threading.stack_size(STACK)
    try:
        while _started < _wanted:
            RECORD[_line(_started) + crew.LOCK] = _new_lock()
            name = f"funcgrad-{_started}"
            arguments = ADDRESS, _started
            threading.Thread(target=work, args=arguments, name=name, daemon=True).start()
            _started += 1
    except RuntimeError:  # the system has no more, or the interpreter is at its end
        pass
    finally:
        threading.stack_size(before)
    RECORD[crew.THREADS] = min(_wanted, _started)


def _line(worker: int) -> int:
    return crew.WORKERS + crew.LINE * worker


@functools.lru_cache(maxsize=1)
def _code() -> Any:
    target = host()
    module = Module(target)
    names = crew.emit_crew(module)
    text = module.text().replace(" noalias", "")  # other threads write to the record
    for name in names:
        text = text.replace(f"internal void @{name}(", f"void @{name}(")
    code = compiled(text, names, target)
    keep_forever(code, linker(target), _words)
    functions = {
        crew.ACQUIRE: "PyThread_acquire_lock",
        crew.RELEASE: "PyThread_release_lock",
        crew.NAP: "PyThread_acquire_lock_timed",
        crew.MALLOC: "PyMem_RawMalloc",
        crew.FREE: "PyMem_RawFree",
    }
    for n, name in functions.items():
        RECORD[n] = function(name)
    RECORD[crew.NAPPING] = _new_lock()
    return code


def _new_lock() -> int:
    """A lock that is taken."""
    allocate, acquire = (
        ctypes.pythonapi.PyThread_allocate_lock,
        ctypes.pythonapi.PyThread_acquire_lock,
    )
    allocate.restype, allocate.argtypes = ctypes.c_void_p, []
    acquire.restype, acquire.argtypes = ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]
    lock = allocate()
    acquire(lock, 1)
    return lock


def _on_settings(state: State) -> None:
    """Fewer threads at once, and more if there are programs that need them."""
    _want(state)
    if _wanted > _started and _needed:
        with _lock:
            _start()


def _want(state: State) -> None:
    global _wanted
    supported = platform.python_implementation() == "CPython" and sys.maxsize > 2**32
    _wanted = min(state.num_threads or available(), MOST) if supported else 1
    RECORD[crew.THREADS] = min(_wanted, _started)


def _after_fork() -> None:
    """A child has none of its parent's workers: it begins with one thread, and starts its own."""
    global _started, _lock
    _lock, _started = threading.Lock(), 1
    RECORD[crew.THREADS] = 1
    RECORD[crew.LINE : crew.WORKERS] = 0
    RECORD[crew.WORKERS :] = 0
    if RECORD[crew.NAPPING]:
        RECORD[crew.NAPPING] = _new_lock()


RECORD[crew.THREADS] = 1
config.observe(_on_settings)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
