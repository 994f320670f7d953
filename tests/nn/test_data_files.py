"""Readers of files from outside, and data sets by name: found, fetched, or asked for."""

import gzip
import hashlib
import io
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from funcgrad_nn import data
from funcgrad_nn.data import download, sources

RNG = np.random.default_rng(0)


# -- CSV -------------------------------------------------------------------------------------------


def csv(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_columns_have_their_types(tmp_path):
    table = data.read_csv(
        csv(tmp_path / "a.csv", 'n,x,"na,me",id\n1,0.5,"a ""b""",1_000\n\n-2,,c,2\n')
    )
    assert list(table) == ["n", "x", "na,me", "id"]
    assert table["n"].dtype == np.int64 and table["n"].tolist() == [1, -2]
    assert table["x"].dtype == np.float64 and np.isnan(table["x"][1])
    assert table["na,me"].tolist() == ['a "b"', "c"] and table["id"].tolist() == ["1_000", "2"]
    plain = data.read_csv(csv(tmp_path / "b.csv", "\ufeff1;2\n3;4\n"), header=False, delimiter=";")
    assert {name: column.tolist() for name, column in plain.items()} == {"0": [1, 3], "1": [2, 4]}
    assert data.columns(table, ["n", "x"]).dtype == np.float32
    with pytest.raises(TypeError, match=r"\['id'\] are text"):
        data.columns(table, ["id"])
    with pytest.raises(ValueError, match=r"no \['z'\]"):
        data.columns(table, ["z"])


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "has no row"),
        ("a,b\n1,2\n3\n", "row 2 has 1 fields, but there are 2 columns"),
        ("a,a\n1,2\n", "same name"),
        ("a\n" + "x" * 200_000, "field larger than field limit"),
    ],
)
def test_csv_faults(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        data.read_csv(csv(tmp_path / "a.csv", text))
    with pytest.raises(ValueError, match="more than the 3 bytes"):
        data.read_csv(csv(tmp_path / "b.csv", "a\n1\n"), max_bytes=3)


# -- NPZ -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_npz_round_trip(tmp_path, write):
    arrays = {
        "x": RNG.normal(size=(3, 4)).astype(np.float32),
        "f": np.asfortranarray(RNG.normal(size=(3, 4))),
        "big": np.arange(3, dtype=">i4"),
        "empty": np.zeros((0, 2)),
        "one": np.array(True),
    }
    write(tmp_path / "a.npz", **arrays)
    again = data.read_npz(tmp_path / "a.npz")
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].dtype == array.dtype.newbyteorder("=")


def npy(header, content=b""):
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


NPY = {
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"x" * 8),
    "too short": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9,)}", b"x" * 8),
    "huge": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1" + 18 * "0" + ",)}"),
    "huge by zero": npy(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1" + 21 * "0" + ")}"
    ),
    "negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", b"x" * 4),
    "code": npy("__import__('os').system('true')"),
    "no header": b"\x93NUMPY\x01\x00",
    "no array": b"hello",
    "version": b"\x93NUMPY\x07\x00",
    "deep": npy("(" * 5000),
}


@pytest.mark.parametrize("case", NPY)
def test_hostile_npz_files_are_clear_errors(tmp_path, case):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", NPY[case])
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"read_npz: .*a\.npz: a\.npy"):
        data.read_npz(tmp_path / "a.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


def test_damaged_and_bloated_archives(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(100))
    content = (tmp_path / "a.npz").read_bytes()
    for end in range(0, len(content), 37):
        (tmp_path / "a.npz").write_bytes(content[:end])
        with pytest.raises(ValueError, match="read_npz"):
            data.read_npz(tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "zeros.npz", x=np.zeros(1 << 20))
    with pytest.raises(ValueError, match="it promises .* bytes of arrays, too many"):
        data.read_npz(tmp_path / "zeros.npz", max_bytes=1 << 20)
    with pytest.raises(FileNotFoundError):
        data.read_npz(tmp_path / "nowhere.npz")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_flipped_bits_of_npz_give_the_array_or_an_error(tmp_path_factory, place, bit):
    path = tmp_path_factory.mktemp("fuzz") / "a.npz"
    np.savez(path, x=np.arange(20.0))
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        arrays = data.read_npz(path)
    except ValueError:
        return
    assert all(array.nbytes <= len(content) for array in arrays.values())


# -- images ----------------------------------------------------------------------------------------


def test_images_by_folder(tmp_path):
    images = pytest.importorskip("PIL.Image")
    for name, value in (("cat", 10), ("dog", 200)):
        (tmp_path / name).mkdir()
        for i in range(2):
            array = np.full((4, 6, 3), value + i, np.uint8)
            images.fromarray(array).save(tmp_path / name / f"{i}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    folder = data.ImageFolder(tmp_path)
    assert folder.classes == ["cat", "dog"] and len(folder) == 4
    x, y = next(iter(data.DataLoader(folder, 4)))
    assert x.shape == (4, 3, 4, 6) and x.dtype == np.uint8 and y.tolist() == [0, 0, 1, 1]
    assert x[:, 0, 0, 0].tolist() == [10, 11, 200, 201]
    assert data.ImageFolder(tmp_path, mode="L", size=(2, 3))[3][0].shape == (1, 2, 3)
    (tmp_path / "dog" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"dog.0\.png cannot be read"):
        folder[2]
    with pytest.raises(ValueError, match="pixels are too many"):
        data.ImageFolder(tmp_path, max_pixels=20)[0]
    with pytest.raises(FileNotFoundError, match="holds no images. Put those of each class"):
        data.ImageFolder(tmp_path / "cat")


# -- CIFAR -----------------------------------------------------------------------------------------


def records(count, labels, seed):
    rows = np.random.default_rng(seed).integers(0, 256, (count, labels + 3072)).astype(np.uint8)
    rows[:, :labels] = np.arange(count * labels).reshape(count, labels) % 10
    return rows


def write_cifar10(directory):
    directory.mkdir(parents=True, exist_ok=True)
    parts = {f"data_batch_{i}.bin": records(4, 1, i) for i in range(1, 6)}
    parts["test_batch.bin"] = records(3, 1, 9)
    for name, rows in parts.items():
        (directory / name).write_bytes(rows.tobytes())
    return parts


def archived(directory, archive, folder):
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(directory, folder)


def test_read_cifar(tmp_path):
    rows = records(5, 2, 0)
    (tmp_path / "a.bin").write_bytes(rows.tobytes())
    images, labels = data.read_cifar(tmp_path / "a.bin", labels=2)
    assert labels.tolist() == rows[:, :2].tolist()
    np.testing.assert_array_equal(images[3].ravel(), rows[3, 2:])
    for content in (b"", rows.tobytes()[:-1]):
        (tmp_path / "a.bin").write_bytes(content)
        with pytest.raises(ValueError, match="no whole number of records"):
            data.read_cifar(tmp_path / "a.bin", labels=2)


@pytest.mark.parametrize("place", ["files", "folder", "archive"])
def test_load_cifar10_finds_what_is_there(tmp_path, place):
    where = {"files": tmp_path, "folder": tmp_path / "cifar-10-batches-bin"}
    parts = write_cifar10(where.get(place, tmp_path / "x"))
    if place == "archive":
        archived(tmp_path / "x", tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin")
    splits = data.load_cifar10(tmp_path)
    images, labels = splits["train"]
    assert images.shape == (20, 3, 32, 32) and images.dtype == np.float32 and images.max() <= 1
    assert labels.dtype == np.int32 and labels[:4].tolist() == [0, 1, 2, 3]
    raw = data.load_cifar10(tmp_path, scaled=False)["test"][0]
    np.testing.assert_array_equal(raw.reshape(3, -1), parts["test_batch.bin"][:, 1:])


def test_load_cifar100_fine_and_coarse(tmp_path):
    rows = records(4, 2, 0)
    (tmp_path / "test.bin").write_bytes(rows.tobytes())
    assert list(data.load_cifar100(tmp_path)) == ["test"]
    assert data.load_cifar100(tmp_path)["test"][1].tolist() == rows[:, 1].tolist()
    assert data.load_cifar100(tmp_path, coarse=True)["test"][1].tolist() == rows[:, 0].tolist()


def test_load_cifar_says_what_it_lacks(tmp_path):
    with pytest.raises(FileNotFoundError, match="load_cifar10: .*neither cifar-10-binary.tar.gz"):
        data.load_cifar10(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(records(1, 1, 0).tobytes())
    with pytest.raises(FileNotFoundError, match="of no split are all files there"):
        data.load_cifar10(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(b"short")
    with pytest.raises(ValueError, match="no whole number of records"):
        data.load_cifar10(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"no tar" * 100, mtime=0)],
    ids=["nothing", "text", "no tar"],
)
def test_a_damaged_archive_is_a_clear_error(tmp_path, content):
    (tmp_path / "cifar-100-binary.tar.gz").write_bytes(content)
    with pytest.raises(ValueError, match="load_cifar100: .*tar.gz"):
        data.load_cifar100(tmp_path)


def test_an_archive_writes_nothing_and_follows_no_links(tmp_path):
    with tarfile.open(tmp_path / "cifar-100-binary.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("x/train.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        content = records(2, 2, 0).tobytes()
        member = tarfile.TarInfo("../../test.bin")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    assert list(data.load_cifar100(tmp_path)) == ["test"]
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-100-binary.tar.gz"]


# -- fetching --------------------------------------------------------------------------------------


def served(tmp_path, monkeypatch, name="x.bin", content=b"hello", md5=None):
    """A remote file that is a local one, by a file:// address."""
    (tmp_path / "server").mkdir(exist_ok=True)
    (tmp_path / "server" / name).write_bytes(content)
    digest = md5 or hashlib.md5(content).hexdigest()
    return download.Remote(name, (tmp_path / "server").as_uri() + "/", digest)


def test_files_are_fetched_once_and_checked(tmp_path, monkeypatch):
    remote = served(tmp_path, monkeypatch)
    path = download.fetch(remote, tmp_path / "cache" / "deep")
    assert path.read_bytes() == b"hello"
    (tmp_path / "server" / "x.bin").unlink()
    assert download.fetch(remote, tmp_path / "cache" / "deep") == path
    with pytest.raises(FileNotFoundError, match="cannot be downloaded.*Put x.bin into .*other"):
        download.fetch(remote, tmp_path / "other")


def test_a_wrong_checksum_keeps_nothing(tmp_path, monkeypatch):
    remote = served(tmp_path, monkeypatch, md5="0" * 32)
    with pytest.raises(ValueError, match="checksum of what was downloaded is wrong"):
        download.fetch(remote, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["server"]
    monkeypatch.setattr(download, "MAX_DOWNLOAD", 3)
    with pytest.raises(ValueError, match="more than 3 bytes came"):
        download.fetch(served(tmp_path, monkeypatch), tmp_path)


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes())


def test_fashion_mnist_by_name(tmp_path, monkeypatch):
    """Without a directory: fetched into the user's cache, the second time read from there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remotes = []
    for prefix, count in (("train", 6), ("t10k", 2)):
        images, labels = np.full((count, 28, 28), 255, np.uint8), np.arange(count, dtype=np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            name = f"{prefix}-{kind}-ubyte.gz"
            remotes.append(served(tmp_path, monkeypatch, name, idx(array)))
    monkeypatch.setattr(sources, "FASHION_FILES", tuple(remotes))
    for _ in range(2):
        splits = data.load_fashion_mnist()
        assert splits["train"][0].shape == (6, 28, 28) and splits["test"][1].tolist() == [0, 1]
        for path in (tmp_path / "server").iterdir():
            path.unlink()
    assert len(list((tmp_path / "cache/funcgrad/data/fashion-mnist").iterdir())) == 4


def test_without_a_network_the_error_says_where_to_put_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    nowhere = (tmp_path / "nowhere").as_uri() + "/"
    gone = sources.MNIST_FILES[0]._replace(base=nowhere)
    monkeypatch.setattr(sources, "MNIST_FILES", (gone,))
    with pytest.raises(FileNotFoundError, match="Put train-images-idx3-ubyte.gz into .*mnist"):
        data.load_mnist()
    monkeypatch.setattr(sources, "CIFAR10_FILE", sources.CIFAR10_FILE._replace(base=nowhere))
    with pytest.raises(FileNotFoundError, match="Put cifar-10-binary.tar.gz into .*cifar-10"):
        data.load_cifar10()
    with pytest.raises(FileNotFoundError, match="is not a directory"):
        data.load_mnist(tmp_path / "mine")


def test_cifar_is_fetched_whole(tmp_path, monkeypatch):
    write_cifar10(tmp_path / "x")
    archived(tmp_path / "x", tmp_path / "a.tar.gz", "cifar-10-batches-bin")
    content = (tmp_path / "a.tar.gz").read_bytes()
    remote = served(tmp_path, monkeypatch, "cifar-10-binary.tar.gz", content)
    monkeypatch.setattr(sources, "CIFAR10_FILE", remote)
    assert len(data.load_cifar10(tmp_path / "new", download=True)["train"][0]) == 20


def test_published_checksums_are_checksums():
    remotes = [*sources.MNIST_FILES, *sources.FASHION_FILES, sources.CIFAR10_FILE]
    for remote in [*remotes, sources.CIFAR100_FILE]:
        assert len(bytes.fromhex(remote.md5)) == 16 and remote.base.startswith("https://")
        assert remote.base.endswith("/")
