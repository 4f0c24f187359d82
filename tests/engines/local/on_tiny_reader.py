"""docflow-tiny's training in the environment that has torch: prints one JSON object. Arguments: a model, a folder."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3] / "samples"))
sys.path.insert(0, str(Path(__file__).parents[3] / "samples" / "models" / "docflow-tiny"))

import torch
from tiny_reader import batches, evaluation, pages, questions
from tiny_reader.batches import Sheet
from tiny_reader.export import export
from tiny_reader.glyphs import VARIANTS, composed
from tiny_reader.model import Shape
from tiny_reader.training import Plan, Run
from transformers import AutoProcessor, AutoTokenizer, Qwen2VLForConditionalGeneration

SCRIPT = Path(__file__).parents[3] / "samples" / "models" / "docflow-tiny" / "train.py"
SMALL: dict[str, Any] = {
    "hidden": 64,
    "heads": 2,
    "layers": 2,
    "inner": 64,
    "vision_width": 64,
    "vision_heads": 2,
    "vision_layers": 1,
}


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    scratch = Path(sys.argv[2])
    found = {"resumed": resumed(scratch), "stopped": stopped(scratch), **exported(scratch / "model")}
    print("\n" + json.dumps(found))


def run_in(folder: Path) -> Run:
    vocabulary = questions.vocabulary()
    plan = Plan(tokens=300, warm_up=2, steps=50)
    return Run(plan, Shape(vocabulary.size, **SMALL), folder, torch.device("cpu"), vocabulary)


def resumed(scratch: Path) -> dict[str, Any]:
    """Six steps at once, and three, a checkpoint, and three more in another object."""
    whole, first = run_in(scratch / "whole"), run_in(scratch / "parts")
    straight = [whole.learn()["loss"] for _ in range(6)]
    parts = [first.learn()["loss"] for _ in range(3)]
    first.save()
    second = run_in(scratch / "parts")
    went_on = second.restore()
    parts += [second.learn()["loss"] for _ in range(3)]
    same = all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True))
    averages = all(torch.equal(value, second.average[name]) for name, value in whole.average.items())
    return {
        "went on": went_on,
        "losses": [straight, parts],
        "weights": same,
        "averages": averages,
        "progress": [whole.progress.as_dict(), second.progress.as_dict()],
        "left over": sorted(path.name for path in (scratch / "parts").iterdir()),
    }


def stopped(scratch: Path) -> dict[str, Any]:
    """The script itself, ended by SIGTERM in the middle and started again."""
    folder = scratch / "script"
    log = folder / "seed-1" / "log.jsonl"
    sizes = ["--tokens", "300", "--hidden", "64", "--layers", "2"]
    command = [sys.executable, str(SCRIPT), str(folder), *sizes]
    begun = subprocess.Popen(command, env=os.environ)
    while "loss" not in (log.read_text() if log.exists() else "") and begun.poll() is None:
        time.sleep(0.2)
    begun.send_signal(signal.SIGTERM)
    code = begun.wait()
    steps = [json.loads(line).get("step") for line in log.read_text().splitlines()]
    again = subprocess.run([*command, "--steps", str(steps[-1] + 3)], env=os.environ, check=False).returncode
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return {"codes": [code, again], "stopped at": steps[-1], "lines": lines[-4:]}


def exported(folder: Path) -> dict[str, Any]:
    """What transformers makes of the exported model, compared with what was trained."""
    run = run_in(folder)
    for _ in range(2):
        run.learn()
    export(run.model, run.vocabulary, folder, torch.float32)
    receipt = pages.receipt(random.Random(2), 16, 2)
    question = questions.record_question(receipt.record, pages.FIELDS, (",", ":"))
    made = batches.assembled(
        random.Random(3),
        run.vocabulary,
        questions.system_text(pages.FIELDS),
        [Sheet(receipt.rows, [question])],
        evaluation.COLUMNS,
    )
    for name in ("left", "right"):  # letters as they are drawn, not as a JPEG leaves them
        setattr(made.batch, name, getattr(made.batch, name) // VARIANTS * VARIANTS)
    with torch.no_grad():
        states, _ = run.model(made.batch, run.glyphs)
        own = run.model.logits(states)[0]
    model, told = Qwen2VLForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    processor = AutoProcessor.from_pretrained(folder)
    messages = [
        {"role": "system", "content": questions.system_text(pages.FIELDS)},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.text}]},
    ]
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True) + question.answer
    picture = composed(list(receipt.rows), evaluation.COLUMNS).convert("RGB")
    inputs = processor(text=[prompt], images=[picture], return_tensors="pt")
    with torch.no_grad():
        theirs = model(**inputs).logits[0, -len(own) :]
    ids = inputs["input_ids"][0].tolist()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = questions.system_text(pages.FIELDS) + question.answer + ' caffè "'
    return {
        "missing": sorted(told["missing_keys"]),
        "tokens": ids[-len(own) :] == made.batch.ids[0].tolist(),
        "cells": ids.count(run.vocabulary.whole["<|image_pad|>"]) == made.batch.left.shape[1],
        "difference": float((own - theirs).abs().max()),
        "spread": float(own.std()),
        "tokenizer": tokenizer(text)["input_ids"] == run.vocabulary.ids(text),
        "text": tokenizer.decode(run.vocabulary.ids(text)) == text,
        "config": json.loads((folder / "config.json").read_text()),
        "preprocessor": json.loads((folder / "preprocessor_config.json").read_text()),
    }


if __name__ == "__main__":
    main()
