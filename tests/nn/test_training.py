"""Training: the compiled step, the loop, what it shows, and real data learned."""

import gc
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from funcgrad_nn.data import ArrayDataset, DataLoader
from funcgrad_nn.training import progress

KEY = fg.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4)).astype(np.float32)
Y = (X @ np.array([1.0, -2.0, 0.5, 0.0], np.float32) > 0).astype(np.int32)
ROWS = ArrayDataset(X, Y)
METRICS = {"accuracy": nn.accuracy}


def small_model(rate=0.0):
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(rate), nn.Linear(8, 2))


def fitted(model=None, epochs=3, **options):
    given = {
        "loss": nn.cross_entropy,
        "optimizer": nn.optim.adam(0.02),
        "key": KEY,
        "metrics": METRICS,
        "progress": False,
        **options,
    }
    loader = DataLoader(ROWS, 16, shuffle=True, key=KEY)
    return nn.fit(model or small_model(), loader, epochs=epochs, **given)


def same_history(a, b):
    """Equal names in equal order, equal values bit for bit."""
    return list(a.history) == list(b.history) and all(
        a.history[name].tobytes() == b.history[name].tobytes() for name in a.history
    )


def leaves(tree):
    """Leaves as NumPy arrays, keys as the numbers in them."""
    return [
        np.asarray(fg.random.key_data(x) if str(x.dtype).startswith("key") else x)
        for x in fg.tree.leaves(tree)
    ]


# -- one step --------------------------------------------------------------------------------------


def test_a_step_is_the_written_computation():
    model = nn.Linear(2, 1, bias=False)
    step = nn.make_train_step(model, nn.mse, nn.optim.sgd(0.1), {"largest": lambda o, t: o.max()})
    now = nn.training.start(model, nn.optim.sgd(0.1), KEY)
    w, x = np.asarray(now.params["weight"]), np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
    t = np.array([[1.0], [0.0]], np.float32)
    after, logs = step(now, x, t)
    np.testing.assert_allclose(logs["loss"], ((x @ w - t) ** 2).mean(), rtol=1e-5)
    np.testing.assert_allclose(logs["largest"], (x @ w).max(), rtol=1e-5)
    np.testing.assert_allclose(after.params["weight"], w - 0.1 * x.T @ (x @ w - t), rtol=1e-5)
    assert int(after.step) == 1


def test_the_step_compiles_once_for_a_shape():
    traces = []

    def loss(outputs, targets):
        traces.append(outputs.shape)
        return nn.cross_entropy(outputs, targets)

    model, optimizer = small_model(), nn.optim.adam(0.01)
    step, now = nn.make_train_step(model, loss, optimizer), nn.training.start(model, optimizer, KEY)
    for rows in (16, 16, 16, 4, 16, 4):
        now, _ = step(now, X[:rows], Y[:rows])
    assert traces == [(16, 2), (4, 2)]


def test_the_given_state_is_donated():
    model, optimizer = small_model(), nn.optim.sgd(0.1)
    step, now = (
        nn.make_train_step(model, nn.cross_entropy, optimizer),
        nn.training.start(model, optimizer, KEY),
    )
    weight = now.params["0"]["weight"]
    step(now, X, Y)
    with pytest.raises(RuntimeError, match="delete"):
        np.asarray(weight + 1)


def test_dropout_differs_from_step_to_step():
    model = nn.Dropout(0.5)
    step = nn.make_train_step(
        model, lambda out, _: out.sum(), nn.optim.sgd(0.1), {"mask": lambda out, _: out}
    )
    now = nn.training.start(model, nn.optim.sgd(0.1), KEY)
    now, first = step(now, np.ones(64, np.float32), 0)
    now, second = step(now, np.ones(64, np.float32), 0)
    assert (np.asarray(first["mask"]) != np.asarray(second["mask"])).any()


# -- the loop --------------------------------------------------------------------------------------


def test_X11_history_has_one_entry_an_epoch():
    result = fitted(validation=DataLoader(ROWS, 20))
    assert list(result.history) == ["train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    assert all(
        values.shape == (3,) and values.dtype == np.float64 for values in result.history.values()
    )
    assert result.history["train_loss"][-1] < result.history["train_loss"][0]
    assert result.train_state.params is result.params and int(result.train_state.step) == 12


def test_same_key_same_training_bit_for_bit():
    first, again = fitted(small_model(0.3)), fitted(small_model(0.3))
    assert same_history(first, again)
    for a, b in zip(leaves(first.train_state), leaves(again.train_state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not same_history(fitted(small_model(0.3), key=fg.random.key(9)), first)


def test_training_can_go_on_from_a_state():
    """2 epochs and then 1 are 3, bit for bit, and the state given is not used up."""
    loader = DataLoader(ROWS, 16, shuffle=True, key=KEY)
    options = {"loss": nn.cross_entropy, "optimizer": nn.optim.adam(0.02), "progress": False}
    model = small_model(0.3)
    part = nn.fit(model, loader, epochs=2, key=KEY, **options)
    rest = [list(loader.batches(2))][0]
    whole = nn.fit(model, rest, epochs=1, initial=part.train_state, **options)
    for a, b in zip(leaves(whole.params), leaves(fitted(model, metrics=None).params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert leaves(part.params)


def test_train_loss_is_the_mean_over_rows():
    """With a learning rate of 0 nothing changes, so the epoch's mean is that of the whole set."""
    result = fitted(epochs=1, optimizer=nn.optim.sgd(0.0), validation=[(X, Y)])
    np.testing.assert_allclose(result.history["train_loss"], result.history["val_loss"], rtol=1e-5)
    np.testing.assert_allclose(result.history["train_accuracy"], result.history["val_accuracy"])


def test_open_sizes_come_from_the_first_batch():
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(2))
    assert fitted(model, epochs=1).params["0"]["weight"].shape == (4, 8)


def test_callbacks_see_each_epoch_and_can_stop():
    seen = []

    def stop_at_two(epoch):
        seen.append((epoch.number, len(epoch.history["train_loss"]), int(epoch.train_state.step)))
        return epoch.number == 2

    result = fitted(epochs=9, callbacks=[stop_at_two])
    assert seen == [(1, 1, 4), (2, 2, 8)] and len(result.history["train_loss"]) == 2


def test_mistakes_are_errors():
    with pytest.raises(ValueError, match="epochs must be at least 1, but got 0"):
        fitted(epochs=0)
    with pytest.raises(ValueError, match="needs a key"):
        fitted(key=None)
    with pytest.raises(TypeError, match="fit: needs a module, but got type"):
        fitted(nn.Linear)
    with pytest.raises(TypeError, match="metrics: must be a dictionary.*but got list"):
        fitted(metrics=[nn.accuracy])
    with pytest.raises(TypeError, match="A recipe must be called: adam"):
        fitted(optimizer=nn.optim.adam)
    with pytest.raises(ValueError, match="progress must be"):
        fitted(progress="loud")
    batches = iter([(X, Y)])
    with pytest.raises(ValueError, match="A generator is empty the second time"):
        nn.fit(
            small_model(),
            batches,
            epochs=2,
            loss=nn.cross_entropy,
            key=KEY,
            progress=False,
            optimizer=nn.optim.sgd(0.1),
        )
    with pytest.raises(ValueError, match="the data has no batch"):
        nn.evaluate(small_model(), *small_model().init(KEY), [], metrics=METRICS)
    for inputs in (nn.data.DataLoader((X, Y), 8), [[1.0, 2.0]], 3.0):
        with pytest.raises(TypeError, match="predict: needs arrays with a first axis of rows"):
            nn.predict(small_model(), *small_model().init(KEY), inputs)
    with pytest.raises(ValueError, match="the inputs have no rows"):
        nn.predict(small_model(), *small_model().init(KEY), X[:0])
    with pytest.raises(ValueError, match="history is empty"):
        nn.plot({})


# -- evaluation ------------------------------------------------------------------------------------


def test_D34_evaluate_weighs_batches_by_rows():
    model = small_model(0.5)
    params, state = model.init(KEY)
    whole = nn.evaluate(model, params, state, [(X, Y)], loss=nn.cross_entropy, metrics=METRICS)
    parts = nn.evaluate(
        model, params, state, DataLoader(ROWS, 16), loss=nn.cross_entropy, metrics=METRICS
    )
    assert list(whole) == ["loss", "accuracy"]
    np.testing.assert_allclose(list(whole.values()), list(parts.values()), rtol=1e-5)
    logits, _ = model.apply(params, state, X)
    assert whole["accuracy"] == pytest.approx(float(nn.accuracy(logits, Y)), rel=1e-6)


def test_predict_is_apply_in_batches():
    model = small_model(0.5)
    params, state = model.init(KEY)
    expected, _ = model.apply(params, state, X)
    for size in (7, 50, 1000):
        np.testing.assert_allclose(
            nn.predict(model, params, state, X, batch_size=size), expected, rtol=1e-5, atol=1e-6
        )


def test_an_ensemble_trains_in_one_program():
    """vmap over start and step: every member's loss falls, and member 0 is what it is alone."""
    model, optimizer = small_model(), nn.optim.sgd(0.5)

    def step(now, x, y):
        def loss(params):
            return nn.cross_entropy(model.apply(params, now.state, x)[0], y)

        value, grads = fg.value_and_grad(loss)(now.params)
        updates, opt = optimizer.update(grads, now.optimizer, now.params)
        return now._replace(
            params=nn.optim.apply_updates(now.params, updates), optimizer=opt
        ), value

    keys = fg.random.split(KEY, 3)
    now = fg.vmap(lambda key: nn.training.start(model, optimizer, key))(keys)
    alone = nn.training.start(model, optimizer, keys[0])
    run, single, losses = fg.jit(fg.vmap(step, in_axes=(0, None, None))), fg.jit(step), []
    for _ in range(20):
        now, values = run(now, X, Y)
        alone, value = single(alone, X, Y)
        losses.append(np.asarray(values))
    assert (losses[-1] < losses[0]).all()
    np.testing.assert_allclose(losses[-1][0], value, rtol=1e-3)


def test_D31_D32_memory_stays_constant_while_training_and_evaluating():
    """A thousand steps and evaluations: no graph, statistics or caches pile up."""
    model, optimizer = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), nn.optim.adam(0.01)
    step = nn.make_train_step(model, lambda out, _: nn.mse(out, jnp.zeros_like(out)), optimizer)
    now = nn.training.start(model, optimizer, KEY)

    def work(now, count):
        for _ in range(count):
            now, _ = step(now, X, Y)
            model.apply(now.params, now.state, X)
        return now

    now = work(now, 50)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    work(now, 1000)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 1 << 20


# -- what is shown ---------------------------------------------------------------------------------


def test_nothing_is_shown_without_a_terminal(capfd):
    fitted(progress="auto")
    assert capfd.readouterr() == ("", "")


def test_lines_for_a_log(capfd):
    fitted(epochs=2, progress="lines")
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  train_loss 0.") and "train_accuracy 0." in lines[0]
    assert lines[0].endswith("steps/s")


def test_a_bar_for_a_person(capfd):
    pytest.importorskip("tqdm")
    fitted(epochs=2, progress="bar")
    shown = capfd.readouterr().err
    for part in ("epoch 2/2", "4/4", "loss 0.", "accuracy 0.", "step/s"):
        assert part in shown


@pytest.mark.parametrize(
    "terminal, ci, expected",
    [(True, None, "bar"), (True, "1", "nothing"), (False, None, "nothing")],
)
def test_auto_looks_at_the_terminal_and_at_CI(monkeypatch, terminal, ci, expected):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("CI", ci) if ci else monkeypatch.delenv("CI", raising=False)
    assert progress.shown("auto") == expected


def test_auto_shows_a_bar_in_a_notebook(monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    monkeypatch.delenv("CI", raising=False)
    assert progress.shown("auto") == "bar"
    monkeypatch.setenv("CI", "1")
    assert progress.shown("auto") == "nothing"


def test_D49_training_lowers_the_loss_and_raises_the_accuracy():
    """The sign is right: a net whose targets were negated would fall to no accuracy at all."""
    history = fitted(epochs=15, validation=[(X, Y)]).history
    assert history["train_loss"][-1] < 0.5 * history["train_loss"][0]
    assert history["val_accuracy"][-1] > 0.9 > history["train_accuracy"][0]


def test_plot_writes_a_png_with_a_panel_a_quantity(tmp_path):
    pytest.importorskip("matplotlib")
    history = {"train_loss": [2.0, 1.0], "val_loss": [2.1, 1.2], "train_accuracy": [0.1, 0.5]}
    figure = nn.plot(history, tmp_path / "curve.png")
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy"]
    assert [line.get_label() for line in figure.axes[0].lines] == ["training", "validation"]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


# -- real digits -----------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[2]


def run_demo(directory, *options):
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / "digits.py"), *options],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_the_demo_learns_digits(tmp_path):
    pytest.importorskip("sklearn")
    done = run_demo(tmp_path)
    assert done.returncode == 0, done.stderr
    accuracy = float(done.stdout.rpartition("test accuracy ")[2].split()[0])
    assert accuracy >= 97.0
    assert "predicted  probability" in done.stdout and "epoch 20/20" in done.stdout
    if "no plot" not in done.stdout:
        assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


def test_the_demo_reads_idx_files(tmp_path):
    """Two classes that any model separates, in MNIST's format: the way from files to a table."""
    labels = (np.arange(400) % 2).astype(np.uint8)
    images = RNG.integers(0, 100, (400, 28, 28)).astype(np.uint8)
    images[labels == 1, 10:18] = 255
    nn.data.write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", images)
    nn.data.write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", labels)
    done = run_demo(tmp_path, "--data", ".", "--epochs", "2", "--plot", "curve.png")
    assert done.returncode == 0, done.stderr
    assert "360 images to learn from, 40 to test with" in done.stdout
    assert "test accuracy 100.00 %" in done.stdout


def test_the_demo_says_what_a_directory_lacks(tmp_path):
    for directory, message in (
        ("nowhere", "nowhere is not a directory"),
        (".", "holds no MNIST files. Put there train-images-idx3-ubyte"),
    ):
        done = run_demo(tmp_path, "--data", directory)
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_sine_fit_X01(monkeypatch, capsys):
    """Loss limits and the agreement of both modes are asserted by the example itself."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    sine_fit = __import__("sine_fit")
    monkeypatch.setattr(sys, "argv", ["sine_fit.py"])
    sine_fit.main()
    assert "epoch 100" in capsys.readouterr().out
    losses = [sine_fit.fit_sine(KEY, epochs=3)[0] for _ in range(2)]
    assert losses[0] == losses[1]


def test_X02_product_gradient(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    __import__("product_gradient").main()
    assert capsys.readouterr().out.splitlines() == [
        "z  [ 4. 10. 18.]",
        "dx [4. 5. 6.]",
        "dy [1. 2. 3.]",
        "d(x*x) [2. 4. 6.]",
        "d(x+x) [2. 2. 2.]",
        "d(x-x) [0. 0. 0.]",
    ]


def test_jnp_arrays_can_be_data():
    loader = DataLoader(ArrayDataset(jnp.asarray(X), jnp.asarray(Y)), 16)
    nn.fit(
        small_model(),
        loader,
        loss=nn.cross_entropy,
        optimizer=nn.optim.sgd(0.1),
        key=KEY,
        progress=False,
    )
