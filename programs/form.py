"""Any form: everything that it labels, as a list of label and value."""

import sglang as sgl
from pydantic import BaseModel, Field

from docflow.fields import Text
from docflow.program import images, instructions, program, schema_of


class Pair(BaseModel):
    label: Text | None = Field(None, description="the label as it is printed, without its colon")
    value: Text | None = Field(None, description="what was filled in; null where the form was left blank")


class Form(BaseModel):
    title: Text | None = Field(None, description="the form's heading")
    fields: list[Pair] = Field([], description="every labelled entry of the form, in reading order")


@program(Form)
def form(s, pages):
    s += sgl.system(instructions(Form))
    s += sgl.user(images(pages) + "Read this form.")
    s += sgl.assistant(sgl.gen("record", json_schema=schema_of(Form)))
