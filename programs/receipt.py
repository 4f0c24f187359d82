"""What a shop, restaurant or petrol station prints when it has been paid."""

import sglang as sgl
from pydantic import BaseModel, ConfigDict, Field

from docflow.fields import Address, Currency, Date, Identifier, Money, Party, Quantity, Text
from docflow.program import images, instructions, program, schema_of


class Item(BaseModel):
    description: Text | None = Field(None, description="what was bought")
    quantity: Quantity | None = Field(None, description="how many, or how much")
    unit_price: Money | None = Field(None, description="price of one")
    amount: Money | None = Field(None, description="price of the line")


class Receipt(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"x-rules": ["tax <= total", "subtotal + tax = total or subtotal = total"]}
    )

    company: Party | None = Field(None, description="the seller's name, as in its letterhead")
    address: Address | None = Field(None, description="the seller's postal address")
    receipt_number: Identifier | None = Field(None, description="the number of this receipt or bill")
    date: Date | None = Field(None, description="the day of the purchase")
    items: list[Item] = Field([], description="the lines that were bought, in order")
    subtotal: Money | None = Field(None, description="the sum before tax and rounding, where it is printed")
    tax: Money | None = Field(None, description="the tax, where it is printed as an amount")
    total: Money | None = Field(None, description="what the customer pays in the end, after tax, discount and rounding")
    currency: Currency | None = Field(None, description="the currency of the amounts")
    payment_method: Text | None = Field(None, description="how it was paid: cash, the kind of card")


@program(Receipt)
def receipt(s, pages):
    s += sgl.system(instructions(Receipt))
    s += sgl.user(images(pages) + "Read this receipt.")
    s += sgl.assistant(sgl.gen("record", json_schema=schema_of(Receipt)))
