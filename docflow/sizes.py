"""Numbers of bytes, as people read them."""

from __future__ import annotations

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


def shown_size(count: int) -> str:
    """Bytes in the unit that leaves a number to read: ``812 B``, ``53.1 KiB``, ``12.0 MiB``, ``1.4 GiB``."""
    if count < KIB:
        return f"{count} B"
    unit, name = (KIB, "KiB") if count < MIB else (MIB, "MiB") if count < GIB else (GIB, "GiB")
    return f"{count / unit:,.1f} {name}"
