"""A report to read and to keep: Markdown, JSON, and one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from docflow.buckets import Place
from docflow.evaluation.charts import reliability_chart, risk_chart
from docflow.evaluation.comparison import Change

Report = Mapping[str, Any]

MISSES_IN_MARKDOWN = 50
MISSES_ON_PAGE = 2_000

FIELD_COLUMNS = (
    ("precision", "precision"),
    ("recall", "recall"),
    ("f1", "F1"),
    ("abstention", "absent as absent"),
    ("likeness", "edit similarity"),
    ("exact", "exact"),
)
LIST_COLUMNS = (
    ("rows_found", "rows found"),
    ("rows_right", "rows right"),
    ("row_f1", "row F1"),
    ("cells_right", "cells right"),
    ("cells_f1", "cells F1"),
)
GROUNDING_LINES = (
    ("box_f1", "box F1 (value right, box at IoU 0.5)"),
    ("page_f1", "page F1 (value right, page right)"),
    ("box_of_right", "right values with the box at IoU 0.5"),
    ("page_of_right", "right values with the page"),
    ("covering_of_right", "right values whose place is covered by half or more"),
    ("lines_of_right", "right values whose evidence lies on true lines that carry them"),
)


def write_report(folder: Place, report: Report, changes: Sequence[Change] = ()) -> None:
    """Write report.md, report.json and report.html into a folder. Raises StorageError."""
    from docflow.storage.parts import write_whole

    write_whole(folder / "report.json", (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())
    write_whole(folder / "report.md", markdown(report, changes).encode())
    write_whole(folder / "report.html", html(report, changes).encode())


def figure_text(value: float | None) -> str:
    """A figure as reports print it; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def summary_lines(report: Report) -> Iterator[str]:
    """What went into the report, a sentence each."""
    documents = report["documents"]
    statuses = ", ".join(f"{count} {status}" for status, count in documents["statuses"].items())
    yield f"{documents['scored']} documents with truth: {statuses}. {documents['all_right']} of them wholly right."
    rows = documents["missing_rows"]
    if rows["lacking"] or rows["suspected"]:
        yield (
            f"In {rows['lacking']} documents a list lacks rows; rows are suspected missing in {rows['suspected']}, "
            f"rightly in {rows['rightly']}."
        )
    if documents["without_truth"]:
        yield f"{documents['without_truth']} documents of the dataset have no truth and are not judged."
    if documents["not_scored"]:
        yield f"{len(documents['not_scored'])} truth files are not judged: the dataset has no rows of their program."
    unreadable = documents["unreadable"]
    if unreadable:
        failed = sum(entry["status"] == "failed" for entry in unreadable)
        yield f"{len(unreadable)} documents are known to be unreadable; {failed} of them failed."
    if report["unknown_fields"]:
        names = ", ".join(report["unknown_fields"])
        yield f"Fields of the truth that the program does not have: {names} (--map theirs=ours renames them)."
    if report["bad_values"]:
        first = report["bad_values"][0]
        yield (
            f"{len(report['bad_values'])} values of the truth cannot be read as their field's kind and are not judged, "
            f"the first in {first['truth']}: {first['field']}: {first['why']}."
        )


def confidence_lines(report: Report) -> Iterator[str]:
    """What confidence is worth, a sentence each."""
    confidence = report["confidence"]
    if not confidence["answers"]:
        return
    yield (
        f"{confidence['answers']} answers, {_percent(confidence['accuracy'])} right. "
        f"Expected calibration error {figure_text(confidence['ece'])} "
        f"(groups of equal size: {figure_text(confidence['ece_even'])}; values without nulls: "
        f"{figure_text(confidence['ece_values'])}; before calibration: "
        f"{figure_text(confidence['ece_before_calibration'])})."
    )
    yield f"Of the more confident half, {_percent(confidence['error_at_half'])} are wrong."
    kept = ", ".join(f"{_percent(share)} at {float(error):.1%}" for error, share in confidence["coverage_at"].items())
    yield f"Answers that could be accepted at a share of errors: {kept}."
    review = report["review"]
    if review["marked"]:
        yield (
            f"{review['need_no_look']} of {review['marked']} rows are marked as needing no look; "
            f"of their {review['leaves']} judged leaves {_percent(review['leaf_error'])} are wrong."
        )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


# --- Markdown -----------------------------------------------------------------------------------------------------


def markdown(report: Report, changes: Sequence[Change] = ()) -> str:
    """The report as Markdown."""
    lines = [f"# Evaluation of {_cell(report['out'])}", ""]
    lines += [f"- {_cell(line)}" for line in summary_lines(report)]
    lines += ["", f"Mean F1: **{figure_text(report['mean'])}**", "", *_table(report["fields"], FIELD_COLUMNS, "field")]
    if report["lists"]:
        lines += ["", *_table(report["lists"], LIST_COLUMNS, "list")]
    lines += ["", "## Places", "", *(f"- {text}: {value}" for text, value in _grounding(report))]
    lines += ["", "## Confidence", "", *(f"- {line}" for line in confidence_lines(report))]
    if report["confidence"]["bins"]:
        lines += ["", "| answers | confidence | right |", "|---:|---:|---:|"]
        for group in report["confidence"]["bins"]:
            said, right = figure_text(group["confidence"]), figure_text(group["accuracy"])
            lines.append(f"| {group['count']} | {said} | {right} |")
    if changes:
        lines += ["", "## Against the earlier report", "", "| figure | before | now | |", "|---|---:|---:|---|"]
        for change in changes:
            now, before = figure_text(change.now), figure_text(change.before)
            lines.append(f"| {_cell(change.name)} | {before} | {now} | {change.verdict} |")
    misses = report["misses"]
    if misses:
        lines += ["", f"## What was not right ({len(misses)})", "", "| document | field | | true | got |"]
        lines.append("|---|---|---|---|---|")
        for miss in misses[:MISSES_IN_MARKDOWN]:
            cells = (miss["source"] or miss["truth"], miss["path"], miss["verdict"], miss["true"], miss["got"])
            lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
        if len(misses) > MISSES_IN_MARKDOWN:
            lines.append(f"\n{len(misses) - MISSES_IN_MARKDOWN} more are in report.html and report.json.")
    return "\n".join(lines) + "\n"


def _table(scores: Mapping[str, Any], columns: Sequence[tuple[str, str]], what: str) -> list[str]:
    lines = [
        f"| {what} | {' | '.join(title for _, title in columns)} | printed |",
        f"|---|{'---:|' * (len(columns) + 1)}",
    ]
    for name, score in scores.items():
        figures = " | ".join(figure_text(score[key]) for key, _ in columns)
        lines.append(f"| {_cell(name)} | {figures} | {_printed(score)} |")
    return lines


def _printed(score: Mapping[str, Any]) -> int:
    counts = score["counts"]
    return int(counts.get("printed", counts.get("rows", 0)))


def _grounding(report: Report) -> Iterator[tuple[str, str]]:
    known = [(text, report["grounding"][key]) for key, text in GROUNDING_LINES]
    if all(value is None for _, value in known):
        yield "The truth has no boxes", "nothing to compare"
    for text, value in known:
        if value is not None:
            yield text, figure_text(value)


def _cell(value: Any) -> str:
    """Text from a document as the cell of a Markdown table: one line, nothing in it is markup."""
    text = "" if value is None else " ".join(str(value).split())
    text = text if len(text) <= 120 else text[:117] + "..."
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|!~$&" else char for char in text)


# --- HTML ---------------------------------------------------------------------------------------------------------

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd;
text-align: right; vertical-align: top; } th:first-child, td:first-child, td.text { text-align: left; }
td.text { max-width: 24rem; overflow-wrap: break-word; } .better { color: #1a7f37; } .worse { color: #b42318; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; }
""".strip()
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What the page may load: nothing. Its text comes from documents that nobody vouches for."""


def html(report: Report, changes: Sequence[Change] = ()) -> str:
    """The report as one page that needs nothing else; everything from documents is escaped, no script is in it."""
    title = f"Evaluation of {report['out']}"
    confidence = report["confidence"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
        _list(summary_lines(report)),
        f"<p>Mean F1: <strong>{figure_text(report['mean'])}</strong></p>",
        _html_scores(report["fields"], FIELD_COLUMNS, "field"),
    ]
    if report["lists"]:
        parts.append(_html_scores(report["lists"], LIST_COLUMNS, "list"))
    parts += ["<h2>Places</h2>", _list(f"{text}: {value}" for text, value in _grounding(report))]
    parts += ["<h2>Confidence</h2>", _list(confidence_lines(report))]
    if confidence["bins"]:
        charts = reliability_chart(confidence["bins"], confidence["ece"]) + risk_chart(confidence["curve"])
        parts.append(f'<div class="charts">{charts}</div>')
    if changes:
        parts.append("<h2>Against the earlier report</h2>")
        rows = [
            f"<tr><td>{escape(change.name)}</td><td>{figure_text(change.before)}</td>"
            f'<td>{figure_text(change.now)}</td><td class="{change.verdict}">{change.verdict}</td></tr>'
            for change in changes
        ]
        parts.append(f"<table><tr><th>figure</th><th>before</th><th>now</th><th></th></tr>{''.join(rows)}</table>")
    misses = report["misses"]
    if misses:
        parts.append(f"<h2>What was not right ({len(misses):,})</h2>")
        if len(misses) > MISSES_ON_PAGE:
            parts.append(f"<p>The first {MISSES_ON_PAGE:,}; report.json has them all.</p>")
        parts.append("<table><tr><th>document</th><th>field</th><th></th><th>true</th><th>got</th><th>sure</th></tr>")
        parts += [_html_miss(miss) for miss in misses[:MISSES_ON_PAGE]]
        parts.append("</table>")
    return "".join([*parts, "</body></html>\n"])


def _html_miss(miss: Mapping[str, Any]) -> str:
    texts = (miss["source"] or miss["truth"], miss["path"], miss["verdict"], miss["true"], miss["got"])
    cells = "".join(f'<td class="text">{escape("" if text is None else str(text))}</td>' for text in texts)
    return f"<tr>{cells}<td>{figure_text(miss['confidence'])}</td></tr>"


def _html_scores(scores: Mapping[str, Any], columns: Sequence[tuple[str, str]], what: str) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in (what, *(title for _, title in columns), "printed"))
    rows = [
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td>{figure_text(score[key])}</td>" for key, _ in columns)
        + f"<td>{_printed(score)}</td></tr>"
        for name, score in scores.items()
    ]
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _list(lines: Iterator[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"
