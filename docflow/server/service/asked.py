"""What a request asks of its documents: the program or the schema, and how to go about it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from docflow.errors import UsageError
from docflow.fields.locale import locale_named
from docflow.program import Program
from docflow.server.service.programs import Programs
from docflow.server.service.refusals import Refusal
from docflow.settings import ExtractionSettings, Grounding, Merge


class Asked(BaseModel):
    """The fields of a request beside its documents. What is not given is as the service is set up."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    program: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None, description="name of a program (GET /v1/programs lists them); auto where neither it nor schema is given"
    )
    json_schema: str | dict[str, Any] | None = Field(
        None, alias="schema", description="a JSON Schema in place of a program"
    )
    locale: Annotated[str, Field(max_length=40)] | None = Field(
        None, description="the documents' locale (such as de_CH), for dates and numbers that can be read two ways"
    )
    pages_per_call: Annotated[int, Field(ge=1, le=10_000)] | None = Field(None, description="most pages in one call")
    split: bool | None = Field(None, description="whether one file may hold several documents")
    grounding: Grounding | None = Field(None, description="where values are looked up: full, text-layer or off")
    merge: Merge | None = Field(None, description="where calls about other pages disagree: best, first or conflict")
    repairs: Annotated[int, Field(ge=0, le=3)] | None = Field(
        None, description="how often failing fields are asked again"
    )
    verify_below: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="values whose confidence is lower are asked for once more"
    )

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Asked:
        """The fields of a request. Raises Refusal, which says what is wrong without saying what was sent."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            errors = [
                {"loc": [str(part)[:100] for part in one["loc"]], "msg": str(one["msg"])[:300], "type": one["type"]}
                for one in error.errors(include_url=False, include_context=False, include_input=False)[:20]
            ]
            first = errors[0]
            raise Refusal(
                422, f"{'.'.join(first['loc'])}: {first['msg']}", code="invalid_request", detail={"errors": errors}
            ) from None

    def chosen(self, programs: Programs) -> Program:
        """The program that answers. Raises ProgramError or SchemaError."""
        if self.json_schema is None:
            return programs.named(self.program or "auto")
        if self.program is not None:
            raise UsageError("name a program or send a schema, one of the two")
        return programs.of_schema(self.json_schema)

    def settings(self, base: ExtractionSettings) -> ExtractionSettings:
        """The service's settings with what the request asks for. Raises UsageError for a locale that is not known."""
        if self.locale is not None:
            locale_named(self.locale)
        given = self.model_dump(exclude={"program", "json_schema"}, exclude_none=True)
        return base.model_copy(update={name: given[name] for name in given if name in ExtractionSettings.model_fields})
