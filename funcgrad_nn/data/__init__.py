"""Data on the host: data sets, loaders that batch and shuffle them, transforms, files."""

from funcgrad_nn.data.affine import RandomAffine
from funcgrad_nn.data.dataset import (
    ArrayDataset,
    Dataset,
    Stream,
    Subset,
    Table,
    as_dataset,
    random_split,
)
from funcgrad_nn.data.files import ImageFolder, columns, read_cifar, read_csv, read_npz
from funcgrad_nn.data.idx import read_idx, write_idx
from funcgrad_nn.data.loader import DataLoader
from funcgrad_nn.data.sources import (
    load_cifar10,
    load_cifar100,
    load_digits,
    load_fashion_mnist,
    load_mnist,
)
from funcgrad_nn.data.synthetic import synthetic_digits
from funcgrad_nn.data.text import CharTokenizer, windows
from funcgrad_nn.data.transforms import (
    Compose,
    Cutout,
    Mixup,
    Normalize,
    OneHot,
    RandomCrop,
    RandomFlip,
    Transform,
)
from funcgrad_nn.saving import read_safetensors

__all__ = [
    "ArrayDataset",
    "CharTokenizer",
    "Compose",
    "Cutout",
    "DataLoader",
    "Dataset",
    "ImageFolder",
    "Mixup",
    "Normalize",
    "OneHot",
    "RandomAffine",
    "RandomCrop",
    "RandomFlip",
    "Stream",
    "Subset",
    "Table",
    "Transform",
    "as_dataset",
    "columns",
    "load_cifar10",
    "load_cifar100",
    "load_digits",
    "load_fashion_mnist",
    "load_mnist",
    "random_split",
    "read_cifar",
    "read_csv",
    "read_idx",
    "read_npz",
    "read_safetensors",
    "synthetic_digits",
    "windows",
    "write_idx",
]
