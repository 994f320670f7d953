"""Saving: leaves come back bit for bit, mismatches are named, bad files are errors."""

import collections
import os
import subprocess
import sys

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from funcgrad import tree_util
from funcgrad_nn.saving import (
    DamagedFileError,
    files,
    read_metadata,
    read_safetensors,
    write_safetensors,
)
from tests.nn.saved_nodes import Line, Pair

KEY = fg.random.key(7)


class Opaque:
    def __init__(self, x):
        self.x = x


tree_util.register_pytree_node(Opaque, lambda o: ((o.x,), None), lambda _, x: Opaque(*x))


def same(a, b):
    """Equal in structure, kinds, dtypes and bits."""
    (xs, structure), (ys, other) = fg.tree.flatten(a), fg.tree.flatten(b)
    assert structure == other
    for x, y in zip(xs, ys, strict=True):
        assert type(x) is type(y)
        if hasattr(x, "dtype"):
            assert x.dtype == y.dtype and x.shape == y.shape
            assert getattr(x, "weak_type", None) == getattr(y, "weak_type", None)
            if isinstance(x, fg.Array) and str(x.dtype).startswith("key"):
                x, y = fg.random.key_data(x), fg.random.key_data(y)
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
        else:
            assert x == y or (x != x and y != y)
    return True


NAMES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
NAMES += ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
SHAPES = [(), (0,), (3,), (2, 0, 4), (2, 3), (1, 1, 1, 5)]


def values(name, shape):
    numbers = np.random.default_rng(0).normal(size=shape) * 3
    return jnp.asarray(numbers > 0 if name == "bool" else np.float32(numbers)).astype(name)


TREES = {
    "one array": values("float32", (2, 2)),
    "nothing": None,
    "empty": {},
    "containers": {
        "a": [1, (2, 3.5), []],
        "b": {"c": None, "d": ()},
        "z": (),
        "e": {1: "x", 2: "y"},
    },
    "order": {"b": 1, "a": 2},
    "ordered": collections.OrderedDict(b=np.ones(2), a=True),
    "default": collections.defaultdict(list, a=[1]),
    "namedtuple": Pair({"w": values("float32", (2,))}, Pair(None, ())),
    "dataclass": [Line(values("bfloat16", (3,)), "steep"), Line(1.0)],
    "numbers": [True, False, 0, -(10**30), 1.5, -0.0, float("inf"), float("nan"), 2 - 1j],
    "text": ["", "ä/~\x00\n", b"\x00\xff", "\U0001f600"],
    "weak": [jnp.asarray(2.0), jnp.asarray(3), jnp.full((2, 2), 1.5), jnp.asarray(2.0) * 1j],
    "keys": {"one": KEY, "many": fg.random.split(KEY, 3), "raw": fg.random.PRNGKey(3)},
    "host": [np.arange(3), np.float32(2), np.array(3.0), np.bool_(True), np.int64(2**62)],
    "odd names": {"a/b": {"c": np.ones(1)}, "a": {"b/c": np.ones(2), "": np.ones(3)}, "~1": 1},
    "reserved name": {"__metadata__": values("float32", (1,))},
    "bits": np.array([0x7FC00001, 0xFF800000, 1, 0x80000000], np.uint32).view(np.float32),
    "big endian": np.arange(3, dtype=">i4").astype("=i4"),
    "strided": np.arange(12).reshape(3, 4)[::2, ::-1],
    "module": {"model": nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "params": {"x": np.ones(2)}},
}


@pytest.mark.parametrize("name", TREES)
def test_every_tree_comes_back(tmp_path, name):
    nn.save(tmp_path / "file", TREES[name])
    again = nn.load(tmp_path / "file")
    assert same(again, TREES[name])
    if isinstance(again, dict):
        assert list(again) == list(TREES[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_dtype_and_shape_comes_back(tmp_path, name, shape):
    array = values(name, shape)
    nn.save(tmp_path / "file", {"a": array, "b": np.asarray(array)})
    assert same(nn.load(tmp_path / "file"), {"a": array, "b": np.asarray(array)})


def test_loaded_arrays_are_used_as_the_saved_ones(tmp_path):
    """Same signature: a compiled function is not traced again for a tree from a file."""
    tree = TREES["weak"] + [values("bfloat16", (2,)), KEY]
    nn.save(tmp_path / "file", tree)
    traces = []
    f = fg.jit(lambda tree: traces.append(1) or tree[0] + tree[1])
    assert f(tree) == f(nn.load(tmp_path / "file")) and len(traces) == 1


def test_what_has_no_safe_form_is_refused(tmp_path):
    for leaf in (len, object(), {1, 2}, range(3), np.array(["a"]), np.array([None])):
        with pytest.raises(TypeError, match="a/1"):
            nn.save(tmp_path / "file", {"a": [1, leaf]})
    with pytest.raises(TypeError, match="factory has no safe form"):
        nn.save(tmp_path / "file", collections.defaultdict(lambda: 1, a=2))
    assert not list(tmp_path.iterdir())


def test_opaque_nodes_need_a_tree_like_them(tmp_path):
    nn.save(tmp_path / "file", {"o": Opaque(np.ones(2))})
    with pytest.raises(ValueError, match="Opaque is no dataclass.*Pass like="):
        nn.load(tmp_path / "file")
    assert nn.load(tmp_path / "file", {"o": Opaque(np.zeros(2))})["o"].x.tolist() == [1, 1]


def test_unknown_classes_are_neither_imported_nor_made(tmp_path):
    nn.save(tmp_path / "file", Pair(1, 2))
    program = "import sys, funcgrad_nn as nn\nnn.load(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "file")], capture_output=True, text=True
    )
    assert "class" in done.stderr and "not defined here" in done.stderr
    assert "pass like=" in done.stderr


# -- like ------------------------------------------------------------------------------------------

SAVED = {"encoder": {"weight": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)}, "n": 3}


def saved(path, **changes):
    nn.save(path / "file", {**SAVED, **changes})
    return path / "file"


def test_D46_mismatches_are_errors_that_name_the_path(tmp_path):
    """A (1, 3) weight is not broadcast into (2, 3), and unknown names are not ignored."""
    path = saved(tmp_path, extra=np.ones(1))
    like = {
        "encoder": {"weight": jnp.zeros((1, 3)), "bias": jnp.zeros(3, jnp.bfloat16)},
        "n": 3.0,
        "lost": jnp.zeros(2),
    }
    with pytest.raises(ValueError) as caught:
        nn.load(path, like)
    message = str(caught.value)
    assert "different encoder/weight: needs float32[1, 3], the file has float32[2, 3]" in message
    assert "different encoder/bias: needs bfloat16[3], the file has float32[3]" in message
    assert "different n: needs float, the file has int" in message
    assert "missing lost: float32[2]" in message and "unexpected extra: float64[1]" in message


def test_not_strict_returns_what_was_not_matched(tmp_path):
    like = {"encoder": {"weight": jnp.zeros((2, 3)), "bias": jnp.zeros(4)}, "lost": 1}
    tree, unmatched = nn.load(saved(tmp_path), like, strict=False)
    assert (tree["encoder"]["weight"] == 1).all() and (tree["encoder"]["bias"] == 0).all()
    assert tree["lost"] == 1
    assert unmatched.missing == ["lost: int"] and unmatched.unexpected == ["n: int"]
    assert [entry.split(":")[0] for entry in unmatched.different] == ["encoder/bias"]
    assert not nn.load(saved(tmp_path), SAVED, strict=False)[1]


def test_like_may_be_shapes_and_decides_the_kind_of_array(tmp_path):
    like = fg.eval_shape(lambda: {"encoder": {"weight": jnp.ones((2, 3)), "bias": jnp.ones(3)}})
    tree = nn.load(saved(tmp_path), {**like, "n": 0})
    assert isinstance(tree["encoder"]["weight"], fg.Array) and tree["n"] == 3
    assert isinstance(nn.load(saved(tmp_path), SAVED)["encoder"]["bias"], np.ndarray)


def test_like_another_container(tmp_path):
    """Paths match, whatever the containers: a file outlives a change from dict to namedtuple."""
    nn.save(tmp_path / "file", {"left": np.ones(2), "right": [KEY, 2]})
    tree = nn.load(tmp_path / "file", Pair(np.zeros(2), (fg.random.key(0), 0)))
    assert same(tree, Pair(np.ones(2), (KEY, 2)))


def test_a_wide_integer_is_never_narrowed(tmp_path):
    nn.save(tmp_path / "file", jnp.asarray(2**63 - 1, dtype=jnp.int64))
    assert int(nn.load(tmp_path / "file")) == 2**63 - 1


# -- models ----------------------------------------------------------------------------------------


def test_D40_X08_a_model_is_rebuilt_in_one_call(tmp_path):
    """Layer norm and reshape included; the logits are the same, bit for bit."""
    model = nn.Sequential(
        nn.Reshape(1, 8, 8), nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.LazyLinear(6), nn.LayerNorm((6,)),
        nn.Linear(6, 2, weight_init="he_normal"),
    )  # fmt: skip
    x = fg.random.normal(KEY, (4, 64))
    params, state = model.init(KEY, x)
    _, state = model.apply(params, state, x, train=True)
    nn.save_model(tmp_path / "model.safetensors", model, params, state)
    again = nn.load_model(tmp_path / "model.safetensors")
    assert again.model == model
    expected, _ = model.apply(params, state, x)
    np.testing.assert_array_equal(again.model.apply(again.params, again.state, x)[0], expected)
    assert "Conv2d" in read_metadata(tmp_path / "model.safetensors")["funcgrad"]


def test_load_model_wants_a_model(tmp_path):
    nn.save(tmp_path / "file", {"a": 1})
    with pytest.raises(ValueError, match="not one that save_model wrote"):
        nn.load_model(tmp_path / "file")


# -- the format ------------------------------------------------------------------------------------


def test_the_formats_own_library_reads_and_writes_the_same(tmp_path):
    theirs = pytest.importorskip("safetensors.numpy")
    arrays = {
        name: np.asarray(values(name, (2, 3)))
        for name in NAMES
        if name not in ("bfloat16", "complex64", "complex128")
    }
    write_safetensors(tmp_path / "ours", arrays, {"note": "ä"})
    for name, array in theirs.load_file(tmp_path / "ours").items():
        np.testing.assert_array_equal(array, arrays[name], strict=True)
    theirs.save_file(arrays, tmp_path / "theirs", {"note": "x"})
    for name, array in read_safetensors(tmp_path / "theirs").items():
        np.testing.assert_array_equal(array, arrays[name], strict=True)
    assert read_metadata(tmp_path / "theirs") == {"note": "x"}
    like = {name: fg.ShapeDtypeStruct((2, 3), array.dtype) for name, array in arrays.items()}
    assert set(nn.load(tmp_path / "theirs", like)) == set(arrays)
    with pytest.raises(ValueError, match="not written by save"):
        nn.load(tmp_path / "theirs")


@pytest.mark.oracle
def test_torch_reads_our_bfloat16(tmp_path):
    torch_files = pytest.importorskip("safetensors.torch", exc_type=ImportError)
    array = values("bfloat16", (2, 3))
    nn.save(tmp_path / "file", {"layer": {"w": array}})
    loaded = torch_files.load_file(tmp_path / "file")["layer/w"]
    np.testing.assert_array_equal(loaded.float().numpy(), np.asarray(array, np.float32))


def test_write_safetensors_refuses_what_the_format_lacks(tmp_path):
    with pytest.raises(TypeError, match="'a' has dtype complex64"):
        write_safetensors(tmp_path / "file", {"a": np.ones(1, np.complex64)})
    with pytest.raises(ValueError, match="cannot be the name of a tensor"):
        write_safetensors(tmp_path / "file", {"__metadata__": np.ones(1)})
    with pytest.raises(ValueError, match="metadata must be text by name"):
        write_safetensors(tmp_path / "file", {}, {"n": 1})


def test_no_pickle_in_the_package():
    for path in (os.path.dirname(nn.saving.__file__), os.path.dirname(nn.data.__file__)):
        for name in os.listdir(path):
            if name.endswith(".py"):
                text = open(os.path.join(path, name), encoding="utf-8").read()
                assert "import pickle" not in text and "allow_pickle=True" not in text


# -- whole or absent -------------------------------------------------------------------------------


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    nn.save(path, {"a": 1})

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        nn.save(path, {"a": np.ones(1000)})
    monkeypatch.undo()
    assert nn.load(path) == {"a": 1} and list(tmp_path.iterdir()) == [path]


def test_the_order_is_write_fsync_rename_fsync(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda d: calls.append("fsync") or fsync(d))
    monkeypatch.setattr(files.os, "replace", lambda a, b: calls.append("rename") or replace(a, b))
    nn.save(tmp_path / "file", {"a": 1})
    assert calls == ["fsync", "rename", "fsync"][: 3 if hasattr(os, "O_DIRECTORY") else 2]


# -- the manager -----------------------------------------------------------------------------------


def test_the_manager_keeps_the_newest_and_the_best(tmp_path):
    losses = [0.9, 0.2, 0.5, float("nan"), 0.4, 0.3]
    manager = nn.CheckpointManager(tmp_path, keep=2, best="loss")
    for step, loss in enumerate(losses):
        manager.save(step, {"step": step}, {"loss": loss})
        kept = set(range(max(0, step - 1), step + 1)) | {int(np.nanargmin(losses[: step + 1]))}
        assert set(manager.steps()) == kept
    again = nn.CheckpointManager(tmp_path, keep=2, best="loss")
    assert again.best_step() == 1 and again.metrics(5) == {"loss": 0.3}
    assert again.restore().step == 5 and again.restore(step=1).tree == {"step": 1}
    assert nn.CheckpointManager(tmp_path, best="loss", mode="max").best_step() == 4


def test_what_was_saved_last_stays_beside_later_steps_of_another_training(tmp_path):
    for step in (100, 200, 300):
        nn.CheckpointManager(tmp_path, keep=2).save(step, {"step": step})
    manager = nn.CheckpointManager(tmp_path, keep=2)
    for step in (1, 2):
        manager.save(step, {"step": step})
        assert manager.steps() == [step, 200, 300]


def test_the_manager_skips_a_damaged_checkpoint(tmp_path):
    manager = nn.CheckpointManager(tmp_path, keep=None)
    for step in range(3):
        path = manager.save(step, {"step": step})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="skipped a checkpoint: .*step-00000002"):
        assert manager.restore().step == 1
    with pytest.raises(DamagedFileError):
        manager.restore(step=2)


def test_the_manager_does_not_skip_what_does_not_fit(tmp_path):
    """A wrong `like`, a class not imported: mistakes of the caller, who would get older values."""
    manager = nn.CheckpointManager(tmp_path)
    manager.save(0, {"a": np.ones(2)})
    write_safetensors(
        manager.path(1), {}, {"funcgrad": '{"version":1,"tree":{"class":"x:Y","fields":{}}}'}
    )
    with pytest.raises(ValueError, match="class 'x:Y', which is not defined here"):
        manager.restore()
    manager.path(1).unlink()
    with pytest.raises(ValueError, match="missing b"):
        manager.restore({"b": np.ones(2)})


def test_the_manager_starts_empty_and_sweeps_leftovers_when_it_writes(tmp_path):
    """Until then they may be those of a training that is writing just now."""
    leftover = tmp_path / "c" / ".step-00000003.safetensors.0a1b2c3d.partial"
    leftover.parent.mkdir()
    leftover.write_bytes(b"x")
    (tmp_path / "c" / "notes.txt").write_text("mine")
    manager = nn.CheckpointManager(tmp_path / "c")
    assert manager.steps() == [] and manager.best_step() is None
    with pytest.raises(FileNotFoundError, match="no usable checkpoint"):
        manager.restore()
    assert leftover.exists()
    path = manager.save(1, {})
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["notes.txt", path.name]


@pytest.mark.parametrize("options", [{"keep": 0}, {"keep": True}, {"keep": 1.5}, {"mode": "low"}])
def test_the_manager_refuses_odd_options(tmp_path, options):
    with pytest.raises(ValueError, match="CheckpointManager"):
        nn.CheckpointManager(tmp_path, **options)
