"Super-resolution: the published network, number by number; kernels; sizes; files that are none; a GPU."

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file

from animegan_nb import super_resolution as sr
from animegan_nb.core import rng, to_float
from animegan_nb.data import ImageFolder
from animegan_nb.metrics import psnr

SMALL = sr.CARNConfig(channels=8, groups=2, shared=True)


def network(config=SMALL, seed=0):
    torch.manual_seed(seed)
    return sr.CARN(config).eval().requires_grad_(False)


def images(*shape, seed=0):
    return to_float(torch.randint(0, 256, shape, generator=rng(seed), dtype=torch.uint8))


@pytest.fixture(scope='module')
def published(weights_dir):
    return sr.load_carn(weights_dir / 'carn_m.pth')


def test_the_published_network_is_the_published_function(published, reference_dir):
    stored = {k: torch.from_numpy(v) for k, v in np.load(reference_dir / 'carn_m_reference.npz').items()}
    x = stored['x'] * 2 - 1
    entry = published.entry(stored['x'] - published.mean)
    assert torch.allclose(entry, stored['entry'], atol=1e-5)
    assert torch.allclose(published.body.blocks[0](entry), stored['block1'], atol=1e-5)
    for scale in (2, 3, 4):
        assert torch.allclose((published(x, scale) + 1) / 2, stored[f'y_x{scale}'], atol=1e-5)


def test_the_published_network_gains_on_faces_and_the_kernel_decides(published, data_dir):
    folder = ImageFolder(data_dir / 'anime_faces_256', 256, progress=False)
    truth = to_float(folder.batch(torch.arange(6))['image'])
    gain = {}
    for kernel in ('bicubic', 'box'):
        small = sr.resample(truth, 128, kernel)
        plain = psnr(sr.resample(small, 256), truth)
        gain[kernel] = (psnr(published(small).clamp(-1, 1), truth) - plain).mean()
    assert gain['bicubic'] > 6 and 1.5 < gain['box'] < 4.5


def test_the_counts_are_the_published_ones():
    count = lambda config: sum(p.numel() for p in sr.CARN(config).parameters()) + 24  # and the fixed mean shifts
    assert count(sr.CARN_FULL) == 1_591_963 and count(sr.CARN_MOBILE) == 414_811
    assert count(sr.CARNConfig(groups=2, shared=True)) == 663_643


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
def test_pixel_shuffle(batch, channels, r, height, width):
    maps = torch.randn(batch, channels * r * r, height, width)
    assert torch.equal(sr.shuffle_pixels(maps, r), F.pixel_shuffle(maps, r))


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([2, 3, 4]), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
def test_any_image_is_enlarged(scale, height, width, n):
    x = images(n, 3, height, width)
    out = network()(x, scale)
    assert out.shape == (n, 3, scale * height, scale * width) and out.isfinite().all()
    one = network()(x[:1], scale)
    assert torch.allclose(out[:1], one, atol=1e-5)  # a batch is its images, one at a time


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 40), st.integers(3, 40), st.integers(2, 90))
def test_to_size_keeps_proportions_and_range(height, width, size):
    out = sr.to_size(network(), images(1, 3, height, width), size)
    assert min(out.shape[-2:]) == size and out.abs().max() <= 1
    assert abs(max(out.shape[-2:]) - size * max(height, width) / min(height, width)) <= 0.5


def test_an_image_of_the_right_size_stays_as_it_is():
    x = images(2, 3, 24, 24)
    assert torch.equal(sr.to_size(network(), x, 24), x)


@pytest.mark.parametrize('kernel', list(sr.KERNELS))
def test_kernels_keep_a_plain_image(kernel):
    plain = to_float(torch.full((1, 3, 12, 8), 100, dtype=torch.uint8))
    assert torch.equal(sr.resample(plain, (5, 4), kernel), plain[..., :5, :4])


def test_a_kernel_of_box_is_the_mean():
    x = images(2, 3, 16, 16)
    assert (sr.resample(x, 8, 'box') - F.avg_pool2d(x, 2)).abs().max() < 1.01 / 127.5


def test_a_network_of_ours_there_and_back(tmp_path):
    for config in (SMALL, sr.CARNConfig(channels=6, groups=1, depth=2, scales=(2, 4))):
        net = network(config)
        save_file(net.state_dict(), tmp_path / 'net.safetensors')
        again = sr.load_carn(tmp_path / 'net.safetensors')
        assert again.config.channels == config.channels and again.config.scales == config.scales
        x = images(1, 3, 6, 7)
        assert torch.equal(again(x, 2), net(x, 2)) and torch.equal(again(x, 4), net(x, 4))


class Trap:
    def __reduce__(self):
        return (print, ('opened',))


def test_no_other_pickle_is_opened(tmp_path, capsys):
    bad = tmp_path / 'carn_m.pth'
    bad.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match='not the published file'):
        sr.load_carn(bad)
    assert capsys.readouterr().out == ''


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='check the name'):
        sr.load_carn(tmp_path / 'none.pth')
    save_file({'a': torch.zeros(2)}, tmp_path / 'other.safetensors')
    with pytest.raises(ValueError, match="not a CARN's"):
        sr.load_carn(tmp_path / 'other.safetensors')
    state = network().state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith('exit')}, tmp_path / 'part.safetensors')
    with pytest.raises(ValueError, match='do not fit a CARN'):
        sr.load_carn(tmp_path / 'part.safetensors')


def test_colours_that_more_than_the_mean_changes_are_refused():
    state = {f'{name}_mean.shifter.weight': torch.eye(3)[..., None, None] * 2 for name in ('sub', 'add')}
    state |= {f'{name}_mean.shifter.bias': torch.zeros(3) for name in ('sub', 'add')}
    with pytest.raises(ValueError, match='more than their mean'):
        sr.carn_from(state)


def test_a_training_lowers_the_loss_and_begins_with_interpolation():
    large = F.interpolate(images(16, 3, 4, 4), scale_factor=4)  # squares with sharp edges
    small = F.avg_pool2d(large, 2)
    upscaler = sr.Upscaler(network(sr.CARNConfig(channels=8, scales=(2,))).requires_grad_(True))
    start = F.interpolate(small, scale_factor=2, mode='bilinear')
    assert torch.allclose(upscaler(small, 2), start, atol=1e-5)
    before = F.l1_loss(start, large)
    losses = sr.train_upscaler(upscaler, large, small, 150, batch=16, lr=3e-3)
    assert len(losses) == 150 and F.l1_loss(upscaler(small, 2), large) < 0.85 * before
    with pytest.raises(ValueError, match='Every large image needs its small one'):
        sr.train_upscaler(upscaler, large, small[:3], 1)


def test_on_a_gpu(gpu):
    cuda = torch.device('cuda')
    net = sr.CARN(SMALL).to(cuda)
    large = torch.rand(4, 3, 12, 12, generator=rng(0, cuda), device=cuda) * 2 - 1
    sr.train_upscaler(net, large, F.avg_pool2d(large, 2), 2, batch=2)
    for tensor in (sr.resample(large, 6), sr.to_size(net, large, 20), net(large, 3)):
        assert tensor.is_cuda
    gpu.check()


def test_an_upscaler_there_and_back(tmp_path):
    net = sr.Upscaler(network(sr.CARNConfig(channels=8, scales=(2,))))
    with torch.no_grad():
        net.network.exit.weight.normal_(generator=rng(0))
    save_file(net.state_dict(), tmp_path / 'net.safetensors')
    again, x = sr.load_carn(tmp_path / 'net.safetensors'), images(1, 3, 6, 7)
    assert isinstance(again, sr.Upscaler) and torch.equal(again(x, 2), net(x, 2))


def test_to_size_takes_the_scales_that_a_network_knows():
    net = network(sr.CARNConfig(channels=8, scales=(2,)))
    for known in (net, sr.Upscaler(net)):
        assert sr.to_size(known, images(1, 3, 6, 7), 20).shape == (1, 3, 20, 23)
    other = sr.to_size(lambda x, scale: sr.resample(x, 3 * 6), images(1, 3, 6, 6), 18, (3,))
    assert other.shape == (1, 3, 18, 18)


def test_a_batch_of_none_is_shuffled():
    assert sr.shuffle_pixels(torch.zeros(0, 8, 3, 4), 2).shape == (0, 2, 6, 8)


@pytest.mark.parametrize(
    'call, word',
    [
        (lambda: sr.CARNConfig(groups=0), 'equal groups'),
        (lambda: sr.train_upscaler(network(), images(2, 3, 8, 8), images(2, 3, 4, 4), 0), 'one step'),
        (lambda: sr.train_upscaler(network(), images(2, 3, 8, 8), images(2, 3, 3, 4), 1), 'do not fit'),
        (lambda: sr.train_upscaler(network(), images(0, 3, 8, 8), images(0, 3, 4, 4), 1), 'do not fit'),
        (lambda: sr.train_upscaler(network(), images(2, 3, 8, 8) * torch.nan, images(2, 3, 4, 4), 1), 'NaN'),
        (lambda: network()(images(1, 3, 4, 4).byte(), 2), 'Images are floats'),
        (lambda: network()(images(1, 1, 4, 4), 2), 'Images are a tensor'),
        (lambda: network()(images(1, 3, 4, 4), 2.0), 'enlarges by'),
    ],
)
def test_bad_input_is_one_sentence(call, word):
    with pytest.raises(ValueError, match=word):
        call()
