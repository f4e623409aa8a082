"""What a search will about cost, from the work it cannot avoid and the speed of this machine."""

import time

from qrlora_search.describe.plan import SearchPlan

TOKENS_A_WORD = 1.35
SHARE_OF_EPOCHS = 0.6
"""Of the epochs that trials would train without a stopping rule, about this share is trained."""
SHARE_OF_LAYERS = 0.75
USE_OF_PEAK = 0.4


def expected_tokens(plan: SearchPlan) -> float:
    """Returns about how many tokens train and selection have together, without tokenising them."""
    rows = plan.counts.train + plan.counts.selection
    return min(plan.counts.words * TOKENS_A_WORD, float(rows * plan.space.training.max_length))


def _states_gib(plan: SearchPlan) -> float:
    return expected_tokens(plan) * plan.encoder.width * (2 if plan.precision == "bfloat16" else 4) / 2**30


def states_fit(plan: SearchPlan) -> bool:
    """Returns whether there is room for the constant states that enter a layer."""
    return _states_gib(plan) <= min(plan.space.states.memory_gib, plan.space.states.disk_gib)


def states_in_words(plan: SearchPlan) -> str:
    """Returns what constant states will about take a layer, against the room for them, and what follows."""
    room, gib = plan.space.states, _states_gib(plan)
    limits = f"room: {room.memory_gib:g} GiB mapped by a worker, {room.disk_gib:g} GiB on disk"
    smaller = min(room.memory_gib, room.disk_gib)
    if gib > smaller:
        return f"computed on the fly: those entering a layer take about {gib:.2g} GiB ({limits})"
    with_projections = "" if 4 * gib > smaller else f", about {3 * gib:.2g} GiB more for its projections"
    return f"kept: about {gib:.2g} GiB for what enters a layer{with_projections}; {limits}"


def expected_seconds(plan: SearchPlan, speed: float) -> tuple[float, float]:
    """Returns rough seconds of warm-up and of trials at `speed` multiply-adds a second of one trial's threads."""
    layers = plan.encoder.parameters - _embeddings(plan)
    both = expected_tokens(plan)
    scored = both * plan.counts.selection / (plan.counts.train + plan.counts.selection)
    tokens = both - scored
    epoch = (2 * tokens + scored) * layers * SHARE_OF_LAYERS / (speed * USE_OF_PEAK)
    trials = plan.budget * plan.space.training.epochs * SHARE_OF_EPOCHS * epoch / (plan.concurrency or 1)
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
