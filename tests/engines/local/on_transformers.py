"""Transformers in this process, in the environment that has it: prints one JSON object. Argument: the tiny model."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from docflow.engines.local import hf
from docflow.engines.local.hf import BACKEND
from docflow.engines.local.model import Message, ModelConfig, Sampling
from tests.engines.local import asked


def main() -> None:
    folder = Path(sys.argv[1])
    config = ModelConfig(str(folder), dtype="float32", context=8192)
    found, engine, model = asked.facts(BACKEND, config)
    found["by hand"] = by_hand(model)
    found["out of memory"] = out_of_memory(model)
    engine.close()
    found["closed"] = asked.error_of(lambda: engine.answer(asked.request_of("x")))
    found["text only"] = text_only(folder, Path("text"))
    found["embedding"] = {kind: embedding(folder, Path(kind), kind) for kind in ("mean", "last")}
    found["damaged"] = damaged(folder)
    found["hub"] = hub()
    print("\n" + json.dumps(found))


def by_hand(model: Any) -> dict[str, float]:
    """The shares of the choices by the model's own numbers for the next token, without any grammar."""
    prompt = model._template.prompt(
        [Message("system", ("You read documents.",)), Message("user", (image(), "What is this?"))], ""
    )
    inputs = model._inputs(prompt, bare=False)
    with torch.inference_mode():
        numbers = model._model(**inputs).logits[0, -1].double().exp()
    shares = dict.fromkeys(asked.CHOICES, 0.0)
    for token, text in enumerate(model._tokenizer.convert_ids_to_tokens(range(151_643))):
        plain = (text or "").replace("Ġ", " ")
        for choice in shares:
            if plain and choice.startswith(plain):
                shares[choice] += float(numbers[token])
    total = sum(shares.values())
    return {choice: share / total for choice, share in shares.items()}


def image() -> bytes:
    from docflow.engines.images import page_image

    return page_image(asked.PAGE, asked.LIMITS.page_tokens).data


def out_of_memory(model: Any) -> dict[str, Any]:
    """A GPU that has room for one conversation at a time, then for none."""
    generate, sizes = model._model.generate, []

    def cramped(most: int) -> Any:
        def run(**inputs: Any) -> Any:
            sizes.append(len(inputs["input_ids"]))
            if sizes[-1] > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return generate(**inputs)

        return run

    from concurrent.futures import ThreadPoolExecutor

    question = [Message("user", ("word",))]
    alone = model.chat(question, Sampling(max_tokens=4)).text
    model._gathering._seconds = 2.0  # so that both are one batch
    model._model.generate = cramped(1)
    with ThreadPoolExecutor(2) as threads:
        texts = list(threads.map(lambda _: model.chat(question, Sampling(max_tokens=4)).text, range(2)))
    model._gathering._seconds = 0.0
    model._model.generate = cramped(0)
    error = asked.error_of(lambda: model.chat(question, Sampling(max_tokens=4)))
    model._model.generate = generate
    return {"alone": alone, "texts": texts, "sizes": sizes[:3], "error": error}


def small(**more: Any) -> Any:
    return transformers.Qwen2Config(
        vocab_size=151_936,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=151_645,
        **more,
    )


def text_only(source: Path, folder: Path) -> dict[str, Any]:
    """A model that writes and takes no images."""
    torch.manual_seed(0)
    transformers.Qwen2ForCausalLM(small()).save_pretrained(folder)
    tokenizer_of(source, folder)
    model = BACKEND.load(ModelConfig(str(folder)))
    said = model.chat([Message("user", ("Hello",))], Sampling(max_tokens=6))
    picture = asked.error_of(lambda: model.chat([Message("user", (image(), "x"))], Sampling(max_tokens=6)))
    model.close()
    return {
        "name": model.name,
        "context": model.context,
        "steps": len(said.steps),
        "picture": picture,
        "closed": asked.error_of(lambda: model.chat([Message("user", ("Hello",))], Sampling(max_tokens=6))),
    }


def embedding(source: Path, folder: Path, kind: str) -> dict[str, Any]:
    """A model that embeds, as sentence-transformers keeps them; beside what it gives by hand."""
    torch.manual_seed(0)
    made = transformers.Qwen2Model(small())
    made.save_pretrained(folder)
    tokenizer_of(source, folder)
    (folder / "modules.json").write_text("[]")
    (folder / "1_Pooling").mkdir()
    pooling = {"pooling_mode_lasttoken": kind == "last", "pooling_mode_mean_tokens": kind == "mean"}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    model = BACKEND.load(ModelConfig(str(folder), max_batch=2))
    texts = ["one", "one two three four five", "another text", "one"]
    embedded = model.embed(texts)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    made.eval()
    hand = []
    tokens = 0
    for text in texts:
        read = tokenizer(text, return_tensors="pt")
        tokens += read["input_ids"].shape[1]
        with torch.inference_mode():
            states = made(**read).last_hidden_state[0]
        pooled = states[-1] if kind == "last" else states.mean(dim=0)
        hand.append(torch.nn.functional.normalize(pooled, dim=0).tolist())
    return {
        "vectors": embedded.vectors,
        "hand": hand,
        "tokens": [embedded.tokens, tokens],
        "chat": asked.error_of(lambda: model.chat([Message("user", ("Hello",))], Sampling())),
        "too long": asked.error_of(lambda: model.embed(["word " * 600])),
        "none": model.embed([]).vectors,
    }


def tokenizer_of(source: Path, folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(source / name, folder)


def damaged(source: Path) -> dict[str, list[str]]:
    """What is said of folders that cannot be loaded."""
    found = {}
    for what in ("cut off", "header", "pickles", "unknown", "no config", "code", "fewer weights", "no tokenizer"):
        folder = Path(f"damaged {what}")
        shutil.copytree(source, folder)
        weights, config = folder / "model.safetensors", folder / "config.json"
        if what == "cut off":
            os.truncate(weights, weights.stat().st_size // 2)
        elif what == "header":
            weights.chmod(0o600)
            weights.write_bytes(b"\xff" * 4096)
        elif what == "pickles":
            weights.rename(folder / "pytorch_model.bin")
        elif what == "unknown":
            config.write_text(json.dumps({"model_type": "no_such_kind", "architectures": ["NoSuch"]}))
        elif what == "no config":
            config.unlink()
        elif what == "code":
            config.write_text(json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}))
            (folder / "own.py").write_text("raise SystemExit('code of a model ran')")
        elif what == "fewer weights":
            from safetensors.torch import load_file, save_file

            kept = load_file(weights)
            kept.pop(sorted(kept)[-1])
            weights.unlink()
            save_file(kept, weights, metadata={"format": "pt"})
        elif what == "no tokenizer":
            (folder / "tokenizer.json").unlink()
        found[what] = asked.error_of(lambda: BACKEND.load(ModelConfig(str(folder))))  # noqa: B023 (called at once)
    found["no folder"] = asked.error_of(lambda: BACKEND.load(ModelConfig("./nowhere")))
    found["no name"] = asked.error_of(lambda: BACKEND.load(ModelConfig("../a/../b c")))
    found["no gpu"] = asked.error_of(lambda: BACKEND.load(ModelConfig(str(source), device="cuda")))
    found["memory"] = asked.error_of(lambda: BACKEND.memory_needed(ModelConfig("./damaged cut off")))
    return found


def hub() -> dict[str, list[str]]:
    """A name of the Hub, offline and with nobody there."""
    offline = asked.error_of(lambda: BACKEND.load(ModelConfig("nobody/no-such-model")))
    needed = asked.error_of(lambda: BACKEND.memory_needed(ModelConfig("nobody/no-such-model")))
    import huggingface_hub.constants as constants

    os.environ["HF_HUB_OFFLINE"] = "0"
    constants.HF_HUB_OFFLINE = False
    constants.ENDPOINT = "http://127.0.0.1:9"
    away = asked.error_of(lambda: BACKEND.load(ModelConfig("nobody/no-such-model")))
    assert hf.BACKEND is BACKEND
    return {"offline": offline, "needed": needed, "away": away}


if __name__ == "__main__":
    main()
