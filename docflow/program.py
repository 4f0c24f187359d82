"""Programs: a record model and an SGLang function that asks for it.

    class Receipt(BaseModel):
        company: Party | None = Field(None, description="who sells")
        total: Money | None = Field(None, description="what the customer pays in the end")

    @program(Receipt)
    def receipt(s, pages):
        s += sgl.system(instructions(Receipt))
        s += sgl.user(images(pages) + "Read this receipt.")
        s += sgl.assistant(sgl.gen("record", json_schema=schema_of(Receipt)))

The shared text stands first (the same bytes for every document), then the page images, then what differs.
A program answers into the variable ``record``; one that chooses among kinds first (``@program(kinds=[...])``)
answers the name of the chosen program into ``kind``.
"""
