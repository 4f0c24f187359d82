"""What a line of a letterhead is: a name, a piece of an address, a registration number, something else.

What a country's addresses, companies and registration numbers look like comes from the locale data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from docflow.engines.embedded.context import Context, PrintedLine
from docflow.engines.embedded.labels import Label
from docflow.engines.embedded.lexicon import Token, lexicon, words_of
from docflow.fields.kinds import Kind
from docflow.fields.locale import Locale
from docflow.fields.text import fold

_CONTACT = re.compile(
    r"(?:^|\W)(?:www\.|https?:|e-?mail|@|tel\b|telp?hone|phone|fax|hotline|h/p\b|tél|telefon|mobile|whatsapp)|@\w|\w\.(?:com|net|org|my|de|nl|fr)\b"
)
_PHONE = re.compile(r"^[\W_]*(?:\+?\d[\d\s().\-/]{7,}\d)[\W_]*$")
_CODE = re.compile(r"^[\W_]*[a-z]{0,5}[\W_]*\d[\d\s.\-/]{3,}[\W_]*[a-z]{0,2}[\W_]*$")
_BRACKETED_NUMBER = re.compile(
    r"\s*[\(\[]\s*(?:[A-Za-z.:#\s]{0,22}?\s*[:#]?\s*)?(?=[^()\[\]]*(?:\d[^()\[\]]*){4})"
    r"[A-Z]{0,4}[\dOoIl][\dA-Za-z\s.\-–·/]{3,20}\s*[\)\]]?\W*$"
)
_TRAILING_NUMBER = re.compile(r"\s+(?:\d{4,8}\s?-\s?[A-Z]\)?|\d{9,14})\W*$")
_UNIT_START = re.compile(
    r"^\W*(?:(?:no|nr|lot|unit|flat|apt|suite|ste|shop|blk|block|level|lvl|ground floor|gf|room|kiosk|k|g"
    r"|p\.?o\.? ?box)\b[\s.:#]*[\w/&,\-. ]*\d|#?\d{1,5}[a-z]?(?:[\s,\-/&]|$)|[a-z]{1,2}-?\d+[\s,\-])"
)
_MONEY = re.compile(r"\d[.,]\d{2}(?!\d)")
_TIME = re.compile(r"\b\d{1,2}:\d{2}\b")


@dataclass(frozen=True, slots=True)
class HeadLine:
    """A cell or line near a party's name, and what speaks for each reading of it."""

    line: PrintedLine
    start: int
    end: int
    text: str
    address: float
    """Evidence for a piece of an address; 0 for none."""
    postcode: bool
    region: bool
    """Only a region, state, city or country (with a postcode at most)."""
    has_region: bool
    registration: bool
    """A registration or tax number, with its label."""
    contact: bool
    """Phone, e-mail, web."""
    suffix: bool
    """Ends like a company's name."""
    trade: bool
    title: bool
    numbered: bool
    """Ends with a registration number in brackets, as companies' names do."""
    labelled: bool
    """Begins with a label of something else (date, table, cashier ...)."""
    noise: bool
    """Too few letters to be a name."""


class LineReader:
    """Tells what the lines of a page's heads are, with one locale's words."""

    def __init__(self, context: Context, labels: dict[int, list[Label]]) -> None:
        self._context = context
        self._labels = labels
        self._words = _words(context.locale)
        self._read: dict[tuple[int, int, int], HeadLine] = {}

    @property
    def suffix_starts(self) -> frozenset[str]:
        """The words that company suffixes begin with."""
        return self._words.suffix_starts

    def suffix_end(self, name: str) -> int:
        """Where the last company suffix of a name ends; 0 where there is none."""
        pattern = self._context.locale.pattern("company")
        ends = [match.end() for match in pattern.finditer(fold(name))] if pattern is not None else []
        return ends[-1] if ends else 0

    def is_postcode(self, text: str) -> bool:
        """Whether a text is a postcode and nothing else."""
        pattern = self._words.postcode
        return pattern is not None and pattern.fullmatch(text.strip(" .,")) is not None

    def cell(self, line: PrintedLine, number: int) -> HeadLine:
        """What one cell of a line is."""
        return self.span(line, *line.spans[number])

    def whole(self, line: PrintedLine) -> HeadLine:
        """What a line is as a whole."""
        return self.span(line, 0, len(line.text))

    def span(self, line: PrintedLine, start: int, end: int) -> HeadLine:
        """What a stretch of a line is."""
        key = (line.number, start, end)
        if key not in self._read:
            self._read[key] = self._look(line, start, end)
        return self._read[key]

    def _look(self, line: PrintedLine, start: int, end: int) -> HeadLine:
        text, folded = line.text[start:end], line.folded[start:end]
        words = self._words
        labels = [label for label in self._labels.get(line.number, []) if start <= label.span.start < end]
        first = next((label for label in labels if label.leads and label.span.start - start <= 3), None)
        tokens = [token for token in line.tokens if start <= token.start < end]
        first_word = tokens[0].text if tokens else ""
        letters = sum(char.isalpha() for char in text)
        digits = sum(char.isdigit() for char in text)
        contact = bool(_CONTACT.search(folded) or _PHONE.match(folded))
        registered = any(("vat" in label.names or "registration_number" in label.names) for label in labels)
        registration = (registered and digits >= 4) or (
            digits >= 4 and bool(_CODE.match(folded)) and not words.postcode_like(text)
        )
        if registration and words.postcode_like(text) and (words.region.find(tokens) or words.place_words.find(tokens)):
            registration = False  # "43200 Cheras": a postcode is no registration number
        postcode = not contact and not registration and words.postcode_at(text)
        street = words.street.find(tokens)
        place = words.place_words.find(tokens)
        region = words.region.find(tokens)
        amount = bool(_MONEY.search(folded)) or bool(_TIME.search(folded))
        labelled = first is not None and _names_something_else(first) and not street
        dated = any(start <= date.start < end for date in self._context.dates.get(line.number, ()))
        address = 0.0
        if not (contact or registration or dated or (amount and not street)):
            address += 1.0 if street else 0.0
            address += 0.5 if place else 0.0
            address += 0.8 if region else 0.0
            address += 0.8 if postcode else 0.0
            address += 0.7 if digits and letters >= 3 and _UNIT_START.match(folded) else 0.0
            address += 0.4 if text.count(",") and letters >= 4 else 0.0
            address += 0.45 if not street and _HOUSE.match(folded) else 0.0
            if labelled or (first_word in lexicon().persons and digits == 0):
                address = 0.0
        numbered = (
            letters >= 4 and not registration and not text.startswith("(") and bool(_BRACKETED_NUMBER.search(text))
        )
        if numbered:
            address = 0.0
        suffix = bool(words.suffix and words.suffix.search(_BRACKETED_NUMBER.sub("", text).lower().strip(" .,")))
        plain = tuple(token.text for token in tokens)
        title = (
            plain in lexicon().titles
            or (bool(plain) and plain[:3] in lexicon().titles)
            or plain[:2] in lexicon().titles
        )
        trade = any(word in lexicon().trades for word in plain)
        only_region = region and address > 0 and not street and self._only_places(tokens)
        noise = (
            letters < 3
            or (letters < 4 and letters + digits < 5)
            or (len(text) > 3 and letters + digits < 0.5 * len(text.replace(" ", "")))
        )
        return HeadLine(
            line, start, end, text, address, postcode, only_region, region, registration, contact, suffix, trade, title,
            numbered, labelled or dated, noise,
        )  # fmt: skip

    def _only_places(self, tokens: Sequence[Token]) -> bool:
        """Whether nothing but regions, towns, countries and figures stands among the tokens."""
        named = [token for token in tokens if not token.text.isdigit() and token.text not in ("d", "e")]
        return self._words.region.covered(named) == len(named)


def _names_something_else(label: Label) -> bool:
    """Whether a label that begins a line shows that the line is neither a name nor an address."""
    if "address" in label.names:
        return False
    kinds = {lexicon().kinds.get(name) for name in label.names if label.names[name] > 0.6}
    kinds.discard(None)
    if not kinds:
        return False
    if label.marked:
        return True
    return bool(kinds & {Kind.DATE, Kind.MONEY, Kind.IDENTIFIER}) and label.words > 1


def without_number(text: str) -> str:
    """A name without the registration number that stands behind it, in brackets or not."""
    cut = _BRACKETED_NUMBER.sub("", text)
    cut = _TRAILING_NUMBER.sub("", cut)
    return cut.rstrip(" -,:;'’\"*·") if sum(char.isalpha() for char in cut) >= 3 else text


class _Words:
    """The words and shapes of a locale that lines of letterheads are told by."""

    def __init__(self, locale: Locale) -> None:
        self.street = WordList(locale, ("street",), endings=bool(set(locale.languages) & _COMPOUNDING))
        self.place_words = WordList(locale, ("place",))
        self.region = WordList(locale, ("region", "city", "country"))
        self.suffix = _ending(locale)
        self.suffix_starts = frozenset(
            fold(word).replace(".", " ").split()[0] for word in locale.words.get("company", ()) if word[0].isalpha()
        )
        self.postcode = locale.shape("postcode")

    def postcode_like(self, text: str) -> bool:
        """Whether a postcode may stand in the text, with a word beside it."""
        return bool(self.postcode and self.postcode.search(text)) and sum(char.isalpha() for char in text) >= 3

    def postcode_at(self, text: str) -> bool:
        """Whether the text has a postcode; OCR glues it to the town, or reads its digits as letters."""
        if self.postcode is None:
            return False
        if self._postcode_in(text):
            return True
        mended = _unglued(text)
        return mended != text and self._postcode_in(mended)

    def _postcode_in(self, text: str) -> bool:
        assert self.postcode is not None
        return any(
            not _BEFORE_UNIT.search(text, 0, match.start()) and not _PART_OF_UNIT.match(text, match.end())
            for match in self.postcode.finditer(text)
        )


_COMPOUNDING = frozenset({"de", "nl", "sv", "da", "nb"})
"""Languages that write "Linden" and "Weg" as one word."""


class WordList:
    """Words and phrases of some roles of a locale, found among the tokens of a line."""

    def __init__(self, locale: Locale, roles: tuple[str, ...], *, endings: bool = False) -> None:
        phrases = {words_of(word) for role in roles for word in locale.words.get(role, ())} - {()}
        self._by_first: dict[str, list[tuple[str, ...]]] = {}
        for phrase in sorted(phrases, key=lambda phrase: (-len(phrase), phrase)):
            self._by_first.setdefault(phrase[0], []).append(phrase)
        single = {phrase[0] for phrase in phrases if len(phrase) == 1}
        self._endings = (*(word for word in sorted(single) if len(word) > 2), "str") if endings else ()
        # Scripts without spaces between words: any place of a longer run counts.
        self._inside = tuple(word for word in sorted(single) if word[0] >= "\u1100")

    def find(self, tokens: Sequence[Token]) -> bool:
        """Whether any of the words stands among the tokens."""
        return self.covered(tokens, first_only=True) > 0

    def covered(self, tokens: Sequence[Token], *, first_only: bool = False) -> int:
        """How many of the tokens belong to words of the list."""
        count, at = 0, 0
        while at < len(tokens):
            taken = self._taken(tokens, at)
            count += taken
            if taken and first_only:
                return count
            at += taken or 1
        return count

    def _taken(self, tokens: Sequence[Token], at: int) -> int:
        word = tokens[at].text
        for phrase in self._by_first.get(word, ()):
            length = len(phrase)
            if length == 1 or phrase == tuple(token.text for token in tokens[at : at + length]):
                return length
        if self._endings and word.endswith(self._endings) and len(word) > 5:
            return 1
        return 1 if self._inside and any(one in word for one in self._inside) else 0


_BEFORE_UNIT = re.compile(
    r"(?:\b(?:no|nr|lot|unit|blk|block|plot|box|suite|floor|flat|shop|km)\b|[#&/-])\W{0,3}$", re.IGNORECASE
)
_PART_OF_UNIT = re.compile(r"-\s?[A-Za-z]?\b|/\d|\s?&")
_GLUED_DIGITS = re.compile(r"(?<!\w)([\dOolI]{4,6})(?=[A-Za-z]{3})")
_MIXED_DIGITS = re.compile(r"(?<!\w)(?=[\dOolI]*\d)[\dOolI]{4,6}(?!\w)")
_AS_DIGITS = str.maketrans("OolI", "0011")


def _unglued(text: str) -> str:
    spaced = _GLUED_DIGITS.sub(lambda match: match[1].translate(_AS_DIGITS) + " ", text)
    return _MIXED_DIGITS.sub(lambda match: match[0].translate(_AS_DIGITS), spaced)


_HOUSE = re.compile(r"^[^\W\d_][^\d,:]{2,}[^\W\d_.]\.?\s\d{1,4}\s?[a-z]?(?:\s?[-/]\s?\d{1,4}[a-z]?)?\W*$")
"""A street and its house number, alone on a line, as most of Europe writes it."""


def _ending(locale: Locale) -> re.Pattern[str] | None:
    """Company suffixes at the end of a name, or before a bracket."""
    pattern = locale.pattern("company")
    return re.compile(rf"(?:{pattern.pattern})(?=\s*(?:\(|\[|$|,|\s-\s|:))") if pattern is not None else None


@lru_cache(maxsize=16)
def _words(locale: Locale) -> _Words:
    return _Words(locale)
