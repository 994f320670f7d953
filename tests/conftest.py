"""Settings of the whole suite: one thread a worker, programs checked after every construction,
strict CI.

In CI a test that compares with jax, torch or optax must not be skipped: the hooks below count such
skips, also those of whole files, and fail the session. Configuration is put back after each test.
"""

import os
import tempfile

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Nothing outside decides a test, and no test changes anything outside.
os.environ["FUNCGRAD_ENABLE_COMPILATION_CACHE"] = "0"
os.environ["FUNCGRAD_CACHE_DIR"] = os.path.join(tempfile.gettempdir(), f"funcgrad-{os.getpid()}")

import re
import sys
from collections.abc import Iterator

import hypothesis
import pytest

import funcgrad
from funcgrad.config import config

# Users' test reports leave our frames out; in ours they are what one looks for.
funcgrad._hide_from_pytest = lambda: None
for _name in [name for name in sys.modules if name.startswith("funcgrad")]:
    vars(sys.modules[_name]).pop("__tracebackhide__", None)

ORACLES = ("jax", "torch", "optax")
IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
MISSING_MODULE = re.compile(rf"could not import '({'|'.join(ORACLES)})\b")

hypothesis.settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "dev", hypothesis.settings.get_profile("ci"), derandomize=False
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def settings_put_back() -> Iterator[None]:
    """Programs are checked as they are built, and no test sees another's settings."""
    before = config._process.state
    with config.override(check_jaxprs=True):
        yield
    config._process.state = before


skipped_oracles: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember a skipped test that carries the mark `oracle`, or lacks one of the oracles."""
    if report.skipped and not hasattr(report, "wasxfail"):
        remember(report, marked="oracle" in report.keywords)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Remember a file that was skipped as a whole for lack of an oracle."""
    if report.skipped:
        remember(report, marked=False)


def remember(report: pytest.TestReport | pytest.CollectReport, marked: bool) -> None:
    """Keep the reason for which an oracle test was skipped."""
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    if marked or MISSING_MODULE.search(reason):
        skipped_oracles[report.nodeid] = reason


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, comparisons that did not run are a failure."""
    otherwise_fine = session.exitstatus in (
        pytest.ExitCode.OK,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    )
    if IN_CI and skipped_oracles and otherwise_fine:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which comparisons did not run."""
    if not skipped_oracles:
        return
    verdict = "and CI does not allow it" if IN_CI else "they are not installed"
    terminalreporter.section(f"{len(skipped_oracles)} comparisons skipped: {verdict}")
    for place, reason in sorted(skipped_oracles.items()):
        terminalreporter.line(f"{place}: {reason}")
