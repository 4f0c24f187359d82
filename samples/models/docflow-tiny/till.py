"""The fields of a receipt that docflow-tiny reads: a program of its own, with the built-in one's words."""

import sglang as sgl
from docflow.programs.receipt import Receipt
from pydantic import BaseModel, create_model

from docflow.program import images, instructions, program, schema_of

FIELDS = ("company", "receipt_number", "date", "subtotal", "tax", "total", "currency", "payment_method")
Till: type[BaseModel] = create_model(
    "Till",
    **{name: (Receipt.model_fields[name].annotation, Receipt.model_fields[name]) for name in FIELDS},  # type: ignore[call-overload]
)


@program(Till)
def till(s, pages):
    s += sgl.system(instructions(Till))
    s += sgl.user(images(pages) + "Read this receipt.")
    s += sgl.assistant(sgl.gen("record", json_schema=schema_of(Till)))
