"""What a call costs the client in CPU: docflow's engine beside ``instructor`` with the OpenAI client.

Both send the same bytes of the same page and ask for the same schema, one call after the other, to the same server.
Only the CPU time of the calling process counts: what the server does is the server's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docflow.documents import Decoder, find
from docflow.engines.base import Limits, Request, Turn, WantJson
from docflow.engines.images import page_image
from docflow.program import instructions
from tests.bench.on_engines import work


def measure(kind: str, url: str, folder: Path, calls: int, scan: Path | None) -> dict[str, Any]:
    """CPU milliseconds a call of each, best half of the calls' mean, and their ratio."""
    import instructor
    import openai

    program = work.program(folder, "receipt")
    model = program.model
    assert model is not None
    path = scan or work.pages(folder, 1)[0]
    engine = work.connect(kind, url)
    with Decoder(workers=1) as decoder:
        page = decoder.open(next(find([str(path)]))).pages[0]
        image = page_image(page, 1280)
    text = instructions(model)
    limits = Limits(max_tokens=256, page_tokens=1280)
    request = Request(
        (Turn("system", (text,)), Turn("user", (page, "Read this receipt."))), WantJson(program.schema), limits=limits
    )
    client = instructor.from_openai(
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0), mode=instructor.Mode.JSON_SCHEMA
    )
    messages: Any = [
        {"role": "system", "content": text},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": image.data_uri}},
                {"type": "text", "text": "Read this receipt."},
            ],
        },
    ]

    def ours() -> None:
        model.model_validate_json(engine.answer(request).text)

    def theirs() -> None:
        client.chat.completions.create(
            model=engine.model, messages=messages, response_model=model, max_retries=0, temperature=0.0, max_tokens=256
        )

    costs = {"docflow": _cpu(ours, calls), "instructor": _cpu(theirs, calls)}
    engine.close()
    ratio = costs["docflow"] / costs["instructor"]
    size = len(image.data) / 1024
    print(f"\n{kind}: CPU milliseconds a call, {calls} calls one after the other, a page of {size:.0f} KiB")
    print(work.table(["client", "ms"], [[name, cost] for name, cost in costs.items()]))
    return {**{f"{name}_ms": round(cost, 3) for name, cost in costs.items()}, "ratio": round(ratio, 4)}


def _cpu(call: Callable[[], None], calls: int) -> float:
    """CPU milliseconds of a call: the mean of the cheaper half, since what disturbs only adds."""
    for _ in range(3):
        call()
    taken = []
    for _ in range(calls):
        before = time.process_time()
        call()
        taken.append(time.process_time() - before)
    cheaper = sorted(taken)[: max(1, calls // 2)]
    return 1000 * sum(cheaper) / len(cheaper)
