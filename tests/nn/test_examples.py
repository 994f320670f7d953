"""Every example runs as a user runs it, and prints what it promises.

The examples assert their own limits (losses, agreement, bits); here stands what must be seen. The
numbers X-01 to X-26 are those of the contract with users of the earlier systems.
"""

import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from funcgrad_nn.data import synthetic_digits

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {path.stem: path for path in sorted((ROOT / "examples").glob("*.py"))}
NEEDS = {"digits": "sklearn"}

# What the output of each must contain, as regular expressions, in this order.
PRINTS = {
    "sine_fit": [
        r"epoch  50  loss 0\.0\d",
        r"epoch 100  loss 0\.00",
        r"running ones 0\.00",
    ],
    "product_gradient": [r"z  \[ 4\. 10\. 18\.\]", r"dx \[4\. 5\. 6\.\]", r"dy \[1\. 2\. 3\.\]"],
    "tape_basics": [
        r"7\.0 with gradients \[0\.333",
        *(rf'label="{name} float32\[3, 3\]"' for name in "abdf"),
        *(r'label="g float32\[\]"', r'"add"', r'"div"', r'"reduce_sum"'),
    ],
    "operator_gallery": [r"\[5, 7, 9\]", r"\[4, 10, 18\]", r"32", r"2\.5", r"\(1, 16, 32, 32\)"],
    "custom_operator": [r"under jit and vmap", r"'hadamard': True, 'mistaken': False"],
    "mnist_mlp": [r"step  300  loss 0\.\d+", r"is 0\.[0-4]\d of the first", r"1: LayerNorm"],
    "mnist_cnn": [r"has 2 convolutions", r"epoch 4: 32 steps, loss 0\.\d+, test (0\.[89]|1)"],
    "save_load_predict": [r'"format"', r"predicted (\d), drawn as \1", r"needs float32"],
    "activations_plot": [r"softmax  \(100,\).*sum 1\.00000", r"\[0\.0, 1\.0\]"],
    "loader_demo": [r"1875 batches", r"\[32, 32, 32, 4\]", r"9 pairs"],
    "fit_classifier": [r"train_loss", r"val_loss", r"train_accuracy", r"val_accuracy"],
    "mnist_mlp_adamw": [r"learning rates 0\.00200 0\.00100", r"confusion matrix", r"accuracy 0\.9"],
    "cifar_cnn": [r"    5  ", r"the same first epoch: True"],
    "fluent_model": [r"weights \(20,\) \(6, 20\)", r"predict \(3, 10\)", r"nothing is wrong: 0\.0"],
    "multi_io_model": [
        r"step 5",
        r"missing input: +ValueError",
        r"few losses: +ValueError",
    ],
    "compare_with_reference": [r"funcgrad +3", r"0\.9\d\d"],
    "vae": [r"KL \[", r"differences along it", r"epoch 30  ELBO +-", r"below: an image"],
    "grid_search": [r"16 +0\.003", r"64 +3\.000", r"best: batch size"],
    "activation_statistics": [r"sigmoid, five layers", r"layer 5 .* gradients", r"tanh +1\.0000"],
    "graph_to_json": [r'"inputs"', r"gradients equal", r"second process: \d+ characters"],
    "compiler_passes": [
        r"drop_dead +10",
        r"simplify +9",
        r"share_common +5",
        r"runs as one kernel: .*exp.*mul",
    ],
    "decorators_and_modes": [
        r"24\.0 120\.0",
        r"compiled:\n   inside, y is .*[Tt]racer",
        r"second call: nothing to print\nwith",
        r"inside, y is 2\.718",
    ],
    "live_dashboard": [r"loss", r"0\.\d+ ms a step"],
    "regularised_regression": [r"no penalty.* 0\n", r"L1 .*others: 1[5-7]"],
    "gradient_check": [r"right  layer norm", r"a mean:\n +argument 1, entry", r"sign is lost"],
    "checkpoint_resume": [r"equal in every bit: True"],
    "character_gpt": [r"validation 0\.\d+", r"The (cat|owl|frog|mole) \w+ "],
    "custom_rules": [r"clipped gradient  1\.0"],
    "digits": [r"epoch 20/20", r"test accuracy 9[7-9]"],
    "gradients": [r"hessian times v"],
    "logistic_regression": [r"Newton's method: +\d steps"],
    "vmap_per_example_gradients": [r"the outlier is row 3"],
}


@functools.cache
def run(name, *arguments):
    """The finished process, and the files that it left in an empty directory."""
    with tempfile.TemporaryDirectory() as folder:
        done = _run(EXAMPLES[name], folder, *arguments)
        return done, {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _run(path, folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    return subprocess.run(
        [sys.executable, str(path), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_every_example_stands_here():
    assert set(PRINTS) == set(EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTS)
def test_example_prints_what_it_promises(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    done, _ = run(name)
    assert done.returncode == 0, done.stderr[-3000:]
    place = 0
    for pattern in PRINTS[name]:
        found = re.compile(pattern).search(done.stdout, place)
        assert found, f"{pattern!r} is not in what follows:\n{done.stdout[place:]}"
        place = found.start()


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        "character_gpt --steps 2",
        "mnist_cnn --epochs 1",
        "mnist_mlp --steps 5",
        "mnist_mlp_adamw --epochs 1",
    ],
)
def test_a_short_run_ends_well(call):
    """The limits that examples assert are those of their defaults."""
    done, _ = run(*call.split())
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sine_fit", "activations_plot"])
def test_examples_that_draw(name):
    pytest.importorskip("matplotlib")
    done, files = run(name, "--plot", "picture.png")
    assert done.returncode == 0, done.stderr[-3000:]
    assert files["picture.png"].startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.oracle
def test_X16_D52_our_losses_are_torchs():
    """Both sides get the same images; a difference there would show in the first loss."""
    pytest.importorskip("torch")
    done, _ = run("compare_with_reference")
    assert done.returncode == 0, done.stderr[-3000:]
    largest = re.search(r"difference of a step's loss: (\S+)", done.stdout)
    assert float(largest[1]) < 1e-4


def loaded(name):
    """An example as a module, without running its main."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES[name])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_X01_the_step_is_compiled_once_and_the_same_key_gives_the_same_losses(monkeypatch):
    example, steps = loaded("sine_fit"), []
    make = nn.make_train_step
    monkeypatch.setattr(nn, "make_train_step", lambda *args: steps.append(make(*args)) or steps[-1])
    first, again, other = (example.fit_sine(fg.random.key(i), epochs=20)[0] for i in (0, 0, 1))
    assert first == again and first != other
    assert [len(step.explain().compilations) for step in steps] == [1, 1, 1]


def test_D48_programs_in_json_keep_constants_and_the_kinds_of_parameters():
    """Booleans stay booleans, None stays None, tuples and dtypes are marked, keys are texts."""
    example = loaded("graph_to_json")
    kept = (True, None, 1, 2.5, "text", (0, (1, False)), np.dtype("int16"))
    for value in kept:
        written = json.loads(json.dumps(example.written_param(value)))
        again = example.read_param(written, {})
        assert again == value and type(again) is type(value)
    table = np.array([3.0, 1.0, 2.0], np.float32)

    def function(x):
        return (x.astype(jnp.int16) * 2).sum(dtype=jnp.int16), fg.lax.cumsum(
            x * table, reverse=True
        )

    x = np.array([4.0, -2.0, 7.0], np.float32)
    text = example.to_json(function, x)
    assert text == example.to_json(function, x)
    for ours, expected in zip(example.from_json(text)(x), function(jnp.asarray(x)), strict=True):
        assert ours.dtype == expected.dtype
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(expected))


# -- the drawn digits that examples learn from -----------------------------------------------------


def test_drawn_digits_are_images_of_all_classes_and_follow_their_key():
    images, labels = synthetic_digits(300, fg.random.key(0))
    assert images.shape == (300, 28, 28) and images.dtype == np.float32
    assert labels.dtype == np.int32 and set(labels.tolist()) == set(range(10))
    assert images.min() >= 0 and images.max() <= 1
    again, _ = synthetic_digits(300, fg.random.key(0))
    other, _ = synthetic_digits(300, fg.random.key(1))
    assert (images == again).all() and not (images == other).all()


def test_drawn_digits_of_one_class_resemble_each_other():
    """The nearest mean image names the class more often than not, yet not always."""
    images, labels = synthetic_digits(2000, fg.random.key(2))
    means = np.stack([images[:1500][labels[:1500] == digit].mean(axis=0) for digit in range(10)])
    distances = ((images[1500:, None] - means) ** 2).sum(axis=(2, 3))
    share = (distances.argmin(axis=1) == labels[1500:]).mean()
    assert 0.6 < share < 0.99


def test_drawn_digits_have_sizes():
    assert synthetic_digits(2, fg.random.key(0), size=16)[0].shape == (2, 16, 16)
    with pytest.raises(ValueError, match="count must be at least 1 and size at least 8"):
        synthetic_digits(0, fg.random.key(0))
