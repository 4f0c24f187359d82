"""A document and a question in free words: the shortest SGLang program, on a server's own endpoint.

    python docs/examples/document_extraction.py document.png "Give the content of this document as JSON."

The built-in programs ask for records of a schema, which a server's grammar enforces. This one shows what is left
without a schema: the answer is text, and whether that is JSON is looked at afterwards.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import sglang as sgl

from docflow.documents import Decoder, Page, find
from docflow.errors import BadAnswer

SERVER = "http://localhost:30000"
SYSTEM = "You read documents. Answer with JSON alone: no explanation, no code fence. Use null for what is not there."
MOST_TRIES = 2


@sgl.function  # type: ignore[untyped-decorator]
def document_extraction(s: Any, image_path: Any, prompt: str) -> None:
    """The same text first for every document, then the image, then what is asked: so a server's cache can be used.

    ``image_path`` is a PNG file, or a page that docflow opened. Upstream sends a JPEG file in a way that servers take
    for a path: its base64 begins with a slash.
    """
    s += sgl.system(SYSTEM)
    s += sgl.user(sgl.image(image_path) + prompt)
    s += sgl.assistant(sgl.gen("response", max_tokens=1024))


def extract(image_path: str, prompt: str, url: str = SERVER, *, template: str = "qwen2-vl") -> Any:
    """The JSON that the model answers; asked once more where it is none. Raises BadAnswer when it still is none,
    and DocumentError where the file cannot be read; of several pages the first is shown.

    ``template`` is the chat template of the server's model: upstream guesses it from the model's path otherwise.
    """
    backend = sgl.RuntimeEndpoint(url, chat_template_name=template)
    with Decoder(workers=1) as decoder:
        page = decoder.open(next(find(image_path))).pages[0]
        return _asked(page, prompt, backend)


def _asked(page: Page, prompt: str, backend: Any) -> Any:
    said = ""
    for number in range(MOST_TRIES):
        state = document_extraction.run(
            image_path=page,
            prompt=prompt,
            backend=backend,
            use_thread=False,  # in a thread of its own a server's error would become a KeyError on "response"
            temperature=0.0 if number == 0 else 0.7,  # the same question at 0 has the same answer
        )
        said = str(state["response"])
        try:
            return json.loads(said)
        except (ValueError, RecursionError):
            continue
    raise BadAnswer(f"{len(said):,} characters that are no JSON", hint="Ask with a schema: docflow extract --schema.")


if __name__ == "__main__":
    print(json.dumps(extract(*sys.argv[1:4]), ensure_ascii=False, indent=2))  # noqa: T201 (a script's answer)
