"""What a machine has: processors, and the precision it computes in by itself; the refusal of one that lacks it."""

import os
import socket
from importlib.metadata import version
from pathlib import Path

from qrlora_search.describe.plan import Precision

PACKAGES = ("qrlora-search", "torch", "transformers", "numpy", "safetensors")
"""What scores depend on."""


def versions_here() -> dict[str, str]:
    """Returns the versions of the packages that scores depend on."""
    return {name: version(name) for name in PACKAGES}


def cpus_here() -> int:
    """Returns the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def native_precision() -> Precision:
    """Returns bfloat16 where this machine's accelerator, or else its processor, computes in it; else float32.

    A processor's instructions may be withheld from oneDNN, which multiplies, by its ONEDNN_MAX_CPU_ISA.
    """
    import torch

    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        flags = []
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    withheld = limit not in {"", "DEFAULT"} and not any(one in limit for one in ("BF16", "FP16", "AMX", "AVX10"))
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & set(flags) and not withheld else "float32"


def refusal(precision: Precision) -> str:
    """Returns why this machine may not take part in a search of a precision, or an empty text where it may.

    Products in bfloat16 without the instructions for them are correct but tens of times slower than float32.
    """
    if precision == "float32" or native_precision() == precision:
        return ""
    return (
        f"node {socket.gethostname()} does not compute in {precision}, which the plan decided for all nodes; leave the "
        'node out, or set precision = "float32" under [training] in the space'
    )
