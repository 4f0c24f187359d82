"""The pictures of reports, as SVG written by hand: axes to draw on, and what an evaluation draws there.

The two of an evaluation: what confidence is worth, and what a threshold lets through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 420, 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 54, 34, 22, 44
_INK, _FAINT, _LINE, _FILL = "#333333", "#d9d9d9", "#1f6f8b", "#8fc1d4"
COLOURS = (_LINE, "#b5542c", "#5b7f2b", "#7a4fa3", "#8a6d00", "#4f5b66")
"""For lines that stand beside each other."""


def _share_text(value: float) -> str:
    return f"{value:.0%}"


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Where values lie in a picture, from 0 to ``right`` across and from 0 to ``top`` upwards, and how they read."""

    right: float = 1.0
    top: float = 1.0
    across_text: Callable[[float], str] = _share_text
    up_text: Callable[[float], str] = _share_text

    def x(self, value: float) -> float:
        """The pixel of a value across."""
        return _LEFT + value / self.right * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """The pixel of a value upwards."""
        return _HEIGHT - _BOTTOM - value / self.top * (_HEIGHT - _TOP - _BOTTOM)

    def line(self, points: Iterable[tuple[float, float]], colour: str = _LINE) -> str:
        """A line through points."""
        drawn = " ".join(f"{self.x(across):.1f},{self.y(up):.1f}" for across, up in points)
        return f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>'

    def label(self, text: str, number: int, colour: str) -> str:
        """What the n-th line is called, at the right and from below."""
        y = _HEIGHT - _BOTTOM - 8 - 14 * number
        return f'<text x="{_WIDTH - _RIGHT - 4}" y="{y}" text-anchor="end" fill="{colour}">{escape(text)}</text>'

    def drawn(self, title: str, across: str, up: str, marks: Iterable[str]) -> str:
        """The picture with its title, its axes and what stands in it."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
            f'height="{_HEIGHT}" role="img" aria-label="{escape(title)}" font-family="sans-serif" font-size="11" '
            f'fill="{_INK}">'
        )
        parts = [head, f'<text x="{_LEFT}" y="18" font-size="13" font-weight="bold">{escape(title)}</text>']
        for step in range(6):
            share = step / 5
            x, y = self.x(share * self.right), self.y(share * self.top)
            parts.append(
                f'<line x1="{_LEFT:.1f}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT:.1f}" y2="{y:.1f}" stroke="{_FAINT}"/>'
            )
            said = escape(self.up_text(share * self.top))
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{said}</text>')
            said = escape(self.across_text(share * self.right))
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{said}</text>')
        parts += marks
        middle_x, middle_y = self.x(self.right / 2), (_TOP + _HEIGHT - _BOTTOM) / 2
        parts.append(f'<text x="{middle_x:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>')
        turned = f'transform="rotate(-90 14 {middle_y:.1f})"'
        parts.append(f'<text x="14" y="{middle_y:.1f}" text-anchor="middle" {turned}>{escape(up)}</text>')
        return "".join([*parts, "</svg>"])


def reliability_chart(bins: Sequence[Mapping[str, Any]], error: float | None) -> str:
    """Bars of the share that was right, by confidence; where they meet the diagonal, confidence keeps its promise."""
    most = max((group["count"] for group in bins), default=1)
    axes, marks = Axes(), []
    for group in bins:
        left = min(9, int(group["confidence"] * 10)) / 10
        x0, x1, y = axes.x(left + 0.008), axes.x(left + 0.092), axes.y(group["accuracy"])
        shade = 0.35 + 0.65 * group["count"] / most
        marks.append(
            f'<rect x="{x0:.1f}" y="{y:.1f}" width="{x1 - x0:.1f}" height="{axes.y(0) - y:.1f}" fill="{_FILL}" '
            f'fill-opacity="{shade:.2f}"><title>{group["count"]} answers: said {group["confidence"]:.0%}, '
            f"right {group['accuracy']:.0%}</title></rect>"
        )
        marks.append(f'<circle cx="{axes.x(group["confidence"]):.1f}" cy="{y:.1f}" r="3" fill="{_LINE}"/>')
    diagonal = (
        f'<line x1="{axes.x(0):.1f}" y1="{axes.y(0):.1f}" x2="{axes.x(1):.1f}" y2="{axes.y(1):.1f}" stroke="{_INK}" '
        'stroke-dasharray="4 4"/>'
    )
    title = "Reliability" if error is None else f"Reliability: calibration error {error:.3f}"
    return axes.drawn(title, "confidence", "share that was right", [*marks, diagonal])


def risk_chart(curve: Sequence[Mapping[str, Any]]) -> str:
    """The share of errors among the most confident answers, by how many are accepted."""
    top = _nice(max((point["error"] for point in curve), default=0.0))
    axes = Axes(top=top, up_text=lambda value: f"{value:.1%}" if top < 0.1 else _share_text(value))
    line = axes.line((point["coverage"], point["error"]) for point in curve)
    return axes.drawn("Errors let through, by coverage", "share accepted", "share of errors", [line])


def _nice(value: float) -> float:
    return next((end for end in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if value <= end), 1.0)
