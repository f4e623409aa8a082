"""Pivoted QR of all attention matrices, against the SVD of the same: random weights of three models' sizes.

    python -m tests.benchmarks.factorisation [--repeats 5]

Each side takes one weight a core at a time. SVD is LAPACK's gesdd through scipy, economic, in float32 like the QR.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_limits

from qrlora_search.method.bases import factorise
from qrlora_search.method.machine import cpus_here

MODELS = {"MiniLM-L6": (6, 384), "roberta-base": (12, 768), "roberta-large": (24, 1024)}
"""Layers and width."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    cores = cpus_here()
    print(f"{'model':14} {'matrices':>8} {'QR':>8} {'QR in turn':>10} {'SVD':>8}  SVD / QR, seconds on {cores} cores")
    for name, (layers, d) in MODELS.items():
        random = np.random.default_rng(0)
        weights = {place: random.standard_normal((d, d), dtype=np.float32) for place in range(4 * layers)}
        times: dict[str, list[float]] = {"qr": [], "turn": [], "svd": []}
        for _ in range(repeats):
            started = time.perf_counter()
            factorise(weights, cores)
            times["qr"].append(time.perf_counter() - started)
            started = time.perf_counter()
            factorise(weights, 1)
            times["turn"].append(time.perf_counter() - started)
            started = time.perf_counter()
            with threadpool_limits(limits=1), ThreadPoolExecutor(cores) as pool:
                list(pool.map(lambda one: scipy.linalg.svd(one, full_matrices=False), weights.values()))
            times["svd"].append(time.perf_counter() - started)
        qr, turn, svd = (statistics.median(times[one]) for one in ("qr", "turn", "svd"))
        print(f"{name:14} {4 * layers:8} {qr:8.2f} {turn:10.2f} {svd:8.2f}  {svd / qr:.1f}", flush=True)


if __name__ == "__main__":
    main()
