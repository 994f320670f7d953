"""Names of other libraries: the error says what to write here, and that exists."""

import re

import pytest

import funcgrad_nn as nn
from funcgrad_nn import hints


@pytest.mark.parametrize(
    "module, name, message",
    [
        (nn, "CrossEntropyLoss", r"no attribute 'CrossEntropyLoss'. Here: .* nn.cross_entropy"),
        (nn, "relu", r"Here: nn.functional.relu"),
        (nn, "Adam", r"Here: nn.optim.adam"),
        (nn, "ModuleList", r"a list of modules is enough"),
        (nn.optim, "AdamW", r"Here: nn.optim.adamw"),
        (nn.optim, "lr_scheduler", r"a schedule is a function of the step"),
        (nn, "Nonsense", r"has no attribute 'Nonsense'$"),
        (nn.optim, "Nonsense", r"has no attribute 'Nonsense'$"),
    ],
)
def test_unknown_names_say_what_to_write(module, name, message):
    with pytest.raises(AttributeError, match=message):
        getattr(module, name)
    assert not hasattr(module, name)


@pytest.mark.parametrize("table, module", [(hints.OF_MODULES, nn), (hints.OF_OPTIMIZERS, nn.optim)])
def test_hints_name_what_exists_for_what_does_not(table, module):
    for name, hint in table.items():
        assert name not in module.__all__
        for path in re.findall(r"\bnn\.([\w.]+\w)", hint):
            place, _, last = path.rpartition(".")
            assert last in (getattr(nn, place) if place else nn).__all__, hint
