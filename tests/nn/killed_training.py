"""Kill a training at random moments, resume it, and compare it with one that was left alone.

    python tests/nn/killed_training.py DIRECTORY [--kills 200] [--seed 0]

A child trains and saves after every other step. It is killed by SIGKILL at random moments, often in
the middle of a save. After each kill the newest checkpoint must be whole and at most two steps old;
the child that is let live must end with the same bits as an undisturbed training.
"""

import argparse
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np

import funcgrad as fg
import funcgrad_nn as nn
from funcgrad_nn.data import ArrayDataset, DataLoader, Normalize, RandomFlip

EVERY = 2
KEY = fg.random.key(3)
X = np.random.default_rng(0).normal(size=(40, 2, 2)).astype(np.float32)
Y = (X.sum((1, 2)) > 0).astype(np.int32)


def train(directory, log=None, epochs=6):
    """Everything that must survive: dropout, batch norm, a schedule, averages, early stopping."""
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 2)
    )
    loader = DataLoader(
        ArrayDataset(X, Y), 8, shuffle=True, key=KEY, transform=[RandomFlip(), Normalize(0, 2)]
    )
    return nn.fit(
        model, loader, epochs=epochs, key=KEY, loss=nn.cross_entropy, progress=False,
        optimizer=nn.optim.adam(nn.optim.cosine_decay_schedule(0.05, 30)),
        metrics={"accuracy": nn.accuracy}, validation=DataLoader(ArrayDataset(X, Y), 20),
        callbacks=[Log(log), nn.EarlyStopping("val_loss", patience=4, restore_best=True)],
        ema=0.9, accumulate=2,
        checkpoints=nn.CheckpointManager(directory, keep=2, best="val_loss"),
        every=EVERY, resume=True,
    )  # fmt: skip


class Log(nn.Callback):
    """Writes each finished step where the parent can see it, unbuffered."""

    def __init__(self, path):
        self.path = path

    def on_step(self, step):
        if self.path is not None:
            with open(self.path, "ab", buffering=0) as stream:
                stream.write(f"{step.number}\n".encode())


def started(work, directory, log):
    """A child process that trains and saves its result."""
    child = os.fork()
    if child:
        return child
    try:
        nn.save(work / "result", train(directory, log))
        os._exit(0)
    except BaseException as error:
        print(f"the child failed: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)


def require_newest_whole(directory, log, where):
    """The newest checkpoint can be read and misses at most the steps since the one before it."""
    done = [int(line) for line in log.read_text().split()] if log.exists() else []
    if not done or done[-1] <= EVERY:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps = nn.CheckpointManager(directory, keep=2, best="val_loss").restore().step
    assert steps >= done[-1] - EVERY, f"{where}: step {done[-1]} was done, only {steps} is saved"


def kill_often(work, kills, seed):
    """Kill children until enough have died, starting over when one finishes; count the finished."""
    rng, killed, finished, in_a_save = random.Random(seed), 0, 0, 0
    expected = train(work / "alone")
    began = time.perf_counter()
    train(work / "timed")
    duration = time.perf_counter() - began
    directory, log = work / "0", work / "0.log"
    while killed < kills or finished == 0:
        child = started(work, directory, log)
        if killed < kills:
            time.sleep(rng.uniform(0.15, 0.8) * duration)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
            in_a_save += any(directory.glob(".*.partial"))
            require_newest_whole(directory, log, f"kill {killed}")
            continue
        assert status == 0, "the child failed"
        require_same(nn.load(work / "result"), expected)
        finished += 1
        directory, log = work / str(finished), work / f"{finished}.log"
    print(
        f"{killed} kills, {in_a_save} of them in the middle of a save; {finished} trainings "
        "finished, all equal bit for bit"
    )


def require_same(result, expected):
    got, wanted = fg.tree.leaves(result), fg.tree.leaves(expected)
    for a, b in zip(got, wanted, strict=True):
        if str(a.dtype).startswith("key"):
            a, b = fg.random.key_data(a), fg.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), "a resumed training differs"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kill_often(options.directory, options.kills, options.seed)


if __name__ == "__main__":
    main()
