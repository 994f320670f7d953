"""Data on the host: data sets, loaders that batch and shuffle them, readers of files."""

from funcgrad_nn.data.dataset import ArrayDataset, Subset, random_split
from funcgrad_nn.data.idx import read_idx, write_idx
from funcgrad_nn.data.loader import DataLoader
from funcgrad_nn.data.sources import load_digits, load_mnist

__all__ = [
    "ArrayDataset",
    "DataLoader",
    "Subset",
    "load_digits",
    "load_mnist",
    "random_split",
    "read_idx",
    "write_idx",
]
