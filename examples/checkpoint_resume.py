"""Stop and go on: ten steps are five steps, a file, a new process, and five more. Bit for bit.

The file holds the parameters, the optimizer's state, the step, the key, and the loader's place.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import funcgrad as fg
import funcgrad_nn as nn
from funcgrad_nn.data import ArrayDataset, DataLoader

MODEL = nn.Sequential(
    nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 3)
)
SCHEDULE = nn.optim.warmup_cosine_decay_schedule(0.0, 0.02, 3, 10)
OPTIMIZER = nn.optim.adamw(SCHEDULE)


def batches():
    """Thirty rows by eight, shuffled: ten steps go beyond two epochs."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 8)).astype(np.float32), rng.integers(0, 3, 30).astype(np.int32)
    return DataLoader(ArrayDataset(x, y), 8, shuffle=True, key=fg.random.key(5))


def train(now, first, last):
    """Steps first + 1, ..., last; each takes the batch that belongs to its number."""
    step, loader, losses = nn.make_train_step(MODEL, nn.cross_entropy, OPTIMIZER), batches(), []
    for number in range(first, last):
        epoch, place = divmod(number, len(loader))
        x, y = list(loader.batches(epoch))[place]
        now, logs = step(now, x, y)
        losses.append(float(logs["loss"]))
    return now, losses


def fresh():
    return nn.training.start(MODEL, OPTIMIZER, fg.random.key(1))


def continue_from(path):
    """What the second process does: read the state, take the last five steps, write it again."""
    now = nn.load(path, like=fresh())
    now, losses = train(now, int(now.step), 10)
    nn.save(path, now)
    print(*losses)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--continue-from", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.continue_from:
        continue_from(options.continue_from)
        return

    straight, losses = train(fresh(), 0, 10)
    print("ten steps without a break: ", *(f"{loss:.4f}" for loss in losses))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.safetensors"
        half, first = train(fresh(), 0, 5)
        nn.save(path, half)
        command = [sys.executable, __file__, "--continue-from", str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rest = [float(word) for word in done.stdout.split()]
        resumed = nn.load(path, like=straight)
    print("five, a file, a process, five:", *(f"{loss:.4f}" for loss in first + rest))
    same = fg.tree.map(lambda a, b: bool((a == b).all()), straight, resumed)
    print("equal in every bit:", fg.tree.all(same), f"({len(fg.tree.leaves(straight))} arrays)")
    assert first + rest == losses and fg.tree.all(same)


if __name__ == "__main__":
    main()
