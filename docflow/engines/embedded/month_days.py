"""Days of the month in running text: "on the 3rd day of each month", "am 5. eines jeden Monats", "due on day 1"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from docflow.documents.model import Box
from docflow.engines.base import Piece
from docflow.engines.embedded.context import Context, Span
from docflow.engines.embedded.lexicon import lexicon, words_of
from docflow.engines.embedded.questions import Question
from docflow.fields.kinds import Kind
from docflow.fields.text import fold

_DAY_WORDS = frozenset({"day", "tag", "jour", "dia", "giorno", "dag"})
_ASKED = re.compile(
    r"\b(?:day|tag|jour|dia|giorno|dag) (?:of|in|des|du|del|do|van) (?:the |each |every |de |het )?"
    r"(?:month|monats|mois|mes|mese|maand)"
)
_SAID = re.compile(
    r"\bday ?:?\s{1,3}(?P<a>\d{1,2})\b(?! (?:days?|weeks?|months?|years?))"
    r"|\b(?P<b>\d{1,2}) ?(?:st|nd|rd|th)? (?:(?:calendar|business|working) )?day "
    r"(?:of|in) (?:each|every|the|a) (?:calendar )?month"
    r"|\b(?P<c>\d{1,2}) ?(?:st|nd|rd|th) (?:of|in) (?:each|every|the) (?:calendar )?month"
    r"|\b(?P<d>\d{1,2})\. (?:tag )?(?:(?:eines |des )?jede[ns] (?:kalender)?monats|des (?:kalender)?monats)"
    r"|\b(?P<e>\d{1,2}) ?(?:er)? (?:jour )?(?:de chaque|du) mois"
    r"|\b(?P<f>\d{1,2})[.º]? (?:dias? )?(?:de cada|del|do) mes\b"
    r"|\b(?P<g>\d{1,2})[.°]? (?:giorno )?(?:di ogni|di ciascun|del) mese"
    r"|\b(?P<h>\d{1,2}) ?(?:e|ste|de)? (?:dag )?van (?:de|elke|iedere) maand"
)


def asks_for_day(question: Question) -> bool:
    """Whether a number is asked for that counts a day of the month."""
    if question.look is not Kind.QUANTITY:
        return False
    named = {word for name in question.names for word in words_of(name)[-1:]}
    return bool(named & _DAY_WORDS or _ASKED.search(fold(question.description)))


def month_days(context: Context, question: Question) -> Iterator[tuple[Span, Piece, float]]:
    """The days of the month that lines speak of, with the word they stand in ("3rd").

    They are the likelier the more words their line shares with the question.
    """
    known = lexicon()
    wanted = {
        known.meaning(word)
        for text in (*question.names, question.description)
        for word in words_of(text)
        if len(word) > 2 and word not in known.filler and word not in _DAY_WORDS
    }
    for line in context.printed:
        for match in _SAID.finditer(line.folded):
            number = next(name for name, text in match.groupdict().items() if text)
            if 1 <= int(match[number]) <= 31:
                shared = len(wanted & {known.meaning(token.text) for token in line.tokens})
                word = Box.around(word.box for word in line.words(*match.span(number)))
                yield Span(line, *match.span(number)), Piece(line.line.page, word), 0.5 + 0.1 * min(3, shared)
