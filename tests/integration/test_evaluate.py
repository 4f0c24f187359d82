"""docflow eval and docflow calibrate over documents that were really extracted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

import docflow
from docflow.cli import main
from docflow.settings import ExtractionSettings, Settings

COUNT = 12


def write_pdf(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = Canvas(str(path), invariant=1)
    lines = ("ACME GmbH", "Hauptstrasse 5, 8000 Zurich", f"Date: {number + 1:02}.03.2024", f"Total CHF {number}.50")
    for row, line in enumerate(lines):
        canvas.drawString(72, 750 - 20 * row, line)
    canvas.save()


def truth_for(number: int) -> dict[str, str]:
    """What document ``number`` says; every third truth has another seller, so that the reader is wrong there."""
    company = "Someone Else AG" if number % 3 == 0 else "ACME GmbH"
    return {"company": company, "date": f"2024-03-{number + 1:02}", "total": f"{number}.50"}


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with docs/, truth/ and the dataset out/."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "truth").mkdir()
    for number in range(1, COUNT + 1):
        write_pdf(folder / "docs" / f"r{number:02}.pdf", number)
        (folder / "truth" / f"r{number:02}.json").write_text(json.dumps(truth_for(number)))
    docflow.extract(folder / "docs", program="receipt", out=folder / "out", runner="direct")
    return folder


def test_a_dataset_is_scored_and_the_report_is_kept(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval", extracted / "out", extracted / "truth", "--report", extracted / "report") == 0
    said = capsys.readouterr().out
    assert "12 documents with truth: 12 valid" in said
    assert "mean F1" in said
    report = json.loads((extracted / "report" / "report.json").read_text())
    assert report["fields"]["total"]["f1"] == 1
    assert report["fields"]["company"]["recall"] == pytest.approx(8 / 12, abs=1e-3)
    assert [miss["field"] for miss in report["misses"]] == ["company"] * 4


def test_figures_below_what_was_asked_for_fail(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = (extracted / "out", extracted / "truth")
    assert run("eval", *where, "--fail-under", "total=0.9", "--fail-under", "mean=0.8") == 0
    assert run("eval", *where, "--fail-under", "company=0.9") == 1
    assert "company is 0.667, below 0.9" in capsys.readouterr().err
    assert run("eval", *where, "--fail-under", "profit=0.9") == 2
    assert "no figure 'profit'" in capsys.readouterr().err
    assert run("eval", *where, "--fail-under", "mean=high") == 2


def test_an_earlier_report_shows_what_got_worse(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = (extracted / "out", extracted / "truth")
    run("eval", *where, "--report", extracted / "before")
    kept = extracted / "before" / "report.json"
    report = json.loads(kept.read_text())
    report["fields"]["company"]["f1"] = 0.9
    kept.write_text(json.dumps(report))
    capsys.readouterr()
    assert run("eval", *where, "--compare", kept) == 0
    assert "company.f1: 0.900 -> 0.667 worse" in capsys.readouterr().out
    assert run("eval", *where, "--compare", kept, "--fail-if-worse") == 1
    assert run("eval", *where, "--fail-if-worse") == 2


def test_other_peoples_truth_is_mapped_and_strangers_in_it_are_named(
    extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = [{"seller": "ACME GmbH", "when": "02.03.2024", "points": 3}]
    (tmp_path / "r01.json").write_text(json.dumps(theirs))
    maps = ("--map", "seller=company", "--map", "when=date")
    assert run("eval", extracted / "out", tmp_path, *maps, "--locale", "de_CH", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["unknown_fields"] == {"points": 1}
    assert report["fields"]["date"]["f1"] == 1
    assert report["documents"]["without_truth"] == COUNT - 1


def test_without_truth_or_corrections_the_user_learns_what_to_do(
    extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("eval", extracted / "out", tmp_path) == 2
    assert "STEM.json" in capsys.readouterr().err
    assert run("eval", extracted / "out") == 2
    assert "nobody has reviewed" in capsys.readouterr().err


def test_later_runs_apply_the_calibration_and_mark_rows(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = extracted / "out"
    assert run("calibrate", out, extracted / "truth", "--accept-error", "20%") == 0
    said = capsys.readouterr().out
    assert "12 documents, 36 answers in 3 fields" in said
    write_pdf(extracted / "more" / "new.pdf", 20)
    (extracted / "more" / "broken.pdf").write_bytes(b"%PDF-1.4 cut off")
    docflow.extract(extracted / "more", program="receipt", out=out, runner="direct")
    rows = {row["source"]: row for row in docflow.open(out)}
    evidence = {entry["path"]: entry for entry in rows["new.pdf"]["evidence"]}
    assert evidence["company"]["raw_confidence"] > 0.7 > evidence["company"]["confidence"]
    assert evidence["address"]["raw_confidence"] is None
    assert rows["new.pdf"]["needs_review"] in (True, False)
    assert rows["broken.pdf"]["needs_review"] is True
    assert rows["r01.pdf"]["needs_review"] is None  # written before there was a calibration
    assert run("calibrate", out, extracted / "truth", "--accept-error", "most") == 2


def test_rows_that_are_there_already_are_calibrated_on_request(
    extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(extracted / "out" / "records", out / "records")
    before = docflow.open(out).arrow().drop_columns(["evidence", "needs_review"])
    assert run("calibrate", out, extracted / "truth", "--accept-error", "20%", "--apply") == 0
    assert f"applied to {len(docflow.open(out))} rows" in capsys.readouterr().out
    once = list(docflow.open(out))
    assert all(row["needs_review"] is not None for row in once)
    [first] = [row for row in once if row["source"] == "r01.pdf"]
    raw = {entry["path"]: entry["raw_confidence"] for entry in first["evidence"]}
    assert raw["company"] > 0.7
    assert docflow.open(out).arrow().drop_columns(["evidence", "needs_review"]).equals(before)
    assert run("calibrate", out, extracted / "truth", "--accept-error", "20%", "--apply") == 0
    assert list(docflow.open(out)) == once  # from the raw confidence each time


def test_a_calibration_can_be_named_and_its_lack_is_said(extracted: Path, tmp_path: Path) -> None:
    write_pdf(tmp_path / "docs" / "new.pdf", 21)
    run("calibrate", extracted / "out", extracted / "truth")
    named = Settings(
        extraction=ExtractionSettings(calibration=extracted / "out" / "calibration.json", accept_error=0.4)
    )
    [result] = docflow.iter_records(tmp_path / "docs", program="receipt", settings=named)
    assert result.needs_review is not None
    bare = Settings(extraction=ExtractionSettings(accept_error=0.4))
    done = docflow.extract(tmp_path / "docs", program="receipt", settings=bare)
    assert done.results[0].needs_review is None
    assert any("no calibration" in note for note in done.notes)


def test_a_damaged_calibration_stops_the_run_with_a_reason(
    tmp_path: Path, extracted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "calibration.json").write_text("{}")
    assert run("extract", extracted / "docs", "--program", "receipt", "--out", tmp_path, "--runner", "direct") == 2
    assert "calibration" in capsys.readouterr().err
