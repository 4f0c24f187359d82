"""What vLLM logs, in docflow's log instead of the terminal.

vLLM is told by ``vllm_logging.json``, which its processes read when they are started, to log here. In docflow's own
process that is docflow's logging; what the process logs that vLLM starts for its computing goes to a file of its own.
"""

from __future__ import annotations

import json
import logging
import logging.config
import multiprocessing
import sys
from pathlib import Path

from docflow.engines.started import engines_folder
from docflow.errors import debugging
from docflow.sizes import MIB

CONFIG = Path(__file__).with_name("vllm_logging.json")
_LARGEST = MIB
"""A file of more bytes is begun anew."""


def set_up() -> None:
    """Take what is logged in this process."""
    logging.config.dictConfig(json.loads(CONFIG.read_text(encoding="utf-8")))


def log_file() -> Path:
    """Where the warnings and errors of vLLM's own processes are."""
    return engines_folder() / "logs" / "vllm-in-process.log"


class ToDocflow(logging.Handler):
    """Takes vLLM's warnings and errors; with DOCFLOW_DEBUG=1 all that it logs, which is shown on stderr then."""

    def __init__(self) -> None:
        super().__init__(logging.INFO if debugging() else logging.WARNING)
        self._own = multiprocessing.parent_process() is None
        self._handler: logging.Handler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self._own:
            logging.getLogger("docflow.engines.vllm").handle(record)
            return
        try:
            if self._handler is None:
                self._handler = _handler()
                self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            self._handler.emit(record)
        except OSError:  # a log that cannot be written costs no answer
            self._handler = logging.NullHandler()


def _handler() -> logging.Handler:
    if debugging():
        return logging.StreamHandler(sys.stderr)
    path = log_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    large = path.exists() and path.stat().st_size > _LARGEST
    path.touch(mode=0o600)
    return logging.FileHandler(path, "w" if large else "a", encoding="utf-8", errors="backslashreplace")
