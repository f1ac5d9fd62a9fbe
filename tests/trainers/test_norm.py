import pytest
import torch
from torch.nn import functional as F

from trainers.model.norm import NORM_EPS, rms_norm


@pytest.mark.parametrize("weights", [(6,), (3, 6)], ids=["of a width", "of each head"])
def test_gradients_are_those_of_finite_differences(weights):
    torch.manual_seed(0)
    x = torch.randn(4, 5, 3, 6, dtype=torch.double, requires_grad=True)
    weight = torch.randn(weights, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(rms_norm, (x, weight))


@pytest.mark.parametrize(("dtype", "room"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_it_is_that_of_torch(dtype, room):
    torch.manual_seed(0)
    whole = (torch.randn(7, 40) * 3).to(dtype).requires_grad_()
    weight = torch.randn(16).to(dtype).requires_grad_()
    upstream = torch.randn(7, 16).to(dtype)
    ours = rms_norm(whole[:, 8:24], weight)  # part of a larger tensor, as queries are
    theirs = F.rms_norm(whole[:, 8:24], (16,), weight, NORM_EPS)
    torch.testing.assert_close(ours, theirs, atol=room, rtol=room)
    for mine, other in zip(
        torch.autograd.grad(ours, (whole, weight), upstream),
        torch.autograd.grad(theirs, (whole, weight), upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, atol=room, rtol=room)


def test_zeros_stay_zeros_and_have_a_gradient():
    x = torch.zeros(2, 8, requires_grad=True)
    rms_norm(x, torch.ones(8)).sum().backward()
    assert torch.isfinite(x.grad).all()
