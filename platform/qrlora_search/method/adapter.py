"""Adapters of a frozen projection: coefficients of a fixed basis (QR-LoRA and its kin), or two factors (LoRA).

For coefficients: forward through the merged weight, gradients through the two thin products.

Legend: B batch, L length, T = B L tokens, I inputs, O outputs, R rank.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from qrlora_search.method.bases import Basis

Pair = tuple[Tensor, Tensor]


class _MergedLinear(torch.autograd.Function):
    """y = x (W + Q diag(lambda) Rt)^T + b, with gradients for x and lambda alone.

    dL/dlambda_r = sum_t (g_t Q)_r (x_t Rt^T)_r, so neither dL/dW nor a second copy of the activations is ever made.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, frozen: Pair, lam_R: Tensor, basis: Pair) -> Tensor:
        (weight_OI, bias_O), (q_OR, rt_RI) = frozen, basis
        merged_OI = torch.addmm(weight_OI, q_OR * lam_R.to(q_OR.dtype), rt_RI)
        ctx.save_for_backward(x, merged_OI, q_OR, rt_RI)
        ctx.lam_dtype = lam_R.dtype
        return nn.functional.linear(x, merged_OI, bias_O)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, merged_OI, q_OR, rt_RI = ctx.saved_tensors
        grad_TO = gradients[0].reshape(-1, merged_OI.shape[0])
        x_TI = x.reshape(-1, merged_OI.shape[1])
        grad_lam = ((grad_TO @ q_OR) * (x_TI @ rt_RI.T)).sum(0, dtype=torch.float32).to(ctx.lam_dtype)
        grad_x = (grad_TO @ merged_OI).view_as(x) if ctx.needs_input_grad[0] else None
        return grad_x, None, grad_lam, None


class _ThinLinear(torch.autograd.Function):
    """y = base + (x Rt^T) diag(lambda) Q^T, where base = x W^T + b is at hand or made here.

    x Rt^T (T, R) is kept for the backward pass, x itself is not.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, frozen: Pair, lam_R: Tensor, basis: Pair, base: Tensor | None) -> Tensor:
        q_OR, rt_RI = basis
        if base is None:
            base = nn.functional.linear(x, *frozen)
        thin_TR = x.reshape(-1, rt_RI.shape[1]) @ rt_RI.T
        scale_R = lam_R.to(q_OR.dtype)
        ctx.save_for_backward(thin_TR, scale_R, q_OR, rt_RI, frozen[0])
        ctx.lam_dtype = lam_R.dtype
        return torch.addmm(base.reshape(-1, q_OR.shape[0]), thin_TR * scale_R, q_OR.T).view(base.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        thin_TR, scale_R, q_OR, rt_RI, weight_OI = ctx.saved_tensors
        grad_TO = gradients[0].reshape(-1, q_OR.shape[0])
        grad_TR = grad_TO @ q_OR
        grad_lam = (grad_TR * thin_TR).sum(0, dtype=torch.float32).to(ctx.lam_dtype)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.addmm(grad_TO @ weight_OI, grad_TR * scale_R, rt_RI)
            grad_x = grad_x.view(*gradients[0].shape[:-1], rt_RI.shape[1])
        return grad_x, None, grad_lam, None, None


def merging_pays(tokens: int, outputs: int, inputs: int) -> bool:
    """Returns whether merging the update into the weight is cheaper than thin products on every token.

    Forward and backward, merging costs r O I + T r (O + I) multiply-adds, not merging 2 T r (O + I): the rank cancels.
    tests/benchmarks/update_form.py measures both over tokens, width and rank.
    """
    return tokens * (outputs + inputs) > outputs * inputs


def adapted_linear(
    x: Tensor, frozen: Pair, lam_R: Tensor, basis: Pair, base: Tensor | None = None, merge: bool | None = None
) -> Tensor:
    """Returns the adapted projection of x (..., I) -> (..., O), in the cheaper of two equal forms.

    frozen: weight (O, I) and bias (O,). lam_R: the coefficients, float32, the only thing with a gradient besides x.
    basis: Q_r (O, R) and Rt_r (R, I) in the weight's precision. base: x W^T + b where it is known already. merge: the
    form, where it is not to be chosen here.
    """
    outputs, inputs = frozen[0].shape
    if merge is None:
        merge = base is None and merging_pays(x.numel() // inputs, outputs, inputs)
    if merge:
        result: Tensor = _MergedLinear.apply(x, frozen, lam_R, basis)  # type: ignore[no-untyped-call]
    else:
        result = _ThinLinear.apply(x, frozen, lam_R, basis, base)  # type: ignore[no-untyped-call]
    return result


class _MergedWeight(torch.autograd.Function):
    """W + Q diag(lambda) Rt. dL/dlambda_r = q_r^T (dL/dW) rt_r, summed in float32."""

    @staticmethod
    def forward(ctx: Any, weight_OI: Tensor, lam_R: Tensor, basis: Pair) -> Tensor:
        q_OR, rt_RI = basis
        ctx.save_for_backward(q_OR, rt_RI)
        ctx.lam_dtype = lam_R.dtype
        return torch.addmm(weight_OI, q_OR * lam_R.to(q_OR.dtype), rt_RI)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q_OR, rt_RI = ctx.saved_tensors
        return None, ((gradients[0] @ rt_RI.T) * q_OR).sum(0, dtype=torch.float32).to(ctx.lam_dtype), None


def merged_weight(weight_OI: Tensor, lam_R: Tensor, basis: Pair) -> Tensor:
    """Returns W + Q_r diag(lambda) Rt_r, shape (O, I), for use where few rows meet the weight."""
    result: Tensor = _MergedWeight.apply(weight_OI, lam_R, basis)  # type: ignore[no-untyped-call]
    return result


class Adapter(Protocol):
    """What is added to one frozen projection."""

    def project(self, x: Tensor, frozen: Pair, base: Tensor | None = None) -> Tensor:
        """Returns the adapted projection of x (..., I) -> (..., O). base: x W^T + b where it is known already."""

    def merged(self, weight_OI: Tensor) -> Tensor:
        """Returns W + dW, shape (O, I), for use where few rows meet the weight."""


@dataclass(frozen=True)
class Coefficients:
    """dW = Q_r diag(lambda) Rt_r. lam_R: float32. basis: Q_r (O, R) and Rt_r (R, I) in the weight's precision."""

    lam_R: Tensor
    basis: Pair

    def project(self, x: Tensor, frozen: Pair, base: Tensor | None = None) -> Tensor:
        """Returns the adapted projection, in the cheaper of two equal forms."""
        return adapted_linear(x, frozen, self.lam_R, self.basis, base)

    def merged(self, weight_OI: Tensor) -> Tensor:
        """Returns W + Q_r diag(lambda) Rt_r."""
        return merged_weight(weight_OI, self.lam_R, self.basis)


@dataclass(frozen=True)
class LowRank:
    """dW = B A, less the B0 A0 that training began from where that was not 0. B: (O, R), A: (R, I), float32.

    The difference is (B - B0) A + B0 (A - A0): two products of near equals, rounded before they are subtracted, would
    leave little of a small change.
    """

    up_OR: Tensor
    down_RI: Tensor
    start: Pair | None = None

    def project(self, x: Tensor, frozen: Pair, base: Tensor | None = None) -> Tensor:
        """Returns the adapted projection, through the thin products."""
        if base is None:
            base = nn.functional.linear(x, *frozen)
        added = _thin(x, self.up_OR if self.start is None else self.up_OR - self.start[0], self.down_RI)
        if self.start is not None:
            added = added + _thin(x, self.start[0], self.down_RI - self.start[1])
        return base + added

    def merged(self, weight_OI: Tensor) -> Tensor:
        """Returns W + B A - B0 A0."""
        total = (self.up_OR if self.start is None else self.up_OR - self.start[0]) @ self.down_RI
        if self.start is not None:
            total = total + self.start[0] @ (self.down_RI - self.start[1])
        return weight_OI + total.to(weight_OI.dtype)


def _thin(x: Tensor, up_OR: Tensor, down_RI: Tensor) -> Tensor:
    """Returns (B A) x through the rank, in x's precision."""
    return (x @ down_RI.to(x.dtype).T) @ up_OR.to(x.dtype).T


class QRLoRALinear(nn.Module):
    """The textbook form of the adapter around an existing Linear: y = W x + b + Q_r diag(lambda) Rt_r x.

    What every faster form must equal; it drops into a transformers model in place of the wrapped Linear.
    """

    q_OR: Tensor
    rt_RI: Tensor

    def __init__(self, linear: nn.Linear, basis: Basis, rank: int) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(requires_grad=False)
        self.register_buffer("q_OR", torch.tensor(basis.q_OD[:, :rank], dtype=linear.weight.dtype))
        self.register_buffer("rt_RI", torch.tensor(basis.rt_DI[:rank], dtype=linear.weight.dtype))
        self.lam_R = nn.Parameter(torch.zeros(rank, dtype=linear.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the adapted projection of x (..., I) -> (..., O)."""
        adapted: Tensor = self.linear(x) + ((x @ self.rt_RI.T) * self.lam_R) @ self.q_OR.T
        return adapted

    def merged(self) -> Tensor:
        """Returns W + Q_r diag(lambda) Rt_r, shape (O, I)."""
        total: Tensor = self.linear.weight + (self.q_OR * self.lam_R) @ self.rt_RI
        return total
