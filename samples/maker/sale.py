"""What a receipt is about: the goods, the sums, how it was paid."""

from __future__ import annotations

from decimal import Decimal

from maker import words
from maker.draft import Draft, Item, make_items
from maker.locales import shaped


class Sale:
    """What was bought, the sums, and how it was paid. ``added`` says that prices are without tax."""

    def __init__(
        self, draft: Draft, count: int, *, weighed: bool = False, served: bool = False, tax_table: bool = False
    ) -> None:
        rng, locale = draft.rng, draft.locale
        shop = words.trade(rng, locale, "shops", served=served)
        self.items = make_items(draft, shop, count)
        if weighed and shop.by_weight and draft.chance(0.7):
            place = rng.randrange(len(self.items))
            self.items[place] = _weighed(draft, self.items[place])
        self.company = words.company(rng, locale, shop)
        self.address = words.address(rng, locale)
        self.phone = words.phone(rng, locale)
        self.tax_id = shaped(rng, locale.tax_id_shape)
        self.day = draft.day()
        self.rate = Decimal(rng.choice(locale.tax_rates))
        self.goods = sum((item.amount for item in self.items), Decimal(0))
        self.tax_table = tax_table and locale.language in ("de", "fr", "it", "nl", "es") and draft.chance(0.6)
        discounted = not served and not self.tax_table and draft.chance(0.12)
        self.discount = draft.cents(self.goods / 10) if discounted else Decimal(0)
        self.service = draft.cents(self.goods / 10) if served and draft.chance(0.5) else Decimal(0)
        base = self.goods - self.discount + self.service
        self.added = locale.net_prices or (locale.code in ("en_MY", "en_SG", "en_IN") and draft.chance(0.4))
        self.tax = draft.cents(base * self.rate / (100 if self.added else 100 + self.rate))
        self.total = base + self.tax if self.added else base
        self.rounding = Decimal(0)
        if locale.code in ("en_MY", "de_CH"):  # cash is paid in steps of five
            self.rounding = (self.total * 20).quantize(Decimal(1)) / 20 - self.total
            self.total += self.rounding
        self.number = shaped(rng, rng.choice(("999999", "99-999999", "?99999", "9999/999", "R0009999", "000099999")))
        self.by_card = draft.chance(0.5)
        note = Decimal(1000 if locale.places == 0 else 10)
        self.paid = self.total if self.by_card or draft.chance(0.2) else (self.total // note + 1) * note


def _weighed(draft: Draft, item: Item) -> Item:
    weight = Decimal(draft.rng.randrange(120, 2600)) / 1000
    return Item(item.description, weight, item.unit_price, draft.cents(weight * item.unit_price), "kg")


def sum_lines(
    draft: Draft, sale: Sale, y: float, x: float, right: float, step: float, *, colon: str, always: bool = False
) -> float:
    """What stands between the goods and the total."""
    sheet, locale = draft.sheet, draft.locale
    rate = f"{locale.quantity(sale.rate)}%"
    rows: list[tuple[str, Decimal, str | None]] = []
    # A tax table says what the sum before tax is: a line before it would be another sum of that name.
    if sale.added or sale.discount or sale.service or always or (not sale.tax_table and draft.chance(0.4)):
        text = draft.label("subtotal") if sale.added else draft.plain_label("subtotal")
        rows.append((text, sale.goods, "subtotal"))
    if sale.discount:
        rows.append((f"{draft.label('discount')} 10%", -sale.discount, None))
    if sale.service:
        rows.append((f"{draft.label('service')} 10%", sale.service, None))
    if sale.added:
        name = draft.rng.choice(
            (f"{locale.tax_name} {rate}", f"{locale.tax_name} ({rate})", f"{locale.tax_name} @ {rate}")
        )
        rows.append((name, sale.tax, "tax"))
    if sale.rounding:
        rows.append((draft.label("rounding"), sale.rounding, None))
    signed = draft.chance(0.2)
    for text, value, path in rows:
        sheet.text(x, y, text + colon)
        sheet.text(right, y, *draft.money(value, path, sign=signed and bool(path)), align="right")
        y += step
    return y
