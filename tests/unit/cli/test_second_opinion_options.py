"""What --verify and --cheap-first mean as settings."""

from __future__ import annotations

from docflow.cli.options import UNSURE, second_opinions
from docflow.settings import ExtractionSettings, Settings


def test_a_flag_sets_the_usual_threshold_and_leaves_one_that_is_set() -> None:
    settings = Settings(extraction=ExtractionSettings(verify_below=0.5))
    both = second_opinions(settings, verify=True, cheap_first=True).extraction
    assert (both.verify_below, both.cheap_first_below) == (0.5, UNSURE)


def test_without_the_flags_the_settings_stay_as_they_are() -> None:
    settings = Settings(extraction=ExtractionSettings(verify_below=0.5))
    assert second_opinions(settings, verify=False, cheap_first=False) == settings
