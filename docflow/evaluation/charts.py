"""The two pictures of a report, as SVG written by hand: what confidence is worth, and what a threshold lets through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 420, 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 54, 34, 22, 44
_INK, _FAINT, _LINE, _FILL = "#333333", "#d9d9d9", "#1f6f8b", "#8fc1d4"


def reliability_chart(bins: Sequence[Mapping[str, Any]], error: float | None) -> str:
    """Bars of the share that was right, by confidence; where they meet the diagonal, confidence keeps its promise."""
    most = max((group["count"] for group in bins), default=1)
    marks = []
    for group in bins:
        left = min(9, int(group["confidence"] * 10)) / 10
        x0, x1, y = _x(left + 0.008), _x(left + 0.092), _y(group["accuracy"], 1.0)
        shade = 0.35 + 0.65 * group["count"] / most
        marks.append(
            f'<rect x="{x0:.1f}" y="{y:.1f}" width="{x1 - x0:.1f}" height="{_y(0, 1.0) - y:.1f}" fill="{_FILL}" '
            f'fill-opacity="{shade:.2f}"><title>{group["count"]} answers: said {group["confidence"]:.0%}, '
            f"right {group['accuracy']:.0%}</title></rect>"
        )
        marks.append(f'<circle cx="{_x(group["confidence"]):.1f}" cy="{y:.1f}" r="3" fill="{_LINE}"/>')
    diagonal = (
        f'<line x1="{_x(0):.1f}" y1="{_y(0, 1.0):.1f}" x2="{_x(1):.1f}" y2="{_y(1, 1.0):.1f}" stroke="{_INK}" '
        'stroke-dasharray="4 4"/>'
    )
    title = "Reliability" if error is None else f"Reliability: calibration error {error:.3f}"
    return _chart(title, "confidence", "share that was right", 1.0, [*marks, diagonal])


def risk_chart(curve: Sequence[Mapping[str, Any]]) -> str:
    """The share of errors among the most confident answers, by how many are accepted."""
    top = _nice(max((point["error"] for point in curve), default=0.0))
    points = " ".join(f"{_x(point['coverage']):.1f},{_y(point['error'], top):.1f}" for point in curve)
    line = f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="2"/>'
    return _chart("Errors let through, by coverage", "share accepted", "share of errors", top, [line])


def _nice(value: float) -> float:
    return next((end for end in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if value <= end), 1.0)


def _x(value: float) -> float:
    return _LEFT + value * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM)


def _chart(title: str, across: str, up: str, top: float, marks: Iterable[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" aria-label="{escape(title)}" font-family="sans-serif" font-size="11" '
        f'fill="{_INK}">'
    )
    parts = [head, f'<text x="{_LEFT}" y="18" font-size="13" font-weight="bold">{escape(title)}</text>']
    for step in range(6):
        share = step / 5
        x, y = _x(share), _y(share * top, top)
        parts.append(f'<line x1="{_x(0):.1f}" y1="{y:.1f}" x2="{_x(1):.1f}" y2="{y:.1f}" stroke="{_FAINT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_percent(share * top, top)}</text>')
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{share:.0%}</text>')
    parts += marks
    parts.append(f'<text x="{_x(0.5):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>')
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    turned = f'transform="rotate(-90 14 {middle:.1f})"'
    parts.append(f'<text x="14" y="{middle:.1f}" text-anchor="middle" {turned}>{escape(up)}</text>')
    return "".join([*parts, "</svg>"])


def _percent(value: float, top: float) -> str:
    return f"{value:.1%}" if top < 0.1 else f"{value:.0%}"
