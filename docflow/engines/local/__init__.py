"""Models that run in this process: llama.cpp, Transformers and vLLM, behind one contract."""
