"""Tests that need real engines: a SGLang and a vLLM server, on CPU, with a tiny Qwen2-VL."""
