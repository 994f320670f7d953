"""What fit can do beyond the plain loop: averages, stopping, several outputs, logs."""

import csv
import io
import math
import struct
import time

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from funcgrad_nn.data import ArrayDataset, DataLoader
from funcgrad_nn.training import curves, event_file, objective, text_plot

KEY = fg.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 4)).astype(np.float32)
Y = (X @ np.array([1.0, -2.0, 0.5, 0.0], np.float32) > 0).astype(np.int32)
ROWS = ArrayDataset(X, Y)
MODEL = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def fitted(model=MODEL, data=None, epochs=2, **options):
    given = {"loss": nn.cross_entropy, "optimizer": nn.optim.sgd(0.1), "key": KEY, **options}
    batches = DataLoader(ROWS, 8) if data is None else data
    return nn.fit(model, batches, epochs=epochs, progress=False, **given)


def assert_equal_trees(a, b, **tolerance):
    for x, y in zip(fg.tree.leaves(a), fg.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


# -- averages, accumulation, penalty ---------------------------------------------------------------


def params_after_each_step(**options):
    model, optimizer = nn.Linear(4, 2), nn.optim.sgd(0.5)
    step = nn.make_train_step(model, nn.cross_entropy, optimizer, **options)
    options.pop("penalty", None)
    now, seen = nn.training.start(model, optimizer, KEY, **options), []
    for begin in range(0, 48, 8):
        now, logs = step(now, X[begin : begin + 8], Y[begin : begin + 8])
        seen.append(fg.tree.map(np.array, (now.params, now.ema, logs)))
    return seen


def test_ema_is_the_closed_recurrence():
    """The first average is the first parameters; then a <- d a + (1 - d) p."""
    average = None
    for params, ema, _ in params_after_each_step(ema=0.75):
        w = params["weight"]
        average = w if average is None else 0.75 * average + 0.25 * w
        np.testing.assert_allclose(ema["weight"], average, rtol=1e-5, atol=1e-7)


@pytest.mark.oracle
def test_ema_agrees_with_torch():
    torch = pytest.importorskip("torch")
    from torch.optim import swa_utils

    seen = params_after_each_step(ema=0.9)
    layer = torch.nn.Linear(4, 2)
    averaged = swa_utils.AveragedModel(layer, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    for params, ema, _ in seen:
        layer.weight.data = torch.tensor(params["weight"].T.copy())
        averaged.update_parameters(layer)
        theirs = averaged.module.weight.detach().numpy()
        np.testing.assert_allclose(ema["weight"].T, theirs, rtol=1e-5, atol=1e-7)


def test_accumulating_is_one_step_with_the_whole_batch():
    """Mean gradients of three batches of 8 are that of one batch of 24; nothing moves between."""
    parts = params_after_each_step(accumulate=3)
    model, optimizer = nn.Linear(4, 2), nn.optim.sgd(0.5)
    step = nn.make_train_step(model, nn.cross_entropy, optimizer)
    now = nn.training.start(model, optimizer, KEY)
    assert_equal_trees(parts[0][0], now.params, rtol=0)
    assert_equal_trees(parts[1][0], now.params, rtol=0)
    for group in (0, 1):
        now, _ = step(now, X[24 * group : 24 * group + 24], Y[24 * group : 24 * group + 24])
        assert_equal_trees(parts[3 * group + 2][0], now.params, rtol=2e-5, atol=1e-6)


def test_averages_change_only_when_the_parameters_do():
    seen = params_after_each_step(accumulate=2, ema=0.5)
    kept = [ema["weight"] for _, ema, _ in seen]
    assert (kept[1] == seen[1][0]["weight"]).all() and (kept[2] == kept[1]).all()
    expected = 0.5 * seen[1][0]["weight"] + 0.5 * seen[3][0]["weight"]
    np.testing.assert_allclose(kept[3], expected, rtol=1e-5, atol=1e-7)


def test_fit_validates_and_returns_the_averages():
    result = fitted(ema=0.9, validation=[(X, Y)])
    assert result.params is result.train_state.ema
    loss = nn.evaluate(MODEL, result.params, result.state, [(X, Y)], loss=nn.cross_entropy)
    assert result.history["val_loss"][-1] == loss["loss"]
    raw = nn.evaluate(
        MODEL, result.train_state.params, result.state, [(X, Y)], loss=nn.cross_entropy
    )
    assert raw["loss"] != loss["loss"]


def test_a_penalty_is_part_of_the_loss():
    """On a loss of zero only the penalty is left: d (w^2) = 2 w, so w <- (1 - 2 rate) w."""
    model, optimizer = nn.Linear(2, 1, bias=False), nn.optim.sgd(0.25)
    step = nn.make_train_step(
        model, lambda out, _: 0 * out.sum(), optimizer, penalty=lambda p: (p["weight"] ** 2).sum()
    )
    now = nn.training.start(model, optimizer, KEY)
    before = np.array(now.params["weight"])
    now, logs = step(now, X[:, :2], Y)
    np.testing.assert_allclose(logs["loss"], (before**2).sum(), rtol=1e-6)
    np.testing.assert_allclose(now.params["weight"], 0.5 * before, rtol=1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"ema": 1.0}, r"ema must be in \[0, 1\)"),
        ({"accumulate": 0}, "accumulate must be an integer of at least 1"),
        ({"every": 3}, "need checkpoints="),
        ({"resume": True}, "need checkpoints="),
        ({"every": 0, "checkpoints": "x"}, "every must be at least 1"),
        ({"metrics": {"loss": nn.accuracy}}, '"loss" is the name of the loss'),
    ],
)
def test_senseless_options_are_errors(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        fitted(**options)


@pytest.mark.parametrize(
    "batch, message",
    [
        (np.ones((2, 4), np.float32), "got ndarray"),
        ((X, Y, Y), "got 3 parts"),
        ({"x": X, "y": Y}, "got dict"),
    ],
)
def test_a_batch_is_a_pair(batch, message):
    """An array of two rows must not be taken for inputs and targets."""
    for run in (
        lambda: fitted(data=[batch]),
        lambda: nn.evaluate(MODEL, *MODEL.init(KEY), [batch], loss=nn.cross_entropy),
    ):
        with pytest.raises(ValueError, match=f"must be a pair .inputs, targets.*{message}"):
            run()


# -- callbacks -------------------------------------------------------------------------------------


def test_callbacks_see_every_step_and_may_stop_within_an_epoch():
    class StopAt(nn.Callback):
        def __init__(self):
            self.seen, self.ended = [], 0

        def on_step(self, step):
            self.seen.append((step.number, step.epoch, float(step.logs["loss"]) > 0))
            return step.number == 8

        def on_end(self, train_state):
            self.ended += 1

    watcher = StopAt()
    result = fitted(epochs=9, callbacks=[watcher])
    assert watcher.seen == [(n, 1 + (n > 6), True) for n in range(1, 9)] and watcher.ended == 1
    assert int(result.train_state.step) == 8 and len(result.history["train_loss"]) == 2


def test_only_true_itself_stops_training():
    """A lambda that returns what it logged does not."""
    seen = []
    result = fitted(callbacks=[lambda epoch: seen.append(epoch.number) or "logged"])
    assert seen == [1, 2] and int(result.train_state.step) == 12
    assert int(fitted(callbacks=[lambda epoch: np.bool_(True)]).train_state.step) == 6


def test_early_stopping_waits_and_restores_the_best():
    """A rate far too high: the first epoch is the best and is what comes back."""
    stopping = nn.EarlyStopping("val_loss", patience=2, restore_best=True)
    options = {"optimizer": nn.optim.sgd(1e3), "validation": [(X, Y)], "callbacks": [stopping]}
    result = fitted(epochs=20, **options)
    losses = result.history["val_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 20 and stopping.best_epoch == best + 1
    again = nn.evaluate(MODEL, result.params, result.state, [(X, Y)], loss=nn.cross_entropy)
    assert again["loss"] == losses[best]


@pytest.mark.parametrize(
    "values, mode, delta, stops",
    [
        ([3, 2, 1, 0], "min", 0, None),
        ([1, 1, 1], "min", 0, 3),
        ([1, 0.95, 0.9], "min", 0.2, 3),
        ([1, 2, 1.5, 1.9], "max", 0, 4),
        ([math.nan, math.nan], "min", 0, 2),
        ([math.nan, 1.0, 2.0, 3.0], "min", 0, 4),
    ],
)
def test_early_stopping_by_a_table(values, mode, delta, stops):
    stopping = nn.EarlyStopping("x", patience=2, min_delta=delta, mode=mode)
    answers = [
        stopping.on_epoch(nn.training.Epoch(n, {"x": values[:n]}, None))
        for n in range(1, len(values) + 1)
    ]
    assert (answers.index(True) + 1 if True in answers else None) == stops


def test_early_stopping_says_what_the_history_lacks():
    with pytest.raises(ValueError, match="history has no 'val_loss', only.*train_loss"):
        fitted(callbacks=[nn.EarlyStopping()])
    for options in ({"mode": "low"}, {"patience": 0}, {"min_delta": -1}):
        with pytest.raises(ValueError, match="EarlyStopping"):
            nn.EarlyStopping(**options)


# -- the rate --------------------------------------------------------------------------------------


def test_the_history_has_the_rate_where_it_is_known():
    schedule = nn.optim.exponential_decay(0.5, 1, 0.9)
    result = fitted(optimizer=nn.optim.inject_hyperparams(nn.optim.sgd)(learning_rate=schedule))
    np.testing.assert_allclose(result.history["rate"], [0.5 * 0.9**5, 0.5 * 0.9**11], rtol=1e-5)
    given = fitted(optimizer=nn.optim.sgd(schedule), rate=schedule)
    np.testing.assert_allclose(given.history["rate"], result.history["rate"], rtol=1e-5)
    assert "rate" not in fitted().history


def test_X12_reductions_on_a_plateau_appear_in_the_history():
    plateau = nn.optim.reduce_on_plateau(factor=0.5, patience=1, accumulation_size=6, rtol=0.999)
    result = fitted(epochs=4, optimizer=nn.optim.chain(nn.optim.sgd(0.1), plateau), rate=0.1)
    np.testing.assert_allclose(result.history["rate"], [0.1, 0.05, 0.025, 0.0125], rtol=1e-5)


# -- several inputs and outputs --------------------------------------------------------------------


class TwoIn(nn.Module):
    """Inputs by name, one of them optional."""

    def __init__(self):
        self.left, self.right = nn.Linear(2, 3), nn.Linear(2, 3)

    def forward(self, left, right=None):
        h = self.left(left)
        return {"sum": h if right is None else h + self.right(right), "left": h}


A = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
B = np.array([[0.5, -1.0], [2.0, 0.0]], np.float32)
TARGETS = {"sum": np.ones((2, 3), np.float32), "left": np.array([0, 2], np.int32)}
LOSSES = {"sum": nn.mse, "left": nn.cross_entropy}
GRAPH = nn.Graph(
    inputs=["left", "right"],
    nodes={
        "l": (nn.Linear(2, 3), "left"),
        "r": (nn.LazyLinear(3), "right"),
        "sum": (nn.Lambda(fg.numpy.add), "l", "r"),
    },
    outputs=["sum", "l"],
)


@pytest.mark.parametrize("model", [TwoIn(), GRAPH], ids=["by name", "graph"])
def test_X15_five_steps_lower_the_summed_loss(model):
    """Two inputs, two outputs, two losses, on four numbers each."""
    graph = model is GRAPH
    losses = {"sum": nn.mse, "l": nn.cross_entropy} if graph else LOSSES
    targets = {"sum": TARGETS["sum"], "l": TARGETS["left"]} if graph else TARGETS
    metrics = {"sum": {"mae": nn.mae}}
    result = fitted(
        model,
        [({"left": A, "right": B}, targets)],
        epochs=5,
        loss=losses,
        metrics=metrics,
        validation=[({"left": A, "right": B}, targets)],
    )
    history = result.history
    parts = [history[f"train_{name}_loss"] for name in losses]
    np.testing.assert_allclose(history["train_loss"], sum(parts), rtol=1e-6)
    assert (np.diff(history["train_loss"]) < 0).all() and "val_sum_mae" in history
    out = nn.predict(model, result.params, result.state, {"left": A, "right": B}, batch_size=1)
    assert {name: value.shape for name, value in out.items()} == dict.fromkeys(losses, (2, 3))


def test_X15_mistakes_are_clear_errors():
    for inputs, message in (
        ({"right": B}, r"TwoIn: its inputs are \['left', 'right'\].*\['left'\] are missing"),
        ({"left": A, "middle": B}, r"batch has \['left', 'middle'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted(TwoIn(), [(inputs, TARGETS)], loss=LOSSES)
    one = {"sum": nn.mse}
    for loss, targets, message in (
        (one, TARGETS, r"losses for \['sum'\], but outputs \['left', 'sum'\]"),
        ({**LOSSES, "third": nn.mse}, TARGETS, "Every output needs its loss"),
        (LOSSES, {"sum": TARGETS["sum"]}, r"but targets \['sum'\]"),
        (LOSSES, TARGETS["sum"], "needs targets as a dictionary, but got one array"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted(TwoIn(), [({"left": A, "right": B}, targets)], loss=loss)


def test_inputs_by_position_name_and_default():
    assert objective.positional(TwoIn(), (A, B)) == (A, B)
    assert objective.positional(TwoIn(), {"right": B, "left": A}) == (A, B)
    assert objective.positional(TwoIn(), {"left": A}) == (A, None)
    assert objective.positional(MODEL, A) == (A,)
    whole = {"left": A, "right": B}
    assert objective.positional(GRAPH, whole) == (whole,)
    precise = nn.MixedPrecision(TwoIn())
    assert objective.positional(precise, {"right": B, "left": A}) == (A, B)


def test_graph_shares_a_module_used_twice_and_survives_json():
    layer = nn.Linear(2, 2)
    nodes = {"a": (layer, "x"), "b": (layer, "a")}
    graph = nn.Graph(["x"], nodes, ["b", "x"])
    params, state = graph.init(KEY)
    assert list(params["nodes"]) == ["a"]
    out, _ = graph.apply(params, state, {"x": A})
    w, b = (np.asarray(params["nodes"]["a"][name]) for name in ("weight", "bias"))
    np.testing.assert_allclose(out["b"], (A @ w + b) @ w + b, rtol=1e-5)
    np.testing.assert_array_equal(out["x"], A)
    assert nn.from_json(graph.to_json()) == graph and nn.from_json(GRAPH.to_json()) == GRAPH


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((["x", "x"], {}, ["x"]), "are not distinct"),
        ((["x"], {"x": (nn.ReLU(), "x")}, ["x"]), "'x' is taken"),
        ((["x"], {"y": (nn.ReLU(),)}, ["y"]), "no source"),
        ((["x"], {"y": (nn.ReLU(), "z")}, ["y"]), r"speaks of \['z'\]"),
        ((["x"], {"y": (nn.ReLU(), "y")}, ["y"]), r"speaks of \['y'\]"),
        ((["x"], {}, ["y"]), r"outputs speaks of \['y'\]"),
    ],
)
def test_graph_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        nn.Graph(*arguments)
    for node in ((abs, "x"), abs, (), "x"):
        with pytest.raises(TypeError, match=r"nn\.Lambda\(function\)"):
            nn.Graph(["x"], {"y": node}, ["y"])
    for wrong in (("x", {}, ["x"]), (["x"], {}, "x"), (["x"], ["x"], ["x"]), ([1], {}, ["x"])):
        with pytest.raises(TypeError, match="Graph: (inputs|outputs|nodes) must be"):
            nn.Graph(*wrong)
    params, state = GRAPH.init(KEY, {"left": (1, 2), "right": (1, 2)})
    with pytest.raises(ValueError, match=r"missing are \['right'\], and unknown are \['up'\]"):
        GRAPH.apply(params, state, {"left": A, "up": B})


# -- metrics that accumulate -----------------------------------------------------------------------


def test_metrics_with_a_state_are_those_of_all_rows():
    """F1 and a confusion matrix over batches are those of the whole, not means over batches."""
    metrics = {"f1": nn.metrics.F1(2), "matrix": nn.metrics.ConfusionMatrix(2), "acc": nn.accuracy}
    held = [(X[:20], Y[:20]), (X[20:], Y[20:])]
    result = fitted(metrics=metrics, optimizer=nn.optim.sgd(0.0), validation=held, epochs=2)
    logits, _ = MODEL.apply(result.params, result.state, X)
    for split in ("train", "val"):
        matrix = result.history[f"{split}_matrix"]
        assert matrix.shape == (2, 2, 2)
        np.testing.assert_array_equal(matrix[1], nn.confusion_matrix(logits, Y, 2))
        expected = float(metrics["f1"](logits, jnp.asarray(Y)))
        np.testing.assert_allclose(result.history[f"{split}_f1"], expected, rtol=1e-5)
    step = nn.make_train_step(MODEL, nn.cross_entropy, nn.optim.sgd(0.0), metrics)
    _, logs = step(nn.training.start(MODEL, nn.optim.sgd(0.0), KEY), X, Y)
    np.testing.assert_allclose(logs["f1"], result.history["train_f1"][0], rtol=1e-5)


def test_metrics_of_one_output_accumulate_too():
    metrics = {"left": {"hits": nn.metrics.Accuracy()}}
    batches = [({"left": A, "right": B}, TARGETS)]
    history = fitted(TwoIn(), batches, loss=LOSSES, metrics=metrics, validation=batches).history
    assert history["val_left_hits"][-1] in (0.0, 0.5, 1.0) and len(history["train_left_hits"]) == 2


def test_values_that_are_no_numbers_are_left_out_of_files(tmp_path):
    metrics = {"matrix": nn.metrics.ConfusionMatrix(2)}
    loggers = [nn.CSVLogger(tmp_path / "a.csv"), nn.TensorBoardLogger(tmp_path)]
    result = fitted(metrics=metrics, callbacks=loggers, checkpoints=tmp_path / "c")
    assert "matrix" not in (tmp_path / "a.csv").read_text()
    again = fitted(metrics=metrics, checkpoints=tmp_path / "c", resume=True)
    np.testing.assert_array_equal(again.history["train_matrix"], result.history["train_matrix"])


# -- compile ---------------------------------------------------------------------------------------


def test_X14_few_lines_train_and_predict(tmp_path):
    """Sizes are inferred; RMSE; a second call goes on; the file is a model."""
    features = RNG.uniform(size=(64, 6)).astype(np.float32)
    labels = np.eye(10, dtype=np.float32)[RNG.integers(0, 10, 64)]
    layers = nn.Sequential(nn.LazyLinear(20), nn.Sigmoid(), nn.LazyLinear(10), nn.Sigmoid())
    rmse = lambda out, t: jnp.sqrt(nn.mse(out, t))
    model = nn.compile(layers, loss=rmse, optimizer=nn.optim.adam(0.05), metrics={"mae": nn.mae})
    with pytest.raises(ValueError, match="no parameters yet"):
        model.predict(features)
    model.fit(features, labels, epochs=3, progress=False)
    model.fit(features, labels, epochs=2, progress=False, validation=(features, labels))
    assert int(model.train_state.step) == 10
    assert model.history["train_loss"].shape == (2,), "other names: a history of its own"
    assert model.predict(features).shape == (64, 10) and model(features[:1]).shape == (1, 10)
    measured = model.evaluate(features, labels)
    assert measured["loss"] == pytest.approx(model.history["val_loss"][-1], rel=1e-5)
    model.save(tmp_path / "m.safetensors")
    again = nn.load_model(tmp_path / "m.safetensors")
    out, _ = again.model.apply(again.params, again.state, features)
    np.testing.assert_allclose(out, model.predict(features), rtol=1e-5, atol=1e-6)


def test_compile_starts_from_built_parameters_and_shuffles_anew():
    model = nn.compile(MODEL, loss=nn.cross_entropy, optimizer=nn.optim.sgd(0.0)).build(KEY)
    before = fg.tree.map(np.array, model.params)
    model.fit(X, Y, epochs=1, progress=False, ema=0.5, accumulate=2)
    assert_equal_trees(before, model.params, rtol=0)
    with pytest.raises(TypeError, match="needs a module"):
        nn.compile(abs, loss=nn.mse, optimizer=nn.optim.sgd(0.1))
    with pytest.raises(TypeError, match="loss must be a function"):
        nn.compile(MODEL, loss="mse", optimizer=nn.optim.sgd(0.1))


# -- loggers ---------------------------------------------------------------------------------------


def test_csv_has_one_row_an_epoch(tmp_path):
    (tmp_path / "log.csv").write_text("from an earlier run\n")
    result = fitted(epochs=3, callbacks=[nn.CSVLogger(tmp_path / "log.csv")])
    rows = list(csv.DictReader((tmp_path / "log.csv").open(newline="")))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"] and rows[2]["step"] == "18"
    assert [float(row["train_loss"]) for row in rows] == result.history["train_loss"].tolist()


def records(content):
    """The messages of an event file; every sum is checked."""
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        assert event_file._masked(content[:8]) == content[8:12]
        message, check = content[12 : 12 + length], content[12 + length : 16 + length]
        assert event_file._masked(message) == check
        yield message
        content = content[16 + length :]


def test_tensorboard_files_hold_the_values(tmp_path):
    result = fitted(epochs=2, callbacks=[nn.TensorBoardLogger(tmp_path / "runs", every=4)])
    (path,) = (tmp_path / "runs").iterdir()
    version, *events = records(path.read_bytes())
    assert version.endswith(b"brain.Event:2") and path.name.startswith("events.out.tfevents.")
    tags = [b"step/loss", b"epoch/train_loss", b"step/loss", b"step/loss", b"epoch/train_loss"]
    assert [tag for event in events for tag in set(tags) if tag in event] == tags
    value = np.float32(result.history["train_loss"][-1]).tobytes()
    assert events[-1].endswith(b"\x15" + value)


def test_crc32c_of_rfc_3720():
    assert event_file.crc32c(bytes(32)) == 0x8A9136AA
    assert event_file.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert event_file.crc32c(bytes(range(32))) == 0x46DD794E


# -- curves in the terminal ------------------------------------------------------------------------


def test_text_plot_puts_the_largest_on_top():
    curves = {"up": [0, 1, 2], "down": [2, 1, 0]}
    assert text_plot(curves, width=20, height=3).splitlines() == [
        "        2 |o       *",
        "        1 |    o",
        "        0 |*       o",
        "* up  o down",
    ]


def test_text_plot_of_odd_curves():
    assert "nan" not in text_plot({"a": [1.0, math.nan, math.inf, 2.0]})
    assert text_plot({"flat": [1.0, 1.0]}).count("*") == 3  # two points and the legend
    assert text_plot({"a": [1.0], "empty": []})
    assert max(map(len, text_plot({"long": range(10_000)}, width=40).splitlines())) <= 40
    with pytest.raises(ValueError, match="no finite value"):
        text_plot({"a": [math.nan]})


def test_X23_live_curves_without_plotext(monkeypatch):
    """Plain text, drawn after every second step."""
    monkeypatch.setattr(curves, "has", lambda name: False)
    stream = io.StringIO()
    fitted(callbacks=[nn.LiveCurves(every=2, stream=stream)], metrics={"acc": nn.accuracy})
    assert stream.getvalue().count("* loss  o acc") == 6 and "\x1b" not in stream.getvalue()


def test_X23_live_curves_at_a_terminal_erase_what_they_drew(monkeypatch):
    monkeypatch.setattr(curves, "has", lambda name: False)
    stream = io.StringIO()
    stream.isatty = lambda: True
    fitted(callbacks=[nn.LiveCurves(["loss"], every=4, stream=stream, height=5)])
    assert stream.getvalue().count("\x1b[6A\x1b[J") == 2


def test_X23_live_curves_cost_less_than_a_millisecond_a_step():
    """A thousand steps, drawn every 50: the time of all calls, shared among them."""
    live = nn.LiveCurves(every=50, stream=io.StringIO())
    began = time.perf_counter()
    for number in range(1, 1001):
        logs = {"loss": 1 / number, "accuracy": 1 - 1 / number}
        live.on_step(nn.training.Step(number, 1, logs, None))
    assert (time.perf_counter() - began) / 1000 < 1e-3


def test_live_curves_use_plotext_where_it_is():
    pytest.importorskip("plotext")
    stream = io.StringIO()
    fitted(callbacks=[nn.LiveCurves(every=2, stream=stream)])
    assert "loss" in stream.getvalue()


class Recorder:
    """Stands for plotext: every call is written down, and `build` gives text."""

    def __init__(self, **parts):
        self.calls = []
        self.__dict__.update(parts)

    def __getattr__(self, name):
        if name not in ("clear_figure", "clear", "plotsize", "plot_size", "plot", "label", "lines",
                        "signal", "draw", "build"):  # fmt: skip
            raise AttributeError(name)

        def call(*arguments, **named):
            self.calls.append((name, arguments, named))
            return "picture\n" if name == "build" else self

        return call


@pytest.mark.parametrize("version", [5, 6])
def test_plotext_is_spoken_to_in_the_words_of_its_version(version):
    figure = Recorder()
    old = version == 5
    plotext = figure if old else type("Six", (), {"figure": figure})
    drawn = curves._by_plotext(plotext, {"loss": [2.0, 1.0]}, 50, 60, 12)
    assert drawn == "picture"
    called = {name: arguments for name, arguments, _ in figure.calls}
    assert called["plot" if old else "signal"] == ([50, 100], [2.0, 1.0])
    assert called["plotsize" if old else "plot_size"] == (60, 12)


def test_an_unknown_plotext_is_done_without(monkeypatch):
    monkeypatch.setattr(curves, "has", lambda name: True)
    monkeypatch.setattr(curves, "optional", lambda name: object())
    stream = io.StringIO()
    fitted(callbacks=[nn.LiveCurves(every=6, stream=stream)])
    assert stream.getvalue().count("* loss") == 2


def test_the_bar_shows_the_rate(capfd):
    pytest.importorskip("tqdm")
    optimizer = nn.optim.inject_hyperparams(nn.optim.sgd)(learning_rate=0.25)
    nn.fit(
        MODEL, DataLoader(ROWS, 8), loss=nn.cross_entropy, optimizer=optimizer, key=KEY,
        progress="bar",
    )  # fmt: skip
    shown = capfd.readouterr().err
    assert "rate 2.50e-01" in shown and "loss 0." in shown and "step/s" in shown


def test_plot_takes_a_history_of_fit(tmp_path):
    pytest.importorskip("matplotlib")
    result = fitted(validation=[(X, Y)])
    figure = nn.plot(result.history, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert figure._repr_png_().startswith(b"\x89PNG"), "a notebook shows it"
