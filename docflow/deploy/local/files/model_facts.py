"""Prints what the Hub, or the copy of it here, says of a model. Runs in an engine's environment: model_facts.py ID"""

import json
import os
import sys

os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "10")
os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "20")

import huggingface_hub

model = sys.argv[1]
try:
    with open(huggingface_hub.hf_hub_download(model, "config.json"), encoding="utf-8") as file:
        said = {"config": json.load(file), "weights": 0}
    try:
        files = huggingface_hub.HfApi().model_info(model, files_metadata=True, timeout=20).siblings or []
        said["weights"] = sum(file.size or 0 for file in files if file.rfilename.endswith(".safetensors"))
    except Exception:  # noqa: BLE001 (the sizes only help: without a network the copy here has to do)
        folder = huggingface_hub.snapshot_download(model, local_files_only=True)
        found = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".safetensors")]
        said["weights"] = sum(os.path.getsize(path) for path in found)
except Exception as error:  # noqa: BLE001 (whoever asked makes a message of its name)
    said = said if "said" in globals() else {"error": type(error).__name__}
print(json.dumps(said))
