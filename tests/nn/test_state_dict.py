"""Weights in PyTorch's layout: whole models, shared modules, files, and every kind of mismatch."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

KEY = fg.random.key(0)


def convnet(n):
    return n.Sequential(
        n.Conv2d(1, 4, 3, padding=1),
        n.BatchNorm2d(4),
        n.ReLU(),
        n.MaxPool2d(2),
        n.Sequential(n.ConvTranspose2d(4, 6, 2, stride=2, groups=2), n.PReLU(6)),
        n.AdaptiveAvgPool2d((3, 2)),
        n.Flatten(),
        n.Linear(36, 5),
        n.LayerNorm(5),
    )


def small():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    return model, *model.init(KEY)


@pytest.mark.oracle
def test_a_trained_model_goes_there_and_back_through_a_file(tmp_path):
    """PyTorch trains, we load its safetensors and agree; we save, PyTorch loads and agrees."""
    torch = pytest.importorskip("torch")
    torch_files = pytest.importorskip("safetensors.torch")
    theirs, model = convnet(torch.nn), convnet(nn)
    x = np.random.default_rng(0).normal(size=(4, 1, 8, 6)).astype(np.float32)
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        theirs(torch.tensor(x)).square().sum().backward()
        optimizer.step()
    expected = theirs.eval()(torch.tensor(x)).detach().numpy()

    torch_files.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    tensors = nn.saving.read_safetensors(tmp_path / "theirs.safetensors")
    params, state = nn.from_state_dict(model, *model.init(KEY), tensors)
    np.testing.assert_allclose(model.apply(params, state, x)[0], expected, rtol=1e-5, atol=1e-5)
    assert int(state["1"]["count"]) == 3

    weights = nn.to_state_dict(model, params, state)
    nn.saving.write_safetensors(tmp_path / "ours.safetensors", weights)
    other = convnet(torch.nn)
    other.load_state_dict(torch_files.load_file(tmp_path / "ours.safetensors"))
    np.testing.assert_array_equal(other.eval()(torch.tensor(x)).detach().numpy(), expected)


@pytest.mark.oracle
def test_shared_modules_appear_under_each_path_as_in_torch():
    torch = pytest.importorskip("torch")

    def tied(n):
        layer = n.Linear(3, 3)
        return n.Sequential(layer, n.Sequential(n.Tanh(), layer))

    model, theirs = tied(nn), tied(torch.nn)
    params, state = model.init(KEY)
    weights = nn.to_state_dict(model, params, state)
    assert list(weights) == list(theirs.state_dict())
    theirs.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    x = np.ones((2, 3), np.float32)
    ours, _ = model.apply(params, state, x)
    np.testing.assert_allclose(ours, theirs(torch.tensor(x)).detach(), rtol=1e-6, atol=1e-6)
    back, _ = nn.from_state_dict(model, params, state, weights)
    np.testing.assert_array_equal(back["0"]["weight"], params["0"]["weight"])


def test_names_shapes_and_order_of_axes():
    model, params, state = small()
    weights = nn.to_state_dict(model, params, state)
    assert {name: array.shape for name, array in weights.items()} == {
        "0.weight": (2, 3),
        "0.bias": (2,),
        "1.weight": (2,),
        "1.bias": (2,),
        "1.running_mean": (2,),
        "1.running_var": (2,),
        "1.num_batches_tracked": (),
    }
    np.testing.assert_array_equal(weights["0.weight"], np.asarray(params["0"]["weight"]).T)
    assert weights["1.num_batches_tracked"].dtype == np.int64
    assert weights["0.weight"].flags.c_contiguous  # as files want it


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda w: w.pop("0.bias"), r"missing \['0.bias'\], unexpected nothing"),
        (lambda w: w.update(head=np.ones(1)), r"missing nothing, unexpected \['head'\]"),
        (lambda w: w.update({"0.weight": np.ones((1, 3), "f4")}), r"'0.weight' has shape \(1, 3\)"),
        (
            lambda w: w.update({"0.weight": np.ones((2, 3))}),
            "'0.weight' is float64, but .* float32",
        ),
        (lambda w: w.update({"1.num_batches_tracked": np.float32(1)}), "tracked' is float32"),
        (lambda w: w.update({"0.bias": np.ones(2, int)}), "'0.bias' is int64, but .* float32"),
    ],
)
def test_D46_mismatches_are_errors_that_name_the_entry(change, message):
    model, params, state = small()
    weights = nn.to_state_dict(model, params, state)
    change(weights)
    with pytest.raises(ValueError, match=message):
        nn.from_state_dict(model, params, state, weights)


def test_without_strict_what_matches_is_loaded_and_the_rest_is_said():
    model, params, state = small()
    weights = nn.to_state_dict(model, params, state)
    given = {"0.weight": 2 * weights["0.weight"], "1.running_mean": np.ones(2, "f4"), "x": 1}
    new, new_state, unmatched = nn.from_state_dict(model, params, state, given, strict=False)
    np.testing.assert_array_equal(new["0"]["weight"], 2 * params["0"]["weight"])
    np.testing.assert_array_equal(new["0"]["bias"], params["0"]["bias"])
    np.testing.assert_array_equal(new_state["1"]["mean"], [1, 1])
    assert unmatched.unexpected == ("x",)
    assert set(unmatched.missing) == set(weights) - {"0.weight", "1.running_mean"}


def test_nothing_given_is_changed():
    model, params, state = small()
    before = nn.to_state_dict(model, params, state)
    zeros = {name: np.zeros_like(array) for name, array in before.items()}
    nn.from_state_dict(model, params, state, zeros)
    for name, array in nn.to_state_dict(model, params, state).items():
        np.testing.assert_array_equal(array, before[name])


def test_layers_that_pack_their_weights_say_how():
    """A layer whose entries another library joins writes both directions itself."""

    class Gate(nn.Module):
        def parameters(self, key):
            return {"value": jnp.ones((2, 3)), "gate": jnp.zeros((2, 3))}

        def to_torch(self, entries):
            parts = (np.asarray(entries[name]).T for name in ("value", "gate"))
            return {"packed": np.concatenate(list(parts))}

        def from_torch(self, like, tensors):
            value, gate = np.split(tensors["packed"], 2)
            return {"value": value.T, "gate": gate.T}

    model = nn.Sequential(Gate())
    params, state = model.init(KEY)
    weights = nn.to_state_dict(model, params, state)
    assert {name: array.shape for name, array in weights.items()} == {"0.packed": (6, 2)}
    back, _ = nn.from_state_dict(model, params, state, weights)
    np.testing.assert_array_equal(back["0"]["value"], np.ones((2, 3)))
    np.testing.assert_array_equal(back["0"]["gate"], np.zeros((2, 3)))


def test_whole_numbers_of_another_width_are_taken():
    """PyTorch counts in int64, we in int32."""

    class Counts(nn.Module):
        def initial_state(self):
            return {"steps": jnp.zeros((), jnp.int32)}

    model = Counts()
    _, state = nn.from_state_dict(model, *model.init(KEY), {"steps": np.int64(7)})
    assert state["steps"].dtype == np.int32 and int(state["steps"]) == 7


def test_a_file_must_be_read_first():
    model = nn.Linear(3, 2)
    with pytest.raises(TypeError, match=r"such as saving.read_safetensors\(path\), but got str"):
        nn.from_state_dict(model, *model.init(fg.random.key(0)), "model.safetensors")
