"""The form of the update: merged into the weight or thin products on every token, over tokens, width and rank.

    python -m tests.benchmarks.update_form [--repeats 5]

Forward and backward of one adapted projection, one thread, milliseconds, medians; the forms take turns. `dense` also
merges, but takes lambda's gradient from dL/dW. The engine's rule (method/adapter.py) is right where the smaller of
merged and thin stands under `rule`.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from qrlora_search.method.adapter import adapted_linear, merged_weight, merging_pays
from qrlora_search.method.machine import native_precision

ROWS = (32, 128, 384, 2048)
WIDTHS = (384, 768)
RANKS = (16, 64, 256)


def forms(d: int, rank: int, dtype: torch.dtype) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Return the three forms on one random weight."""
    generator = torch.Generator().manual_seed(0)
    weight, q, rt = (
        (torch.randn(*size, generator=generator) / d**0.5).to(dtype) for size in ((d, d), (d, rank), (rank, d))
    )
    bias = torch.zeros(d, dtype=dtype)
    return {
        "merged": lambda x, lam: adapted_linear(x, (weight, bias), lam, (q, rt), merge=True),
        "thin": lambda x, lam: adapted_linear(x, (weight, bias), lam, (q, rt), merge=False),
        "dense": lambda x, lam: nn.functional.linear(x, merged_weight(weight, lam, (q, rt)), bias),
    }


def once(form: Callable[[Tensor, Tensor], Tensor], x: Tensor, lam: Tensor, gradient: Tensor) -> float:
    """Return seconds of forward and backward, the mean of enough runs to be seen."""
    runs = max(3, int(4e8 / (x.numel() * x.shape[1])))
    started = time.perf_counter()
    for _ in range(runs):
        form(x, lam).backward(gradient)
    return (time.perf_counter() - started) / runs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    dtype = torch.bfloat16 if native_precision() == "bfloat16" else torch.float32
    right = total = 0
    print(f"{dtype!s:16} {'tokens':>6} {'width':>5} {'rank':>4} {'merged':>8} {'thin':>8} {'dense':>8}  rule")
    for d in WIDTHS:
        for rank in RANKS:
            for rows in ROWS:
                x = torch.randn(rows, d).to(dtype).requires_grad_()
                lam, gradient = torch.zeros(rank, requires_grad=True), torch.randn(rows, d).to(dtype)
                kinds = forms(d, rank, dtype)
                times: dict[str, list[float]] = {name: [] for name in kinds}
                for turn in range(repeats + 1):
                    for name, form in kinds.items():
                        seconds = once(form, x, lam, gradient)
                        if turn:
                            times[name].append(seconds)
                ms = {name: 1e3 * statistics.median(one) for name, one in times.items()}
                rule = "merged" if merging_pays(rows, d, d) else "thin"
                best = min(("merged", "thin"), key=lambda name: ms[name])
                close = ms[rule] <= 1.05 * ms[best]
                right, total = right + close, total + 1
                print(
                    f"{'':16} {rows:6} {d:5} {rank:4} {ms['merged']:8.3f} {ms['thin']:8.3f} {ms['dense']:8.3f}  {rule}"
                    + ("" if close else f" (slower, {ms[rule] / ms[best]:.2f} times)")
                )
    print(f"the rule is the faster one, or within 5 % of it, in {right} of {total}")


if __name__ == "__main__":
    main()
