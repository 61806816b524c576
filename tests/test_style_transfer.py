"Style transfer: published numbers, laws on any maps, the network and its training, a GPU, bad input."

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from pretend_cuda import CUDA

from animegan_nb import style_transfer
from animegan_nb.core import rng, shipped, shipped_networks, to_uint8
from animegan_nb.style_layers import adain
from animegan_nb.style_transfer import (
    channel_statistics,
    coral,
    fit_transfer,
    gatys,
    GatysConfig,
    gram,
    GRAM_CONVENTIONS,
    gram_distance,
    match_statistics,
    published_coral,
    statistics_distance,
    stylise,
    stylisers,
    StyleTransfer,
    textures,
    transfer_loss,
    StyleTransferConfig,
)

QUICK = GatysConfig(steps=3)


def images(n=2, size=16, seed=0, device='cpu'):
    return torch.rand(n, 3, size, size, generator=rng(seed, device), device=device) * 2 - 1


@pytest.fixture(scope='module')
def reference(reference_dir):
    with np.load(reference_dir / 'part3_reference.npz') as file:
        return {k: torch.from_numpy(file[k]) for k in file.files if k.startswith(('gram/', 'adain/', 'coral/'))}


# ---- published numbers


@pytest.mark.parametrize('divide, key', [('nothing', 'raw'), ('places', 'div_hw'), ('all', 'div_chw')])
def test_gram_matrices_are_the_published_ones(reference, divide, key):
    found, wanted = gram(reference['gram/feature'], divide), reference[f'gram/{key}']
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_every_convention_is_the_published_one(reference):
    a, b = reference['gram/feature'], reference['gram/style_feature']
    of = lambda name: gram_distance(a, b, name)
    close = lambda found, wanted: torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert close(of('gatys'), reference['gram/loss_gatys_paper_E'])
    assert close(of('johnson'), reference['gram/loss_johnson'])
    assert close(of('gatys code').mean(), reference['gram/loss_gatys_repo'])
    folded = [x.flatten(0, 1)[None] for x in (a, b)]  # the tutorial folds a batch into the channels
    assert close(gram_distance(*folded, 'pytorch')[0], reference['gram/loss_pytorch_tutorial'])


def test_adain_is_the_published_one(reference):
    content, style = reference['adain/content'], reference['adain/style']
    found = match_statistics(content, style)
    assert torch.allclose(found, reference['adain/out'], atol=1e-5)
    for maps, name in ((style, 'style'), (found, 'out')):
        for values, what in zip(channel_statistics(maps), ('mean', 'std')):
            assert torch.allclose(values, reference[f'adain/{name}_{what}'].flatten(1), atol=1e-5)
    assert torch.allclose(statistics_distance(content, style).mean(), reference['adain/style_loss_mean_std'], rtol=1e-5)


def test_the_published_coral(reference):
    source, target = reference['coral/source'][None], reference['coral/target'][None]
    assert torch.allclose(published_coral(source, target)[0], reference['coral/out'], atol=1e-5)
    # its sums depend on the size of the images: the same colours twice give another result
    twice = torch.cat([target, target], 3)
    assert (published_coral(source, twice) - published_coral(source, target)).abs().max() > 0.05
    assert (coral(source, twice) - coral(source, target)).abs().max() < 0.02


# ---- laws


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_a_gram_matrix(batch, channels, height, width, seed):
    maps = torch.randn(batch, channels, height, width, generator=rng(seed))
    found = gram(maps)
    assert found.shape == (batch, channels, channels) and torch.allclose(found, found.mT)
    assert (torch.linalg.eigvalsh(found) > -1e-4).all()
    order = torch.randperm(height * width, generator=rng(seed))
    assert torch.allclose(gram(maps.flatten(2)[:, :, order].view_as(maps)), found, atol=1e-5)
    assert torch.allclose(gram(3 * maps), 9 * found, rtol=1e-4, atol=1e-4)
    for name in GRAM_CONVENTIONS:
        other = torch.randn(1, channels, 2, 7, generator=rng(seed + 1))
        assert gram_distance(maps, other, name).shape == (batch,)
        assert (gram_distance(maps, maps, name) < 1e-8).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(2, 6), st.integers(0, 99), st.booleans())
def test_matched_statistics(batch, channels, side, seed, one):
    content = torch.randn(batch, channels, side, 5, generator=rng(seed)) * 2 + 1
    style = torch.randn(1 if one else batch, channels, 4, 3, generator=rng(seed + 1)) * 0.5
    found = match_statistics(content, style)
    assert found.shape == content.shape
    for got, wanted in zip(channel_statistics(found), channel_statistics(style)):
        assert torch.allclose(got, wanted.expand_as(got), atol=1e-3)
    assert torch.allclose(match_statistics(content, content), content, atol=1e-3)


def test_the_adain_of_generators_and_this_one_differ_as_the_text_says():
    x, y = torch.randn(2, 2, 3, 4, 5, generator=rng(0))
    scale, bias = y.std((2, 3)), y.mean((2, 3))
    theirs = adain(x, scale, bias).var((2, 3)) / y.var((2, 3))
    assert torch.allclose(theirs, torch.tensor(20 / 19).expand(2, 3), atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99))
def test_matched_colours(seed):
    a, b = images(2, 9, seed), images(2, 7, seed + 1)[..., :5]
    found = coral(a, b).flatten(2)
    assert torch.allclose(found.mean(2), b.flatten(2).mean(2), atol=1e-4)
    for x, y in zip(found, b.flatten(2)):
        assert torch.allclose(torch.cov(x), torch.cov(y), atol=1e-3)


def test_an_image_of_one_colour_has_a_style_too():
    flat = torch.full((1, 3, 8, 8), 0.25)
    for method in ('colours', 'coral'):
        assert stylise(flat, images(1), method).isfinite().all()
        assert (stylise(images(1), flat, method) - 0.25).abs().max() < 0.02


# ---- the methods


def test_gatys_never_makes_the_loss_larger_and_a_batch_is_its_images():
    content, style = images(2, 32), images(1, 24, 1)
    result = gatys(content, style, QUICK)
    assert result.images.shape == content.shape and result.images.abs().max() <= 1
    assert all(b <= a for losses in result.losses for a, b in zip(losses, losses[1:]))
    assert [len(losses) for losses in result.losses] == [3, 3]
    alone = gatys(content[1:], style, QUICK)
    assert torch.allclose(alone.images, result.images[1:], atol=1e-4)
    again = gatys(content, style, QUICK)
    assert torch.equal(again.images, result.images)


def test_without_a_style_weight_the_content_stays():
    content = images(1, 32)
    result = gatys(content, images(1, 32, 1), GatysConfig(steps=3, style_weight=0.0))
    assert torch.allclose(result.images, content, atol=1e-6)


def test_gatys_from_noise_depends_on_the_seed():
    content, style = images(1, 32), images(1, 32, 1)
    config = GatysConfig(steps=2, start='noise')
    a, b, c = (gatys(content, style, config, seed=s).images for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_the_network_keeps_its_encoder_out_of_its_weights(tmp_path):
    torch.manual_seed(0)
    network = StyleTransfer(StyleTransferConfig(widths=(8,)))
    assert all(name.startswith('decoder.') for name in network.state_dict())
    again = StyleTransfer.from_pretrained(network.save_pretrained(tmp_path / 'net'))
    content, style = images(2, 32), images(1, 16, 1)
    assert torch.equal(network(content, style), again(content, style))
    assert network(content, style).shape == content.shape
    assert network(content[..., :20], style).shape == (2, 3, 32, 20)
    assert torch.allclose(network(content, content), network(content, style, 0.0), atol=1e-2)


def test_training_changes_the_decoder_alone_and_goes_on_where_it_stopped():
    contents, styles = to_uint8(images(6, 32)), to_uint8(textures(5, 32, rng(1)))

    def trained(stop):
        torch.manual_seed(0)
        network = StyleTransfer(StyleTransferConfig(widths=(8,)))
        optimizer = torch.optim.Adam(network.decoder.parameters(), 1e-3)
        options = dict(batch=2, optimizer=optimizer, progress=None)
        losses = []
        for first in (0, stop):
            steps = fit_transfer(network, contents, styles, 6, first=first, **options)
            losses += [next(steps) for _ in range((stop or 6) if first == 0 else 6 - stop)]
        return network, losses

    (a, whole), (b, parts) = trained(6), trained(2)
    assert len(whole) == len(parts) == 6 and whole == parts
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))
    assert not any(p.requires_grad for p in a.look._reader.maps.parameters())


def test_the_loss_is_zero_only_at_the_goal():
    torch.manual_seed(0)
    network = StyleTransfer(StyleTransferConfig(widths=(8,)))
    content, style = images(2, 32), images(2, 32, 1)
    loss = transfer_loss(network, content, style)
    assert loss.ndim == 0 and loss > 0
    assert transfer_loss(network, content, style, 20.0) > loss
    loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in network.decoder.parameters())


@pytest.mark.parametrize('method', ['colours', 'coral', 'adain', 'gatys'])
@pytest.mark.parametrize('keep', [False, True])
def test_one_function_for_all_methods(method, keep):
    assert method in stylisers
    if method == 'adain' and 'adain_toon_64' not in shipped_networks():
        pytest.skip('the network is not shipped')
    options = dict(config=QUICK) if method == 'gatys' else {}
    content, style = images(2, 32), images(1, 32, 1)
    content.requires_grad_(False)
    found = stylise(content, style, method, keep_colours=keep, **options)
    assert found.shape == content.shape and found.abs().max() <= 1 and not found.requires_grad
    if method != 'adain':
        assert torch.allclose(stylise(content, style, method, 0.0, **options), content, atol=1e-6)
    if method in ('colours', 'coral') and keep:
        middle = stylise(content, coral(style.expand(2, -1, -1, -1), content), method)
        assert torch.allclose(found, middle, atol=1e-4)


def test_colours_alone_that_are_kept_change_almost_nothing():
    content, style = images(2, 32), images(1, 32, 1)
    assert torch.allclose(stylise(content, style, 'coral', keep_colours=True), content, atol=2e-3)


def test_textures():
    a = textures(3, 20, rng(0))
    assert a.shape == (3, 3, 20, 20) and a.abs().max() <= 1 and torch.equal(a, textures(3, 20, rng(0)))
    assert all(len(image.flatten(1).unique(dim=1)[0]) <= 4 for image in a)


def test_the_shipped_network_draws_the_head_again():
    if 'adain_toon_64' not in shipped_networks():
        pytest.skip('the network is not shipped')
    from animegan_nb.toon import ready_heads

    assert shipped('pretrained/adain_toon_64.safetensors').stat().st_size < 2e6
    heads = ready_heads().batch(torch.arange(4))['image'].float() / 127.5 - 1
    same = stylise(heads, heads)
    error = (same - heads).square().mean((1, 2, 3))
    blank = (heads - heads.mean((2, 3), keepdim=True)).square().mean((1, 2, 3))
    assert (error < 0.3 * blank).all()


# ---- devices and bad input


def test_on_a_gpu(gpu):
    content, style = images(2, 32, device=CUDA), images(1, 32, 1, device=CUDA)
    network = StyleTransfer(StyleTransferConfig(widths=(8,))).to(CUDA)
    found = [
        stylise(content, style, 'colours'),
        stylise(content, style, 'coral', keep_colours=True),
        stylise(content, style, 'adain', network=network),
        stylise(content, style, 'gatys', config=GatysConfig(steps=2, start='noise')),
        published_coral(content, style),
        gram_distance(content, style),
        textures(2, 8, rng(0, CUDA)),
    ]
    assert all(x.is_cuda for x in found)
    raw = to_uint8(images(3, 32))
    for _ in fit_transfer(network, raw, raw, 2, batch=2, progress=None):
        pass
    assert next(network.decoder.parameters()).is_cuda
    gpu.check()


BAD = {
    'a Gram matrix of another division': (lambda: gram(images(), 'hw'), 'is divided by'),
    'an unknown convention': (lambda: gram_distance(images(), images(), 'vgg'), 'Gram convention'),
    'one place': (lambda: channel_statistics(torch.zeros(1, 3, 1, 1)), 'at least two places'),
    'content of one place': (lambda: match_statistics(torch.zeros(1, 3, 1, 1), images()), 'at least two places'),
    'channels': (lambda: match_statistics(images(), torch.zeros(1, 4, 4, 4)), 'equal channels'),
    'styles': (lambda: stylise(images(2), images(3)), 'one style for all'),
    'alpha': (lambda: stylise(images(), images(), alpha=1.5), 'α lies between 0 and 1'),
    'an alpha for each': (lambda: stylise(images(), images(), 'colours', torch.ones(2)), r'one number .* not \[2\]'),
    'style of one pixel': (lambda: coral(images(), torch.zeros(1, 3, 1, 1)), 'at least two pixels'),
    'a flat channel': (lambda: published_coral(images(), torch.zeros(1, 3, 4, 4)), 'use coral'),
    'bytes': (lambda: stylise(to_uint8(images()), images()), 'Images are floats'),
    'not a number': (lambda: stylise(images() * torch.nan, images(), 'coral'), 'NaN or infinity'),
    'one image': (lambda: stylise(images()[0], images()), r'Images are a tensor \[batch'),
    'method': (lambda: stylise(images(), images(), 'cyclegan'), 'style transfer method'),
    'sides': (lambda: StyleTransfer(StyleTransferConfig(widths=(4,)))(images(1, 17), images(1)), 'multiples of 2'),
    'start': (lambda: GatysConfig(start='style'), "'content' or 'noise'"),
    'weight': (lambda: GatysConfig(style_weight=float('nan')), 'style_weight is a finite number, not nan'),
    'negative weight': (lambda: GatysConfig(style_weight=-1.0), 'not negative'),
    'half a step': (lambda: GatysConfig(steps=2.5), 'steps is a whole number, not 2.5'),
    'layers': (lambda: GatysConfig(style_layers=(0.5,)), 'style_layers is a list'),
    'a layer before the first': (lambda: GatysConfig(content_layers=(-1,)), 'numbers of maps from 0'),
    'a missing layer': (lambda: gatys(images(1), images(1), GatysConfig(style_layers=(9,))), 'there is no 9'),
    'a layer of content': (lambda: gatys(images(1), images(1), GatysConfig(content_layers=(4,))), 'there is no 4'),
    'an encoder': (lambda: StyleTransfer(StyleTransferConfig(layer=9))(images(1), images(1)), 'there is no 9'),
    'styles of gatys': (lambda: gatys(images(3), images(2)), 'one style for all'),
    'seed': (lambda: gatys(images(1), images(1), seed='a'), "seed is a whole number, not 'a'"),
    'one channel': (lambda: coral(images(1)[:, :1], images(1)), r'Images are a tensor \[batch'),
    'no steps': (lambda: GatysConfig(steps=0), 'at least one step'),
    'no doubling': (lambda: StyleTransferConfig(widths=()), 'at least one doubling'),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_input_is_one_sentence(name):
    call, says = BAD[name]
    with pytest.raises((ValueError, KeyError), match=says):
        call()
    assert style_transfer.__doc__


def test_gatys_takes_images_with_a_gradient_and_keeps_their_precision():
    content = (0.5 * images(1)).requires_grad_(True) + 0
    assert gatys(content, images(1), QUICK).images.isfinite().all()
    start = style_transfer._descend
    found = []

    def spy(look, content, style, config, seed, tell):
        look = type('Look', (), dict(maps=lambda self, x: found.append(x.dtype) or [x]))()
        return start(look, content, style, config, seed, tell)

    try:
        style_transfer._descend = spy
        config = GatysConfig(steps=1, start='noise', content_layers=(0,), style_layers=())
        assert gatys(images(1).double(), images(1).double(), config).images.dtype == torch.float64
    finally:
        style_transfer._descend = start
    assert set(found) == {torch.float64}


def test_statistics_in_half_precision():
    maps = 500 * images()
    assert torch.allclose(gram(maps.half()), gram(maps), rtol=5e-3, atol=100)
    for half, exact in zip(channel_statistics(maps.half()), channel_statistics(maps)):
        assert half.dtype == torch.float16 and torch.allclose(half.float(), exact, rtol=2e-3, atol=0.1)
    style = 300 * images(seed=1)
    found = match_statistics(maps.half(), style.half())
    assert torch.allclose(found.float(), match_statistics(maps, style), atol=2)


def test_coral_in_half_precision():
    content, style = images(2), images(2, seed=1)
    half = coral(content.half(), style.half())
    assert half.dtype == torch.float16
    assert torch.allclose(half.float(), coral(content, style), atol=0.02)


@pytest.mark.parametrize(
    'call, word',
    [
        (lambda: stylise(images(0), images(1), 'colours'), 'no image'),
        (lambda: stylise(images(1), images(0), 'colours'), 'no image'),
        (lambda: gram(torch.zeros(3, 8, 8)), 'Feature maps are floats'),
        (lambda: gram(torch.zeros(1, 3, 8, 8).byte()), 'Feature maps are floats'),
        (lambda: coral(images(2), images(3)), '3 do not fit 2'),
        (lambda: coral(images(1) * torch.nan, images(1)), 'NaN'),
        (lambda: published_coral(images(1), images(1) * torch.nan), 'NaN'),
        (lambda: GatysConfig(content_layers=(), style_layers=()), 'content layer or a style layer'),
        (lambda: StyleTransfer(StyleTransferConfig(layer=1)).encode(images(1, 32)), 'do not fit'),
        (lambda: StyleTransfer(StyleTransferConfig(channels=32)).encode(images(1, 32)), 'do not fit'),
    ],
)
def test_what_does_not_fit_is_one_sentence(call, word):
    with pytest.raises(ValueError, match=word):
        call()
