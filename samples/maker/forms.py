"""Forms: applications, registrations, reports, with labels beside, above or in front of what was filled in."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from decimal import Decimal

from maker import words
from maker.draft import Draft, new_draft
from maker.locales import LOCALES, Locale, shaped
from maker.sheet import Span, text_width

_MODELS = ("Corvane", "Mirello", "Tundra", "Alvik", "Norda", "Pexa")


def filled(draft: Draft, kind: str) -> str:
    """A value as filled in; the truth holds the same text, dates too, because a form's values are text."""
    rng, locale = draft.rng, draft.locale
    answers = locale.words.get("answers", {}).get(kind)
    if answers:
        text = str(rng.choice(answers))
    elif kind == "person":
        text = words.person(rng, locale)
    elif kind == "birth":
        text = draft.date(dt.date(1945, 1, 1) + dt.timedelta(days=rng.randrange(60 * 365))).text
    elif kind == "date":
        text = draft.date(draft.day()).text
    elif kind == "address":
        text = ", ".join(words.address(rng, locale))
    elif kind == "code":
        text = shaped(rng, "99999" if locale.code != "en_GB" else "??9 9??")
    elif kind == "email":
        text = f"{words.coined(rng, LOCALES['en_GB']).lower()}@{words.coined(rng, LOCALES['en_GB']).lower()}.example"
    elif kind == "phone":
        text = words.phone(rng, locale)
    elif kind == "place":
        text = rng.choice(words.address(rng, locale)[-1:]) if draft.chance(0.4) else f"{words.coined(rng, locale)}"
    elif kind == "plate":
        text = shaped(rng, rng.choice(("?? 9999", "??99 ???", "???-999")))
    elif kind == "model":
        text = f"{rng.choice(_MODELS)} {shaped(rng, '99')}"
    elif kind == "count":
        text = locale.number(Decimal(rng.randrange(4000, 180000)), 0)
    elif kind == "small":
        text = str(rng.randrange(1, 12))
    elif kind == "clock":
        text = draft.clock()
    elif kind == "room":
        text = shaped(rng, "?.999")
    elif kind == "company":
        text = words.company(rng, locale, words.trade(rng, locale, "services"), capitals=0.1)
    elif kind == "account":
        text = words.iban(rng, locale) or shaped(rng, "9999 9999 9999")
    elif kind == "site":
        text = f"www.{words.coined(rng, LOCALES['en_GB']).lower()}.example"
    else:
        text = shaped(rng, rng.choice(("99999", "?-99999", "99-9999", "??9999")))
    return text


class Questions:
    """A form's title and its labels with what was filled in; some fields stay empty, as in life."""

    def __init__(self, draft: Draft, empty: float) -> None:
        form = draft.rng.choice(draft.locale.words["forms"])
        self.title: str = form["title"]
        self.rows: list[tuple[str, str | None]] = []
        for entry in form["questions"]:
            name, kind = entry.split("=")
            self.rows.append((name, None if draft.chance(empty) else filled(draft, kind)))


def _start(
    rng: random.Random, locale: Locale, families: tuple[str, ...], empty: float = 0.07
) -> tuple[Draft, Questions]:
    width, height = (612, 792) if locale.code == "en_US" else (595, 842)
    draft = new_draft(rng, locale, width, height, families, (10, 10.5, 11))
    return draft, Questions(draft, empty)


def _title(draft: Draft, text: str, centred: bool) -> float:
    sheet = draft.sheet
    body = words.company(draft.rng, draft.locale, words.trade(draft.rng, draft.locale, "services"), capitals=0)
    x, align = (sheet.width / 2, "center") if centred else (50.0, "left")
    sheet.text(x, 50, body, align=align, size=9, colour="#444444")  # type: ignore[arg-type]
    sheet.text(x, 76, Span(text, "title"), align=align, bold=True, size=17)  # type: ignore[arg-type]
    return 112.0


def _pair(draft: Draft, number: int, name: str, value: str | None) -> tuple[Span, Span]:
    """Label and value of one question, as the record holds them."""
    path = f"fields[{number}]"
    if value is None:
        draft.sheet.values[f"{path}.value"] = None
    return Span(name, f"{path}.label"), Span(value or "", f"{path}.value")


def lines(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Label to the left, the value on a line to its right."""
    draft, form = _start(rng, locale, ("serif", "sans", "wide"))
    sheet = draft.sheet
    y = _title(draft, form.title, draft.chance(0.5)) + 10
    handwriting = rng.choice((sheet.family.plain, sheet.family.bold))
    tab = 60 + max(text_width(name + ":", sheet.family.plain, sheet.size) for name, _ in form.rows) + 12
    colon = rng.choice((":", ""))
    for number, (name, value) in enumerate(form.rows):
        question, answer = _pair(draft, number, name, value)
        sheet.text(54, y, question, colon)
        sheet.text(tab, y, answer, face=handwriting)
        sheet.rule(tab - 4, y + 4, sheet.width - 54, width=0.5, colour="#555555")
        y += 30
    _signature(draft, y + 40)
    return draft


def boxes(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Cells with the label small above the value, one or two to a row."""
    draft, form = _start(rng, locale, ("sans", "narrow", "vera_narrow"))
    sheet = draft.sheet
    y = _title(draft, form.title, False)
    left, right, number = 46.0, sheet.width - 46, 0
    while number < len(form.rows):
        longest = max((len(value or "") for _, value in form.rows[number : number + 2]), default=0)
        cells = 1 if longest > 34 or number == len(form.rows) - 1 else 2
        for cell in range(cells):
            name, value = form.rows[number]
            x0 = left + cell * (right - left) / cells
            x1 = left + (cell + 1) * (right - left) / cells
            sheet.area(x0, y, x1, y + 40, edge="#333333")
            question, answer = _pair(draft, number, name, value)
            sheet.text(x0 + 5, y + 12, question, size=8, colour="#333333")
            sheet.text(x0 + 8, y + 31, answer, size=11.5)
            number += 1
        y += 40
    _signature(draft, y + 50)
    return draft


def grid(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A ruled table of two columns: what is asked, what was answered."""
    draft, form = _start(rng, locale, ("sans", "serif", "wide"))
    sheet = draft.sheet
    y = _title(draft, form.title, True)
    left, right = 60.0, sheet.width - 60
    tab = left + 160
    top, line = y, 26
    sheet.area(left, top, tab, top + line * len(form.rows), fill="#ececec")
    for number, (name, value) in enumerate(form.rows):
        question, answer = _pair(draft, number, name, value)
        sheet.rule(left, y, right)
        sheet.text(left + 8, y + 17, question, bold=True)
        sheet.text(tab + 8, y + 17, answer)
        y += line
    sheet.rule(left, y, right)
    for x in (left, tab, right):
        sheet.stroke(x, top, x, y)
    _signature(draft, y + 60)
    return draft


def columns(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Two columns of label, colon and value, without any rule."""
    draft, form = _start(rng, locale, ("sans", "narrow", "serif"), empty=0)
    sheet = draft.sheet
    y = _title(draft, form.title, draft.chance(0.5)) + 6
    half = (len(form.rows) + 1) // 2
    column_width = (sheet.width - 110) / 2
    bottom = y
    for number, (name, value) in enumerate(form.rows):
        if number % half == 0:
            line = y
        x = 50 + (number // half) * (column_width + 10)
        question, answer = _pair(draft, number, name, value)
        label_width = text_width(name + ": ", sheet.family.bold, sheet.size)
        sheet.text(x, line, question, ": ", bold=True)
        line = sheet.paragraph(x + label_width, line, answer.text, column_width - label_width, path=answer.path) + 11
        bottom = max(bottom, line)
    sheet.rule(50, bottom + 6, sheet.width - 50)
    _signature(draft, bottom + 50)
    return draft


def _signature(draft: Draft, y: float) -> None:
    """A foot without any field: the small print of the form."""
    sheet = draft.sheet
    sheet.text(50, min(y, sheet.height - 40), draft.label("form_foot"), size=8.5, colour="#444444")


LAYOUTS: dict[str, Callable[[random.Random, Locale, int], Draft]] = {
    "lines": lines,
    "boxes": boxes,
    "grid": grid,
    "columns": columns,
}
