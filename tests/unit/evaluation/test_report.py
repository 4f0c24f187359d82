"""Reports to keep, to compare, and to open without fear."""

from __future__ import annotations

import html.parser
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from docflow.errors import UsageError
from docflow.evaluation.comparison import compare_reports, read_report
from docflow.evaluation.evaluate import Evaluation
from docflow.evaluation.judging import judge
from docflow.evaluation.report import html as html_of
from docflow.evaluation.report import markdown, write_report
from docflow.evaluation.truth import read_truths
from docflow.storage import Dataset
from tests.unit.evaluation.labelled import dataset_of, result_of, truth_of

HOSTILE = '<script>alert(1)</script> | [x](javascript:alert(1)) " \n# head'
TRUE = {"company": "Acme", "total": "12.50", "items": [{"name": "tea", "count": 2}]}


def report_of(tmp_path: Path, name: str, **values: Any) -> dict[str, Any]:
    out = dataset_of(tmp_path / name, result_of("a.png", **values), result_of("b.png", 0.5))
    truth = truth_of(tmp_path / "truth", {"a": TRUE, "b": TRUE})
    return Evaluation(judge(Dataset(out), read_truths(truth))).as_dict(out=name, truth="truth")


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href") or name.startswith("on")]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    report = report_of(tmp_path, "hostile", company=HOSTILE)
    page = html_of(report)
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.names
    assert tags.links == []
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    said = markdown(report)
    assert "<script>" not in said
    assert "[x](" not in said
    [row] = [line for line in said.splitlines() if "alert" in line]
    assert row.replace("\\|", "").count("|") == 6


def test_a_report_is_three_files_of_which_one_is_read_again(tmp_path: Path) -> None:
    report = report_of(tmp_path, "out", total=Decimal(1))
    write_report(tmp_path / "kept", report)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["report.html", "report.json", "report.md"]
    assert read_report(tmp_path / "kept") == json.loads(json.dumps(report))
    assert (tmp_path / "kept" / "report.html").read_text().count("<svg") == 2


def test_what_got_better_and_worse_is_said(tmp_path: Path) -> None:
    before, now = report_of(tmp_path, "one", total=Decimal(1)), report_of(tmp_path, "two", company="Nil")
    del before["fields"]["items[].count"]
    verdicts = {change.name: change.verdict for change in compare_reports(before, now)}
    assert verdicts["total.f1"] == "better"
    assert verdicts["company.f1"] == "worse"
    assert verdicts["items[].name.f1"] == "same"
    assert verdicts["items[].count.f1"] == "new"
    assert verdicts["mean"] == "same"
    assert verdicts["grounding.box_f1"] == "same"
    assert "better" in markdown(now, compare_reports(before, now))
    assert all(change.verdict in ("same",) for change in compare_reports(now, now))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"fields": {}, "format": 99}'])
def test_another_file_is_no_report(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(UsageError):
        read_report(tmp_path)
    with pytest.raises(UsageError):
        read_report(tmp_path / "nowhere.json")
