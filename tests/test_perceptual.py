"Perceptual loss: its laws on any maps, what is frozen, half precision, gradients, a GPU, bad input."

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from animegan_nb.core import rng
from animegan_nb.perceptual import layer_distance, mixed_loss, PerceptualLoss


def images(n=2, size=32, seed=0):
    return torch.rand(n, 3, size, size, generator=rng(seed)) * 2 - 1


def small_network():
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
    second = nn.Conv2d(6, 9, 3, 2, 1)

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = first, second

        def forward(self, x):
            x = self.first(x)
            return [x, self.second(x)]

    return Two()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(0, 99), st.booleans())
def test_a_distance(batch, channels, side, seed, unit):
    a, b = torch.randn(2, batch, channels, side, side, generator=rng(seed))
    d = layer_distance(a, b, unit)
    assert d.shape == (batch,) and (d >= 0).all() and torch.equal(d, layer_distance(b, a, unit))
    assert torch.equal(layer_distance(a, a, unit), torch.zeros(batch))
    if unit:
        assert (d <= 4 + 1e-5).all()
    else:
        assert torch.allclose(d, (a - b).square().flatten(1).mean(1))


@pytest.mark.parametrize('name', ['toon', 'squeezenet'])
def test_named_networks(name, request):
    if name == 'squeezenet':
        request.getfixturevalue('weights_dir')
    loss, a, b = PerceptualLoss(name), images(3), images(3, seed=1)
    d = loss(a, b)
    assert d.shape == (3,) and (d > 0).all()
    assert torch.allclose(loss(a[:1], b[:1]), d[:1], atol=1e-5)
    assert torch.allclose(loss(a, loss.maps(b)), d, atol=1e-6)
    assert loss.by_layer(a, b).shape == (3, 4)
    assert torch.allclose(PerceptualLoss(name, layers=[1, 3])(a, b), loss.by_layer(a, b)[:, [1, 3]].sum(1))


def test_nothing_in_it_learns_and_it_stays_in_evaluation_mode():
    network = small_network()
    loss = PerceptualLoss(network)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    a = images().requires_grad_(True)
    loss(a, images(seed=1)).sum().backward()
    assert a.grad.abs().sum() > 0
    loss.train()
    loss(a, images(seed=2))
    assert not any(p.requires_grad for p in network.parameters()) and not network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_weights_and_layers():
    a, b, network = images(), images(seed=1), small_network()
    each = PerceptualLoss(network).by_layer(a, b)
    assert torch.allclose(PerceptualLoss(network, weights=[2.0, 0.5])(a, b), each @ torch.tensor([2.0, 0.5]))
    assert torch.allclose(PerceptualLoss(network, layers=[1])(a, b), each[:, 1])
    for bad, message in ((dict(layers=[2]), 'there is no 2'), (dict(weights=[1.0]), 'as many weights')):
        with pytest.raises(ValueError, match=message):
            PerceptualLoss(network, **bad)(a, b)
    for bad in (dict(layers=[]), dict(layers=[-1]), dict(layers=[0, 1], weights=[1.0])):
        with pytest.raises(ValueError):
            PerceptualLoss(network, **bad)


def test_half_precision_around_it_changes_nothing():
    loss, a, b = PerceptualLoss(small_network()), images(), images(seed=1)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(loss(a, b), PerceptualLoss(small_network())(a, b).float())
    assert torch.equal(loss(a, b), loss.forward(a, b))
    assert loss(a.half(), b.half()).dtype == torch.float32


@pytest.mark.parametrize('alpha', [-0.1, 1.1, float('nan')])
def test_alpha_outside_its_range(alpha):
    with pytest.raises(ValueError, match='α lies between 0 and 1'):
        mixed_loss(torch.ones(2), torch.ones(2), alpha)


@pytest.mark.parametrize('bad', [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8).byte()])
def test_bad_images(bad):
    with pytest.raises(ValueError, match='Images are'):
        PerceptualLoss(small_network())(bad, bad)


def test_on_a_gpu(gpu):
    cuda = torch.device('cuda')
    loss = PerceptualLoss('toon')
    a, b = (torch.rand(2, 3, 64, 64, generator=rng(s, cuda), device=cuda) for s in (0, 1))
    assert loss(a, b).is_cuda and mixed_loss(loss(a, b), torch.ones(2, device=cuda), 0.5).is_cuda
    gpu.check()
