"""docflow-tiny: a Qwen2-VL so small that any CPU runs it, and what trains it."""
