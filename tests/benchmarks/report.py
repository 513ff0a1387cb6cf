"""What benchmarks measured: a JSON file each, a table on the terminal, and docs/performance.md with its plots.

    record_result("claim", what=…, method=…, measured=7.6, unit="ms", target=at_most(10), rounds=[…])

`python -m tests.benchmarks.report` writes the page, and the table of docs/scaling.md, anew from the files in results/.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.bar_chart import Bar, bar_chart
from tests.benchmarks.capacity import capacity_table

WORKERS = 2  # of the slow-endpoint benchmarks

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
DOCS = FOLDER.parents[1] / "docs"
PAGE, SCALING = DOCS / "performance.md", DOCS / "scaling.md"
BEGIN, END = "<!-- results: make bench writes from here -->", "<!-- to here -->"


@dataclass(frozen=True)
class Target:
    """What a number should be."""

    value: float
    at_least: bool

    def is_met(self, measured: float) -> bool:
        return measured >= self.value if self.at_least else measured <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.value:g}"


def at_least(value: float) -> Target:
    return Target(value, at_least=True)


def at_most(value: float) -> Target:
    return Target(value, at_least=False)


def record_result(
    name: str,
    *,
    what: str,
    method: str,
    measured: float,
    unit: str = "",
    target: Target | None = None,
    database: str | None = None,
    **figures: Any,
) -> dict[str, Any]:
    """Keep one measurement as results/<name>-<database>.json and return it.

    `measured` is the number that the target speaks of, in `unit` (empty: a ratio). `method` says in a sentence or two
    how it was come by. `figures` are whatever else is worth telling; `baseline_per_second` and `product_per_second`
    (or `…_ms`) have columns of their own and become a plot.
    """
    if database is None:
        from django.db import connection

        database = connection.vendor
    result = {
        "name": name,
        "what": what,
        "method": method,
        "database": database,
        "measured": round(measured, 3),
        "unit": unit,
        "target": str(target) if target else "",
        "met": target.is_met(measured) if target else None,
        **figures,
        "machine": machine(),
        "load_average": round(os.getloadavg()[0], 1),  # above the number of cores, others were measured too
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": f"python -m pytest {' '.join(sys.argv[1:])}".strip(),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{database}.json"
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    _recorded.append(result)
    return result


_recorded: list[dict[str, Any]] = []


def recorded() -> list[dict[str, Any]]:
    """What this run has measured so far."""
    return list(_recorded)


def machine() -> str:
    """The machine in a line: cores, processor, memory, system, Python."""
    facts = [f"{os.cpu_count()} cores", _processor(), _memory(), f"{platform.system()} {platform.release()}"]
    return ", ".join([*(fact for fact in facts if fact), f"Python {platform.python_version()}"])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return ""
    return f"{size / 2**30:.0f} GB"


# --- tables ---------------------------------------------------------------------------------------------
def table_lines(results: list[dict[str, Any]]) -> list[str]:
    """For the terminal: one line each, columns aligned."""
    rows = [("what", "database", "baseline", "product", "measured", "target", ""), *map(_row, results)]
    widths = [max(len(row[column]) for row in rows) for column in range(7)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    verdict = {True: "met", False: "MISSED", None: ""}[result["met"]]
    baseline, product = _side(result, "baseline"), _side(result, "product")
    return (result["what"], result["database"], baseline, product, _measured(result), result["target"], verdict)


def _side(result: dict[str, Any], side: str) -> str:
    if (rate := result.get(f"{side}_per_second")) is not None:
        return f"{rate:,.0f}/s"
    if (duration := result.get(f"{side}_ms")) is not None:
        return f"{duration:,.1f} ms"
    return ""


def _measured(result: dict[str, Any]) -> str:
    number = f"{result['measured']:.2f}" if not result["unit"] else f"{result['measured']:,.1f}"
    return f"{number} {result['unit']}".strip()


# --- the page -------------------------------------------------------------------------------------------
def write_page() -> list[Path]:
    """Put the results into docs/performance.md, between its marks, and draw the plots. Returns what was written."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    results = [result for result in results if "measured" in result]
    plots = _draw(results)
    _write_between_marks(PAGE, _markdown(results, plots))
    written = [PAGE, *(path for _, path in plots)]
    if rates := [one["product_per_second"] / WORKERS for one in results if one["name"].startswith("slow-endpoint")]:
        _write_between_marks(SCALING, capacity_table(max(rates)))
        written.append(SCALING)
    return written


def _write_between_marks(page: Path, text: str) -> None:
    before, after = page.read_text().partition(BEGIN)[0], page.read_text().partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _markdown(results: list[dict[str, Any]], plots: list[tuple[str, Path]]) -> str:
    lines = ["| what | database | baseline | product | measured | target | met |", "|---|---|---|---|---|---|---|"]
    for result in results:
        *cells, _ = _row(result)
        met = {True: "yes", False: "**no**", None: ""}[result["met"]]
        lines.append(f"| {' | '.join([*cells, met])} |")
    for title, path in plots:
        lines += ["", f"![{title}](images/{path.name})"]
    for result in results:
        lines += ["", f"**{result['what']}, {result['database']}.** {result['method']}", "", *_details(result)]
    return "\n".join(lines)


def _details(result: dict[str, Any]) -> list[str]:
    told = {"name", "what", "method", "database", "measured", "unit", "target", "met", "machine", "at", "command"}
    figures = [f"{name.replace('_', ' ')} {_figure(value)}" for name, value in result.items() if name not in told]
    lines = [f"- {result['at']}, {result['machine']}", f"- `{result['command']}`"]
    return [*lines, f"- {'; '.join(figures)}"] if figures else lines


def _figure(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_figure, value))}]"
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _draw(results: list[dict[str, Any]]) -> list[tuple[str, Path]]:
    """A plot of what goes by the second, and one of what takes milliseconds."""
    drawn = []
    for unit, suffix, file in (("per second", "per_second", "rates"), ("ms", "ms", "times")):
        pairs = [result for result in results if f"product_{suffix}" in result]
        if not pairs:
            continue
        bars = [
            Bar(
                f"{result['what']}, {result['database']}", result.get(f"baseline_{suffix}"), result[f"product_{suffix}"]
            )
            for result in pairs
        ]
        title = f"Baseline and Grantry, {unit}"
        path = DOCS / "images" / f"benchmark-{file}.svg"
        path.write_text(bar_chart(title, bars))
        drawn.append((title, path))
    return drawn


if __name__ == "__main__":
    for written in write_page():
        print(written)
