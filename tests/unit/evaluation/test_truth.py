"""Truth files, their names for fields, and the documents they are about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from docflow.errors import UsageError
from docflow.evaluation.truth import match, pages_of, read_renames, read_truths, rename


def write(folder: Path, **contents: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_every_form_of_a_truth_file_is_read(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "truth",
        bare={"total": "1"},
        listed=[{"total": "2"}],
        full={
            "program": "receipt",
            "record": {"total": "3"},
            "boxes": {"total": [[1, 0, 0, 5, 5]]},
            "repeats": {"total": [[1, 9, 9, 10, 10]]},
        },
        broken={"program": "receipt", "record": None, "boxes": {}},
    )
    truths = {truth.name: truth for truth in read_truths(folder)}
    assert [truths[name].record for name in ("bare", "listed", "full", "broken")] == [
        {"total": "1"},
        {"total": "2"},
        {"total": "3"},
        None,
    ]
    assert truths["full"].program == "receipt"
    assert truths["bare"].program is None
    assert len(truths["full"].places("total")) == 2
    assert truths["full"].places("date") == []


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "no valid JSON"), ("3", "no record"), ("[]", "no record"), ('{"record": {}, "boxes": {"a": 1}}', "box")],
)
def test_a_file_that_is_no_truth_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "one.json").write_text(content)
    with pytest.raises(UsageError, match=said) as raised:
        read_truths(tmp_path)
    assert "one.json" in str(raised.value)


def test_a_folder_without_truth_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError):
            read_truths(folder)


def test_fields_lists_and_cells_are_renamed() -> None:
    renames = read_renames(["amount=total", "lines=items", "lines[].name=items[].description", "seller.name=company"])
    record = {
        "amount": 3,
        "lines": [{"name": "tea", "price": 1}, {"name": "oil"}],
        "seller": {"name": "Acme", "vat": "X1"},
        "note": None,
    }
    assert rename(record, renames) == {
        "total": 3,
        "items": [{"description": "tea", "price": 1}, {"description": "oil"}],
        "company": "Acme",
        "seller": {"vat": "X1"},
        "note": None,
    }


def test_empty_lists_stay_and_rows_keep_their_place() -> None:
    assert rename({"lines": [], "tags": [["a"], []]}, {"lines": "items"}) == {"items": [], "tags": [["a"], []]}


def test_boxes_are_renamed_with_their_fields(tmp_path: Path) -> None:
    folder = write(tmp_path / "t", one={"record": {"lines": [{"n": "a"}]}, "boxes": {"lines[0].n": [1, 0, 0, 1, 1]}})
    [truth] = read_truths(folder, read_renames(["lines[].n=items[].name"]))
    assert list(truth.boxes) == ["items[0].name"]


@pytest.mark.parametrize("text", ["amount", "=x", "x=", "lines[].a=b"])
def test_a_rename_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_renames([text])


def test_two_fields_cannot_become_one_place() -> None:
    with pytest.raises(UsageError, match="both become"):
        rename({"a": 1, "b": {"c": 2}}, {"a": "x", "b": "x"})


def test_documents_are_found_by_stem_and_by_folder_where_stems_are_shared() -> None:
    sources = ["2023/a.jpg", "2024/a.jpg", "b.pdf", "x/c.png"]
    assert match(["2024/a", "b", "c", "d"], sources) == {"2024/a": "2024/a.jpg", "b": "b.pdf", "c": "x/c.png"}
    assert match(["b.pdf"], sources) == {"b.pdf": "b.pdf"}


def test_a_truth_that_fits_two_documents_is_refused() -> None:
    with pytest.raises(UsageError, match="several documents"):
        match(["a"], ["2023/a.jpg", "2024/a.jpg"])


def test_two_truths_for_one_document_are_refused() -> None:
    with pytest.raises(UsageError, match="both about"):
        match(["a", "a.jpg"], ["a.jpg"])


def test_a_source_that_is_a_uri_is_matched_as_it_is_written() -> None:
    assert match(["0001"], ["file:///scans/0001.pdf"]) == {"0001": "file:///scans/0001.pdf"}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/scan.p3-4", ("a/scan", (3, 4))),
        ("scan.p3", ("scan", (3, 3))),
        ("scan", ("scan", None)),
        ("scan.p0-4", ("scan.p0-4", None)),
        ("scan.page", ("scan.page", None)),
    ],
)
def test_the_pages_that_a_truth_is_about_stand_at_the_end_of_its_name(name: str, parts: tuple[Any, ...]) -> None:
    assert pages_of(name) == parts


def test_truths_about_several_documents_of_one_file_fit_it_together() -> None:
    assert match(["scan.p1", "scan.p2-3"], ["in/scan.pdf"]) == {"scan.p1": "in/scan.pdf", "scan.p2-3": "in/scan.pdf"}
    assert match(["scan.p1"], ["scan.p1.pdf", "scan.pdf"]) == {"scan.p1": "scan.p1.pdf"}
    with pytest.raises(UsageError, match="both about"):
        match(["a/scan.p1", "scan.p1-1"], ["scan.pdf"])
