"""The amounts of a page, what each is called there, and which of them is the total, the tax, the rent.

A label names the amounts of its row, or those under it; where several amounts claim the same name, arithmetic
decides: what was paid less the change, the sum before tax and the tax, the rounding, what is printed more than once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from docflow.engines.embedded.context import Context, PrintedLine, Span
from docflow.engines.embedded.labels import Label, regions
from docflow.engines.embedded.lexicon import lexicon
from docflow.fields.amounts import FoundAmount
from docflow.fields.currencies import currencies
from docflow.fields.kinds import Kind

_CENT = Decimal("0.01")


@dataclass(slots=True, eq=False)
class Amount:
    """An amount on the page and its names, each with a strength from 0 to 1."""

    span: Span
    found: FoundAmount
    order: int
    """Position among the line's amounts, from the left."""
    last: bool
    """Nothing that looks like money stands right of it on its line."""
    names: dict[str, float] = field(default_factory=dict)
    in_summary: bool = False
    label: Label | None = None
    columned: bool = False
    """Named by a label over its column, not by one on its line."""
    whole: bool = False
    """The currency of the page has no cents, so that money is written without."""

    @property
    def value(self) -> Decimal:
        return self.found.value

    @property
    def is_money(self) -> bool:
        """Written like money: with cents or a currency."""
        if self.found.percent or self.found.unit:
            return False
        if self.found.decimals == 2 or self.found.currency is not None:
            return True
        return self.whole and self.found.decimals == 0 and (abs(self.found.value) >= 1000 or self.found.value == 0)

    def claims(self, *names: str) -> float:
        """How strongly the label says that this is one of ``names``."""
        return max((self.names.get(name, 0.0) for name in names), default=0.0)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value for a leaf, its place, and how plausible it is (scores of one leaf are comparable)."""

    amount: Amount
    score: float


class Ledger:
    """All amounts of the pages with their names."""

    def __init__(self, context: Context, labels: Mapping[int, list[Label]]) -> None:
        self._context = context
        self._labels = labels
        self.amounts: list[Amount] = []
        self._rows: dict[int, list[Amount]] = {}
        for number, found in context.amounts.items():
            line = context.printed[number]
            row = _row(line, found, context)
            if row:
                self._rows[number] = row
                self.amounts += row
        self._name_rows()
        self._name_below()
        self._mark_summaries()

    # --- names ------------------------------------------------------------------------------------------------

    def _name_rows(self) -> None:
        """The labels of a line name the amounts right of them."""
        printed = self._context.printed
        for number, row in self._rows.items():
            labels = self._labels.get(number, [])
            before = 0
            names: dict[str, float] = {}
            label: Label | None = None
            for amount in row:
                figures = (
                    amount.span.start + amount.found.number[0] - amount.found.start
                )  # "Total EUR" ends in a currency
                between = [
                    one
                    for one in labels
                    if before <= one.span.start
                    and one.span.end <= figures
                    and (one.leads or one.marked or _of_money(one))
                ]
                if between:
                    names, label = _combined(between, amount.span)
                if names:
                    amount.names = dict(names)
                    amount.label = label
                before = amount.span.end
            if not any(amount.names for amount in row) and number and not _has_words(printed[number], row):
                # The label stands alone on the line above ("CASH", then "RM 170.00"): skewed photos, narrow paper.
                above = self._labels.get(number - 1, [])
                if (
                    above
                    and number - 1 not in self._rows
                    and printed[number - 1].line.page == printed[number].line.page
                ):
                    names, label = _combined(above, row[0].span)
                    if label is not None and label.leads:
                        for amount in row:
                            amount.names = {name: 0.6 * strength for name, strength in names.items()}
                            amount.label = label

    def _name_below(self) -> None:
        """A label with nothing beside it names the amount under it."""
        spans: dict[int, list[Amount]] = self._rows
        for labels in self._labels.values():
            for label in labels:
                if not label.leads or not label.marked:
                    continue
                for region in regions(self._context, label, self._labels):
                    if region.how in ("beside", "right"):
                        if any(a.span.overlaps(region.span) for a in spans.get(region.span.line.number, ())):
                            break
                        continue
                    for amount in spans.get(region.span.line.number, ()):
                        if amount.span.overlaps(region.span):
                            weight = {"stacked": 0.95}.get(region.how, 0.75 if region.steps == 1 else 0.5)
                            for name, strength in label.names.items():
                                amount.names.setdefault(name, weight * strength)
                            amount.columned = amount.columned or not amount.label
                            amount.label = amount.label or label

    def _mark_summaries(self) -> None:
        """Amounts of a table of taxes are sums by rate: never the total of the page."""
        inside = 0
        for line in self._context.printed:
            labels = self._labels.get(line.number, [])
            if any("tax_summary" in label.names and label.leads for label in labels) or (
                line.number not in self._rows and _heads_taxes(labels)
            ):
                inside = 7
                continue
            if inside:
                inside -= 1
                row = self._rows.get(line.number, [])
                money = [amount for amount in row if amount.is_money]
                if len(money) >= 2 or (money and not labels):
                    for amount in money:
                        amount.in_summary = True
                elif (
                    money
                    and len(money) == 1
                    and any(label.leads and label.names.get("total", 0) >= 1 for label in labels)
                ):
                    inside = 0

    # --- values -----------------------------------------------------------------------------------------------

    def named(self, names: Iterable[str]) -> list[Candidate]:
        """Amounts that carry one of these names, the likeliest first."""
        names = tuple(names)
        found = []
        for amount in self.amounts:
            strength = amount.claims(*names)
            if strength <= 0 or amount.found.percent:
                continue
            rival = max((s for name, s in amount.names.items() if name not in names), default=0.0)
            score = strength - (0.25 if rival > strength else 0.0)
            score += 0.1 if amount.is_money else -0.2
            score -= 0.03 * amount.order + (0.3 if amount.in_summary else 0.0)
            found.append(Candidate(amount, score))
        return sorted(found, key=lambda candidate: -candidate.score)

    def totals(self, own: tuple[str, ...] = ()) -> list[Candidate]:
        """What may be the sum to pay, the likeliest first."""
        money = [amount for amount in self.amounts if amount.is_money]
        if not money:
            money = [amount for amount in self.amounts if not amount.found.percent and amount.claims("total", *own)]
        figures = _Figures(self, money)
        found = [Candidate(amount, _total_score(amount, figures, own)) for amount in money]
        return sorted(found, key=lambda candidate: -candidate.score)

    def parts(self, name: str, own: tuple[str, ...], total: Decimal | None) -> list[Candidate]:
        """The sum before tax (``subtotal``) or the tax, given the total: the likeliest first."""
        money = [amount for amount in self.amounts if amount.is_money]
        other = "tax" if name == "subtotal" else "subtotal"
        others = {amount.value for amount in money if amount.claims(other)}
        found = []
        for amount in money:
            strength = amount.claims(name, *own)
            score = strength
            # The other part, labelled as such, makes up the total with this one.
            proven = total is not None and amount.value > 0 and total - amount.value in others
            column = _column(amount, money) if amount.in_summary or amount.claims("total") > strength else None
            rival = max((s for one, s in amount.names.items() if one != name and one not in own), default=0.0)
            if column == name and not amount.in_summary:
                score += 0.8  # "Total   278.61   40.39   319.00": a row that adds up
            elif rival > strength and not (proven and amount.claims("total") == rival):
                score -= 0.4
            if name == "tax" and amount.columned and not amount.in_summary and column != name:
                score -= 0.4  # the tax of one item
            if proven:
                score += 0.5 if strength > 0 else 0.9
            if total is not None:
                if amount.value > total:  # before a discount it may be
                    score -= 0.2 if name == "subtotal" and strength >= 0.9 and not amount.in_summary else 0.6
                if name == "tax" and amount.value > total / 2:
                    score -= 0.6
                if name == "subtotal" and amount.value < total / 2:
                    score -= 0.4
            if amount.in_summary:
                score -= 0.1
                if column is not None:
                    score += 0.5 if column == name else -0.3
            if strength <= 0 and not amount.in_summary and column != name and not (proven and amount.names):
                score -= 0.5
            score += 0.02 * (amount.span.line.number / max(1, len(self._context.printed)))
            found.append(Candidate(amount, score))
        return sorted(found, key=lambda candidate: -candidate.score)


def _row(line: PrintedLine, found: list[FoundAmount], context: Context) -> list[Amount]:
    dates = context.dates.get(line.number, [])
    kept = [one for one in found if not any(one.start < date.end and date.start < one.end for date in dates)]
    data = currencies().get(context.locale.currency or "")
    whole = data is not None and data["minor"] == 0
    row = [Amount(Span(line, one.start, one.end), one, order, False, whole=whole) for order, one in enumerate(kept)]
    last = next((amount for amount in reversed(row) if amount.is_money), None)
    if last is not None:
        last.last = True
    return row


def _heads_taxes(labels: list[Label]) -> bool:
    """Whether a line without amounts is the head of a table of taxes: "Rate, Net, VAT, Gross", and nothing sold."""
    said = {name for label in labels if label.leads and label.marked for name in label.names}
    return "tax" in said and bool(said & {"subtotal", "total"}) and not said & {"description", "quantity", "unit_price"}


def _of_money(label: Label) -> bool:
    return any(lexicon().kinds.get(name) is Kind.MONEY for name in label.names)


def _has_words(line: PrintedLine, row: list[Amount]) -> bool:
    """Whether a line says more than its amounts."""
    text = line.text
    for amount in reversed(row):
        text = text[: amount.span.start] + text[amount.span.end :]
    return sum(char.isalpha() for char in text) > 3


def _combined(labels: list[Label], value: Span) -> tuple[dict[str, float], Label | None]:
    """What several labels before one amount say together: the first is the noun, those after it limit it."""
    line = value.line
    near = line.cell_at(value.start)
    # Labels of the cell next to the amount outrank those of cells further left ("Item count 4   Change 7.50").
    nearest = max(line.cell_at(label.span.start) for label in labels) if labels[0].line is line else 0
    close = [label for label in labels if labels[0].line is not line or line.cell_at(label.span.start) == nearest]
    leading = [label for label in labels if label.leads and label not in close]
    chosen = close
    if leading and nearest == near and not close[0].leads:
        chosen = leading
    first = next((label for label in chosen if _of_money(label)), chosen[0])
    names = dict(first.names)
    if "total" in names or "line_total" in names:
        for later in chosen[1:]:
            if "subtotal" in later.names and later.exact:
                return dict(later.names), later
    if first.names.keys() <= {"description", "noise", "code", "unit", "time"} and len(chosen) > 1:
        return dict(chosen[-1].names), chosen[-1]
    return names, first


def _column(amount: Amount, money: list[Amount]) -> str | None:
    """In a row "base, tax" or "base, tax, sum": which of them this is; None where the row is no such row."""
    row = [one for one in money if one.span.line is amount.span.line]
    if len(row) < 2 or (len(row) == 2 and not amount.in_summary):
        return None
    if len(row) >= 3 and abs(row[-3].value + row[-2].value - row[-1].value) <= _CENT:
        parts = dict(zip(map(id, row[-3:]), ("subtotal", "tax", "total"), strict=True))
        return parts.get(id(amount))
    if not amount.in_summary:
        return None
    low, high = sorted(row[-2:], key=lambda one: one.value)
    return "tax" if amount is low else "subtotal" if amount is high else None


class _Figures:
    """What the page as a whole says about its amounts."""

    def __init__(self, ledger: Ledger, money: list[Amount]) -> None:
        self.lines: dict[Decimal, set[int]] = defaultdict(set)
        for amount in money:
            self.lines[amount.value].add(amount.span.line.number)
        plain = [amount for amount in money if not amount.in_summary]
        self.largest = max((a.value for a in plain if not a.claims("paid", "balance")), default=Decimal(0))
        self.paid = {a.value for a in plain if a.claims("paid") > 0.5 and a.value != 0}
        self.change = {abs(a.value) for a in plain if a.claims("change") > 0.5}
        self.rounding = {a.value for a in plain if a.claims("rounding") > 0.5 and abs(a.value) < 1}
        self.subtotals = {a.value for a in plain if a.claims("subtotal") > 0.5}
        self.taxes = {a.value for a in money if a.claims("tax") > 0.5 or a.in_summary}
        self.totals = {a.value for a in plain if a.claims("total") > 0.5}
        taxes = {a.value for a in plain if a.claims("tax") > 0.5 and a.value > 0}
        self.untaxed = {value for value in self.totals for tax in taxes if value + tax in self.totals}
        """Called a total ("Net amount"), but the tax comes on top of it to make another total."""
        self.pages = len(ledger._context.pages)
        self.first_paid = min((a.span.line.number for a in plain if a.claims("paid") > 0.5), default=None)
        self.exact_change = any(paid - change > 0 for paid in map(abs, self.paid) for change in self.change)


def _is_last(label: Label) -> bool:
    """Whether a label of a total says that nothing comes after it: rounded, to pay, all taxes included."""
    return any(token.text in lexicon().final for token in label.line.tokens)


_OTHERS = (
    "change", "discount", "rounding", "quantity", "tip", "balance", "unit_price", "service_charge", "shipping",
    "due_date", "date", "invoice_number", "order_number", "tax_rate", "code", "phone", "vat", "registration_number",
)  # fmt: skip


def _total_score(amount: Amount, figures: _Figures, own: tuple[str, ...]) -> float:
    value = amount.value
    score = 0.0
    total, subtotal, tax = amount.claims("total", *own), amount.claims("subtotal"), amount.claims("tax")
    others = amount.claims(*_OTHERS)
    if total > max(subtotal, tax, others) - 0.01:
        score += 2.0 * total
        if amount.label is not None and _is_last(amount.label):
            score += 0.4
    elif subtotal > 0:
        score += 0.3 * subtotal
    elif tax or others:
        score -= 1.0
    if amount.claims("paid") > total:
        score += 0.2
    if value <= 0:
        score -= 1.5
    if amount.in_summary:
        score -= 1.2
    if not amount.last:
        score -= 0.4
    # Arithmetic: only a value that something else on the page repeats or explains is safe.
    for change in figures.change:
        if any(abs(paid) - change == value for paid in figures.paid):
            score += 1.5
            break
    else:
        if value in figures.paid and not figures.exact_change:
            score += 0.6
    if any(value - rounding in figures.totals | figures.subtotals for rounding in figures.rounding if rounding):
        score += 0.8
    if any(value + rounding in figures.lines for rounding in figures.rounding if rounding):
        score -= 0.5  # what is then rounded is not what is paid
    if value in figures.untaxed and value not in figures.paid:
        score -= 1.2
    if any(value - sub in figures.taxes for sub in figures.subtotals if sub != value):
        score += 0.5
    score += 0.25 * min(3, len(figures.lines[value]) - 1)
    if figures.largest > 0 and value > 0:
        ratio = float(value / figures.largest)
        score += 0.6 * min(1.0, ratio) if ratio <= 1 else -0.1
    score += 0.1 * amount.span.line.number / 100
    return score
