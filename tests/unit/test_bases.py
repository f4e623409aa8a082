"""Closed forms of the method: pivoted QR, ranks, the adapter layer."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qrlora_search.method.adapter import QRLoRALinear, adapted_linear
from qrlora_search.method.bases import delta, pivoted_qr
from qrlora_search.values.ranks import energy_rank, rank_for, threshold_rank

SHAPES = [(6, 6), (4, 9), (9, 4), (48, 48)]


def weight(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_full_rank_with_lambda_one_is_the_weight(shape):
    w = weight(shape)
    basis = pivoted_qr(w)
    np.testing.assert_allclose(delta(basis, np.ones(min(shape))), w, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_q_is_orthonormal_and_the_diagonal_does_not_increase(shape):
    basis = pivoted_qr(weight(shape))
    np.testing.assert_allclose(basis.q_OD.T @ basis.q_OD, np.eye(min(shape)), atol=1e-5)
    assert (np.diff(basis.diagonal_D) <= 1e-5).all()


def test_the_permutation_is_undone():
    w = weight((5, 5))
    w[:, 3] *= 100  # the pivot: without undoing, its direction would land in column 0
    basis = pivoted_qr(w)
    assert int(np.abs(delta(basis, np.ones(1))).sum(axis=0).argmax()) == 3


def test_low_precision_is_raised_and_bad_values_are_refused():
    assert pivoted_qr(weight((4, 4)).astype(np.float16)).q_OD.dtype == np.float32
    with pytest.raises(ValueError, match="not finite"):
        pivoted_qr(np.array([[1.0, np.nan], [0.0, 1.0]]))


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_the_energy_rank_is_the_smallest_that_keeps_tau(values, tau):
    diagonal = np.sort(np.array(values))[::-1]
    rank = energy_rank(diagonal, tau)
    share = np.cumsum(diagonal**2) / np.sum(diagonal**2)
    assert share[rank - 1] >= tau - 1e-9
    assert rank == 1 or share[rank - 2] < tau


@given(
    st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30),
    st.floats(0.01, 0.98),
    st.sampled_from(["energy", "threshold"]),
)
def test_energy_rises_with_tau_and_threshold_falls(values, tau, rule):
    diagonal = np.sort(np.array(values))[::-1]
    low, high = rank_for(rule, diagonal, tau), rank_for(rule, diagonal, tau + 0.01)
    assert low <= high if rule == "energy" else low >= high
    assert 1 <= low <= len(diagonal)


def test_ranks_of_known_diagonals():
    assert energy_rank(np.array([4.0, 3.0, 0.0]), 0.5) == 1  # 16 of 25
    assert energy_rank(np.ones(10), 0.5) == 5
    assert threshold_rank(np.array([4.0, 3.0, 2.0, 1.0]), 0.5) == 2
    assert energy_rank(np.zeros(3), 0.5) == 1


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 6), st.integers(0, 10_000))
def test_gradients_equal_finite_differences(outputs, inputs, tokens, seed):
    torch.manual_seed(seed)
    rank = min(outputs, inputs, 3)
    w, b = torch.randn(outputs, inputs).double(), torch.randn(outputs).double()
    basis = pivoted_qr(w.numpy())
    q = torch.from_numpy(basis.q_OD[:, :rank]).double()
    rt = torch.from_numpy(basis.rt_DI[:rank]).double()
    x = torch.randn(2, tokens, inputs).double().requires_grad_()
    lam = torch.randn(rank).double().requires_grad_()
    # the sum over tokens of lambda's gradient is taken in float32, hence the tolerance
    assert torch.autograd.gradcheck(
        lambda x, lam: adapted_linear(x, (w, b), lam, (q, rt)), (x, lam), atol=1e-4, rtol=1e-3
    )


def test_merged_equals_unmerged_and_the_fast_form_equals_the_textbook_one():
    torch.manual_seed(0)
    linear = torch.nn.Linear(24, 16)
    basis = pivoted_qr(linear.weight.detach().numpy())
    layer = QRLoRALinear(linear, basis, rank=7)
    with torch.no_grad():
        layer.lam_R.copy_(torch.randn(7))
    x = torch.randn(5, 24)
    unmerged = layer(x)
    merged = torch.nn.functional.linear(x, layer.merged(), linear.bias)
    fast = adapted_linear(x, (linear.weight, linear.bias), layer.lam_R, (layer.q_OR, layer.rt_RI))
    torch.testing.assert_close(merged, unmerged, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fast, unmerged, atol=1e-5, rtol=1e-5)
    assert {name for name, one in layer.named_parameters() if one.requires_grad} == {"lam_R"}


def test_lambda_starts_at_zero_yet_has_a_gradient():
    linear = torch.nn.Linear(8, 8)
    layer = QRLoRALinear(linear, pivoted_qr(linear.weight.detach().numpy()), rank=4)
    x = torch.randn(3, 8)
    torch.testing.assert_close(layer(x), linear(x))
    layer(x).square().sum().backward()
    assert layer.lam_R.grad is not None
    assert layer.lam_R.grad.abs().min() > 0
