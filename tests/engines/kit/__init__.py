"""The engine test kit: builds a tiny Qwen2-VL and two server environments, and runs real servers on loopback ports.

    python -m tests.engines.kit build             the environments and the model
    python -m tests.engines.kit serve sglang      one server, until Ctrl-C
    python -m tests.engines.kit run [ARGS ...]    both servers, then pytest tests/engines with ARGS

The servers are the real ones; the model's weights are random. Its answers mean nothing, but they obey grammars, depend
on the text and the image, and are the same every time, which is what tests of a client need.

Wanted: Linux, npm (for the tokenizer), 4 GB of disk, 6 GB of memory, and torch's wheel for CPUs, which the usual
registry lacks: name a folder that has it in PIP_FIND_LINKS.
"""
