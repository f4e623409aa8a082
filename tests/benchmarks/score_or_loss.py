"""Which predicts a configuration's final score better after each epoch: its score or its held-out loss?

    python -m tests.benchmarks.score_or_loss [--tables cola,mrpc]

Spearman's rank correlation with the final score over a table's recorded curves, the loss with its sign turned, and the
difference of the two with its 95 % bootstrap interval over configurations.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from tests.benchmarks.stopping_rules import CURVES, recorded

RESAMPLES = 1000


def compared(first_N: np.ndarray, second_N: np.ndarray, final_N: np.ndarray) -> tuple[float, float, float, float]:
    """Return both correlations with the final score, and the interval of the first minus the second."""
    random, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        some = random.integers(0, len(final_N), len(final_N))
        drawn.append(correlation(first_N[some], final_N[some]) - correlation(second_N[some], final_N[some]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return correlation(first_N, final_N), correlation(second_N, final_N), float(low), float(high)


def correlation(one_N: np.ndarray, final_N: np.ndarray) -> float:
    """Return Spearman's rank correlation, 0 where one is constant."""
    constant = np.ptp(one_N) == 0 or np.ptp(final_N) == 0
    return 0.0 if constant else float(spearmanr(one_N, final_N).statistic)


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [Path(file).stem for file in sorted(CURVES.glob("*.csv"))]
    parser.add_argument("--tables", type=lambda text: text.split(","), default=known)
    for name in parser.parse_args().tables:
        curves = [one for one in recorded(name).curves.curves if not one.fails_at]
        final_N = np.array([one.reports[-1].score for one in curves])
        print(f"{name}, {len(curves)} curves")
        for epoch in range(1, recorded(name).curves.epochs):
            scores_N = np.array([one.reports[epoch - 1].score for one in curves])
            losses_N = np.array([-one.reports[epoch - 1].loss for one in curves])
            score, loss, low, high = compared(scores_N, losses_N, final_N)
            print(f"  epoch {epoch}: score {score:+.2f}, loss {loss:+.2f}, difference [{low:+.2f}, {high:+.2f}]")


if __name__ == "__main__":
    main()
