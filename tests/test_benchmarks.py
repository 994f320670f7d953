"""The benchmarks themselves: all rows are there, caches are empty where they must be, results are
compared, and what is missing is left out.
"""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from benchmarks import compare as comparison, measure, peers, table, timing
from benchmarks.__main__ import EVERYTHING, IN_SETTING
from benchmarks.workload import Different, compare
from benchmarks.workloads import WORKLOADS, w1_first_gradient, w10_first_step

BY_NAME = {w.name: w for w in WORKLOADS}
CHEAP = ("W2a", "W2b", "W3a", "W4a-short", "W11-64")


def test_each_workload_has_a_row():
    wanted = [f"W{n}" for n in range(1, 13)]
    assert [w for w in wanted if not any(has_number(name, w) for name in EVERYTHING)] == []
    assert len(set(EVERYTHING)) == len(EVERYTHING)
    assert all(set(names) <= set(EVERYTHING) for names in IN_SETTING.values())


def has_number(name, number):
    rest = name.removeprefix(number)
    return rest != name and not rest[:1].isdigit()


@pytest.mark.parametrize("row", w1_first_gradient.ROWS, ids=lambda row: row.name)
def test_fresh_processes_find_what_an_earlier_one_left_only_where_they_shall(row, monkeypatch):
    folders = []

    def printed(library, environment):
        folders.append(environment["FUNCGRAD_CACHE_DIR"])
        return [1.0]

    monkeypatch.setattr(w1_first_gradient, "first_gradient", printed)
    row.measure([peers.FUNCGRAD], rounds=3)
    assert len(folders) == 4
    assert len(set(folders)) == (1 if row.warm else 4)


@pytest.mark.parametrize("warm", [False, True])
def test_first_steps_find_it_only_where_they_shall(warm, monkeypatch):
    folders = []

    def printed(workload, library, quantity, environment):
        folders.append(environment["FUNCGRAD_CACHE_DIR"])
        return float(len(folders))

    monkeypatch.setattr(w10_first_step, "printed", printed)
    seconds = w10_first_step.first_call("W6", warm)(peers.FUNCGRAD, 3)
    assert seconds == ([2, 4, 6] if warm else [1, 2, 3])
    assert len(set(folders)) == 3


@pytest.mark.oracle
@pytest.mark.parametrize("name", CHEAP)
def test_libraries_compute_the_same(name):
    for library in ("jax", "torch", "autograd"):
        pytest.importorskip(library)
    runs = BY_NAME[name].build([x for x in peers.LIBRARIES if x != peers.COMPILED])
    assert {peers.FUNCGRAD, peers.JAX, peers.TORCH} <= set(runs)
    compare(BY_NAME[name], runs)


@pytest.mark.parametrize("wrong", [1.001, np.nan], ids=str)
def test_a_wrong_result_is_not_timed(wrong):
    """The second call's too: a library must not return what it has computed before."""
    right, numbers = np.ones(3), itertools.cycle([1.0, wrong])
    with pytest.raises(Different, match="W2a: funcgrad differs from numpy"):
        compare(BY_NAME["W2a"], {"numpy": lambda: right, "funcgrad": lambda: right * next(numbers)})


def test_results_of_the_libraries_that_are_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(timing, "pin", lambda setting: None)
    monkeypatch.setattr(peers, "load", only(peers.FUNCGRAD, peers.NUMPY))
    names = ["W2a", "W9a", "W9b-hessian"]
    of_jax = dataclasses.replace(
        BY_NAME["W9a"], builders={peers.JAX: BY_NAME["W9a"].builders[peers.JAX]}
    )
    monkeypatch.setattr(measure, "WORKLOADS", (BY_NAME["W2a"], of_jax, BY_NAME["W9b-hessian"]))
    request = {
        "setting": "single", "names": names, "libraries": list(peers.LIBRARIES),
        "seconds": 0.01, "statistic": "median", "rounds": 1,
    }  # fmt: skip
    path = tmp_path / "results.json"
    measure.main(json.dumps(request), str(path))
    results = {"machine": timing.machine(), "settings": {"single": json.loads(path.read_text())}}
    rows = results["settings"]["single"]["rows"]
    assert [(row["name"], sorted(row["times"]), row["bars"]) for row in rows] == [
        ("W2a", ["funcgrad", "numpy"], []),
        ("W9b-hessian", ["funcgrad"], []),
    ]
    assert [line[:4].strip() for line in table.lines(results)[-2:]] == ["W2a", "W9b-"]
    path.write_text(json.dumps(results))
    comparison.main(path, path)
    assert capsys.readouterr().out.count(" 1.00x") == 3


def only(*libraries):
    load = peers.load
    return lambda library: load(library) if library in libraries else None
