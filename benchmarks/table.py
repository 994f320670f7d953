"""The printed form of results."""

from typing import Any

from benchmarks import imports, peers, tracing

WIDTH = 15


def lines(results: dict[str, Any]) -> list[str]:
    """Everything measured, one table for each setting."""
    machine = results["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["packages"].items() if v)
    out = [
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, {versions}"
    ]
    for measured in results["settings"].values():
        out += ["", f"-- {measured['title']} --"]
        if measured["rows"]:
            out += [header(), *(row(r) for r in measured["rows"])]
        if "imports" in measured:
            out += ["", *imports.lines(measured["imports"], measured["statistic"])]
        if "tracing" in measured:
            out += ["", *tracing.lines(measured["tracing"], measured["statistic"])]
    return out


def header() -> str:
    """The names of the columns."""
    return (
        f"{'':57}" + "".join(f"{name:>{WIDTH}}" for name in peers.LIBRARIES) + "   funcgrad / peer"
    )


def row(measured: dict[str, Any]) -> str:
    """One workload: a median for each library, then the bars."""
    title = f"{measured['name']:13}{measured['title'] + ', ' + measured['unit']:44.44}"
    cells = "".join(cell(measured, name) for name in peers.LIBRARIES)
    return title + cells + "   " + "; ".join(map(verdict, measured["bars"]))


def cell(measured: dict[str, Any], library: str) -> str:
    """A median with its spread in percent."""
    if library not in measured["shown"]:
        return " " * WIDTH
    spread = measured["times"][library]["spread"]
    return f"{measured['shown'][library]:>{WIDTH - 5}.4g} ±{spread:3.0%}"


def verdict(bar: dict[str, Any]) -> str:
    """The ratio reached and the one to reach; or the value, where no peer decides."""
    if "limit" in bar:
        met = "met" if bar["reached"] <= bar["limit"] else "MISSED"
        return f"{bar['reached']:.2g} {bar['unit']} (bar {bar['limit']:g}, {met})"
    met = "met" if bar["ratio"] <= bar["factor"] else "MISSED"
    return f"{bar['ratio']:.2f} x {bar['peer']} (bar {bar['factor']:g}, {met})"
