"""Two bars for each thing measured, as an SVG that reads on light and dark pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 980, 470, 80, 14, 14, 56
STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #1f2937 } .title { font-weight: 600; font-size: 15px }
    .baseline { fill: #94a3b8 } .product { fill: #0f766e } .ground { fill: #ffffff }
    @media (prefers-color-scheme: dark) {
      text { fill: #e5e7eb } .baseline { fill: #64748b } .product { fill: #2dd4bf } .ground { fill: #111827 }
    }"""


@dataclass(frozen=True)
class Bar:
    """One pair; without a baseline only the product's."""

    label: str
    baseline: float | None
    product: float


def bar_chart(title: str, bars: list[Bar]) -> str:
    """Bars from the left, each with its number, in the order given."""
    longest = max(max(bar.product, bar.baseline or 0) for bar in bars) or 1
    scale = (WIDTH - LEFT - RIGHT) / longest
    rows, y = [], TOP
    for bar in bars:
        sides = [("baseline", bar.baseline), ("product", bar.product)]
        shown = [(name, value) for name, value in sides if value is not None]
        rows.append(_text(LEFT - 10, y + len(shown) * BAR / 2 + 5, bar.label, anchor="end"))
        for name, value in shown:
            width = max(1, value * scale)
            rows.append(f'<rect class="{name}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" rx="2"/>')
            rows.append(_text(LEFT + width + 6, y + BAR - 3, f"{value:,.0f}" if value >= 20 else f"{value:,.1f}"))
            y += BAR
        y += GAP
    return _svg(title, y, [_legend("baseline", "baseline", LEFT), _legend("product", "Grantry", LEFT + 100), *rows])


def _legend(name: str, label: str, x: float) -> str:
    return f'<rect class="{name}" x="{x}" y="30" width="12" height="12" rx="2"/>{_text(x + 18, 41, label)}'


def _svg(title: str, height: float, parts: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label="{escape(title)}">\n<style>{STYLE}</style>\n'
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>\n'
        f'<text class="title" x="16" y="22">{escape(title)}</text>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
