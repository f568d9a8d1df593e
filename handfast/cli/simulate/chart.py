"""The scale curve as a picture: an SVG written by hand, and a PNG made from it where a library for that is installed."""

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from handfast.cli.simulate.results import Result
from handfast.errors import UsageError

_WIDTH, _HEIGHT = 460, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 40, 48
# told apart also by those who do not see all colours (after Okabe and Ito)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Curve:
    """Points (x, y) under one name."""

    name: str
    points: Sequence[tuple[float, float]]


def check_plot(path: Path) -> None:
    """Raise a UsageError unless a plot can be written to a file of this name."""
    if path.suffix not in (".svg", ".png"):
        raise UsageError(f"--plot {path}: must end in .svg or .png")
    if path.suffix == ".png":
        try:
            importlib.import_module("cairosvg")
        except (ImportError, OSError):  # OSError: the package is there, the library under it is not
            raise UsageError(f"--plot {path}: PNG needs the package cairosvg; SVG needs nothing") from None


def write_plot(path: Path, results: Sequence[Result]) -> None:
    """Draw the runs: pairs closed over time, and seconds until all had closed by the number of agents."""
    text = svg(results)
    if path.suffix == ".png":
        importlib.import_module("cairosvg").svg2png(bytestring=text.encode(), write_to=str(path))
    else:
        path.write_text(text, encoding="utf-8")


def svg(results: Sequence[Result]) -> str:
    """The picture as the text of an SVG file."""
    runs = [
        Curve(f"{one.agents} agents", [(0.0, 0.0), *((at, i + 1) for i, at in enumerate(one.closings))])
        for one in results
    ]
    complete = sorted((one for one in results if one.pairs == one.pairs_expected), key=lambda one: one.agents)
    after_start = [(one.agents, one.seconds_after_start or 0.0) for one in complete]
    scale = [
        Curve("from the beginning", [(one.agents, one.seconds) for one in complete]),
        Curve("from all started", after_start),
    ]
    panels = [
        _panel("Pairs closed over time", "seconds", runs, marks=False),
        _panel("Seconds until all pairs had closed", "agents", scale, marks=True),
    ]
    placed = "".join(
        f'<g transform="translate({i * _WIDTH} 0)">{panel}</g>' for i, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {len(panels) * _WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>{placed}</svg>\n'
    )


def ticks(largest: float) -> list[float]:
    """Round numbers from 0 to the first that is not below `largest`."""
    rough = max(largest, 1e-9) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [i * step for i in range(math.ceil(largest / step - 1e-9) + 1)] if largest > 0 else [0.0, step]


def _panel(title: str, label: str, curves: Sequence[Curve], *, marks: bool) -> str:
    points = [point for curve in curves for point in curve.points]
    across = ticks(max((x for x, _ in points), default=1.0))
    up = ticks(max((y for _, y in points), default=1.0))

    def place(x: float, y: float) -> tuple[float, float]:
        width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return round(_LEFT + width * x / across[-1], 1), round(_TOP + height * (1 - y / up[-1]), 1)

    left, bottom = place(0, 0)
    right, top = place(across[-1], up[-1])
    parts = [f'<text x="{left}" y="{top - 16}" font-weight="bold">{escape(title)}</text>']
    parts += [_text(place(x, 0)[0], bottom + 16, f"{x:g}", "middle") for x in across]
    parts.append(_text((left + right) / 2, bottom + 36, label, "middle"))
    for y in up:
        level = place(0, y)[1]
        parts.append(f'<path d="M{left} {level}H{right}" stroke="#ddd"/>')
        parts.append(_text(left - 6, level + 4, f"{y:g}", "end"))
    for i, curve in enumerate(curves):
        colour = _COLOURS[i % len(_COLOURS)]
        placed = [place(*point) for point in curve.points]
        path = " ".join(f"{x},{y}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if marks:
            parts.extend(f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>' for x, y in placed)
        parts.append(_text(left + 10, top + 14 + 16 * i, curve.name, "start", colour))
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str, colour: str = "black") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
