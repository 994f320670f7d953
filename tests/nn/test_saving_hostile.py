"""Hostile files: nothing in them is run, nothing is allocated that their size does not warrant."""

import collections
import contextlib
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import funcgrad as fg
import funcgrad_nn as nn
from funcgrad_nn.saving import (
    DamagedFileError,
    read_metadata,
    read_safetensors,
    write_safetensors,
)
from tests.nn.saved_nodes import Line, Pair

KEY = fg.random.key(7)


# -- hostile files ---------------------------------------------------------------------------------


def packed(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


BYTES = b"\0" * 4
DEEP = b'{"__metadata__":{},"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
HOSTILE = {
    "empty file": b"",
    "no header": b"\1\0\0",
    "header longer than the file": packed({}, length=9),
    "header of 2^63 bytes": packed({}, length=2**63),
    "header of 2^64 - 1 bytes": packed({}, length=2**64 - 1),
    "no JSON": packed(b"{"),
    "no UTF-8": packed(b'{"\xff":1}'),
    "UTF-16": packed("{}".encode("utf-16")),
    "no object": packed([]),
    "deep nesting": packed(DEEP),
    "repeated key": packed(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],'
        b'"data_offsets":[0,4]}}',
        BYTES,
    ),
    "NaN as a size": packed(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', BYTES),
    "Infinity": packed(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,Infinity]}}', BYTES),
    "digits without end": packed(b'{"a":{"dtype":"F32","shape":[' + b"9" * 10000 + b"]}}", BYTES),
    "entry no object": packed({"a": 1}),
    "entry without shape": packed({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, BYTES),
    "entry with more": packed({"a": {**tensor(), "code": "1"}}, BYTES),
    "unknown dtype": packed({"a": tensor("O")}, BYTES),
    "dtype no text": packed({"a": tensor(["F32"])}, BYTES),
    "negative size": packed({"a": tensor(shape=(-1, -1))}, BYTES),
    "float size": packed({"a": tensor(shape=(1.0,))}, BYTES),
    "true as a size": packed({"a": tensor(shape=(True,))}, BYTES),
    "huge shape": packed({"a": tensor(shape=(2**40, 2**40))}, BYTES),
    "huge shape hidden by a zero": packed({"a": tensor(shape=(0, 2**61), offsets=(0, 0))}),
    "rank of 100": packed({"a": tensor(shape=(1,) * 100)}, BYTES),
    "shape and bytes differ": packed({"a": tensor(shape=(2,))}, BYTES),
    "offsets backwards": packed({"a": tensor(offsets=(4, 0))}, BYTES),
    "three offsets": packed({"a": tensor(offsets=(0, 4, 4))}, BYTES),
    "negative offset": packed({"a": tensor(offsets=(-4, 0))}, BYTES),
    "beyond the end": packed({"a": tensor(offsets=(4, 8))}, BYTES),
    "overlap": packed({"a": tensor(), "b": tensor()}, BYTES),
    "partial overlap": packed({"a": tensor(shape=(2,), offsets=(0, 8)), "b": tensor(shape=(2,),
                              offsets=(4, 12))}, BYTES * 3),
    "hole": packed({"a": tensor(), "b": tensor(offsets=(8, 12))}, BYTES * 3),
    "bytes of nobody": packed({"a": tensor()}, BYTES * 2),
    "no bytes": packed({"a": tensor()}),
    "metadata no object": packed({"__metadata__": [1]}),
    "metadata no text": packed({"__metadata__": {"a": 1}}),
    "checksum no checksum": packed({"__metadata__": {"checksum": "sha256:abc"}}),
    "wrong checksum": packed({"__metadata__": {"checksum": "sha256:" + 64 * "1"}}),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_clear_errors(tmp_path, case):
    path = tmp_path / "evil"
    path.write_bytes(HOSTILE[case])
    tracemalloc.start()
    try:
        for read in (read_safetensors, nn.load):
            with pytest.raises(DamagedFileError, match=str(path)):
                read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (1 << 20) + 200 * len(HOSTILE[case])


STRUCTURES = {
    "no JSON": "{",
    "a list": [1],
    "unknown form": {"call": "os.system"},
    "array without name": {"array": 3, "dtype": "float32"},
    "array without dtype": {"array": "a"},
    "array not there": {"array": "b", "dtype": "float32"},
    "another dtype": {"array": "a", "dtype": "float64"},
    "object dtype": {"array": "a", "dtype": "object"},
    "complex of floats": {"array": "a", "dtype": "complex64"},
    "key of floats": {"array": "a", "key": "threefry2x32"},
    "unknown kind of key": {"array": "a", "key": "os.system"},
    "tensor of nobody": None,
    "dict no dict": {"dict": 3},
    "repeated keys": {"dict": [["x", 1], ["x", 2]]},
    "array as key": {"dict": [[{"array": "a", "dtype": "float32"}, 1]]},
    "list as key": {"dict": [[{"list": []}, 1]]},
    "list no list": {"list": {}},
    "factory": {"defaultdict": {}, "factory": "os.system"},
    "class of the system": {"class": "os:system", "fields": {"command": "true"}},
    "class that is no node": {"class": "subprocess:Popen", "fields": {"args": "true"}},
    "module not imported": {"class": "antigravity:x", "fields": {}},
    "other fields": {"class": f"{Pair.__module__}:Pair", "fields": {"right": 1, "left": 2}},
    "fields of a dataclass": {"class": f"{Pair.__module__}:Line", "fields": {"a": 1}, "static": {}},
    "class no text": {"class": ["x"], "fields": {}},
    "evil module": {"module": '{"format": "funcgrad_nn.Module", "version": 1, "model": {"module":'
                              ' "os.system", "arguments": {}}}'},
    "float": {"float": "1e999"},
    "bytes": {"bytes": "zz"},
    "complex": {"complex": [1, 2, 3]},
}  # fmt: skip


@pytest.mark.parametrize("case", STRUCTURES)
def test_hostile_structures_are_clear_errors(tmp_path, case):
    """The file is sound and its checksum right; only what it says about the tree is not."""
    tree = STRUCTURES[case]
    described = tree if case == "no JSON" else json.dumps({"version": 1, "tree": tree})
    write_safetensors(tmp_path / "evil", {"a": np.ones(1, np.float32)}, {"funcgrad": described})
    for like in (None, {"like": Pair(1, KEY)}):
        with pytest.raises(ValueError, match=str(tmp_path / "evil")):
            nn.load(tmp_path / "evil", like)


def test_one_tensor_cannot_become_a_thousand_arrays(tmp_path):
    """A small file that names its megabyte ten thousand times would need ten gigabytes."""
    leaf = {"array": "a", "dtype": "float32"}
    described = json.dumps({"version": 1, "tree": {"list": [leaf] * 10_000}})
    tensor = np.ones(1 << 18, np.float32)
    write_safetensors(tmp_path / "evil", {"a": tensor}, {"funcgrad": described})
    like = [fg.ShapeDtypeStruct(tensor.shape, tensor.dtype)] * 10_000
    for options in ({}, {"like": like}):
        tracemalloc.start()
        with pytest.raises(ValueError, match="not there, or twice"):
            nn.load(tmp_path / "evil", **options)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 30 << 20


def test_deep_structures_are_clear_errors(tmp_path):
    for text in (
        '{"version":1,"tree":' + '{"list":[' * 50_000 + "1" + "]}" * 50_000 + "}",
        '{"version":1,"tree":' + '{"list":[' * 600 + "1" + "]}" * 600 + "}",
    ):
        write_safetensors(tmp_path / "evil", {}, {"funcgrad": text})
        for like in (None, [np.ones(1)]):
            with pytest.raises(ValueError):
                nn.load(tmp_path / "evil", like)


def test_a_version_from_the_future_is_an_error(tmp_path):
    write_safetensors(tmp_path / "new", {}, {"funcgrad": '{"version": 2, "tree": null}'})
    with pytest.raises(ValueError, match="unknown version; this library reads 1"):
        nn.load(tmp_path / "new")


def test_a_structure_needs_its_checksum(tmp_path):
    nn.save(tmp_path / "file", {"a": np.ones(2)})
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content.replace(b'"checksum"', b'"checksun"'))
    with pytest.raises(DamagedFileError, match="checksum is missing"):
        nn.load(tmp_path / "file")


def test_every_truncation_and_every_flipped_bit_is_noticed(tmp_path):
    """Of a small file all of them: no damage of one bit or one end goes unseen."""
    path = tmp_path / "file"
    nn.save(path, {"a": np.arange(3, dtype=np.float32), "b": [KEY, 1.5, "text"]})
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with pytest.raises(DamagedFileError):
            nn.load(path)
    for place in range(len(content)):
        for bit in range(place % 3, 8, 3):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(ValueError):  # an unknown key "funcgrae" is no damage, but no tree
                nn.load(path)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.binary(max_size=300), st.integers(0, 2**64 - 1))
def test_random_bytes_are_never_a_tree(tmp_path_factory, content, length):
    path = tmp_path_factory.mktemp("fuzz") / "file"
    for body in (content, length.to_bytes(8, "little") + content, packed(content)):
        path.write_bytes(body)
        with pytest.raises(ValueError):
            nn.load(path)


def parts_of(written, path=()):
    """The paths of all parts of a JSON value."""
    yield path
    if isinstance(written, (dict, list)):
        inner = written.items() if isinstance(written, dict) else enumerate(written)
        for key, part in inner:
            yield from parts_of(part, (*path, key))


ODD = st.sampled_from(
    [None, True, -1, 2**70, 1.5, "", "array", "float32", "threefry2x32", "scalar", [], {}, [1]]
    + [{"array": "x"}, {"list": 3}, {"module": "{}"}, [[1, 2]], [["a", "b", "c"]], {"bytes": "0"}]
    + [{"dict": [[[], 1]]}, {"class": "builtins:int", "fields": {}}, {"class": ":", "fields": {}}]
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), ODD, st.sampled_from(["replace", "delete", "repeat"]))
def test_any_change_to_a_structure_is_a_tree_or_a_clear_error(tmp_path_factory, place, odd, change):
    """The checksum is made anew, as an enemy would: only the meaning is wrong."""
    path = tmp_path_factory.mktemp("fuzz") / "file"
    tree = {
        "now": nn.training.start(nn.Linear(2, 3), nn.optim.adam(0.1), KEY),
        "rest": [
            1,
            None,
            b"ab",
            1j,
            float("nan"),
            {1: 2},
            Line(1.0),
            collections.OrderedDict(b=np.ones(2), a=True),
        ],
        "model": nn.Sequential(nn.Linear(2, 2), nn.Lambda(fg.nn.relu)),
    }
    nn.save(path, tree)
    written, tensors = json.loads(read_metadata(path)["funcgrad"]), read_safetensors(path)
    paths = [p for p in parts_of(written) if p]
    *above, last = paths[place % len(paths)]
    holder = written
    for step in above:
        holder = holder[step]
    if change == "replace":
        holder[last] = odd
    elif change == "delete":
        del holder[last]
    elif isinstance(holder, list):
        holder.append(holder[last])
    else:
        holder[f"{last}x"] = holder[last]
    write_safetensors(path, tensors, {"funcgrad": json.dumps(written)})
    for like in (None, tree):
        with contextlib.suppress(ValueError):
            nn.load(path, like)
