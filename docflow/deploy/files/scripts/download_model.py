"""Download a model's weights before they are needed.

    python download_model.py Qwen/Qwen2-VL-7B-Instruct --revision main --folder models/qwen

A gated model's token comes from HF_TOKEN. Without --folder the weights go where servers look for them (HF_HOME). Only
safetensors are taken: other weight files can run code when they are loaded.
"""

from __future__ import annotations

import argparse
import os
import sys

WANTED = ["*.safetensors", "*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken"]


def main() -> int:
    parser = argparse.ArgumentParser(description="Download a model's weights before they are needed.")
    parser.add_argument("model", help="the model's name, such as Qwen/Qwen2-VL-7B-Instruct")
    parser.add_argument("--revision", default="main", help="branch, tag or commit (default: main)")
    parser.add_argument("--folder", help="where to put it (default: the cache that servers read)")
    given = parser.parse_args()
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        print("huggingface_hub is missing: pip install huggingface_hub", file=sys.stderr)
        return 2
    try:
        folder = snapshot_download(
            given.model,
            revision=given.revision,
            local_dir=given.folder,
            allow_patterns=WANTED,
            token=os.environ.get("HF_TOKEN") or None,
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        print(f"{given.model} cannot be downloaded: {error}", file=sys.stderr)
        return 1
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
