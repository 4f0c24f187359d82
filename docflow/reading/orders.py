"""Text on a page that speaks to whoever reads it by machine, not to people: orders, answers to copy, template marks.

No value is read from such a line, nor looked up in one: what an engine was told to answer there does not count as
printed on the page. The patterns are narrow: an order is a sentence that speaks of what was said before, or that is
addressed to a machine and commands it; it may go on over the end of its line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from docflow.documents.model import Box, Word
from docflow.reading.layout import printed_lines

_IGNORE = (
    r"(?:ignor(?:e[zr]?|a\w*|iere?\w*|uj\w*)|zignoruj\w*|disregard|forget|override|vergiss|vergessen|oublie[zr]?|olvid[ae]\w*"
    r"|esque[cç]a|dimentica|negeer|vergeet|glöm|bortse)"
)
_SMALL = (
    r"(?:all|any|the|these|those|this|that|of|every(?:thing)?|what|is|was|has|been|said|written|your|my|other|das|die|alle[sn]?|den"
    r"|hier|ce|cet|qui|tou(?:te?)?s?|les?|la|las|los|lo|el|todo|todas?|todos|que|o|a|as|os|tudo|tutt[oeai]|gli|quanto"
    r"|è|il|het|de|alle|wat|wszystkie|alla)"
)
_FORMER = (
    r"(?:previous|prior|preceding|earlier|above|foregoing|obige[nrs]?|vorherige[nrs]?|vorangehende[nrs]?|bisherige[nrs]?"
    r"|pr[ée]c[ée]dente?s?|anterior(?:es|i)?|precedenti?|bovenstaande|vorige|eerdere|powyższe|poprzednie|tidigare)"
)
_SAYING = (
    r"(?:instructions?|prompts?|orders|rules|directions|messages?|commands|anweisung(?:en)?|befehle?|vorgaben|consignes?"
    r"|instrucci[oó]n(?:es)?|istruzion[ei]|instru[cç][oõ]es|instructies?|opdrachten|polecenia|instruktioner)"
)
_ALL_ABOVE = (
    r"(?:above|foregoing|obige[sn]?|vorstehende[sn]?|(?:ce\s+)?qui\s+pr[ée]c[èe]de|ci-dessus|anterior|de\s+arriba|acima"
    r"|sopra|bovenstaande|powyższe|ovanstående)"
)
_MACHINE = (
    r"(?:system(?:\s+(?:prompt|message|note|override))?|assistant|developer|user|syst[eè]me|sistema|systeem|assistente?"
    r"|(?:note|message|instructions?|attention|hinweis|anweisung|nachricht)?\s*(?:to|for|an|für)?\s*"
    r"(?:the|any|die|das)?\s*(?:ai|llm|ki|ia|language\s+model|chatbot|ocr\s+engine|gpt|parser)(?:\s+(?:model|system|assistant))?)"
)
_COMMAND = (
    r"(?:set|change|answer|reply|respond|return|output|print|write|report|give|say|use|obey|follow|ignore|disregard|replace"
    r"|approve|you\s+(?:are|must|will)|must|set[zt]e?|antworte\w*|gib|schreibe?|melde|ändere|verwende|befolge|ersetze"
    r"|mets|mettez|met(?:tre)?|répond[sz]?|répondez|donne[zr]?|écri[sv]\w*|renvoie|renvoyez|utilise[zr]?|remplace[zr]?"
    r"|pon|ponga|establece|fija|responde|responda|devuelve|escribe|cambia|usa|utiliza|imposta|rispondi|scrivi|restituisci"
    r"|defina|coloque|escreva|antwoord|zet|geef|schrijf|gebruik|ustaw|odpowiedz|svara?|sätt)"
)
_WITHOUT_ADDRESS = re.compile(
    rf"\b{_IGNORE}(?:\W+{_SMALL}){{0,4}}\W+{_FORMER}(?:\W+{_SMALL}){{0,2}}\W+{_SAYING}\b"
    rf"|\b{_IGNORE}(?:\W+{_SMALL}){{0,4}}\W+{_SAYING}(?:\W+{_SMALL}){{0,3}}(?:\W+{_FORMER})?(?!\W+(?:if|wenn|si|se|als)\b)"
    rf"|\b{_IGNORE}(?:\W+{_SMALL}){{0,4}}\W+{_ALL_ABOVE}\s*(?:$|[.,;:!]|\b(?:and|then|und|et|y|e|en|i|och)\b)"
    r"|(?:忽略|无视|無視)(?:以上|上述|之前|前面)|(?:以上|上記|これまで).{0,8}無視|(?:위의|이전).{0,8}무시"
    r"|<\|\s*\w+\s*\|>|\[/?inst\]|<</?sys>>|#{2,}\s*(?:assistant|system|instruction)"
    r'|\{\s*"\w+"\s*:',
    re.IGNORECASE,
)
_STEMS = (
    *(
        "ignor",
        "disregard",
        "forget",
        "override",
        "vergiss",
        "vergess",
        "oublie",
        "olvid",
        "esque",
        "dimentica",
        "negeer",
    ),
    *("vergeet", "glöm", "bortse", "忽略", "无视", "無視", "무시", "<|", "[", "<<", "##", "{"),
)
"""What a line holds, case folded, before the whole pattern is tried: it is asked for every line of every page."""
_ADDRESSED = re.compile(rf"^\W*{_MACHINE}\s*(?P<mark>:|[-–—>]\s)\s*", re.IGNORECASE)
_COMMANDS = re.compile(rf"(?<!\w){_COMMAND}(?!\w)", re.IGNORECASE)
_OPEN_END = re.compile(
    rf"(?:[,;:=(]|(?<!\w)(?:to|is|as|the|a|an|and|or|with|of|for|by|total|auf|ist|als|mit|und|à|est|et|de|con|en|es|y|a|è|di"
    rf"|op|naar|{_COMMAND}))\s*$",
    re.IGNORECASE,
)
_CLOSED_END = re.compile(r"[.!?\d\"'”»})\]]\s*$")
_LINES = 3
"""Lines by which an order may go on behind the one that it begins on."""
_REACH = 1.2
"""How far apart the lines of one order may stand, in heights of a line."""


def is_order(line: str) -> bool:
    """Whether a line of a page speaks to the machine that reads it."""
    text = _plain(line)
    return _addressed(text) or any(_matches(text))


def without_orders(words: Sequence[Word]) -> tuple[list[Word], list[Word]]:
    """The words of a page that speak to people, and those that give orders to a machine, each in their order."""
    lines = printed_lines(words)
    orders = _orders(lines)
    if not orders:
        return list(words), []
    plain: list[Word] = []
    ordered: list[Word] = []
    for number, line in enumerate(lines):
        (ordered if number in orders else plain).extend(line)
    return plain, ordered


def _orders(lines: Sequence[Sequence[Word]]) -> set[int]:
    """The lines that are orders, or the rest of one."""
    texts = [_plain(" ".join(word.text for word in line)) for line in lines]
    found: set[int] = set()
    for number, text in enumerate(texts):
        below = number + 1 < len(texts) and _close(lines[number], lines[number + 1])
        if _addressed(text):
            found.add(number)
        elif below and _ADDRESSED.match(text) and _goes_on(text, texts[number + 1]):
            found |= {number, number + 1} if _addressed(f"{text} {texts[number + 1]}") else set()
        joined = f"{text} {texts[number + 1]}" if below else text
        for match in _matches(joined):
            if match.start() < len(text):
                found |= {number} if match.end() <= len(text) + 1 else {number, number + 1}
    for number in sorted(found):
        for later in range(number + 1, min(len(texts), number + 1 + _LINES)):
            if later in found or not _close(lines[later - 1], lines[later]):
                break
            if not _goes_on(texts[later - 1], texts[later]):
                break
            found.add(later)
    return found


def _plain(line: str) -> str:
    text = unicodedata.normalize("NFKC", line[:2_000])
    return "".join(char for char in text if unicodedata.category(char) != "Cf")


def _matches(text: str) -> Iterator[re.Match[str]]:
    folded = text.casefold()
    return _WITHOUT_ADDRESS.finditer(text) if any(stem in folded for stem in _STEMS) else iter(())


def _addressed(text: str) -> bool:
    """Whether a line names a machine that it speaks to, and commands it."""
    match = _ADDRESSED.match(text)
    return match is not None and _COMMANDS.search(text, match.end()) is not None


def _goes_on(text: str, below: str) -> bool:
    """Whether the sentence of an order goes on in the line below: its end is open, or what follows is no new line."""
    if _CLOSED_END.search(text) or not below:
        return False
    begins = below.lstrip("\"'“«(")[:1]
    if _OPEN_END.search(text):
        return not begins.isupper()
    return begins.islower() and (not any(char.isdigit() for char in below) or _COMMANDS.search(below) is not None)


def _close(above: Iterable[Word], below: Iterable[Word]) -> bool:
    """Whether one line stands right under another."""
    one, other = Box.around(word.level_box for word in above), Box.around(word.level_box for word in below)
    height = max(one.height, other.height)
    return other.y0 - one.y1 < _REACH * height and other.y1 > one.y0 and one.x0 < other.x1 and other.x0 < one.x1
