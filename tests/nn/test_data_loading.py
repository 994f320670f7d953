"""Loaders: workers, places, streams and tables; and what transforms do to batches."""

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import funcgrad as fg
from funcgrad_nn import data
from funcgrad_nn.data import ArrayDataset, DataLoader, Dataset, Stream, Table
from funcgrad_nn.data.affine import warped

KEY = fg.random.key(5)
NUMBERS = ArrayDataset(np.arange(50), np.arange(50) * 2)
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 6)).astype(np.uint8)
RNG = np.random.default_rng


def batches_of(loader):
    return [[np.asarray(leaf).tolist() for leaf in fg.tree.leaves(batch)] for batch in loader]


class Slow(Dataset):
    """Counts how many batches have been made."""

    made = 0

    def __len__(self):
        return 1000

    def take(self, indices):
        Slow.made += 1
        return np.asarray(indices)


class Broken(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        if index == 6:
            raise ZeroDivisionError("row 6 is broken")
        return np.float32(index)


# -- workers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers, prefetch", [(1, 1), (3, 2), (2, 20)])
def test_threads_give_the_same_batches(workers, prefetch):
    options = {"shuffle": True, "key": KEY, "transform": data.RandomFlip()}
    plain = DataLoader(ArrayDataset(IMAGES), 6, **options)
    ahead = DataLoader(ArrayDataset(IMAGES), 6, workers=workers, prefetch=prefetch, **options)
    for _ in range(3):
        assert batches_of(plain) == batches_of(ahead)


def test_processes_give_the_same_batches_and_serve_every_epoch():
    options = {"shuffle": True, "key": KEY, "transform": [data.RandomFlip(), data.Normalize(1, 2)]}
    plain = DataLoader(ArrayDataset(IMAGES), 6, **options)
    ahead = DataLoader(ArrayDataset(IMAGES), 6, workers=2, kind="process", **options)
    for _ in range(2):
        assert batches_of(plain) == batches_of(ahead)


def test_no_more_batches_are_made_than_asked_for():
    """Memory is bounded: of 500 batches, those taken, those waiting and one on the way."""
    Slow.made = 0
    batches = iter(DataLoader(Slow(), 2, workers=2, prefetch=3))
    for _ in range(4):
        next(batches)
    time.sleep(0.2)
    assert 4 <= Slow.made <= 4 + 3 + 1


def test_an_error_in_a_worker_arrives_where_its_batch_would():
    batches = iter(DataLoader(Broken(), 2, workers=2))
    assert [next(batches).tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ZeroDivisionError, match="row 6 is broken"):
        next(batches)


def test_a_worker_process_that_dies_is_a_clear_error(tmp_path):
    """The common mistake: a script whose work is not guarded starts itself again and again."""
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import numpy as np\n"
        "from funcgrad_nn.data import DataLoader\n"
        "print(list(DataLoader(np.arange(4), 2, workers=1, kind='process')))\n"
    )
    root = str(Path(data.__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 1
    assert "DataLoader: a worker process ended" in done.stderr
    assert '__name__ == "__main__"' in done.stderr


def test_what_cannot_travel_to_a_process_is_named():
    local = type("Local", (Broken,), {"__module__": "nowhere.to_be_found"})
    with pytest.raises(Exception, match="Can't pickle.*nowhere.to_be_found.Local"):
        list(DataLoader(local(), 2, workers=1, kind="process"))


def test_leaving_early_ends_the_threads():
    before = threading.active_count()
    for _ in range(5):
        loader = DataLoader(Slow(), 2, workers=2)
        next(iter(loader))
        del loader
    gc.collect()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


# -- place -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("done", [0, 1, 3, 7, 9, 13, 14])
def test_a_loader_goes_on_from_its_place(done, workers):
    """Seven batches an epoch; the rest of two epochs is what would have come."""

    def loader():
        return DataLoader(NUMBERS, 8, shuffle=True, key=KEY, workers=workers)

    whole, first = loader(), loader()
    expected = batches_of(whole) + batches_of(whole)
    taken = []
    while len(taken) < done:
        for batch in first:
            taken.append(batch)
            if len(taken) == done:
                break
    again = loader()
    again.restore(first.position)
    rest = batches_of(again)
    while len(rest) + done < 14:
        rest += batches_of(again)
    assert [b for b in rest if b][: 14 - done] == expected[done:]


def test_the_place_is_that_of_what_was_handed_out_not_of_what_was_made():
    loader = DataLoader(NUMBERS, 8, workers=2, prefetch=5)
    batches = iter(loader)
    next(batches)
    assert loader.position == {"epoch": 0, "batch": 1}
    list(batches)
    assert loader.position == {"epoch": 1, "batch": 0}


# -- what can be loaded ----------------------------------------------------------------------------


def test_arrays_pairs_dictionaries_lists():
    x, y = np.arange(6).reshape(3, 2), np.arange(3)
    assert next(iter(DataLoader(x, 2))).tolist() == [[0, 1], [2, 3]]
    assert [a.tolist() for a in next(iter(DataLoader((x, y), 2)))] == [[[0, 1], [2, 3]], [0, 1]]
    named = next(iter(DataLoader({"x": x, "y": y}, 2)))
    assert named["x"].shape == (2, 2) and named["y"].tolist() == [0, 1]
    rows = next(iter(DataLoader([(x[i], int(y[i])) for i in range(3)], 3)))
    assert rows[0].tolist() == x.tolist() and rows[1].tolist() == [0, 1, 2]
    text = DataLoader(["a", "bc"], 2, collate=lambda rows: "+".join(rows))
    assert list(text) == ["a+bc"]


def test_streams_start_anew_each_epoch():
    def numbers():
        yield from range(5)

    loader = DataLoader(numbers, 2)
    for _ in range(2):
        assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in DataLoader(Stream(numbers), 2, drop_last=True)] == [[0, 1], [2, 3]]
    loader.restore({"epoch": 1, "batch": 2})
    assert [batch.tolist() for batch in loader] == [[4]]
    for what in (lambda: len(loader), lambda: data.random_split(numbers, [1], KEY)):
        with pytest.raises(TypeError, match="stream has"):
            what()
    with pytest.raises(ValueError, match="neither be shuffled"):
        DataLoader(numbers, 2, shuffle=True, key=KEY)
    with pytest.raises(TypeError, match="A generator is empty the second time"):
        DataLoader(numbers(), 2)
    with pytest.raises(TypeError, match="can be used only once"):
        Stream(numbers())
    with pytest.raises(TypeError, match="needs arrays, a sequence of rows, or a function"):
        DataLoader(3, 2)


class Columns:
    """What `Table` uses of a `datasets.Dataset`."""

    column_names = ["text", "label", "image"]

    def __init__(self, numpy=False):
        self.numpy = numpy

    def with_format(self, kind):
        return Columns(kind == "numpy")

    def __len__(self):
        return 5

    def __getitem__(self, index):
        assert self.numpy and isinstance(index, (int, list))
        rows = np.asarray(index)
        return {"text": rows.astype(str), "label": rows * 10, "image": rows[..., None] + [0, 1]}

    def take(self, count):
        raise AssertionError("this `take` means the first rows")


def test_tables_are_read_by_columns():
    whole = next(iter(DataLoader(Columns(), 2)))
    assert list(whole) == ["text", "label", "image"] and whole["label"].tolist() == [0, 10]
    pairs = Table(Columns(), ["image", "label"])
    image, label = next(iter(DataLoader(pairs, 3)))
    assert image.shape == (3, 2) and label.tolist() == [0, 10, 20]
    assert pairs[4][1] == 40 and Table(Columns(), ["label"]).take([1, 2]).tolist() == [10, 20]
    with pytest.raises(ValueError, match=r"no columns \['x'\]"):
        Table(Columns(), ["x"])


def test_a_dataset_of_the_datasets_library():
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"x": [[1.0, 2.0], [3.0, 4.0]], "y": [0, 1]})
    x, y = next(iter(DataLoader(Table(table, ["x", "y"]), 2)))
    assert x.tolist() == [[1, 2], [3, 4]] and y.tolist() == [0, 1]


def test_split_by_shares():
    parts = data.random_split(NUMBERS, [0.8, 0.1, 0.1], KEY)
    assert [len(part) for part in parts] == [40, 5, 5]
    assert [len(p) for p in data.random_split(np.arange(7), [0.5, 0.5], KEY)] == [4, 3]
    rows = sorted(int(row) for part in parts for row in part.take(np.arange(len(part)))[0])
    assert rows == list(range(50))
    with pytest.raises(ValueError, match="must add up to 1"):
        data.random_split(NUMBERS, [0.5, 0.1], KEY)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"workers": -1}, ValueError, "workers must be at least 0"),
        ({"prefetch": 0}, ValueError, "prefetch must be at least 1"),
        ({"workers": 1.5}, TypeError, "workers must be an integer"),
        ({"kind": "fiber"}, ValueError, 'kind must be "thread" or "process"'),
        ({"transform": data.RandomFlip()}, ValueError, "random transform needs a key"),
    ],
)
def test_senseless_options(options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(IMAGES, 2, **options)


# -- transforms ------------------------------------------------------------------------------------


def test_transforms_change_their_part_of_a_batch():
    loader = DataLoader(
        (IMAGES, np.arange(20) % 4), 5, transform=[data.Normalize(0, 255), data.OneHot(4)]
    )
    images, labels = next(iter(loader))
    np.testing.assert_allclose(images, IMAGES[:5] / np.float32(255), rtol=1e-6)
    assert labels.tolist() == np.eye(4)[[0, 1, 2, 3, 0]].tolist() and labels.dtype == np.float32
    named = DataLoader({"x": IMAGES, "y": np.arange(20) % 4}, 5, transform=[data.OneHot(4, on="y")])
    assert next(iter(named))["y"].shape == (5, 4)


def test_random_transforms_depend_on_key_epoch_and_batch_alone():
    def seen(key, workers=0):
        loader = DataLoader(IMAGES, 10, key=key, transform=data.RandomFlip(), workers=workers)
        return [batches_of(loader) for _ in range(2)]

    first = seen(KEY)
    assert first == seen(KEY) == seen(KEY, workers=3)
    assert first[0] != first[1] and first != seen(fg.random.key(6))


def test_normalize_by_channel_and_layout():
    mean, std = [1.0, 2.0, 3.0], [1.0, 2.0, 4.0]
    out = data.Normalize(mean, std)(IMAGES)
    expected = (IMAGES.transpose(0, 2, 3, 1) - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(out.transpose(0, 2, 3, 1), expected, rtol=1e-6)
    other = data.Normalize(mean, std, layout="NHWC")(IMAGES.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(other, expected, rtol=1e-6)
    rows = RNG(0).normal(3, 2, (100, 4))
    rows[:, 3] = 7
    fitted = data.Normalize.fit(rows)(rows)
    np.testing.assert_allclose(fitted.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(fitted.std(0), [1, 1, 1, 0], atol=1e-5)
    with pytest.raises(ValueError, match="std must be positive"):
        data.Normalize(0, 0)


def test_one_hot_refuses_labels_outside():
    for labels in ([3], [-1]):
        with pytest.raises(ValueError, match="labels must be 0 to 2"):
            data.OneHot(3)(np.array(labels))
    assert data.OneHot(3)(np.zeros((0,), int)).shape == (0, 3)


@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_random_flip(vertical, layout):
    images = IMAGES if layout == "NCHW" else IMAGES.transpose(0, 2, 3, 1)
    axis = {"NCHW": (2, 3), "NHWC": (1, 2)}[layout][not vertical]
    before = images.copy()
    whole = data.RandomFlip(1.0, vertical=vertical, layout=layout)(images, RNG(0))
    np.testing.assert_array_equal(whole, np.flip(images, axis))
    np.testing.assert_array_equal(data.RandomFlip(0.0)(images, RNG(0)), images)
    many = np.repeat(images[:1], 4000, 0)
    share = (data.RandomFlip(0.3, layout=layout)(many, RNG(1)) != many).any((1, 2, 3)).mean()
    assert abs(share - 0.3) < 0.03  # four standard deviations
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_random_crop_gives_windows_of_the_padded_image(layout):
    images = IMAGES if layout == "NCHW" else np.ascontiguousarray(IMAGES.transpose(0, 2, 3, 1))
    cropped = data.RandomCrop((5, 4), 2, layout=layout)(images, RNG(0))
    if layout == "NHWC":
        cropped = cropped.transpose(0, 3, 1, 2)
    padded = np.pad(IMAGES, [(0, 0), (0, 0), (2, 2), (2, 2)])
    places = set()
    for image, window in zip(padded, cropped, strict=True):
        found = [
            (i, j) for i in range(8) for j in range(7)
            if (image[:, i : i + 5, j : j + 4] == window).all()
        ]  # fmt: skip
        assert found
        places.add(found[0])
    assert cropped.shape == (20, 3, 5, 4) and len(places) > 8
    np.testing.assert_array_equal(data.RandomCrop((8, 6))(IMAGES, RNG(0)), IMAGES)
    gray = data.RandomCrop((3, 3))(IMAGES[:, 0], RNG(0))
    assert gray.shape == (20, 3, 3)
    with pytest.raises(ValueError, match="smaller than"):
        data.RandomCrop((9, 6))(IMAGES, RNG(0))


def test_cutout_zeroes_one_square():
    ones = np.ones((200, 2, 9, 7), np.float32)
    out = data.Cutout(4)(ones, RNG(0))
    counts = (out == 0).sum((1, 2, 3))
    assert counts.max() == 2 * 16 and counts.min() >= 2 * 4 and len(set(counts)) > 3
    assert ((out[:, 0] == out[:, 1]).all()) and ones.all()
    hole = np.argwhere(out[0, 0] == 0)
    assert np.prod(np.ptp(hole, axis=0) + 1) == len(hole), "a rectangle"


def test_mixup_mixes_inputs_and_targets_alike():
    x, y = np.eye(6, dtype=np.float32), np.eye(6, dtype=np.float32)
    mixed_x, mixed_y = data.Mixup(0.5)((x, y), RNG(3))
    np.testing.assert_array_equal(mixed_x, mixed_y)
    np.testing.assert_allclose(mixed_x.sum(1), 1, rtol=1e-6)
    assert ((mixed_x > 0).sum(1) <= 2).all() and (mixed_x != x).any()
    with pytest.raises(TypeError, match="Put OneHot before it"):
        data.Mixup()((x, np.arange(6)), RNG(0))
    with pytest.raises(ValueError, match="alpha must be positive"):
        data.Mixup(0)


def test_affine_maps_are_exact_where_pixels_meet_pixels():
    square = IMAGES[:, :, :6, :6].astype(np.float32)
    eye = np.broadcast_to(np.eye(2), (20, 2, 2))
    none = np.zeros((20, 2))
    np.testing.assert_allclose(warped(square, eye, none), square)
    down = warped(square, eye, none + [2, 0])
    np.testing.assert_allclose(down[:, :, 2:], square[:, :, :-2])
    assert (down[:, :, :2] == 0).all()
    quarter = np.broadcast_to(np.array([[0.0, 1.0], [-1.0, 0.0]]), (20, 2, 2))
    turned = warped(square, quarter, none)
    np.testing.assert_allclose(turned, np.rot90(square, 1, (2, 3)), atol=1e-3)
    half = warped(square, eye, none + [0.5, 0], fill=7)
    between = (square[:, :, 1:] + square[:, :, :-1]) / 2
    np.testing.assert_allclose(half[:, :, 1:], between, rtol=1e-5)
    np.testing.assert_allclose(half[:, :, 0], (square[:, :, 0] + 7) / 2, rtol=1e-5)


def test_random_affine_keeps_shape_dtype_and_layout():
    transform = data.RandomAffine(20, translate=(0.1, 0.1), scale=(0.8, 1.2), shear=5)
    out = transform(IMAGES, RNG(0))
    assert out.shape == IMAGES.shape and out.dtype == np.uint8 and (out != IMAGES).any()
    last = data.RandomAffine(
        20, translate=(0.1, 0.1), scale=(0.8, 1.2), shear=5, layout="NHWC"
    )(IMAGES.transpose(0, 2, 3, 1), RNG(0))  # fmt: skip
    np.testing.assert_array_equal(last.transpose(0, 3, 1, 2), out)
    np.testing.assert_array_equal(transform(IMAGES[:, 0], RNG(0)), out[:, 0])
    np.testing.assert_array_equal(data.RandomAffine()(IMAGES, RNG(0)), IMAGES)


def test_a_layout_is_one_of_two():
    for make in (data.RandomFlip, lambda layout: data.Cutout(2, layout=layout)):
        with pytest.raises(ValueError, match='layout must be "NCHW" or "NHWC"'):
            make(layout="CHW")


def test_characters():
    tokens = data.CharTokenizer.fit("to be or not to be\n")
    text = "not to be"
    assert tokens.decode(tokens.encode(text)) == text and tokens.encode("").dtype == np.int32
    with pytest.raises(ValueError, match="'x' is not in the vocabulary of 8 characters"):
        tokens.encode("x")
    with pytest.raises(ValueError, match="must be 0 to 7"):
        tokens.decode([8])
    assert data.CharTokenizer("ab?", "?").encode("axb").tolist() == [0, 2, 1]
    for wrong in (("aa",), ("",), ("ab", "c")):
        with pytest.raises(ValueError, match="CharTokenizer"):
            data.CharTokenizer(*wrong)
    x, y = data.windows(np.arange(10), 4, stride=1)
    assert x.shape == (6, 4) and (y == x + 1).all() and x.base is not None
    with pytest.raises(ValueError, match="needs more tokens"):
        data.windows([1, 2], 2)


@pytest.mark.parametrize(
    "transform",
    [
        data.RandomFlip(1.0, layout="NHWC"),
        data.RandomFlip(1.0, vertical=True, layout="NHWC"),
        data.RandomCrop((2, 2), layout="NHWC"),
        data.Cutout(2, layout="NHWC"),
        data.RandomAffine(5, layout="NHWC"),
    ],
    ids=lambda t: type(t).__name__,
)
def test_images_without_channels_have_no_layout_with_channels_last(transform):
    """Their height would be taken for channels, and the batch for their height."""
    with pytest.raises(ValueError, match=r"they are \(batch, height, width, channels\)"):
        transform(np.ones((4, 5, 5)), RNG(0))


def test_a_transform_keeps_the_kind_of_a_batch():
    class Row(NamedTuple):
        inputs: np.ndarray
        label: int

    rows = [Row(np.ones(2), 0), Row(np.zeros(2), 1)]
    (batch,) = DataLoader(rows, 2, transform=data.Normalize(0.0, 2.0))
    assert isinstance(batch, Row)
    assert batch.inputs.tolist() == [[0.5, 0.5], [0.0, 0.0]] and batch.label.tolist() == [0, 1]
