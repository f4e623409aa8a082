"""What a search will about cost, from the work it cannot avoid and the speed of this machine."""

import time

from qrlora_search.describe.plan import SearchPlan
from qrlora_search.method.splits import Splits

TOKENS_A_WORD = 1.35
SHARE_OF_EPOCHS = 0.6
"""Of the epochs that trials would train without a stopping rule, about this share is trained."""
SHARE_OF_LAYERS = 0.75
USE_OF_PEAK = 0.4


def expected_seconds(plan: SearchPlan, splits: Splits, speed: float) -> tuple[float, float]:
    """Returns rough seconds of warm-up and of trials at `speed` multiply-adds a second of one trial's threads."""
    layers = plan.encoder.parameters - _embeddings(plan)
    texts = [name for name in splits.train.columns if name != "label"]
    words = sum(float(splits.train[name].str.count(" ").sum()) + len(splits.train) for name in texts)
    tokens = min(words * TOKENS_A_WORD, float(plan.counts.train * plan.space.training.max_length))
    scored = tokens * plan.counts.selection / plan.counts.train
    epoch = (2 * tokens + scored) * layers * SHARE_OF_LAYERS / (speed * USE_OF_PEAK)
    trials = plan.budget * plan.space.training.epochs * SHARE_OF_EPOCHS * epoch / plan.concurrency
    warm_up = plan.space.warm_up.epochs * 3 * tokens * layers / (speed * USE_OF_PEAK)
    return warm_up, trials


def _embeddings(plan: SearchPlan) -> int:
    width = plan.encoder.width
    return plan.encoder.parameters - plan.encoder.layers * (12 * width * width + 13 * width)


def measured_speed(precision: str) -> float:
    """Returns multiply-adds a second of one thread, from a product measured for a tenth of a second."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    a = torch.ones(512, 768, dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32)
    b = torch.ones(768, 768, dtype=a.dtype)
    a @ b
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < 0.1:
        a @ b
        count += 1
    elapsed = time.perf_counter() - started
    torch.set_num_threads(before)
    return count * 512 * 768 * 768 / elapsed
