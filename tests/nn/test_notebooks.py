"""The notebooks run from top to bottom, in a few lines instead of Jupyter."""

import contextlib
import io
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
DRAWS = ("matplotlib",)
NEEDS = {
    "03_training": ("sklearn", *DRAWS),
    "04_character_gpt": DRAWS,
    "05_your_own_primitive": DRAWS,
    "06_fitting_a_differential_equation": DRAWS,
    "07_gaussian_process": DRAWS,
    "08_variational_autoencoder": ("sklearn", *DRAWS),
}


def code_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_notebooks_are_numbered():
    assert [path.name[:3] for path in NOTEBOOKS] == [
        f"{i:02}_" for i in range(1, len(NOTEBOOKS) + 1)
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    for package in NEEDS.get(path.stem, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    for variable in ("FUNCGRAD_DATA", "FUNCGRAD_STEPS"):
        monkeypatch.delenv(variable, raising=False)
    scope = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        for number, source in enumerate(code_cells(path), start=1):
            exec(compile(source, f"{path.name}, code cell {number}", "exec"), scope)
    assert out.getvalue().strip()
    figures = [value for value in scope.values() if type(value).__name__ == "Figure"]
    assert bool(figures) == ("plt" in scope), "what imports matplotlib draws"
    for figure in figures:
        figure.savefig(io.BytesIO())
    if "plt" in scope:
        scope["plt"].close("all")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_output(path):
    """Outputs would show a machine's state and drown a change of text in a diff."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert cells[0]["cell_type"] == "markdown"
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
