"""Stands where SGLang's compiled kernels would be: every name can be imported, none can be called."""

import torch

__version__ = "0.0.0"


def _absent(name):
    def kernel(*_args, **_options):
        raise NotImplementedError(f"the kernel {name} is not part of the test kit")

    kernel.__name__ = name
    return kernel


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return _absent(name)


class _Operators:
    """SGLang looks up the CPU operators when it is imported, and asks of the others whether they exist."""

    def __getattr__(self, name):
        if name.endswith("_cpu"):
            return _absent(name)
        raise AttributeError(name)


torch.ops.__dict__["sgl_kernel"] = _Operators()
