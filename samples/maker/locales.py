"""What is known of a country's way of printing: numbers, dates, money, taxes, labels."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from decimal import Decimal

MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "ko": " ".join(f"{month}월" for month in range(1, 13)),
}


@dataclass(frozen=True)
class Locale:
    """How one country prints. ``dates`` are patterns of d, dd, m, mm, yy, yyyy, mon (short) and month (long)."""

    code: str
    currency: str
    signs: tuple[str, ...]  # before the amount when they end in a space or are symbols, after it when they begin with one
    decimal: str
    thousands: str
    dates: tuple[str, ...]
    tax_name: str
    tax_rates: tuple[str, ...]
    tax_id: str  # label of the seller's tax number
    tax_id_pattern: str  # 9 is a digit, ? a letter
    places: int = 2
    net_prices: bool = False  # prices on receipts are without tax

    @property
    def language(self) -> str:
        return self.code[:2]

    def number(self, value: Decimal, places: int | None = None) -> str:
        """A number with this country's marks."""
        text = f"{value:,.{self.places if places is None else places}f}"
        return text.translate(str.maketrans({",": self.thousands, ".": self.decimal}))

    def quantity(self, value: Decimal) -> str:
        """A count or a weight, without idle zeros."""
        return format(value.normalize(), "f").replace(".", self.decimal)

    def date(self, day: dt.date, pattern: str) -> str:
        """A date by one of ``dates``."""
        month = MONTHS[self.language].split()[day.month - 1]
        parts = {
            "yyyy": f"{day.year}",
            "yy": f"{day.year % 100:02}",
            "month": month,
            "mon": month[:3],
            "dd": f"{day.day:02}",
            "mm": f"{day.month:02}",
            "d": f"{day.day}",
            "m": f"{day.month}",
        }
        out, rest = "", pattern
        while rest:
            key = next((key for key in parts if rest.startswith(key)), None)
            out += parts[key] if key else rest[0]
            rest = rest[len(key) if key else 1 :]
        return out


_EN_DATES = ("dd/mm/yyyy", "dd/mm/yy", "dd-mm-yyyy", "d mon yyyy", "dd mon yyyy", "yyyy-mm-dd", "d month yyyy", "dd-mon-yyyy")
_EU_DATES = ("dd.mm.yyyy", "dd.mm.yy", "d. month yyyy", "yyyy-mm-dd")
_ROMANCE = ("dd/mm/yyyy", "dd/mm/yy", "d month yyyy", "dd-mm-yyyy")

LOCALES = {
    locale.code: locale
    for locale in (
        Locale("en_MY", "MYR", ("RM ", "RM", "MYR "), ".", ",", _EN_DATES, "SST", ("6", "8"), "SST No", "?99-9999-99999999"),
        Locale("en_SG", "SGD", ("S$", "SGD ", "S$ "), ".", ",", _EN_DATES, "GST", ("9",), "GST Reg No", "?9-9999999-9"),
        Locale("en_GB", "GBP", ("£", "GBP "), ".", ",", _EN_DATES, "VAT", ("20", "5"), "VAT No", "GB 999 9999 99"),
        Locale("en_AU", "AUD", ("A$", "AUD "), ".", ",", _EN_DATES, "GST", ("10",), "ABN", "99 999 999 999"),
        Locale("en_IN", "INR", ("Rs. ", "INR ", "Rs "), ".", ",", _EN_DATES, "GST", ("5", "12", "18"), "GSTIN", "99?????9999?9Z9"),
        Locale(
            "en_US",
            "USD",
            ("$", "USD "),
            ".",
            ",",
            ("mm/dd/yyyy", "mm/dd/yy", "mon d, yyyy", "month d, yyyy", "mm-dd-yyyy"),
            "Sales Tax",
            ("6.25", "7", "8.25", "8.875"),
            "Tax ID",
            "99-9999999",
            net_prices=True,
        ),
        Locale("de_DE", "EUR", (" EUR", " €", "EUR "), ",", ".", _EU_DATES, "MwSt", ("19", "7"), "USt-IdNr.", "DE999999999"),
        Locale("de_AT", "EUR", (" EUR", "€ ", "EUR "), ",", ".", _EU_DATES, "USt", ("20", "10"), "UID", "ATU99999999"),
        Locale("de_CH", "CHF", ("CHF ", "Fr. "), ".", "'", _EU_DATES, "MWST", ("8.1", "2.6"), "MWST-Nr.", "CHE-999.999.999"),
        Locale("fr_FR", "EUR", (" €", " EUR"), ",", " ", _ROMANCE, "TVA", ("20", "10", "5.5"), "TVA", "FR99999999999"),
        Locale("es_ES", "EUR", (" €", " EUR"), ",", ".", _ROMANCE, "IVA", ("21", "10"), "NIF", "?99999999"),
        Locale("it_IT", "EUR", ("€ ", " EUR", "EUR "), ",", ".", _ROMANCE, "IVA", ("22", "10"), "P. IVA", "IT99999999999"),
        Locale(
            "nl_NL", "EUR", ("€ ", "EUR "), ",", ".", ("dd-mm-yyyy", "d month yyyy", "dd-mm-yy"), "BTW", ("21", "9"), "BTW-nr.", "NL999999999B99"
        ),
        Locale("pt_BR", "BRL", ("R$ ",), ",", ".", _ROMANCE[:2], "ICMS", ("18", "12"), "CNPJ", "99.999.999/9999-99"),
        Locale(
            "ko_KR",
            "KRW",
            ("원", "₩"),
            ".",
            ",",
            ("yyyy-mm-dd", "yyyy.mm.dd", "yyyy년 m월 d일"),
            "부가세",
            ("10",),
            "사업자등록번호",
            "999-99-99999",
            places=0,
        ),
    )
}

# Each label as the shops of a language print it; the first is the plain one.
LABELS: dict[str, dict[str, str]] = {
    "en": {
        "total": "Total|TOTAL|Grand Total|Total Amount|TOTAL DUE|Amount Due|Net Total|Balance Due",
        "subtotal": "Subtotal|SUBTOTAL|Sub Total|Sub-Total",
        "date": "Date|DATE",
        "time": "Time|TIME",
        "receipt_number": "Receipt No|Receipt #|Bill No|Inv No|Check|Trans|Doc No|Ref",
        "cashier": "Cashier|Served by|Staff|Operator|Clerk",
        "till": "Till|Terminal|POS|Register|Counter",
        "table": "Table|Table No",
        "cash": "CASH|Cash|Cash Tendered|PAID CASH",
        "card": "VISA|MASTERCARD|Debit Card|CREDIT CARD|Card",
        "change": "CHANGE|Change|Change Due",
        "rounding": "Rounding|Rounding Adj",
        "quantity": "Qty|QTY|Quantity|Units",
        "description": "Description|Item|Details|Article",
        "unit_price": "Price|Unit Price|U.Price|Rate|Each",
        "amount": "Amount|Total|Amt|Line Total",
        "phone": "Tel|Phone|TEL|Tel No",
        "title": "RECEIPT|CASH RECEIPT|TAX INVOICE|Receipt|SALES RECEIPT",
        "thanks": "Thank you, please come again|THANK YOU FOR SHOPPING WITH US|Goods sold are not returnable"
        "|Have a nice day!|Keep this receipt for exchange within 14 days|THANK YOU",
        "invoice": "INVOICE|Invoice|Tax Invoice|TAX INVOICE|Sales Invoice",
        "invoice_number": "Invoice No.|Invoice Number|Invoice #|Invoice no|Inv. No.|Number",
        "invoice_date": "Invoice Date|Date|Date of issue|Issued|Dated",
        "due_date": "Due Date|Payment due|Due|Pay by|Due on",
        "customer": "Bill To|Billed to|Customer|Invoice to|Sold To|To",
        "issuer": "From|Seller|Supplier",
        "amount_untaxed": "Subtotal|Net amount|Total excl. {tax}|Net total|Amount before tax",
        "gross": "Total|Total due|Amount Due|Invoice total|Total incl. {tax}|Balance due|Grand Total",
        "customer_number": "Customer No.|Account No.|Client ID",
        "order_number": "PO Number|Order No.|Your reference|P.O. #",
        "iban": "IBAN|Account (IBAN)",
        "bank": "Bank|Bank details|Pay to",
        "page": "Page {page} of {pages}|{page}/{pages}|Page {page}",
        "carried": "Carried forward|Subtotal carried over",
        "tax_code": "Tax code",
        "net": "Net|Taxable",
        "gross_column": "Gross|Total",
    },
    "de": {
        "total": "Summe|SUMME|Gesamtbetrag|Zu zahlen|ZU ZAHLEN|Gesamt|Total",
        "subtotal": "Zwischensumme|Netto",
        "date": "Datum|DATUM",
        "time": "Uhrzeit|Zeit",
        "receipt_number": "Bon-Nr.|Beleg-Nr.|Bon|Quittung Nr.",
        "cashier": "Kasse bedient von|Bediener|Kassierer",
        "till": "Kasse|Terminal",
        "table": "Tisch",
        "cash": "BAR|Bar|Gegeben Bar|Bargeld",
        "card": "girocard|Kartenzahlung|EC-Karte|VISA",
        "change": "Rückgeld|Zurück|RÜCKGELD",
        "rounding": "Rundung",
        "quantity": "Menge|Anz.|Anzahl",
        "description": "Bezeichnung|Artikel|Beschreibung|Leistung",
        "unit_price": "Einzelpreis|Preis|E-Preis|EP",
        "amount": "Betrag|Gesamt|Gesamtpreis|Summe",
        "phone": "Tel.|Telefon",
        "title": "Quittung|KASSENBON|Rechnung|Kassenbeleg",
        "thanks": "Vielen Dank für Ihren Einkauf|Umtausch nur mit Kassenbon|Auf Wiedersehen|Es bediente Sie gern Ihr Team",
        "invoice": "Rechnung|RECHNUNG",
        "invoice_number": "Rechnungsnummer|Rechnungs-Nr.|Rechnung Nr.|Rechnungsnr.",
        "invoice_date": "Rechnungsdatum|Datum|Ausgestellt am",
        "due_date": "Fällig am|Zahlbar bis|Fälligkeitsdatum|Fälligkeit",
        "customer": "Rechnungsempfänger|Kunde|An",
        "issuer": "Absender|Von",
        "amount_untaxed": "Nettobetrag|Summe netto|Zwischensumme|Netto",
        "gross": "Gesamtbetrag|Rechnungsbetrag|Summe brutto|Zu zahlen|Bruttobetrag",
        "customer_number": "Kundennummer|Kunden-Nr.",
        "order_number": "Bestellnummer|Auftrags-Nr.|Ihr Zeichen",
        "iban": "IBAN",
        "bank": "Bankverbindung|Bank",
        "page": "Seite {page} von {pages}|Seite {page}/{pages}",
        "carried": "Übertrag",
        "tax_code": "Satz",
        "net": "Netto",
        "gross_column": "Brutto",
    },
    "fr": {
        "total": "TOTAL|Total TTC|TOTAL TTC|Total à payer|NET A PAYER",
        "subtotal": "Sous-total|Total HT",
        "date": "Date|Le",
        "time": "Heure",
        "receipt_number": "Ticket n°|Ticket|N° ticket|Facturette n°",
        "cashier": "Caissier|Servi par|Vendeur",
        "till": "Caisse",
        "table": "Table",
        "cash": "ESPECES|Espèces",
        "card": "CARTE BANCAIRE|CB|Carte",
        "change": "RENDU|Monnaie rendue|Rendu monnaie",
        "rounding": "Arrondi",
        "quantity": "Qté|Quantité",
        "description": "Désignation|Description|Article",
        "unit_price": "P.U.|Prix unitaire|Prix",
        "amount": "Montant|Total|Total HT",
        "phone": "Tél.|Tél",
        "title": "TICKET DE CAISSE|Reçu|TICKET",
        "thanks": "Merci de votre visite|A bientôt|Merci et à bientôt|Ticket à conserver pour tout échange",
        "invoice": "FACTURE|Facture",
        "invoice_number": "Facture n°|N° de facture|Numéro de facture",
        "invoice_date": "Date de facture|Date|Date d'émission",
        "due_date": "Échéance|Date d'échéance|À payer avant le",
        "customer": "Facturé à|Client|Destinataire",
        "issuer": "Émetteur|Vendeur",
        "amount_untaxed": "Total HT|Montant HT|Sous-total HT",
        "gross": "Total TTC|Montant TTC|Net à payer|Total à payer",
        "customer_number": "N° client|Code client",
        "order_number": "Commande n°|Votre référence",
        "iban": "IBAN",
        "bank": "Banque|Coordonnées bancaires",
        "page": "Page {page}/{pages}|Page {page} sur {pages}",
        "carried": "Report",
        "tax_code": "Taux",
        "net": "HT",
        "gross_column": "TTC",
    },
    "es": {
        "total": "TOTAL|Total|TOTAL A PAGAR|Importe total",
        "subtotal": "Subtotal|Base imponible",
        "date": "Fecha|FECHA",
        "time": "Hora",
        "receipt_number": "Ticket|Nº ticket|Factura simplificada|Recibo nº",
        "cashier": "Le atendió|Cajero|Atendido por",
        "till": "Caja|Terminal",
        "table": "Mesa",
        "cash": "EFECTIVO|Efectivo|Entregado",
        "card": "TARJETA|Tarjeta",
        "change": "CAMBIO|Cambio",
        "rounding": "Redondeo",
        "quantity": "Cant.|Uds.|Cantidad",
        "description": "Descripción|Artículo|Concepto",
        "unit_price": "Precio|P. Unit.|Precio unitario",
        "amount": "Importe|Total",
        "phone": "Tel.|Tfno.",
        "title": "FACTURA SIMPLIFICADA|TICKET|RECIBO",
        "thanks": "Gracias por su visita|GRACIAS POR SU COMPRA|Vuelva pronto|Conserve el ticket para cambios",
        "invoice": "FACTURA|Factura",
        "invoice_number": "Factura nº|Número de factura|Nº factura",
        "invoice_date": "Fecha de factura|Fecha|Fecha de emisión",
        "due_date": "Vencimiento|Fecha de vencimiento",
        "customer": "Cliente|Facturar a|Datos del cliente",
        "issuer": "Emisor|Proveedor",
        "amount_untaxed": "Base imponible|Subtotal|Total neto",
        "gross": "Total|Total factura|Importe total|TOTAL A PAGAR",
        "customer_number": "Nº cliente|Código de cliente",
        "order_number": "Pedido nº|Su referencia",
        "iban": "IBAN",
        "bank": "Banco|Datos bancarios",
        "page": "Página {page} de {pages}|Pág. {page}/{pages}",
        "carried": "Suma y sigue",
        "tax_code": "Tipo",
        "net": "Base",
        "gross_column": "Total",
    },
    "it": {
        "total": "TOTALE|TOTALE COMPLESSIVO|Totale|Importo pagato",
        "subtotal": "Subtotale|SUBTOTALE|Imponibile",
        "date": "Data|DATA",
        "time": "Ora",
        "receipt_number": "Documento N.|Scontrino n.|Doc. n.",
        "cashier": "Operatore|Cassiere",
        "till": "Cassa",
        "table": "Tavolo",
        "cash": "CONTANTI|Contante|Pagamento contante",
        "card": "CARTA|Pagamento elettronico|Bancomat",
        "change": "RESTO|Resto",
        "rounding": "Arrotondamento",
        "quantity": "Q.tà|Quantità|Qtà",
        "description": "Descrizione|Articolo",
        "unit_price": "Prezzo|Prezzo unitario",
        "amount": "Importo|Totale",
        "phone": "Tel.",
        "title": "DOCUMENTO COMMERCIALE|SCONTRINO|RICEVUTA",
        "thanks": "Grazie e arrivederci|GRAZIE PER LA VISITA|Arrivederci a presto",
        "invoice": "FATTURA|Fattura",
        "invoice_number": "Fattura n.|Numero fattura|Fattura N°",
        "invoice_date": "Data fattura|Data|Data di emissione",
        "due_date": "Scadenza|Data di scadenza|Scadenza pagamento",
        "customer": "Cliente|Spett.le|Intestatario",
        "issuer": "Fornitore|Mittente",
        "amount_untaxed": "Imponibile|Totale imponibile|Subtotale",
        "gross": "Totale|Totale fattura|Totale da pagare|Totale documento",
        "customer_number": "Codice cliente|Cod. cliente",
        "order_number": "Ordine n.|Vs. riferimento",
        "iban": "IBAN",
        "bank": "Banca|Coordinate bancarie",
        "page": "Pagina {page} di {pages}|Pag. {page}/{pages}",
        "carried": "Riporto",
        "tax_code": "Aliquota",
        "net": "Imponibile",
        "gross_column": "Totale",
    },
    "nl": {
        "total": "Totaal|TOTAAL|Te betalen|TE BETALEN",
        "subtotal": "Subtotaal|Totaal excl. BTW",
        "date": "Datum|DATUM",
        "time": "Tijd",
        "receipt_number": "Bonnr.|Bon|Kassabon nr.",
        "cashier": "Medewerker|Geholpen door|Kassier",
        "till": "Kassa",
        "table": "Tafel",
        "cash": "CONTANT|Contant|Ontvangen",
        "card": "PIN|Betaald met pin|Pinbetaling",
        "change": "Wisselgeld|TERUG|Retour",
        "rounding": "Afronding",
        "quantity": "Aantal|Aant.",
        "description": "Omschrijving|Artikel",
        "unit_price": "Prijs|Stukprijs|Prijs p/st",
        "amount": "Bedrag|Totaal",
        "phone": "Tel.|Telefoon",
        "title": "KASSABON|Bon|KLANTBON",
        "thanks": "Bedankt en tot ziens|BEDANKT VOOR UW BEZOEK|Ruilen alleen met bon",
        "invoice": "FACTUUR|Factuur",
        "invoice_number": "Factuurnummer|Factuurnr.|Factuur nr.",
        "invoice_date": "Factuurdatum|Datum",
        "due_date": "Vervaldatum|Te betalen voor|Betalen voor",
        "customer": "Klant|Factuur aan|Aan",
        "issuer": "Van|Leverancier",
        "amount_untaxed": "Subtotaal|Totaal excl. BTW|Netto",
        "gross": "Totaal|Totaal incl. BTW|Te betalen|Totaalbedrag",
        "customer_number": "Klantnummer|Klantnr.",
        "order_number": "Ordernummer|Uw referentie",
        "iban": "IBAN|Rekeningnummer (IBAN)",
        "bank": "Bank",
        "page": "Pagina {page} van {pages}",
        "carried": "Transport",
        "tax_code": "Tarief",
        "net": "Netto",
        "gross_column": "Bruto",
    },
    "pt": {
        "total": "TOTAL|VALOR TOTAL|Total a pagar|VALOR A PAGAR",
        "subtotal": "Subtotal|SUBTOTAL",
        "date": "Data|DATA|Emissão",
        "time": "Hora",
        "receipt_number": "Cupom nº|Nº do cupom|Doc.",
        "cashier": "Operador|Vendedor|Atendente",
        "till": "Caixa|PDV",
        "table": "Mesa",
        "cash": "DINHEIRO|Dinheiro",
        "card": "CARTAO|Cartão de crédito|Cartão de débito",
        "change": "TROCO|Troco",
        "rounding": "Arredondamento",
        "quantity": "Qtd|Qtde.|Quant.",
        "description": "Descrição|Produto|Item",
        "unit_price": "Vl. Unit.|Preço unitário|Unitário",
        "amount": "Valor|Vl. Total|Total",
        "phone": "Tel.|Fone",
        "title": "CUPOM FISCAL|RECIBO|CUPOM DE VENDA",
        "thanks": "Obrigado e volte sempre|AGRADECEMOS A PREFERENCIA|Volte sempre!",
        "invoice": "FATURA|Fatura|NOTA DE COBRANÇA",
        "invoice_number": "Fatura nº|Número da fatura|Nota nº",
        "invoice_date": "Data de emissão|Data|Emitida em",
        "due_date": "Vencimento|Data de vencimento",
        "customer": "Cliente|Cobrar de|Destinatário",
        "issuer": "Emitente|Fornecedor",
        "amount_untaxed": "Subtotal|Valor líquido|Base de cálculo",
        "gross": "Total|Valor total|Total a pagar",
        "customer_number": "Código do cliente",
        "order_number": "Pedido nº|Sua referência",
        "iban": "IBAN",
        "bank": "Banco|Dados bancários",
        "page": "Página {page} de {pages}",
        "carried": "A transportar",
        "tax_code": "Alíquota",
        "net": "Base",
        "gross_column": "Total",
    },
    "ko": {
        "total": "합계|합계금액|총 합계|결제금액",
        "subtotal": "공급가액|소계",
        "date": "거래일시|일자|날짜",
        "time": "시간",
        "receipt_number": "영수증번호|전표번호",
        "cashier": "담당자|계산원",
        "till": "포스|계산대",
        "table": "테이블",
        "cash": "현금|받은금액",
        "card": "신용카드|카드결제",
        "change": "거스름돈",
        "rounding": "할인",
        "quantity": "수량",
        "description": "품목|상품명|내역",
        "unit_price": "단가",
        "amount": "금액",
        "phone": "전화|TEL",
        "title": "영수증|현금영수증",
        "thanks": "감사합니다|이용해 주셔서 감사합니다",
        "invoice": "청구서|거래명세서|세금계산서",
        "invoice_number": "청구번호|송장번호|문서번호",
        "invoice_date": "발행일|작성일자|청구일",
        "due_date": "지급기한|납부기한|결제기한",
        "customer": "공급받는자|청구처|고객명",
        "issuer": "공급자|발행인",
        "amount_untaxed": "공급가액|소계",
        "gross": "합계금액|청구금액|총액",
        "customer_number": "고객번호",
        "order_number": "주문번호",
        "iban": "계좌번호",
        "bank": "은행|입금계좌",
        "page": "{page} / {pages} 쪽",
        "carried": "이월",
        "tax_code": "세율",
        "net": "공급가액",
        "gross_column": "합계",
    },
}


def label(rng: random.Random, locale: Locale, key: str) -> str:
    """One of the ways this language prints the label; the plain one most often."""
    ways = LABELS[locale.language][key].split("|")
    way = ways[0] if rng.random() < 0.3 else rng.choice(ways)
    return way.replace("{tax}", locale.tax_name)


def pattern(rng: random.Random, shape: str) -> str:
    """A number by its shape: 9 is a digit, ? a letter, anything else itself."""
    return "".join(str(rng.randrange(10)) if c == "9" else rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ") if c == "?" else c for c in shape)
