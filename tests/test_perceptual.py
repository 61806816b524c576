"Perceptual loss: its laws on any maps, what is frozen, half precision, gradients, a GPU, bad input."

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from animegan_nb import perceptual
from animegan_nb.core import rng
from animegan_nb.metrics import file_sha256
from animegan_nb.perceptual import layer_distance, LPIPS, mixed_loss, PerceptualLoss

PUBLISHED = [0.4390716254711151, 0.040212228894233704]  # of lpips 0.1.4, for `patterns`


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
    inside = loss._reader.maps
    assert not any(p.requires_grad for p in inside.parameters()) and not inside.training
    assert all(torch.equal(v, before[k]) for k, v in inside.state_dict().items())
    # the caller's network goes on learning: the loss has a copy of it
    assert all(p.requires_grad for p in network.parameters()) and network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_images_that_are_no_squares():
    a, b = (x[..., :20] for x in (images(), images(seed=1)))
    square = [F.interpolate(x, (32, 32), mode='bilinear', antialias=True) for x in (a, b)]
    assert torch.allclose(PerceptualLoss('toon', size=32)(a, b), PerceptualLoss('toon', size=32)(*square), atol=1e-5)
    assert [m.shape[2:] for m in PerceptualLoss('toon', size=None).maps(a)][0] == (16, 10)


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


def test_maps_in_float16():
    a, b = 300 * torch.randn(2, 3, 4, 5, 6, generator=rng(0))
    a[:, :, 0, 0] = b[:, :, 0, 0] = 0
    for unit in (True, False):
        found, wanted = layer_distance(a.half(), b.half(), unit), layer_distance(a, b, unit)
        assert torch.allclose(found, wanted, rtol=2e-3)


@pytest.mark.parametrize('alpha', [-0.1, 1.1, float('nan'), 'half', None, torch.tensor([0.5, 1.5])])
def test_alpha_outside_its_range(alpha):
    with pytest.raises(ValueError, match='α lies between 0 and 1'):
        mixed_loss(torch.ones(2), torch.ones(2), alpha)


@pytest.mark.parametrize(
    'call, words',
    [
        (lambda: perceptual.check_whole(seed=1, steps=2.5), 'steps is a whole number, not 2.5'),
        (lambda: perceptual.check_whole(seed='a'), "seed is a whole number, not 'a'"),
        (lambda: perceptual.check_whole(seed=True), 'not True'),
        (lambda: perceptual.check_steps(0, 'A fine-tuning'), 'A fine-tuning takes at least one step, not 0'),
        (lambda: perceptual.check_not_negative(reach=1, locality=-1), 'locality is a number from 0 on, not -1'),
        (lambda: perceptual.check_not_negative(lr=float('nan')), 'not nan'),
        (lambda: perceptual.check_not_negative(lr='fast'), "lr is a number from 0 on, not 'fast'"),
        (lambda: perceptual.check_layers([0, 9], 4), 'gives 4 maps: there is no 9'),
    ],
)
def test_arguments_that_are_no_numbers_of_their_kind(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_numbers_of_other_libraries_are_numbers():
    perceptual.check_whole(seed=np.int64(3), steps=4)
    perceptual.check_not_negative(lr=np.float32(0.1), reach=0)


@pytest.mark.parametrize('bad', [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8).byte()])
def test_bad_images(bad):
    with pytest.raises(ValueError, match='Images are'):
        PerceptualLoss(small_network())(bad, bad)


def test_distances_of_other_shapes_are_refused():
    maps = torch.rand(2, 3, 8, 8)
    for other in (maps[:, :1], maps[..., :4], maps.repeat(2, 1, 1, 1)):
        with pytest.raises(ValueError, match='have one shape'):
            layer_distance(maps, other)
    assert layer_distance(maps, maps[:1]).shape == (2,)
    for alpha in (torch.full((6, 1), 0.5), torch.full((5,), 0.5)):
        with pytest.raises(ValueError, match=r'one for each image, \[6\], not'):
            mixed_loss(torch.ones(6), torch.ones(6), alpha)
    with pytest.raises(ValueError, match='Both distances are'):
        mixed_loss(torch.ones(2), torch.ones(2, 1), 0.5)


def test_on_a_gpu(gpu):
    cuda = torch.device('cuda')
    loss = PerceptualLoss('toon')
    a, b = (torch.rand(2, 3, 64, 64, generator=rng(s, cuda), device=cuda) for s in (0, 1))
    assert loss(a, b).is_cuda and mixed_loss(loss(a, b), torch.ones(2, device=cuda), 0.5).is_cuda
    gpu.check()


def test_images_in_their_own_size():
    loss, a, b = PerceptualLoss('toon', size=None), images(2, 48), images(2, 48, seed=1)
    assert [m.shape[-1] for m in loss.maps(a)] == [24, 12, 6, 3]
    assert [tuple(m.shape[-2:]) for m in loss.maps(a[..., :32])] == [(24, 16), (12, 8), (6, 4), (3, 2)]
    small = images(1, 64)
    assert torch.allclose(loss(small, -small), PerceptualLoss('toon', size=64)(small, -small), atol=1e-6)
    assert loss(a, b).shape == (2,) and loss(a, a[..., :48]).abs().max() < 1e-6


# ---- VGG16 and LPIPS. Their files are not here: a made-up VGG16 in torchvision's names stands for the real one


def made_up_vgg16():
    from torchvision.models import vgg16

    with torch.device('meta'):
        features = vgg16(weights=None).features
    tensors = {}
    convolutions = [(n, m) for n, m in enumerate(features) if isinstance(m, nn.Conv2d)]
    for number, (place, conv) in enumerate(convolutions):
        weight = np.random.RandomState(number).standard_normal(tuple(conv.weight.shape))
        weight *= (2 / conv.weight[0].numel()) ** 0.5
        tensors[f'features.{place}.weight'] = torch.from_numpy(weight).float()
        tensors[f'features.{place}.bias'] = torch.full((len(weight),), 0.05)
    return tensors


def patterns(phase):
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(32.0), indexing='ij')
    return torch.stack([torch.sin(0.3 * x + 0.05 * c * y * y + phase + c) for c in range(3)])[None]


@pytest.fixture(scope='module')
def vgg_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('vgg')
    torch.save(made_up_vgg16() | {'classifier.0.bias': torch.zeros(3)}, folder / perceptual.VGG16_FILE)
    channels = (64, 128, 256, 512, 512)
    weights = {f'lin{n}.model.1.weight': torch.arange(c).remainder(5) / 10 for n, c in enumerate(channels)}
    save_file({k: v.view(1, -1, 1, 1) for k, v in weights.items()}, folder / perceptual.LPIPS_FILE)
    return folder


@pytest.fixture
def with_vgg(vgg_folder, monkeypatch):
    monkeypatch.setenv('ANIMEGAN_WEIGHTS', str(vgg_folder))
    found = file_sha256(vgg_folder / perceptual.VGG16_FILE)
    monkeypatch.setattr(perceptual, 'VGG16_HASH', found[:8])


def test_lpips_is_the_published_one(with_vgg):
    "The numbers are those of the package lpips 0.1.4 (BSD-2), given the same made-up weights."
    a, b = (torch.cat([patterns(p), patterns(q)]) for p, q in ((0.0, 1.0), (2.0, 1.3)))
    distance = LPIPS()
    assert torch.allclose(distance(a, b), torch.tensor(PUBLISHED), rtol=1e-4)
    assert torch.equal(distance(a, a), torch.zeros(2)) and distance.by_layer(a, b).shape == (2, 5)
    look = PerceptualLoss('vgg16', size=None)
    maps = look.maps(a)
    assert [m.shape[1] for m in maps] == [64, 128, 256, 512, 512] and [m.shape[-1] for m in maps] == [32, 16, 8, 4, 2]
    assert not torch.allclose(look(a, b), distance(a, b))


def test_vgg16_that_is_missing_or_another_one(vgg_folder, monkeypatch, tmp_path):
    monkeypatch.setenv('ANIMEGAN_WEIGHTS', str(tmp_path))
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(perceptual, 'find_spec', lambda name: None)
    with pytest.raises(FileNotFoundError, match="The weights of VGG16 are not here: put torchvision's"):
        PerceptualLoss('vgg16')
    with pytest.raises(FileNotFoundError, match='The weights of LPIPS are not here: install the package lpips'):
        LPIPS()
    monkeypatch.setenv('ANIMEGAN_WEIGHTS', str(vgg_folder))
    with pytest.raises(ValueError, match="is not torchvision's"):
        PerceptualLoss('vgg16')


def test_nothing_is_unpickled(monkeypatch, tmp_path):
    "A file with an object in it is refused before the object exists."
    monkeypatch.setenv('ANIMEGAN_WEIGHTS', str(tmp_path))
    torch.save({'features.0.weight': Surprise()}, tmp_path / perceptual.VGG16_FILE)
    monkeypatch.setattr(perceptual, 'VGG16_HASH', file_sha256(tmp_path / perceptual.VGG16_FILE)[:8])
    with pytest.raises(ValueError, match='holds no plain tensors'):
        PerceptualLoss('vgg16')
    save_file({'other': torch.zeros(1)}, tmp_path / perceptual.LPIPS_FILE)
    with pytest.raises(ValueError, match='holds no weights of LPIPS'):
        LPIPS()
    torch.save({'lin0.model.1.weight': Surprise()}, tmp_path / perceptual.LPIPS_FILE)
    with pytest.raises(ValueError, match='cannot be read|are a|of another kind|damaged'):
        LPIPS()


class Surprise:
    def __reduce__(self):
        return (pytest.fail, ('it was unpickled',))
