from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from docflow.errors import ConfigError
from docflow.settings import explain_settings, load_settings


def origin(key: str, flags: dict[str, object] | None = None) -> tuple[object, str]:
    setting = next(setting for setting in explain_settings(flags) if setting.key == key)
    return setting.value, setting.origin


def test_a_flag_counts_more_than_a_variable_and_that_more_than_the_file(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert origin("extraction.repairs") == (1, "default")
    (in_tmp / "pyproject.toml").write_text("[tool.docflow.extraction]\nrepairs = 2\n")
    assert origin("extraction.repairs") == (2, "pyproject.toml")
    (in_tmp / "docflow.toml").write_text("[extraction]\nrepairs = 3\n")
    assert origin("extraction.repairs") == (3, "docflow.toml")
    monkeypatch.setenv("DOCFLOW_EXTRACTION", '{"repairs": 4}')
    assert origin("extraction.repairs") == (4, "DOCFLOW_EXTRACTION")
    assert origin("extraction.locale") == (None, "default")
    monkeypatch.setenv("DOCFLOW_EXTRACTION__REPAIRS", "5")
    assert origin("extraction.repairs") == (5, "DOCFLOW_EXTRACTION__REPAIRS")
    assert origin("extraction.repairs", {"extraction.repairs": 6}) == (6, "flag")
    assert load_settings({"extraction.repairs": 6}).extraction.repairs == 6


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('enigne = "embedded"', "enigne (docflow.toml) is no setting of docflow", "Did you mean engine?"),
        (
            "[limits]\npixles = 3",
            "limits.pixles (docflow.toml) is no setting of docflow",
            "Did you mean limits.pixels?",
        ),
        ("[limmits]\npixels = 3", "limmits (docflow.toml) is no setting of docflow", "Did you mean limits?"),
        ("pages = 3", "pages (docflow.toml) is no setting of docflow", "Did you mean limits.pages?"),
        ("zzzzzz = 3", "zzzzzz (docflow.toml) is no setting of docflow", "docflow config lists every setting."),
        ("limits = 3", "limits (docflow.toml) is a group of settings, not a value", "Write [limits]"),
        (
            "[limits]\npages = -1",
            "limits.pages (docflow.toml) cannot be -1: input should be greater than 0",
            "most pages",
        ),
    ],
)
def test_a_bad_file_is_told_what_is_wrong_where_and_what_was_meant(
    in_tmp: Path, text: str, message: str, hint: str
) -> None:
    (in_tmp / "docflow.toml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_settings()
    assert message in raised.value.message
    assert hint in raised.value.hint


@pytest.mark.parametrize(
    ("variable", "value", "message", "hint"),
    [
        ("DOCFLOW_CONCURENCY", "3", "DOCFLOW_CONCURENCY is no setting", "Did you mean DOCFLOW_CONCURRENCY?"),
        ("DOCFLOW_LIMITS__PIXLES", "3", "DOCFLOW_LIMITS__PIXLES is no setting", "DOCFLOW_LIMITS__PIXELS?"),
        ("DOCFLOW_CONCURRENCY", "many", "concurrency (DOCFLOW_CONCURRENCY) cannot be 'many'", "documents in work"),
        ("DOCFLOW_LIMITS", "3 pages", "DOCFLOW_LIMITS is not valid JSON", "DOCFLOW_LIMITS__NAME=VALUE"),
    ],
)
def test_a_bad_variable_is_told_so(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str, hint: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as raised:
        load_settings()
    assert message in raised.value.message
    assert hint in raised.value.hint


def test_a_file_that_is_no_toml_is_named(in_tmp: Path) -> None:
    (in_tmp / "docflow.toml").write_text("limits = ")
    with pytest.raises(ConfigError, match=r"docflow\.toml cannot be read"):
        load_settings()


def test_config_shows_each_setting_with_its_origin(
    in_tmp: Path, docflow: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCFLOW_LIMITS__PAGES", "50")
    shown = docflow("config", "--locale", "de_CH")
    assert shown.exit_code == 0
    lines = {line.split()[0]: line.split()[1:] for line in shown.output.splitlines() if line.strip()}
    assert lines["limits.pages"] == ["50", "DOCFLOW_LIMITS__PAGES"]
    assert lines["extraction.locale"] == ["de_CH", "flag"]
    assert lines["engine"] == ["embedded", "default"]
    assert max(map(len, shown.output.splitlines())) <= 80


def test_config_as_json_is_one_object(in_tmp: Path, docflow: Callable[..., Result]) -> None:
    rows = json.loads(docflow("config", "--json", "--concurrency", "2").stdout)
    assert rows["concurrency"]["value"] == 2
    assert rows["concurrency"]["origin"] == "flag"
    assert all(row["meaning"] for row in rows.values())
