"Encoders: sizes, explained variance, refinement, losses, training in small, the shipped ones, bad input."

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from animegan_nb import encoder as en
from animegan_nb import toon, toon_net
from animegan_nb.core import rng, shipped
from animegan_nb.latents import as_ws, draw, sample_w
from animegan_nb.metrics import FeatureDistance
from animegan_nb.stylegan import StyleGANConfig, StyleGANGenerator, count_parameters, pretrained_stylegan

TINY = StyleGANConfig(32, z_dim=8, w_dim=12, mapping_layers=2, channel_base=128, channel_max=8)
SMALL = en.EncoderConfig(w_dim=12, width=4, reach=0.3)


@pytest.fixture(scope='module')
def tiny():
    torch.manual_seed(0)
    g = StyleGANGenerator(TINY).eval().requires_grad_(False)
    g.mapping.w_avg.copy_(sample_w(g, 500).mean(0))
    return g


def nothing(a, b):
    return torch.zeros(len(a))


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 60), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2))
def test_output_size_is_that_of_convolutions(n, k, s, p, layers):
    x = torch.zeros(1, 1, n, n)
    for _ in range(layers):
        if x.shape[-1] + 2 * p < k:
            return
        x = F.conv2d(x, torch.zeros(1, 1, k, k), stride=s, padding=p)
    assert en.output_size(n, k, s, p, layers) == x.shape[-1]


@settings(max_examples=40, deadline=None)
@given(st.floats(-2, 3), st.integers(0, 100))
def test_explained_is_a_parabola_in_the_step_towards_the_truth(t, seed):
    truth, mean = torch.randn(20, 4, generator=rng(seed)).double(), torch.randn(4, generator=rng(seed + 1)).double()
    assert abs(en.explained(mean + t * (truth - mean), truth, mean) - (1 - (1 - t) ** 2)) < 1e-6


def test_the_thesis_encoder_is_five_layers_and_fully_convolutional():
    e = en.ConvEncoder(12, width=4)
    assert len(e.convs) == 5 and all(isinstance(m, torch.nn.Conv2d) for m in e.convs)
    assert e(torch.randn(2, 3, 32, 32)).shape == (2, 12) and e(torch.randn(2, 3, 96, 64)).shape == (2, 12)
    assert en.output_size(512, layers=5) == 16


def test_passes_begin_at_the_mean_and_add_corrections(tiny):
    torch.manual_seed(1)
    e = en.Encoder(SMALL)
    x = draw(tiny, sample_w(tiny, 3))
    found = e.passes(tiny, x)
    assert len(found) == 4 and torch.equal(found[0], as_ws(tiny, tiny.mapping.w_avg.expand(3, -1)))
    drawn = tiny.synthesis(found[1], 'constant')
    assert torch.allclose(found[2], found[1] + e.net(torch.cat([x, drawn], 1)), atol=1e-5)
    assert torch.equal(e(tiny, x), found[-1]) and len(e.passes(tiny, x, 1)) == 2
    assert torch.allclose(e(tiny, x[:1]), found[-1][:1], atol=1e-4)  # one image at a time: the same
    plain = en.Encoder(replace(SMALL, kind='plain'))
    assert len(plain.passes(tiny, x)) == 2 and [len(each.passes(tiny, x, 0)) for each in (plain, e)] == [1, 1]
    assert plain(tiny, x).shape == (3, 8, 12) and torch.equal(plain(tiny, x)[:, 0], plain(tiny, x)[:, 7])


def test_the_loss_of_the_right_answer_is_its_distance_from_the_mean(tiny):
    w = sample_w(tiny, 3)
    ws = as_ws(tiny, w)
    x = tiny.synthesis(ws, 'constant')
    weights = en.EncoderLoss(near=0.5)
    assert torch.allclose(
        en.encoder_loss(tiny, x, ws, nothing, weights), 0.5 * (ws - tiny.mapping.w_avg).square().mean(), atol=1e-6
    )
    assert en.encoder_loss(tiny, x, ws.flip(0), nothing, weights) > en.encoder_loss(tiny, x, ws, nothing, weights)


def test_generated_batches_repeat_and_mix(tiny):
    a, b = en.generated_batch(tiny, 4, rng(1)), en.generated_batch(tiny, 4, rng(1))
    assert torch.equal(a, b) and a.shape == (4, 3, 32, 32) and a.abs().max() <= 1


def test_training_learns_and_repeats_bit_for_bit(tiny):
    def fit(kind):
        torch.manual_seed(0)
        e = en.Encoder(replace(SMALL, kind=kind))
        drawings = torch.randint(0, 256, (20, 3, 32, 32), generator=rng(2), dtype=torch.uint8)
        if kind == 'plain':
            return e, en.fit_plain(e.net, tiny, 150, 16, 3e-3)
        return e, en.fit_refined(
            e, tiny, drawings, nothing, 30, 6, 3e-3, weights=en.EncoderLoss(features=0.0, drawings=0.0)
        )

    for kind in ('plain', 'refined'):
        (one, history), (two, again) = fit(kind), fit(kind)
        assert history == again and all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
        first, last = sum(history[:5]) / 5, sum(history[-5:]) / 5
        assert last > first + 0.3 if kind == 'plain' else last < first


def test_descent_goes_down_and_leaves_its_start_alone(tiny):
    x, start = draw(tiny, sample_w(tiny, 2, 1)), as_ws(tiny, tiny.mapping.w_avg.expand(2, -1)).clone()
    kept = start.clone()
    ws, history = en.descend(tiny, x, start, 30, nothing, weights=en.EncoderLoss(features=0.0, near=0.0))
    assert torch.equal(start, kept) and history[-1] < 0.7 * history[0] and not ws.requires_grad


@pytest.mark.parametrize('how', ['descend', 'two at once', 'fit_refined'])
def test_a_generator_that_is_still_trained_gets_no_gradients(how):
    torch.manual_seed(0)
    g = StyleGANGenerator(TINY).eval()
    next(g.parameters()).requires_grad_(False)
    asked, x = [p.requires_grad for p in g.parameters()], draw(g, sample_w(g, 2, 1))
    weights = en.EncoderLoss(features=0.0)
    search = lambda steps: en.descend(g, x, as_ws(g, sample_w(g, 2)), steps, nothing, weights=weights)
    if how == 'descend':
        search(2)
    elif how == 'two at once':
        with ThreadPoolExecutor(2) as pool:
            assert [len(history) for _, history in pool.map(search, (2, 6))] == [3, 7]
    else:
        drawings = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
        en.fit_refined(en.Encoder(SMALL), g, drawings, nothing, 1, 2, weights=weights)
    assert [p.requires_grad for p in g.parameters()] == asked and all(p.grad is None for p in g.parameters())


def test_the_shipped_encoders_fit_in_and_work():
    g, _ = pretrained_stylegan()
    heads = F.avg_pool2d(
        toon.ToonHeads(n=24, size=64, seed=123, supersample=1).batch(range(24))['image'].float().div(127.5).sub(1), 2
    )
    distance, errors = FeatureDistance(toon_net.toon_network().maps), {}
    for name in ('encoder_plain_toon_32', 'encoder_refined_toon_32'):
        e, facts = en.pretrained_encoder(name)
        assert (
            facts['network'] == asdict(e.config)
            and shipped(f'pretrained/{name}.safetensors').stat().st_size <= 2 * 2**20
        )
        with torch.no_grad():
            errors[name] = [
                (distance(draw(g, ws), heads).mean().item(), (draw(g, ws) - heads).square().mean().item())
                for ws in e.passes(g, heads)
            ]
    refined = errors['encoder_refined_toon_32']
    assert refined[-1] < refined[1] < refined[0] and refined[-1] < errors['encoder_plain_toon_32'][-1]
    assert count_parameters(e) < 2_000_000


def test_the_comparison_has_three_seeds_and_belongs_to_the_shipped_generator():
    stored = json.loads(shipped('results/encoder_compare.json').read_text())
    from animegan_nb.metrics import file_sha256

    assert stored['generator_sha256'] == file_sha256(shipped('pretrained/stylegan_toon_32.safetensors'))[:16]
    for name, found in stored['methods'].items():
        for where in ('toon', 'generated'):
            assert len(found[where]['pixels']) == (1 if name == 'the mean' else 3), name


def test_bad_input_is_answered_in_one_sentence(tiny):
    e, plain = en.Encoder(SMALL), en.Encoder(replace(SMALL, kind='plain'))
    x, larger = torch.zeros(1, 3, 32, 32), StyleGANGenerator(replace(TINY, size=64)).eval()
    wider = StyleGANGenerator(replace(TINY, w_dim=16)).eval()
    bytes_64 = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    for call, words in (
        (lambda: e.passes(tiny, x, -1), 'from 0 on, not -1'),
        (lambda: plain.passes(tiny, x, 2), 'one pass or none'),
        (lambda: e(larger, x), 'not for one of 64 px with 12'),
        (lambda: plain(wider, x), 'not for one of 32 px with 16'),
        (lambda: en.fit_refined(e, wider, bytes_64, nothing, 1), 'with 16'),
        (lambda: en.fit_refined(e, tiny, torch.rand(4, 3, 32, 32), nothing, 1), 'to_uint8'),
        (lambda: en.fit_refined(e, tiny, bytes_64, nothing, 1), 'resize them'),
        (lambda: en.explained(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3)), 'no variance'),
        (lambda: e(tiny, torch.zeros(1, 3, 16, 16)), 'resize'),
        (lambda: e(tiny, torch.zeros(3, 32, 32)), r'\[n, 3, 32, 32\]'),
        (lambda: en.ConvEncoder(4)(torch.zeros(1, 3, 16, 16)), 'at least 32'),
        (lambda: en.EncoderConfig(kind='big'), "'plain' or 'refined'"),
        (lambda: en.EncoderConfig(size=48), 'power of two'),
        (lambda: en.EncoderConfig(passes=0), 'at least one pass'),
        (lambda: en.output_size(1, 4, 2, 0), 'A kernel of 4 does not fit into 1 pixels'),
        (lambda: en.output_size(32, layers=6), 'fewer layers'),
        (lambda: en.fit_refined(en.Encoder(replace(SMALL, kind='plain')), tiny, None, nothing, 1), 'fit_plain'),
        (lambda: en.explained(torch.zeros(2, 3), torch.zeros(3, 3), torch.zeros(3)), 'cannot be compared'),
    ):
        with pytest.raises(ValueError, match=words) as error:
            call()
        assert '\n' not in str(error.value)


def test_what_encoders_and_descents_refuse(tiny):
    x, start = draw(tiny, sample_w(tiny, 4, 1)), as_ws(tiny, sample_w(tiny, 4, 2))
    weights = en.EncoderLoss(features=0.0)
    encoder = en.Encoder(SMALL)
    search = lambda images=x, ws=start, lr=0.03: en.descend(tiny, images, ws, 2, nothing, lr, weights)
    for way in (lambda images: encoder(tiny, images), search):
        with pytest.raises(ValueError, match='Images are floats in .*not torch.uint8'):
            way(torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
        with pytest.raises(ValueError, match='divide values from 0 to 255'):
            way(torch.full((4, 3, 32, 32), 200.0))
    for ws in (start[:1], start[:, 0]):
        with pytest.raises(ValueError, match='For 4 images the start is'):
            search(ws=ws)
    with pytest.raises(ValueError, match='The descent diverged'):
        search(lr=1e30)
    with torch.no_grad():
        assert search()[1] == search(x.double(), start.double())[1]
        assert torch.equal(encoder(tiny, x), encoder(tiny, x.double()))
