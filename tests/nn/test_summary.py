"""`summary`: rows, shapes, parameters and operations against numbers counted by hand."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn


def rows(model, *inputs, **options):
    return {row.path: row for row in nn.summary(model, *inputs, **options).rows}


def test_a_row_for_each_layer_with_shape_parameters_and_operations():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8), nn.Flatten(), nn.LazyLinear(10)
    )
    table = nn.summary(model, (2, 3, 6, 5))
    found = {row.path: row for row in table.rows}
    outputs = 2 * 8 * 4 * 3
    conv = found[("0",)]
    assert conv.layer == "Conv2d" and conv.output == "float32[2, 8, 4, 3]"
    assert conv.parameters == 3 * 3 * 3 * 8 + 8
    assert conv.flops == outputs * (2 * 27 + 1)  # the taps, and the bias
    assert found[("1",)].flops == outputs
    assert (found[("2",)].parameters, found[("2",)].state) == (16, 17)
    assert found[("3",)].flops == 0
    assert found[("4",)].parameters == 96 * 10 + 10
    assert found[("4",)].flops == 2 * 10 * (2 * 96 + 1)
    params, _ = model.init(fg.random.key(0), (2, 3, 6, 5))
    assert table.total_parameters == sum(leaf.size for leaf in fg.tree.leaves(params))
    assert table.total_flops == sum(row.flops for row in table.rows)


def test_a_module_called_twice_has_two_rows_and_its_parameters_once():
    layer = nn.Linear(3, 3)
    table = nn.summary(nn.Sequential(layer, nn.Residual(layer)), (2, 3))
    assert [(row.depth, row.layer, row.parameters) for row in table.rows] == [
        (0, "Sequential", 0),
        (1, "Linear", 12),
        (1, "Residual", 0),
        (2, "Linear", 0),
    ]
    assert table.total_parameters == 12
    assert str(table).splitlines()[-1].split() == ["total", "12", "90"]


def test_inputs_are_arrays_structs_or_shapes_and_nothing_is_computed():
    class Bomb(nn.Module):
        def forward(self, x):
            assert isinstance(x, fg.Array) and not isinstance(x, np.ndarray)
            with pytest.raises(Exception, match="concrete|traced|tracer|abstract"):
                float(x.sum())
            return x

    for x in ((2, 3), np.ones((2, 3), np.float32), fg.ShapeDtypeStruct((2, 3), jnp.float32)):
        assert rows(Bomb(), x)[()].output == "float32[2, 3]"
    indices = fg.ShapeDtypeStruct((4,), jnp.int32)
    assert rows(nn.Embedding(5, 3), indices)[()].output == "float32[4, 3]"


def test_training_can_be_looked_at_too():
    """Dropout does something only then."""
    assert rows(nn.Dropout(0.5), (4, 5))[()].flops == 0
    assert rows(nn.Dropout(0.5), (4, 5), train=True)[()].flops > 0


def test_several_outputs_and_keyword_inputs():
    class Heads(nn.Module):
        def __init__(self):
            self.scaled = Scaled()

        def forward(self, x):
            return {"a": self.scaled(x, factor=2.0), "b": x.sum()}

    class Scaled(nn.Module):
        def forward(self, x, factor):
            return x * factor

    found = rows(Heads(), (2, 3))
    assert found[()].output == "float32[2, 3], float32[]"
    assert found[("scaled",)].flops == 6


def test_the_table_reads_well():
    shown = str(nn.summary(nn.Sequential(nn.Linear(1000, 100), nn.ReLU()), (1, 1000)))
    assert shown == (
        "layer        output           parameters    flops\n"
        "-------------------------------------------------\n"
        "Sequential   float32[1, 100]\n"
        "  0: Linear  float32[1, 100]     100,100  200,100\n"
        "  1: ReLU    float32[1, 100]                  100\n"
        "-------------------------------------------------\n"
        "total                            100,100  200,200"
    )


def test_a_summary_needs_an_input():
    with pytest.raises(TypeError, match="summary: needs an example input or its shape"):
        nn.summary(nn.Linear(2, 3))
