"""Native code on disk: found again, never trusted, never in the way."""

import ctypes
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.backends.llvm import assembly, cache, canonical, elf, engine, recipe, target
from funcgrad.backends.llvm.target import host
from funcgrad.config import config
from funcgrad.core.primitive import Primitive

KEY = cache.key_of(["an entry"])
modes_matter = pytest.mark.skipif(os.name == "nt", reason="folders have no modes")


@pytest.fixture
def loaded_now(monkeypatch):
    """Whoever edits the compiler while tests run does not change what they say."""
    compiler = recipe.compiler
    compiler.cache_clear()
    monkeypatch.setattr(recipe, "LOADED", time.time_ns() + 10**12)
    yield
    compiler.cache_clear()


@pytest.fixture
def folder(tmp_path, loaded_now):
    """A cache of its own, switched on."""
    where = tmp_path / "cache"
    with config.override(enable_compilation_cache=True, cache_dir=str(where)):
        yield where


def files(folder):
    return sorted(folder.glob("*")) if folder.exists() else []


# ---- entries
# -------------------------------------------------------------------------------------


def test_what_is_put_is_got(folder):
    assert cache.get(KEY) is None
    cache.put(KEY, b"code")
    assert cache.get(KEY) == b"code"
    assert [f.suffix for f in files(folder)] == [cache.SUFFIX]


@modes_matter
def test_only_the_owner_can_read_and_write(folder):
    cache.put(KEY, b"code")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(files(folder)[0].stat().st_mode) == 0o600


def test_keys_tell_parts_apart():
    keys = {cache.key_of(parts) for parts in (["ab", "c"], ["a", "bc"], ["abc"], ["ab", "c", ""])}
    assert len(keys) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: b"\x7fELF" + data,
        lambda data: cache.sealed("another key", b"code"),
    ],
    ids=["empty", "cut", "longer", "flipped", "magic", "foreign", "renamed"],
)
def test_a_damaged_entry_is_not_there(folder, damage):
    cache.put(KEY, b"code")
    (file,) = files(folder)
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get(KEY) is None
    cache.put(KEY, b"code")
    assert cache.get(KEY) == b"code"


def test_a_folder_in_place_of_an_entry(folder):
    cache.put(KEY, b"code")
    (file,) = files(folder)
    file.unlink()
    file.mkdir()
    assert cache.get(KEY) is None
    cache.put(KEY, b"code")
    assert files(folder) == [file], "the unfinished file is removed"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("make", [os.mkdir, getattr(os, "mkfifo", None)], ids=["folder", "pipe"])
def test_what_is_no_file_neither_blocks_nor_leaks(folder, make):
    cache.put(KEY, b"code")
    (file,) = files(folder)
    file.unlink()
    make(file)
    before = os.dup(0)
    os.close(before)
    assert [cache.get(KEY) for _ in range(3)] == [None] * 3
    after = os.dup(0)
    os.close(after)
    assert after == before, "descriptors stay open"


def test_switched_off(folder):
    with config.override(enable_compilation_cache=False):
        cache.put(KEY, b"code")
        assert not files(folder)
    cache.put(KEY, b"code")
    with config.override(enable_compilation_cache=False):
        assert cache.get(KEY) is None


def test_clear_cache_leaves_what_is_not_ours(folder):
    cache.put(KEY, b"code")
    (folder / "notes.txt").write_text("mine")
    fg.clear_cache()
    assert [f.name for f in files(folder)] == ["notes.txt"]
    fg.clear_cache()


# ---- whom to trust
# -----------------------------------------------------------------------------------


@modes_matter
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_can_write_is_not_used(folder, mode):
    cache.put(KEY, b"code")
    folder.chmod(mode)
    assert cache.get(KEY) is None
    cache.put(cache.key_of(["other"]), b"code")
    assert len(files(folder)) == 1


@modes_matter
def test_an_entry_that_others_can_write_is_not_used(folder):
    cache.put(KEY, b"code")
    files(folder)[0].chmod(0o666)
    assert cache.get(KEY) is None


@modes_matter
def test_somebody_elses_folder_is_not_used(folder, monkeypatch):
    cache.put(KEY, b"code")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert cache.get(KEY) is None


@modes_matter
def test_links_are_not_followed(folder, tmp_path):
    cache.put(KEY, b"code")
    (file,) = files(folder)
    outside = tmp_path / "outside"
    file.rename(outside)
    file.symlink_to(outside)
    assert cache.get(KEY) is None
    file.unlink()
    outside.rename(file)
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    with config.override(cache_dir=str(linked)):
        assert cache.get(KEY) is None
    assert cache.get(KEY) == b"code"


def test_a_place_that_cannot_be_a_folder(folder, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for where in (file, str(file / "below"), str(file) + "\0"):
        with config.override(cache_dir=where):
            cache.put(KEY, b"code")
            assert cache.get(KEY) is None
            fg.clear_cache()


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/caches"}, "/caches/funcgrad"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/funcgrad"),
        ("linux", {}, "/home/me/.cache/funcgrad"),
        ("darwin", {}, "/home/me/Library/Caches/funcgrad"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/funcgrad"),
    ],
)
@modes_matter
def test_location_by_platform(monkeypatch, platform, variables, expected):
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    with config.override(cache_dir=""):
        assert cache.location() == expected


# ---- size
# ----------------------------------------------------------------------------------------


def test_what_was_not_used_for_longest_goes_first(folder):
    keys = [cache.key_of([n]) for n in range(4)]
    for key in keys:
        cache.put(key, bytes(1000))
    for age, file in enumerate(folder / (key + cache.SUFFIX) for key in keys):
        os.utime(file, (1000.0 + age, 1000.0 + age))
    assert cache.get(keys[0]) is not None, "used now"
    with cache._opened(create=False) as opened:
        opened.shrink(3200)
    assert [cache.get(key) is not None for key in keys] == [True, False, False, True]


def test_the_limit_holds(folder, monkeypatch):
    monkeypatch.setattr(cache, "BETWEEN_SWEEPS", 2)
    with config.override(cache_size=10_000):
        for n in range(40):
            cache.put(cache.key_of([n]), bytes(1000))
        assert sum(f.stat().st_size for f in files(folder)) <= 12_000
        cache.put(KEY, bytes(10_001))
        assert cache.get(KEY) is None, "larger than the limit"


def test_what_nobody_finished_is_removed(folder):
    cache.put(KEY, b"code")
    old, new = (folder / f"{n}{cache.UNFINISHED}" for n in ("old", "new"))
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * cache.ABANDONED,) * 2)
    with cache._opened(create=False) as opened:
        opened.shrink(1 << 20)
    assert new.exists()
    assert not old.exists()


def write_and_read(where, number):
    """What each of several processes does at the same time."""
    with config.override(enable_compilation_cache=True, cache_dir=where, cache_size=50_000):
        for turn in range(50):
            key = cache.key_of([turn % 10])
            cache.put(key, bytes([turn % 10]) * 5000)
            found = cache.get(key)
            assert found is None or found == bytes([turn % 10]) * 5000


def test_processes_at_the_same_time(folder):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_and_read, args=(str(folder), n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert not [f for f in files(folder) if f.suffix == cache.UNFINISHED]


# ---- programs
# ------------------------------------------------------------------------------------

TEXT = """
define void @answer(ptr %out) {
  store i64 42, ptr %out
  ret void
}
"""


MORE = """
@table = private constant [4 x i64] [i64 10, i64 20, i64 30, i64 40]
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare double @fmod(double, double)
define internal i64 @looked_up(i64 %n) noinline {
  %p = getelementptr [4 x i64], ptr @table, i64 0, i64 %n
  %x = load i64, ptr %p
  ret i64 %x
}
define void @everything(ptr %out) {
  %n = load i64, ptr %out
  %x = call i64 @looked_up(i64 %n)
  %first = getelementptr i64, ptr %out, i64 1
  store i64 %x, ptr %first
  %size = mul i64 %n, 8
  %second = getelementptr i64, ptr %out, i64 2
  call void @llvm.memcpy.p0.p0.i64(ptr %second, ptr %first, i64 %size, i1 false)
  %d = uitofp i64 %x to double
  %r = call double @fmod(double %d, double 7.0)
  %last = getelementptr i64, ptr %out, i64 4
  store double %r, ptr %last
  ret void
}
"""


@pytest.mark.parametrize("with_llvm", [False, True])
def test_code_from_disk_finds_tables_functions_and_libraries(folder, monkeypatch, with_llvm):
    """With our linker for object files, where there is one for this machine, and with LLVM's."""
    if with_llvm:
        monkeypatch.setattr(engine.elf, "PLATFORM", False)
    target = host()
    for code in [engine.compiled(MORE, ("everything",), target) for _ in range(2)]:
        out = np.array([1, 0, 0, 0, 0], np.int64)
        address = code.addresses["everything"]
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(out.ctypes.data)
        assert out[:4].tolist() == [1, 20, 20, 0]
        assert out[4:].view(np.float64) == 6.0
    assert code.from_disk


@pytest.mark.skipif(not elf.PLATFORM, reason="object files of Linux")
def test_object_files_that_are_not_understood():
    code = engine.object_code(TEXT, host())
    assert elf.Object(code)["answer"]
    for damaged in (b"", code[:4] + b"\1" + code[5:], code[:18] + b"\3\0" + code[20:]):
        with pytest.raises(elf.Unsupported):
            elf.Object(damaged)
    with pytest.raises(elf.Unsupported, match="no function question"):
        elf.Object(code)["question"]
    missing = "declare void @nobody_has_this()\n" + TEXT.replace(
        "ret void", "call void @nobody_has_this()\n  ret void"
    )
    with pytest.raises(elf.Unsupported, match="nobody_has_this"):
        elf.Object(engine.object_code(missing, host()))


def test_the_machine_is_known_from_disk(folder, monkeypatch):
    if not target.described():
        pytest.skip("the system says nothing of its processor")
    target.host.cache_clear()
    found = target.host()
    target.host.cache_clear()
    monkeypatch.setattr(target, "_detected", None)
    assert target.host() == found
    monkeypatch.setattr(target, "described", lambda: ("another processor",))
    target.host.cache_clear()
    with pytest.raises(TypeError):
        target.host()


def test_code_is_compiled_once(folder, monkeypatch):
    target = host()
    assert not engine.compiled(TEXT, ("answer",), target).from_disk
    monkeypatch.setattr(engine, "object_code", None)
    assert engine.compiled(TEXT, ("answer",), target).from_disk


@pytest.mark.parametrize("change", ["text", "cpu", "features", "vector_bytes", "format"])
def test_whatever_matters_is_in_the_key(folder, monkeypatch, change):
    target = host()
    before = engine.key_of(target, "object", TEXT)
    text = TEXT
    if change == "text":
        text = TEXT.replace("42", "43")
    elif change == "format":
        monkeypatch.setattr(engine, "FORMAT", -1)
    else:
        target = target._replace(**{change: "other" if change != "vector_bytes" else 8})
    assert engine.key_of(target, "object", text) != before


def test_an_entry_that_lacks_the_function_is_compiled_again(folder):
    target = host()
    other = TEXT.replace("answer", "question")
    code = engine.object_code(other, target)
    cache.put(engine.key_of(target, "object", TEXT), code)
    assert not engine.compiled(TEXT, ("answer",), target).from_disk
    assert engine.compiled(TEXT, ("answer",), target).from_disk


SCRIPT = """
import json, sys
import funcgrad as fg, funcgrad.numpy as jnp
from funcgrad.backends.llvm import engine
from funcgrad.config import config
from funcgrad.core.primitive import Primitive
config.update("engine", "llvm")
config.update("enable_compilation_cache", True)
config.update("cache_dir", sys.argv[1])
compiled, made = engine.object_code, []
engine.object_code = lambda *args: (made.append(1), compiled(*args))[1]
loss = lambda w, x: jnp.sum(jnp.tanh(x @ w) ** 2)
found = fg.jit(fg.grad(loss))(jnp.arange(3.0), jnp.ones((2, 3))).tolist()
print(json.dumps([found, len(made), "llvmlite.binding" in sys.modules]))
"""


def test_a_second_process_compiles_nothing(folder):
    def run():
        command = [sys.executable, "-c", SCRIPT, str(folder)]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(found.stdout)

    result, count, _ = run()
    assert count == 1
    again, count, llvm_is_loaded = run()
    assert (again, count) == (result, 0)
    assert not (llvm_is_loaded and elf.PLATFORM and target.described())
    for file in files(folder):
        file.write_bytes(file.read_bytes()[:100])
    assert run()[:2] == [result, 1]


def test_results_are_the_same_bits(folder):
    x = jnp.asarray(np.random.default_rng(0).normal(size=100).astype(np.float32))

    def run():
        return np.asarray(fg.jit(lambda x: jnp.exp(jnp.sin(x)).sum())(x)).tobytes()

    with config.override(engine="llvm"):
        assert run() == run()


# ---- programs that are planned once
# ---------------------------------------------------------------------

WEIGHTS = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)


def small_network(w, x):
    return jnp.sum(jnp.tanh(x @ w) ** 2)


def scan_with_constants(x):
    table = jnp.asarray(np.arange(40, dtype=np.float32).reshape(8, 5))

    def step(carry, row):
        return carry * 0.5 + table @ row, carry.sum()

    return fg.lax.scan(step, x, jnp.ones((6, 5)))


def sorted_halves(x):
    return jnp.sort(x * 2)[:3] + jnp.exp(x[3:])


def kinds(x):
    return x.astype(jnp.int32), jnp.where(x > 0, jnp.nan, -0.0), fg.lax.stop_gradient(x), x


PROGRAMS = {
    "network": (fg.value_and_grad(small_network), (WEIGHTS, np.ones((4, 5), np.float32))),
    "scan": (scan_with_constants, (np.arange(8, dtype=np.float32),)),
    "outside": (sorted_halves, (np.array([3, 1, 2, 5, 4, 0], np.float32),)),
    "kinds": (kinds, (np.array([1.5, -2.5], np.float32),)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_known_program_is_not_planned_again(folder, monkeypatch, name):
    function, args = PROGRAMS[name]

    def run():
        found = fg.jit(lambda *args: function(*args))(*map(jnp.asarray, args))
        return [np.asarray(x) for x in fg.tree.leaves(found)]

    with config.override(engine="llvm"):
        expected = run()
        monkeypatch.setattr(assembly, "Assembly", None)
        warnings.simplefilter("error")  # a failure would be a warning, and NumPy
        found = run()
    for x, y in zip(found, expected, strict=True):
        assert x.dtype == y.dtype
        assert x.tobytes() == y.tobytes()


def test_donated_memory_is_known_from_disk(folder, monkeypatch):
    def run():
        step = fg.jit(lambda x, y: x + y, donate_argnums=0)
        return step(jnp.ones(8), jnp.arange(8.0)).tolist()

    with config.override(engine="llvm"):
        expected = run()
        monkeypatch.setattr(assembly, "Assembly", None)
        warnings.simplefilter("error")
        assert run() == expected == [1.0 + n for n in range(8)]


def text_of(function, *args):
    return canonical.Canonical(fg.make_jaxpr(function)(*args)).text


X = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda x: x + 1.0, lambda x: x + np.float32(1.0000001)),
        (lambda x: x * 0.0, lambda x: x * -0.0),
        (lambda x: jnp.sum(x), lambda x: jnp.max(x)),
        (lambda x: x[:2], lambda x: x[1:]),
        (lambda x: (x, x + x), lambda x: (x + x, x)),
        (lambda x: x - jnp.sin(x), lambda x: jnp.sin(x) - x),
        (lambda x: x.at[0].add(1.0), lambda x: x.at[0].add(1.0, mode="promise_in_bounds")),
    ],
)
def test_different_programs_have_different_texts(one, other):
    assert text_of(one, X) == text_of(one, X)
    assert text_of(one, X) != text_of(other, X)


def test_constants_of_the_program_are_its_inputs():
    """Of those inside loops the values count, since they may become numbers in the code."""

    def added(c):
        return lambda x: x + c

    def carried(c):
        return lambda x: fg.lax.scan(lambda carry, _: (carry + c, None), x, None, 3)[0]

    one, other = np.arange(3, dtype=np.float32), np.arange(1, 4, dtype=np.float32)
    assert text_of(added(one), X) == text_of(added(other), X)
    assert text_of(carried(one), X) != text_of(carried(other), X)


def test_what_others_define_is_not_written_down():
    foreign = Primitive("sin", abstract=lambda x: x, value=lambda xp, x: x)
    with pytest.raises(canonical.Unwritable, match="somebody else's"):
        text_of(lambda x: foreign.bind(x), X)
    with pytest.raises(canonical.Unwritable, match="effect"):
        text_of(lambda x: (fg.debug.print("{}", x), x)[1], X)


def test_the_compiler_is_in_the_key(folder, monkeypatch):
    jaxpr = fg.make_jaxpr(jnp.sin)(X)

    def key(donated=(False,), **settings):
        with config.override(**settings):
            return recipe.Shelf(jaxpr, donated, host()).key

    before = key()
    assert before == key()
    others = {key((True,)), key(enable_x64=True), key(disabled_passes="simplify")}
    monkeypatch.setattr(recipe, "compiler", lambda: "another")
    others.add(key())
    assert len(others | {before}) == 5
    monkeypatch.setattr(recipe, "compiler", lambda: "")
    assert key() == key(enable_compilation_cache=False) == ""


def test_where_folders_have_no_modes(folder, tmp_path, monkeypatch):
    """As on Windows: only folders of the user's profile are used, and no links."""

    def live_in(home):
        for name in ("HOME", "USERPROFILE"):
            monkeypatch.setenv(name, str(home))

    monkeypatch.setattr(cache, "BY_DESCRIPTOR", False)
    live_in(tmp_path)
    cache.put(KEY, b"code")
    assert cache.get(KEY) == b"code"
    linked = tmp_path / "linked"
    linked.symlink_to(folder, target_is_directory=True)
    with config.override(cache_dir=str(linked)):
        assert cache.get(KEY) is None
    live_in(tmp_path / "elsewhere")
    assert cache.get(KEY) is None
    live_in(tmp_path)
    fg.clear_cache()
    assert files(folder) == []
