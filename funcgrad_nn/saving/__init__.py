"""Saving: trees, models and trainings in safetensors files; nothing is pickled."""

from funcgrad_nn.saving.files import DamagedFileError
from funcgrad_nn.saving.manager import CheckpointManager, Restored
from funcgrad_nn.saving.pytree import (
    SavedModel,
    Unmatched,
    load,
    load_model,
    save,
    save_model,
)
from funcgrad_nn.saving.safetensors import read_metadata, read_safetensors, write_safetensors

__all__ = [
    "CheckpointManager",
    "DamagedFileError",
    "Restored",
    "SavedModel",
    "Unmatched",
    "load",
    "load_model",
    "read_metadata",
    "read_safetensors",
    "save",
    "save_model",
    "write_safetensors",
]
