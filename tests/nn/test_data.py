"""Data sets, loaders, and files that come from outside."""

import gzip
import struct
import tracemalloc

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import funcgrad as fg
from funcgrad_nn import data
from funcgrad_nn.data import ArrayDataset, DataLoader, load_mnist, random_split, read_idx, write_idx

KEY = fg.random.key(0)
ROWS = ArrayDataset(np.arange(100), np.arange(100) * 2)


def seen(loader):
    return [batch[0].tolist() for batch in loader]


# -- data sets -------------------------------------------------------------------------------------


def test_rows_keep_the_structure_of_the_set():
    pairs = ArrayDataset(np.eye(3), np.arange(3))
    assert pairs[1][0].tolist() == [0, 1, 0] and pairs[1][1] == 1
    assert ArrayDataset(np.eye(3))[2].tolist() == [0, 0, 1]
    named = ArrayDataset({"image": np.zeros((3, 2)), "label": np.arange(3)})
    assert named.take([0, 2])["label"].tolist() == [0, 2] and len(named) == 3


def test_D35_nothing_is_copied_but_the_batch():
    array = np.zeros((1000, 10), np.float32)
    assert ArrayDataset(array).arrays is array
    part = random_split(ArrayDataset(array), [900, 100], KEY)[0]
    assert part.dataset.arrays is array


@pytest.mark.parametrize("arrays", [(np.zeros(3), np.zeros(4)), ({"a": np.zeros(3)}, np.zeros(2))])
def test_D34_unequal_lengths_are_an_error(arrays):
    with pytest.raises(ValueError, match="must have the same length, but got shapes"):
        ArrayDataset(*arrays)


def test_arrays_without_rows_are_an_error():
    with pytest.raises(ValueError, match="needs at least one array"):
        ArrayDataset()
    with pytest.raises(ValueError, match="needs arrays with a first axis"):
        ArrayDataset(np.float32(1))


def test_random_split_is_a_partition_by_its_key():
    parts = random_split(ROWS, [70, 20, 10], KEY)
    assert [len(part) for part in parts] == [70, 20, 10]
    rows = [row for part in parts for row in part.take(np.arange(len(part)))[0].tolist()]
    assert sorted(rows) == list(range(100)) and rows != list(range(100))
    again = random_split(ROWS, [70, 20, 10], KEY)
    assert (again[1].indices == parts[1].indices).all()
    assert parts[0][3][0] == parts[0].take(np.array([3]))[0][0]
    with pytest.raises(ValueError, match=r"lengths \[70, 20\] must add up to the 100 rows"):
        random_split(ROWS, [70, 20], KEY)


# -- loaders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows, size, drop_last, sizes",
    [
        (100, 32, False, [32, 32, 32, 4]),
        (100, 32, True, [32, 32, 32]),
        (64, 32, False, [32, 32]),
        (5, 100, False, [5]),
        (3, 1, False, [1, 1, 1]),
    ],
)
def test_X10_batches_and_their_number(rows, size, drop_last, sizes):
    loader = DataLoader(
        ArrayDataset(np.zeros((rows, 28, 28)), np.zeros(rows)), size, drop_last=drop_last
    )
    shapes = [(x.shape, y.shape) for x, y in loader]
    assert shapes == [((n, 28, 28), (n,)) for n in sizes]
    assert len(loader) == len(sizes)


def test_X10_sixty_thousand_rows_are_1875_batches():
    loader = DataLoader(ArrayDataset(np.zeros((60_000, 1), np.uint8)), 32, shuffle=True, key=KEY)
    assert len(loader) == 1875 == sum(1 for _ in loader)


def test_D34_one_array_gives_batches_of_that_array():
    (batch,) = DataLoader(ArrayDataset(np.zeros((4, 3))), 4)
    assert batch.shape == (4, 3)


def test_D35_every_pass_has_all_rows_in_another_order():
    loader = DataLoader(ROWS, 32, shuffle=True, key=KEY)
    first, second = seen(loader), seen(loader)
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(100))
    assert first != second and sum(first, []) != list(range(100))


def test_D35_same_key_same_orders():
    a, b = (DataLoader(ROWS, 32, shuffle=True, key=KEY) for _ in range(2))
    assert [seen(a), seen(a)] == [seen(b), seen(b)]
    other = DataLoader(ROWS, 32, shuffle=True, key=fg.random.key(1))
    assert seen(other) != seen(DataLoader(ROWS, 32, shuffle=True, key=KEY))


def test_an_epoch_can_be_repeated():
    loader = DataLoader(ROWS, 32, shuffle=True, key=KEY)
    first = seen(loader)
    seen(loader)
    assert seen(loader.batches(0)) == first


def test_D34_iterators_do_not_disturb_each_other():
    loader = DataLoader(ArrayDataset(np.arange(3)), 1)
    pairs = [(int(a[0]), int(b[0])) for a in loader for b in loader]
    assert pairs == [(a, b) for a in range(3) for b in range(3)]
    shuffled = DataLoader(ROWS, 10, shuffle=True, key=KEY)
    one, other = iter(shuffled), iter(shuffled)
    interleaved = [(next(one)[0].tolist(), next(other)[0].tolist()) for _ in range(10)]
    for rows in zip(*interleaved, strict=True):
        assert sorted(sum(rows, [])) == list(range(100))


def test_rows_and_labels_stay_together():
    for x, y in DataLoader(ROWS, 7, shuffle=True, key=KEY):
        assert (y == 2 * x).all()


def test_any_indexable_set_can_be_loaded():
    rows = [{"x": np.full(2, i), "y": i} for i in range(5)]
    batches = list(DataLoader(rows, 2))
    assert [batch["y"].tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert batches[0]["x"].shape == (2, 2)
    joined = DataLoader(["ab", "c", "def"], 2, collate="-".join)
    assert list(joined) == ["ab-c", "def"]
    with pytest.raises(ValueError, match="rows of one batch must have equal shapes"):
        list(DataLoader([np.zeros(2), np.zeros(3)], 2))


def test_mistakes_are_errors():
    with pytest.raises(ValueError, match="the data set is empty"):
        DataLoader(ArrayDataset(np.zeros((0, 3))))
    with pytest.raises(ValueError, match="shuffle=True needs a key"):
        DataLoader(ROWS, shuffle=True)
    with pytest.raises(ValueError, match="batch_size must be at least 1, but got 0"):
        DataLoader(ROWS, 0)
    with pytest.raises(TypeError, match="batch_size must be an integer, but got float"):
        DataLoader(ROWS, 3.0)
    with pytest.raises(ValueError, match="drop_last leaves no batch, since 100 rows"):
        DataLoader(ROWS, 101, drop_last=True)


# -- IDX -------------------------------------------------------------------------------------------


def idx(code, sizes, body=b"", start=b"\0\0"):
    return start + bytes((code, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes) + body


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_idx_round_trip(tmp_path, dtype, ending):
    array = (np.arange(24).reshape(2, 3, 4) - (0 if dtype == "u1" else 12)).astype(dtype)
    write_idx(tmp_path / f"a{ending}", array)
    again = read_idx(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(again, array)
    assert again.dtype == array.dtype and again.flags.writeable


def test_idx_of_no_rows(tmp_path):
    write_idx(tmp_path / "a", np.zeros((0, 28, 28), np.uint8))
    assert read_idx(tmp_path / "a").shape == (0, 28, 28)


GOOD = idx(8, (2, 3), bytes(range(6)))
HOSTILE = {
    "empty": (b"", "not an IDX file"),
    "text": (b"<!DOCTYPE html>", "not an IDX file"),
    "unknown type": (idx(7, (1,), b"x"), "not an IDX file"),
    "rank 0": (idx(8, ()), "rank 0 is not between"),
    "rank 255": (b"\0\0\x08\xff" + b"\0\0\0\1" * 255, "rank 255 is not between"),
    "ends in header": (GOOD[:9], "ends inside its header"),
    "too short": (GOOD[:-1], "promises 6 bytes|only 5"),
    "too long": (GOOD + b"x", "more after the promised 6"),
    "a promise of terabytes": (idx(8, (1 << 31, 1 << 12)), "needs more than"),
    "a promise of gigabytes": (idx(8, (1 << 31,), b"x"), "more than the file can hold"),
    "overflow to nothing": (idx(8, (1 << 31, 1 << 31, 1 << 31)), "needs more than"),
    "nothing times everything": (idx(8, (0, 0xFFFFFFFF, 0xFFFFFFFF)), "needs more than"),
    "doubles": (idx(14, (2,), b"x" * 15), "promises 16|only 15"),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_idx_files_are_clear_errors(tmp_path, case, zipped):
    content, message = HOSTILE[case]
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if zipped else content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    allocated = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert allocated < 1 << 20


def test_damaged_gzip_streams_are_clear_errors(tmp_path):
    whole = gzip.compress(idx(8, (100_000,), np.random.default_rng(0).bytes(100_000)))
    for name, content in {
        "cut": whole[:5000],
        "crc": whole[:-8] + b"\0" * 8,
        "head": whole[:4],
        "body": whole[:100] + b"\xff" * 50 + whole[150:],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="damaged|not an IDX file"):
            read_idx(tmp_path / name)


def test_a_gzip_bomb_is_refused_before_it_is_inflated(tmp_path):
    """300 MB of zeros in 300 kB: more than allowed here, so not one byte of it is kept."""
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=9) as stream:
        stream.write(idx(8, (300 << 20,)))
        for _ in range(300):
            stream.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(ValueError, match="needs more than the 1048576 bytes allowed"):
        read_idx(path, max_bytes=1 << 20)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@hypothesis.given(st.binary(max_size=64), st.booleans())
@hypothesis.example(GOOD, True)
def test_idx_fuzz(tmp_path_factory, content, zipped):
    """Any bytes are an array of exactly those bytes, or a ValueError."""
    path = tmp_path_factory.mktemp("fuzz") / "file"
    for body in (content, b"\0\0\x08" + content, idx(8, (len(content),), content)):
        path.write_bytes(gzip.compress(body) if zipped else body)
        try:
            array = read_idx(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert body.endswith(array.astype(array.dtype.newbyteorder(">")).tobytes())


@pytest.mark.parametrize("array", [np.zeros((2, 2), np.int64), np.float32(1), np.zeros(2, bool)])
def test_write_idx_refuses_what_the_format_cannot_hold(tmp_path, array):
    with pytest.raises(TypeError, match="write_idx: needs an array of rank 1 to 16"):
        write_idx(tmp_path / "a", array)


# -- MNIST's file names ----------------------------------------------------------------------------


def write_mnist(directory, prefix, count, mark="-", zipped=""):
    write_idx(
        directory / f"{prefix}-images{mark}idx3-ubyte{zipped}",
        np.full((count, 28, 28), 51, np.uint8),
    )
    write_idx(
        directory / f"{prefix}-labels{mark}idx1-ubyte{zipped}",
        (np.arange(count) % 10).astype(np.uint8),
    )


def test_load_mnist_finds_what_is_there(tmp_path):
    write_mnist(tmp_path, "t10k", 20, zipped=".gz")
    assert list(load_mnist(tmp_path)) == ["test"]
    write_mnist(tmp_path, "train", 30, mark=".")
    splits = load_mnist(tmp_path)
    images, labels = splits["train"]
    assert (
        images.shape == (30, 28, 28)
        and images.dtype == np.float32
        and images.max() == np.float32(0.2)
    )
    assert labels.dtype == np.int32 and labels[11] == 1 and len(splits["test"][0]) == 20


def test_load_mnist_says_what_it_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a directory"):
        load_mnist(tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match="t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
    ):
        load_mnist(tmp_path)
    write_mnist(tmp_path, "train", 30)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(29, np.uint8))
    with pytest.raises(ValueError, match="has 30 images, but .* has 29 labels"):
        load_mnist(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match="labels of rank 1"):
        load_mnist(tmp_path)


def test_load_digits():
    pytest.importorskip("sklearn")
    images, labels = data.load_digits()
    assert images.shape == (1797, 8, 8) and images.dtype == np.float32
    assert images.min() == 0 and images.max() == 1 and set(labels.tolist()) == set(range(10))
