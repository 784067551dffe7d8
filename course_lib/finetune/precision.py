"""The dtype matrix products run in: bfloat16 where the hardware has units for it."""

from __future__ import annotations

from pathlib import Path

import torch

from course_lib.errors import UsageError


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Give the dtype for matrix products: bfloat16 where the hardware has units for it.

    Raises:
        UsageError: for a name other than ``auto``, ``float32``, ``bfloat16``.
    """
    if name not in ("auto", "float32", "bfloat16"):
        raise UsageError(f"unknown precision {name!r}", expected="auto, float32 or bfloat16")
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    has_units = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fast = "avx512_bf16" in flags or "amx_bf16" in flags
    return torch.bfloat16 if has_units and fast else torch.float32
