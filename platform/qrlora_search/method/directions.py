"""Which directions of a basis to train: those along which the loss falls fastest at the start.

The paper takes the first r of the pivoted QR. Here the gradient of every coefficient at 0 is summed over the first
batches, dL/dlambda_i = q_i^T G rt_i, and the r largest in size of each matrix are taken: as many, but other ones.
"""

from itertools import islice

import torch
from torch import Tensor

from qrlora_search.describe.configuration import Configuration
from qrlora_search.method.adapter import Coefficients
from qrlora_search.method.tokens import training_batches
from qrlora_search.method.workbench import Workbench, loss_of

BATCHES = 16


def strongest_directions(bench: Workbench, configuration: Configuration, how: str, seed: int) -> Tensor:
    """Returns the places of the chosen directions in their bases, rising, matrix after matrix as in the rank vector.

    how: the factorisation by name. Batches are the first of the trial's own first epoch; the same for the same seed.
    """
    places = [(one.layer, one.matrix) for one in configuration.ranks]
    bases = {place: bench.basis(*place, len(bench.materials.factors(how)[place].diagonal_D), how) for place in places}
    lams = {place: torch.zeros(basis[1].shape[0], device=bench.device) for place, basis in bases.items()}
    sums = {place: torch.zeros_like(lam) for place, lam in lams.items()}
    lowest = configuration.lowest_layer or 0
    bench.hold(lowest)
    for batch in islice(training_batches(bench.splits["train"], configuration.batch_size, seed, 1), BATCHES):
        adapters = {place: Coefficients(lams[place].requires_grad_(), bases[place]) for place in places}
        logits = bench.head(bench.encoder.run(bench.entering("train", lowest, batch), adapters, lowest))
        loss = loss_of(bench.task, logits, torch.from_numpy(bench.splits["train"].labels_N[batch]))
        for place, gradient in zip(places, torch.autograd.grad(loss, [lams[place] for place in places]), strict=True):
            sums[place] += gradient
    chosen = [
        torch.topk(sums[one.layer, one.matrix].abs(), one.rank).indices.sort().values for one in configuration.ranks
    ]
    return torch.cat(chosen)
