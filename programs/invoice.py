"""A demand for payment that one business sends to another, or to a customer."""

import sglang as sgl
from pydantic import BaseModel, ConfigDict, Field

from docflow.fields import Currency, Date, Identifier, Money, Party, Quantity, Text
from docflow.program import images, instructions, program, schema_of


class Item(BaseModel):
    description: Text | None = Field(None, description="the goods or service of the line")
    quantity: Quantity | None = Field(None, description="how many, or how much")
    unit_price: Money | None = Field(None, description="price of one")
    amount: Money | None = Field(None, description="price of the line")


class Invoice(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "x-rules": [
                "amount_untaxed + tax = amount",
                "sum(items.amount) = amount_untaxed or sum(items.amount) = amount",
                "amount_untaxed <= amount",
                "date <= due_date",
            ]
        }
    )

    issuer: Party | None = Field(None, description="who sends the invoice and gets the money")
    customer: Party | None = Field(None, description="who the invoice is for")
    invoice_number: Identifier | None = Field(None, description="the number of this invoice")
    date: Date | None = Field(None, description="the day on which the invoice was issued")
    due_date: Date | None = Field(None, description="the day by which it must be paid")
    items: list[Item] = Field([], description="the lines of the invoice, in order")
    currency: Currency | None = Field(None, description="the currency of the amounts")
    amount_untaxed: Money | None = Field(None, description="the sum before tax")
    tax: Money | None = Field(None, description="the tax in all")
    amount: Money | None = Field(None, description="the sum to pay, tax included")
    iban: Identifier | None = Field(None, description="the issuer's bank account (IBAN)")
    vat: Identifier | None = Field(None, description="the issuer's VAT or tax registration number")


@program(Invoice)
def invoice(s, pages):
    s += sgl.system(instructions(Invoice))
    s += sgl.user(images(pages) + "Read this invoice.")
    s += sgl.assistant(sgl.gen("record", json_schema=schema_of(Invoice)))
