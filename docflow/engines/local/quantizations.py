"""Methods of quantisation by the names that vLLM takes, and those that it has no more."""

from __future__ import annotations

TRIED = "0.32"
"""The version of vLLM whose list this is."""
METHODS = (
    *("awq", "gptq", "fp8", "compressed-tensors", "modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed"),
    *("mxfp4", "gpt_oss_mxfp4", "torchao", "quark", "inc", "experts_int8", "moe_wna16", "humming", "deepseek_v4_fp8"),
    *("auto_awq", "awq_marlin", "auto_gptq", "gptq_marlin", "fbgemm_fp8", "fp_quant"),
    *("online", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "int8_per_channel_weight_only"),
    *("nvfp4_per_token", "mxfp8"),
)
"""All that may stand after ``--quantization``, those of most repositories first."""
QUANTISING = frozenset({"fp8", *METHODS[METHODS.index("online") :]})
"""Methods that quantise while they load; the others read a repository that was quantised so."""
GONE = frozenset({"squeezellm", "aqlm"})
"""Methods that vLLM had once."""
INSTEAD = "Take a checkpoint in awq, gptq, fp8 or compressed-tensors."


def is_gone(method: str) -> bool:
    """Whether vLLM has a method no more."""
    return method.lower() in GONE
