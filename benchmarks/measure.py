"""What every measurement shares: comparing side by side, and the one form in which results are told.

Absolute figures mean something on the machine at hand only. A ratio of two things done in turns, in many short rounds,
means something anywhere: whatever disturbs the machine for longer than a round disturbs both.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

Seconds = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Target:
    """A bound that a ratio should keep.

    Attributes:
        at_most: whether the ratio may not be above `bound`; otherwise it may not be below.
    """

    bound: float
    at_most: bool

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:g}"

    def met_by(self, ratio: float) -> bool:
        """Whether `ratio`, rounded as it is shown, keeps the bound."""
        return round(ratio, 2) <= self.bound if self.at_most else round(ratio, 2) >= self.bound


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table.

    Attributes:
        name: what was measured, and against what the ratio is.
        value: the measured figure, in `unit`.
        ratio: to the yardstick; None where there is none.
        target: what the ratio should be; None where the line only informs.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None
    target: Target | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.target is None or self.ratio is None else self.target.met_by(self.ratio)


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int, calls: int) -> Seconds:
    """Call each way `calls` times in a row, one way after the other, `rounds` times over.

    Returns:
        For each way the seconds per call, one figure for each round.
    """
    seconds: Seconds = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            for _ in range(calls):
                way()
            seconds[name].append((time.perf_counter() - begin) / calls)
    return {name: values[1:] for name, values in seconds.items()}  # the first round warms up


def ratio(ours: Iterable[float], yardstick: Iterable[float]) -> float:
    """The median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(ours, yardstick, strict=True))


def percentile(values: Iterable[float], percent: int) -> float:
    """The value below which `percent` of a hundred lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


def print_table(results: Iterable[Result]) -> None:
    """The results as text, columns aligned."""
    rows = [("measured", "value", "unit", "ratio", "target", "met?")]
    rows.extend(
        (
            result.name,
            f"{result.value:,.0f}" if result.value >= 1000 else f"{result.value:,.3g}",
            result.unit,
            "" if result.ratio is None else f"{result.ratio:.2f}",
            "" if result.target is None else str(result.target),
            {None: "", True: "yes", False: "NO"}[result.met],
        )
        for result in results
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (
            text.rjust(width) if column in (1, 3) else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(cells).rstrip())


def write_json(path: Path, results: Iterable[Result]) -> None:
    """The results, and on what they were measured, as one JSON object."""
    machine = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
    }
    lines = [
        asdict(result) | {"target": None if result.target is None else str(result.target), "met": result.met}
        for result in results
    ]
    path.write_text(json.dumps({"measured_on": machine, "results": lines}, indent=2) + "\n")
