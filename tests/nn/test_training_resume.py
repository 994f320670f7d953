"""Stopping and going on: checkpoints of whole trainings, killed and interrupted ones."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad_nn as nn
from funcgrad_nn.data import ArrayDataset, DataLoader
from funcgrad_nn.training.interrupt import Interrupts

HERE = Path(__file__).resolve().parent
KEY = fg.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int32)
MODEL = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))
SCHEDULE = nn.optim.cosine_decay_schedule(0.05, 40)

POSIX = pytest.mark.skipif(os.name != "posix", reason="a process cannot press its own Ctrl-C")


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """Python ignores Ctrl-C where its parent does, as shells do for what runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Stop(Exception):
    """Raised in the middle of a training by these tests."""


class FailAt(nn.Callback):
    def __init__(self, step, error=Stop):
        self.step, self.error = step, error

    def on_step(self, step):
        if step.number == self.step:
            raise self.error


def loader():
    return DataLoader(ArrayDataset(X, Y), 8, shuffle=True, key=KEY)


def fitted(directory=None, epochs=4, data=None, callbacks=(), **options):
    given = {
        "loss": nn.cross_entropy,
        "optimizer": nn.optim.adam(SCHEDULE),
        "key": KEY,
        "metrics": {"accuracy": nn.accuracy},
        "validation": [(X, Y)],
        "progress": False,
        "ema": 0.9,
        "checkpoints": directory,
        **options,
    }
    data = loader() if data is None else data
    return nn.fit(MODEL, data, epochs=epochs, callbacks=callbacks, **given)


def assert_same(a, b):
    """Two results of fit, bit for bit."""
    assert list(a.history) == list(b.history)
    for name in a.history:
        assert a.history[name].tobytes() == b.history[name].tobytes(), name
    pairs = zip(fg.tree.leaves(a.train_state), fg.tree.leaves(b.train_state), strict=True)
    for x, y in pairs:
        if str(x.dtype).startswith("key"):
            x, y = fg.random.key_data(x), fg.random.key_data(y)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


WHOLE = fitted()


@pytest.mark.parametrize("step", [1, 4, 5, 6, 13, 20])
@pytest.mark.parametrize("every", [1, 3, None])
def test_X26_a_training_that_failed_goes_on_bit_for_bit(tmp_path, step, every):
    """Wherever it fails: in an epoch, at its last step, before the first checkpoint."""
    options = {"every": every} if every else {}
    with pytest.raises(Stop):
        fitted(tmp_path, callbacks=[FailAt(step)], **options)
    seen = []
    watch = type("Watch", (nn.Callback,), {"on_step": lambda self, s: seen.append(s.number)})()
    assert_same(fitted(tmp_path, callbacks=[watch], resume=True, **options), WHOLE)
    saved = (step - 1) // (every or 5) * (every or 5)
    saved = max(saved, (step - 1) // 5 * 5)  # an epoch has five steps and ends with a checkpoint
    assert seen == list(range(saved + 1, 21)), "at most the steps since the last checkpoint"


def test_X26_a_new_process_goes_on(tmp_path):
    """10 steps are 5 steps, a file, a new process, 5 steps."""
    program = (
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        "import test_training_resume as t\n"
        "from pathlib import Path\n"
        "t.fitted(Path(sys.argv[1]), epochs=1)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=120)
    assert nn.CheckpointManager(tmp_path).steps() == [5]
    assert_same(fitted(tmp_path, epochs=2, resume=True), fitted(epochs=2))


def test_a_new_training_beside_checkpoints_of_another_is_warned_of(tmp_path):
    """The directory's newest is not its own; to go on from there would be a surprise."""
    fitted(tmp_path, epochs=2)
    with pytest.warns(UserWarning, match="of another training, up to step 10; resume=True would"):
        once = fitted(tmp_path, epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(tmp_path, epochs=2, resume=True)
        fitted(tmp_path / "own", epochs=1)
        fitted(tmp_path / "own", epochs=1, initial=once.train_state)


def test_D36_the_schedule_does_not_drift_over_a_break(tmp_path):
    """After resuming, the rate is the schedule's closed form of the step."""
    adam = nn.optim.inject_hyperparams(nn.optim.adam)(learning_rate=SCHEDULE)
    with pytest.raises(Stop):
        fitted(tmp_path, optimizer=adam, every=2, callbacks=[FailAt(9)])
    history = fitted(tmp_path, optimizer=adam, every=2, resume=True).history
    expected = [0.05 * 0.5 * (1 + np.cos(np.pi * step / 40)) for step in (4, 9, 14, 19)]
    np.testing.assert_allclose(history["rate"], expected, rtol=1e-5)


def test_a_finished_training_is_only_read_and_can_be_made_longer(tmp_path):
    fitted(tmp_path)
    assert_same(fitted(tmp_path, resume=True, callbacks=[FailAt(1)]), WHOLE)
    assert_same(fitted(tmp_path, epochs=6, resume=True), fitted(epochs=6))


def test_data_without_a_position_is_skipped_over(tmp_path):
    batches = list(loader().batches(0))
    with pytest.raises(Stop):
        fitted(tmp_path, data=batches, every=2, callbacks=[FailAt(8)])
    assert_same(fitted(tmp_path, data=batches, resume=True), fitted(data=batches))


def test_callbacks_go_on_where_they_were(tmp_path):
    """Early stopping counts over the break, and the CSV file has no epoch twice."""

    def callbacks():
        stopping = nn.EarlyStopping("val_accuracy", patience=3, mode="max", restore_best=True)
        return [stopping, nn.CSVLogger(tmp_path / "log.csv")]

    alone = fitted(epochs=9, callbacks=callbacks())
    expected = (tmp_path / "log.csv").read_text()
    with pytest.raises(Stop):
        fitted(tmp_path / "c", epochs=9, every=4, callbacks=[*callbacks(), FailAt(12)])
    resumed = fitted(tmp_path / "c", epochs=9, callbacks=callbacks(), resume=True)
    assert_same(resumed, alone)
    assert (tmp_path / "log.csv").read_text() == expected
    stopped = fitted(tmp_path / "c", epochs=9, callbacks=callbacks(), resume=True)
    assert_same(stopped, alone)


def test_the_manager_keeps_the_best_epoch(tmp_path):
    manager = nn.CheckpointManager(tmp_path, keep=1, best="val_loss")
    result = fitted(manager)
    best = 5 * (1 + int(np.argmin(result.history["val_loss"])))
    assert manager.best_step() == best and set(manager.steps()) == {best, 20}


def test_a_checkpoint_is_a_model_too(tmp_path):
    """The best epoch, used without the program that trained it; averages are what is used."""
    manager = nn.CheckpointManager(tmp_path, keep=1, best="val_loss")
    history = fitted(manager).history
    best = nn.load_model(manager.path(manager.best_step()))
    measured = nn.evaluate(*best, [(X, Y)], loss=nn.cross_entropy)
    assert best.model == MODEL and measured["loss"] == history["val_loss"].min()


def test_a_model_without_json_is_trained_and_resumed_all_the_same(tmp_path):
    model = nn.Sequential(nn.Linear(4, 2), nn.Lambda(lambda x: 2 * x))
    options = {"loss": nn.cross_entropy, "optimizer": nn.optim.sgd(0.1), "key": KEY}
    options |= {"checkpoints": tmp_path, "resume": True, "progress": False}
    for epochs in (1, 2):
        result = nn.fit(model, loader(), epochs=epochs, **options)
    assert len(result.history["train_loss"]) == 2
    newest = max(tmp_path.glob("*.safetensors"))
    with pytest.raises(ValueError, match="holds no model: its description has no form as JSON"):
        nn.load_model(newest)


def test_a_checkpoint_of_another_training_is_an_error(tmp_path):
    fitted(tmp_path, epochs=1)
    other = {"optimizer": nn.optim.sgd(0.1)}
    with pytest.raises(ValueError, match="is of another training.*\n.*unexpected optimizer/"):
        fitted(tmp_path, resume=True, **other)
    with pytest.raises(ValueError, match=r"missing ema/0/|unexpected ema/0/"):
        fitted(tmp_path, resume=True, ema=None)
    with pytest.raises(ValueError, match="has the metrics"):
        fitted(tmp_path, resume=True, metrics={"f1": nn.metrics.F1(2)})
    nn.save(tmp_path / "step-00000099.safetensors", {"a": 1})
    with pytest.raises(ValueError, match="step 99 in .* was not saved by fit"):
        fitted(tmp_path, resume=True)


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(tmp_path):
    fitted(tmp_path, epochs=3)
    newest = max(tmp_path.glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.warns(UserWarning, match="skipped a checkpoint"):
        assert_same(fitted(tmp_path, resume=True), WHOLE)


def test_streams_can_be_trained_on_and_resumed(tmp_path):
    """No length, no random order, but a place."""

    def rows():
        yield from zip(X, Y, strict=True)

    data = lambda: DataLoader(rows, 8)
    whole = fitted(data=data(), epochs=2)
    with pytest.raises(Stop):
        fitted(tmp_path, data=data(), epochs=2, every=1, callbacks=[FailAt(7)])
    assert_same(fitted(tmp_path, data=data(), epochs=2, resume=True), whole)


def test_a_stop_within_an_epoch_is_remembered(tmp_path):
    """Killed between the step that stopped and the end of its epoch, it only ends the epoch."""

    class StopAt(nn.Callback):
        def on_step(self, step):
            return step.number == 7

    expected = fitted(callbacks=[StopAt()])
    with pytest.raises(Stop):
        fitted(tmp_path, every=1, validation=FailingValidation(2), callbacks=[StopAt()])
    assert_same(fitted(tmp_path, every=1, callbacks=[StopAt()], resume=True), expected)


class FailingValidation:
    """Validation data that raises in a given epoch."""

    def __init__(self, epochs):
        self.left = epochs

    def __iter__(self):
        self.left -= 1
        if self.left == 0:
            raise Stop
        return iter([(X, Y)])


def test_an_interrupt_while_an_epoch_is_closed_saves_nothing_half(tmp_path):
    """Pressed twice, Ctrl-C raises anywhere: here after the history has its new entry."""

    def press(epoch):
        if epoch.number == 2 and not pressed:
            pressed.append(1)
            raise KeyboardInterrupt

    pressed = []
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path, callbacks=[press])
    assert_same(fitted(tmp_path, callbacks=[press], resume=True), WHOLE)


# -- Ctrl-C ----------------------------------------------------------------------------------------


@POSIX
def test_ctrl_c_leaves_a_usable_checkpoint(tmp_path):
    """The signal arrives in the middle of a step; the step ends, its state is saved."""

    class Press(nn.Callback):
        def on_step(self, step):
            if step.number == 7:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        fitted(tmp_path, callbacks=[Press()])
    assert "stopped after step 7, which is saved" in caught.value.__notes__[0]
    assert nn.CheckpointManager(tmp_path).steps()[-1] == 7
    assert_same(fitted(tmp_path, resume=True), WHOLE)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@POSIX
def test_ctrl_c_during_validation(tmp_path):
    """The epoch's steps are kept, and validation is done again."""
    pressed = []

    class Batches:
        def __iter__(self):
            if not pressed:
                pressed.append(os.kill(os.getpid(), signal.SIGINT))
            yield X, Y

    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path, validation=Batches())
    assert_same(fitted(tmp_path, validation=Batches(), resume=True), WHOLE)


@POSIX
def test_a_second_ctrl_c_raises_at_once():
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)
        assert interrupts.requested
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        pytest.fail("the second signal was swallowed")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@POSIX
def test_another_handler_of_ctrl_c_is_left_alone():
    heard = []
    previous = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)
        assert heard == [1] and not interrupts.requested
    finally:
        signal.signal(signal.SIGINT, previous)


# -- SIGKILL ---------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
@pytest.mark.slow
def test_killed_at_random_moments_it_goes_on_bit_for_bit(tmp_path):
    """Ten kills here; `python tests/nn/killed_training.py DIRECTORY` makes two hundred."""
    script = [sys.executable, str(HERE / "killed_training.py"), str(tmp_path), "--kills", "10"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "10 kills" in done.stdout and "equal bit for bit" in done.stdout


def test_no_warning_in_a_plain_resume(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(tmp_path, epochs=1)
        fitted(tmp_path, epochs=2, resume=True)
