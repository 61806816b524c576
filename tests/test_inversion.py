"Inversion: its schedules, prior and noise maps, every space and start, tuning, the viewer, a GPU, bad input."

import copy
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from animegan_nb import inversion as I, toon, widgets
from animegan_nb.core import rng, to_float
from animegan_nb.dcgan import DCGANConfig, DCGANGenerator
from animegan_nb.encoder import pretrained_encoder
from animegan_nb.inversion import Inverter, InversionViewer, Search, invert, latent_prior
from animegan_nb.perceptual import PerceptualLoss
from animegan_nb.stylegan import StyleGANConfig, StyleGANGenerator, pretrained_stylegan

SMALL = dict(size=16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=64, channel_max=8)
QUIET = Search(ramps=False, start='random')
NOISY = Search(w_noise=0.05, start='mean')


class Two(nn.Module):
    "A small network with two maps, in place of the toon network."

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 9, 3, 2, 1)

    def forward(self, x):
        x = self.first(x).relu()
        return [x, self.second(x)]


class Linear(nn.Module):
    z_dim = 6

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(48, 6, generator=rng(3)) / 4)

    def forward(self, z):
        return (z @ self.weight.T).view(-1, 3, 4, 4)


def look():
    return PerceptualLoss(Two())


def stylegan(noise=0.0, **changes):
    torch.manual_seed(1)
    network = StyleGANGenerator(StyleGANConfig(**SMALL | changes))
    for name, p in network.named_parameters():
        if name.endswith('strength'):
            nn.init.constant_(p, noise)
    return network


def dcgan():
    torch.manual_seed(1)
    return DCGANGenerator(DCGANConfig(16, channels=8, latent=8)).train()


GENERATORS = {
    'stylegan2': stylegan,
    'stylegan1': lambda: stylegan(architecture='stylegan1'),
    'dcgan': dcgan,
    'linear': Linear,
}


def targets(network, n=3, seed=2):
    with torch.no_grad():
        return copy.deepcopy(network).eval()(torch.randn(n, network.z_dim, generator=rng(seed)))


def fast(network, target, space='w', alpha=0.5, steps=4, **options):
    return invert(network, target, space, alpha, steps, perceptual=look(), progress=False, **options)


def spaces(network):
    return I.SPACES if hasattr(network, 'mapping') else ('z',)


# ---- schedules, noise maps and the prior, beside the published formulas


def test_the_published_schedules(reference_dir):
    known = np.load(reference_dir / 'part3_reference.npz')
    steps = known['projector/steps'].tolist()
    rates = [0.1 * I.learning_rate_ramp(int(s), 1000) for s in steps]
    assert np.allclose(rates, known['projector/lr_1000'], atol=1e-7)
    noises = [I.search_noise(int(s), 1000) for s in steps]
    assert np.allclose(noises, known['projector/w_noise_factor_1000'], atol=1e-7)


def test_the_published_noise_regulariser(reference_dir):
    known = np.load(reference_dir / 'part3_reference.npz')

    def maps(start):
        names = sorted((k for k in known.files if k.startswith(start)), key=lambda k: int(k.rpartition('_')[2]))
        return [torch.from_numpy(known[k]) for k in names]

    one = I.noise_regulariser(maps('noise/in_'))
    assert torch.allclose(one, torch.tensor(known['noise/regulariser']).view(1), rtol=1e-4)
    both = I.noise_regulariser(maps('noise/batch2_in_'))
    assert torch.allclose(both, torch.from_numpy(known['noise/batch2_each']), rtol=1e-4)
    assert (both - float(known['noise/batch2_joint_mean'])).abs().max() > 0.01  # what a public port computes
    ramp = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32)
    assert I.noise_regulariser([ramp]).item() == pytest.approx(float(known['noise/regulariser_of_ramp32']), rel=1e-3)
    for i in (0, 5):
        found = I.normalised(maps('noise/in_')[i]).numpy()
        assert np.allclose(found, known[f'noise/normalised_official_{i}'], atol=1e-5)


def test_the_published_mahalanobis_distance(reference_dir):
    known = np.load(reference_dir / 'part3_reference.npz')
    w = torch.from_numpy(known['pn/w_samples']) / 2**0.5  # theirs have the gain √2, which whitening absorbs
    prior = I.LatentPrior(w)
    assert np.allclose(prior.mean, known['pn/mu'], atol=1e-5)
    found = prior.whiten(w[:5]).square().sum(1)
    assert np.allclose(found, known['pn/mahalanobis_of_first5'], rtol=1e-3)
    assert prior.energy(w).mean().item() == pytest.approx(1, abs=1e-3)
    assert prior.energy(w, shell=True).shape == (4096,) and prior.energy(w[None, :7]).shape == (1,)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2000), st.floats(0, 1))
def test_the_rate_begins_at_zero_and_stays_between(steps, share):
    assert I.learning_rate_ramp(0, steps) == 0 and I.learning_rate_ramp(steps, steps) == 0
    assert 0 <= I.learning_rate_ramp(int(share * steps), steps) <= 1
    assert I.search_noise(0, steps) == 0.05 and I.search_noise(steps, steps) == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.sampled_from([4, 8, 16, 32]), st.integers(1, 3))
def test_noise_maps_one_image_at_a_time(seed, side, n):
    maps = [torch.randn(n, 1, s, s, generator=rng(seed)) for s in (4, side)]
    together = I.noise_regulariser(maps)
    alone = torch.cat([I.noise_regulariser([m[i : i + 1] for m in maps]) for i in range(n)])
    assert together.shape == (n,) and torch.allclose(together, alone, atol=1e-6) and (together >= 0).all()


def test_whitening_goes_both_ways():
    network = stylegan()
    prior = latent_prior(network)
    z = torch.randn(10_000, 8, generator=rng(123))
    with torch.no_grad():
        w = network.mapping.w(z)
    assert prior.energy(w).mean().item() == pytest.approx(1, abs=1e-3)
    assert torch.allclose(prior.colour(prior.whiten(w[:50])), w[:50], atol=1e-4)
    assert prior.w_radius.item() == pytest.approx((w - w.mean(0)).square().sum(1).mean().sqrt().item(), rel=1e-5)


# ---- the search


def test_a_linear_generator_gives_its_latent_back():
    network = Linear()
    z = torch.randn(3, 6, generator=rng(4))
    found = fast(network, network(z).detach(), 'z', 0.0, 400)
    assert torch.allclose(found.latent, z, atol=1e-3) and found.losses.shape == (401, 3)


@pytest.mark.parametrize('name', GENERATORS)
def test_every_generator_stays_as_it_is_in_every_space(name):
    network = GENERATORS[name]()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    modes = [m.training for m in network.modules()]
    target = targets(network)
    for space in spaces(network):
        found = fast(network, target, space, steps=6)
        assert found.image.shape == target.shape and found.losses.shape == (7, 3) and found.space == space
        assert not found.latent.requires_grad and not found.image.requires_grad
        assert (found.ws is None) == (not hasattr(network, 'mapping'))
        again = fast(network, target, space, steps=6)
        assert torch.equal(again.latent, found.latent) and torch.equal(again.losses, found.losses)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert [m.training for m in network.modules()] == modes


@pytest.mark.parametrize('search', [Search(starts=2), Search(start='random', starts=2), NOISY], ids=repr)
@pytest.mark.parametrize('space', I.SPACES)
def test_an_image_alone_and_in_a_batch(space, search):
    network = stylegan()
    target = targets(network)
    options = dict(steps=5, search=search)
    together = fast(network, target, space, **options)
    for i in range(3):
        alone = fast(network, target[i : i + 1], space, **options)
        assert torch.allclose(alone.latent[0], together.latent[i], atol=2e-3)
        assert torch.allclose(alone.losses[:, 0], together.losses[:, i], rtol=1e-3, atol=1e-4)


def test_alpha_mixes_the_two_losses():
    network = stylegan()
    target = targets(network)
    for alpha in (0.0, 0.3, 1.0):
        found = fast(network, target, 'w', alpha)
        squared, seen = (found.image - target).square().mean((1, 2, 3)), look()(found.image, target)
        assert torch.allclose(found.losses[-1], alpha * seen + (1 - alpha) * squared, atol=1e-6)


def test_the_first_step_of_the_ramp_changes_nothing():
    network = stylegan()
    inverter = Inverter(network, targets(network), 'w+', perceptual=look(), steps=20)
    start = inverter.latent.detach().clone()
    inverter.step()
    assert torch.equal(inverter.latent, start)
    inverter.step()
    assert not torch.equal(inverter.latent, start)


def test_the_thesis_keeps_its_rate():
    network = Linear()
    inverter = Inverter(network, targets(network), 'z', 0.0, 20, search=I.THESIS)
    start = inverter.latent.detach().clone()
    inverter.step()
    assert torch.allclose((inverter.latent - start).abs(), torch.tensor(0.1), atol=1e-4)  # Adam's first step


def test_w_and_w_plus_draw_the_same_from_the_same_start():
    network = stylegan()
    target = targets(network)
    for search in (QUIET, Search()):
        first = {s: fast(network, target, s, search=search, steps=1).losses[0] for s in I.SPACES}
        for space in ('w', 'w+', 'p'):
            assert torch.allclose(first[space], first['z'], rtol=1e-3)


@pytest.mark.parametrize('name', GENERATORS)
def test_the_nearest_of_the_candidates(name):
    network = copy.deepcopy(GENERATORS[name]()).eval()
    z = torch.randn(40, network.z_dim, generator=rng(8))
    with torch.no_grad():
        target = network(z[[5, 33]])
    found = I.nearest_latents(network, target, z, 2)
    assert torch.equal(found[[0, 2]], z[[5, 33]]) and found.shape == (4, network.z_dim)
    inverter = Inverter(network, target, 'z', perceptual=look(), search=Search(candidates=64))
    start = inverter.losses(inverter.draw(inverter.latent), inverter.latent)
    other = Inverter(network, target, 'z', perceptual=look(), search=QUIET)
    assert (start <= other.losses(other.draw(other.latent), other.latent)).all()


def test_the_mean_is_the_first_start():
    network = stylegan()
    prior = latent_prior(network)
    search = Search(start='mean', starts=2)
    w = I.first_latent(network, targets(network), 'w', search, prior)
    assert torch.allclose(w[::2], prior.w_mean.expand(3, -1)) and (w[1::2] != prior.w_mean).any(1).all()


def test_of_several_starts_the_best_is_kept():
    network = stylegan()
    target = targets(network)
    search = Search(start='random', starts=3)
    many = fast(network, target, 'z', steps=5, search=search)
    inverter = Inverter(network, target, 'z', steps=5, perceptual=look(), search=search)
    assert inverter.latent.shape == (9, 8)
    for _ in range(5):
        inverter.step()
    every = inverter.losses(inverter.draw(inverter.latent), inverter.latent).detach().view(3, 3)
    assert torch.allclose(many.losses[-1], every.amin(1))
    rows = I.best_of_starts(torch.tensor([3.0, 1, 2, 0, 5, 6]), 2)
    assert rows.tolist() == [1, 3]


# a latent so far away that its loss is not a number from the first step on
FAR = {'linear': ('z', 0.0, 1e30), 'stylegan2': ('w', 0.5, 1e38), 'stylegan1': ('w', 0.5, 1e38)}


@pytest.mark.parametrize('name', FAR)
def test_one_diverging_start_of_one_image_loses_to_the_others(name):
    network, (space, alpha, far) = GENERATORS[name](), FAR[name]
    target = targets(network)
    search = dict(search=Search(starts=2, lr=0.01), alpha=alpha, steps=6)
    good = Inverter(network, target, space, perceptual=look(), **search).latent.detach().clone()
    before = fast(network, target, space, start=good, **search)
    for k in range(6):
        starts = good.clone()
        starts[k] = far
        found = fast(network, target, space, start=starts, **search)
        image, others = k // 2, [i for i in range(3) if i != k // 2]
        assert found.latent.isfinite().all() and found.losses.isfinite().all() and found.image.isfinite().all()
        assert torch.allclose(found.latent[others], before.latent[others], atol=1e-5)
        alone = fast(network, target[[image]], space, start=good[[k ^ 1]], **search)
        assert torch.allclose(found.latent[image], alone.latent[0], atol=1e-5)


def test_an_image_of_which_every_start_diverges_is_named():
    network = Linear()
    target, starts = targets(network, 4), torch.randn(8, 6, generator=rng(5))
    starts[[1, 2, 3]] = 1e30
    with pytest.raises(ValueError, match=r'diverged for image 2 of 4 \(no start has a finite loss\): lower the rate'):
        fast(network, target, 'z', 0.0, start=starts)
    starts[[6, 7]] = 1e30
    with pytest.raises(ValueError, match='for image 2, 4 of 4'):
        fast(network, target, 'z', 0.0, start=starts)


def test_a_loss_that_is_not_finite_is_never_the_smallest():
    nan, inf = float('nan'), float('inf')
    rows = I.best_of_starts(torch.tensor([nan, 2, 1, 4, inf, nan, -inf, nan, 9]), 3)
    assert rows.tolist() == [2, 3, 8]


def test_an_encoder_gives_the_start():
    network = stylegan()
    target, asked = targets(network), []

    def encoder(generator, images):
        asked.append(images.shape)
        return generator.mapping(torch.ones(len(images), 8))

    with torch.no_grad():
        w = network.mapping.w(torch.ones(3, 8))
    prior = latent_prior(network)
    for space, wanted in (('w', w), ('w+', w[:, None].expand(-1, 6, -1)), ('p', prior.whiten(w))):
        inverter = Inverter(network, target, space, perceptual=look(), start=encoder)
        assert torch.allclose(inverter.latent, wanted, atol=1e-5)
    assert asked == [target.shape] * 3
    with pytest.raises(ValueError, match='not z'):
        fast(network, target, 'z', start=encoder)


def test_the_shipped_encoder_gives_a_nearer_start():
    network, target = pretrained_stylegan()[0], toon.ready_heads().resized(32).only('image').batch(torch.arange(2))
    target = to_float(target['image'])
    options = dict(alpha=0.0, steps=1)
    found = fast(network, target, 'w+', start=pretrained_encoder()[0], **options)
    other = fast(network, target, 'w+', search=NOISY, **options)
    assert (found.losses[0] < other.losses[0]).all()


@pytest.mark.parametrize('space', I.SPACES)
@pytest.mark.parametrize('shell', [False, True])
def test_the_prior_pulls(space, shell):
    network = stylegan()
    target, prior = targets(network), latent_prior(network)
    start = I.first_latent(network, target, space, QUIET, prior, seed=1) * 3
    energies = []
    for weight in (0.0, 100.0):
        search = Search(prior=weight, shell=shell, ramps=False)
        found = fast(network, target, space, steps=30, search=search, start=start)
        known = prior.energy(found.ws, shell) if space == 'z' else I.latent_energy(found.latent, space, prior, shell)
        energies.append(known.mean())
    assert energies[1] < energies[0]


def test_in_z_the_length_counts_only_without_a_mapping():
    for network in (stylegan(), Linear()):
        search = Search(prior=1.0, start='random')
        inverter = Inverter(network, targets(network), 'z', 0.0, search=search)
        z = inverter.latent.detach()
        image = inverter.draw(z)
        energy = inverter.losses(image, z) - (image - inverter.target).square().mean((1, 2, 3))
        longer = inverter.losses(image, 3 * z) - inverter.losses(image, z)
        if isinstance(network, Linear):
            assert torch.allclose(energy, z.square().mean(1), atol=1e-4) and (longer > 1).all()
        else:
            w = network.mapping.w(z)
            assert torch.allclose(energy, latent_prior(network).energy(w), atol=1e-3)
            assert torch.allclose(longer, torch.zeros(3), atol=1e-2)


def test_noise_maps_are_optimised_and_stay_noise():
    network = stylegan(noise=0.5)
    target = targets(network)
    kept = {k: v.clone() for k, v in network.state_dict().items() if k.endswith('constant')}
    search = Search(noise_maps=True, noise_weight=10.0)
    found = fast(network, target, steps=8, search=search)
    assert [m.shape[-1] for m in found.noise] == network.synthesis.noise_sizes
    for noise, constant in zip(found.noise, kept.values()):
        assert noise.shape[0] == 3 and not torch.allclose(noise, constant, atol=1e-3)
        assert torch.allclose(noise.mean((1, 2, 3)), torch.zeros(3), atol=1e-5)
        assert torch.allclose(noise.square().mean((1, 2, 3)), torch.ones(3), atol=1e-4)
    drawn = network.synthesis(found.ws, list(found.noise))
    assert torch.allclose(drawn, found.image, atol=1e-5)
    alone = fast(network, target[:1], steps=8, search=search)
    assert torch.allclose(alone.noise[-1][0], found.noise[-1][0], atol=5e-3)
    assert all(torch.equal(network.state_dict()[k], v) for k, v in kept.items())


def test_a_search_can_be_interrupted_and_continued():
    network = stylegan()
    target = targets(network)
    whole = fast(network, target, steps=6)
    inverter = Inverter(network, target, steps=6, perceptual=look())
    for step in range(6):
        inverter.step()
        assert I.inverted(inverter).losses.shape == (step + 2, 3)
    assert torch.equal(I.inverted(inverter).latent, whole.latent)
    with pytest.raises(ValueError, match='begin a new one'):
        inverter.step()


# ---- pivotal tuning


@pytest.mark.parametrize('name', ['stylegan2', 'dcgan'])
def test_pivotal_tuning_changes_a_copy(name):
    network = GENERATORS[name]()
    space = 'w+' if name == 'stylegan2' else 'z'
    target = torch.linspace(-0.6, 0.6, 16).expand(2, 3, 16, 16)
    found = fast(network, target, space, steps=5)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    options = dict(perceptual=look(), progress=False)
    tuned = I.pivotal_tuning(network, target, found, 60, 1e-2, 0.0, **options)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    draw = lambda g: I.draw_latent(g, found.latent, space)
    error = lambda g: (draw(g) - target).square().mean()
    assert error(tuned) < 0.8 * error(copy.deepcopy(network).eval())
    assert not any(p.requires_grad for p in tuned.parameters()) and not tuned.training
    if space == 'w+':
        mapping = tuned.mapping.state_dict()
        assert all(torch.equal(v, before[f'mapping.{k}']) for k, v in mapping.items())
    few = I.pivotal_tuning(network, target, found, 60, 1e-2, 0.0, enough=1e9, **options)
    assert (draw(few) - draw(tuned)).abs().max() > 1e-3  # it stopped after the first step


def test_the_locality_term_keeps_what_is_near():
    network = stylegan()
    target = torch.rand(2, 3, 16, 16, generator=rng(5)) * 2 - 1
    found, prior = fast(network, target, 'w', steps=5), latent_prior(network)
    options = dict(steps=40, lr=1e-2, perceptual=look(), progress=False)
    near = I.neighbours(network, found.latent, 'w', prior, 1.0, rng(9)).detach()
    draw = lambda g: I.draw_latent(g, near, 'w').detach()
    moved = [
        (draw(I.pivotal_tuning(network, target, found, locality=weight, **options)) - draw(network)).square().mean()
        for weight in (0.0, 10.0)
    ]
    assert moved[1] < moved[0]


def test_a_search_and_a_tuning_bring_their_own_gradients():
    network = stylegan()
    target = targets(network, 2)
    with torch.no_grad():
        found = fast(network, target)
        tuned = I.pivotal_tuning(network, target, found, 2, perceptual=look(), progress=False)
    assert torch.equal(found.latent, fast(network, target).latent)
    changed = zip(tuned.synthesis.parameters(), network.synthesis.parameters())
    assert any(not torch.equal(a, b) for a, b in changed)


@pytest.mark.parametrize('w', [torch.zeros(8, 8), torch.zeros(20, 3, 8)])
def test_a_prior_needs_more_samples_than_dimensions(w):
    with pytest.raises(ValueError, match='more samples than dimensions'):
        I.LatentPrior(w)


@pytest.mark.parametrize('space', I.SPACES)
def test_neighbours_are_at_one_distance(space):
    network = stylegan()
    prior = latent_prior(network)
    latent = I.first_latent(network, targets(network, 5), space, NOISY, prior)
    near = I.neighbours(network, latent, space, prior, 0.5, rng(1))
    unit = prior.w_radius if space in ('w', 'w+') else torch.tensor(8**0.5)
    assert near.shape == latent.shape
    assert torch.allclose((near - latent).norm(dim=-1), 0.5 * unit.expand(latent.shape[:-1]), rtol=1e-4)


# ---- the viewer


def viewer(steps=60, **options):
    network = stylegan()
    options = dict(steps=steps, perceptual=look()) | options
    return InversionViewer(network, targets(network, 2), **options)


def test_the_viewer_searches_in_the_background():
    v = viewer(steps=4000)
    v.start()
    first = v.thread
    v.start()  # it runs already
    assert v.running and v.thread is first
    while len(v.inversion.history) < 3:
        time.sleep(0.01)
    picture = v.image()  # while it searches
    v.stop()
    stopped = len(v.inversion.history)
    assert not v.running and not v.done and picture.size == v.image().size
    time.sleep(0.05)
    assert len(v.inversion.history) == stopped
    v.start()
    while len(v.inversion.history) == stopped:
        time.sleep(0.01)
    v.stop()
    v.inversion.alpha = 0.25
    v.restart()
    v.stop()
    assert v.inversion.alpha == 0.25 and len(v.inversion.history) < 4000


def test_the_viewer_finds_what_invert_finds():
    v = viewer(steps=5)
    assert v.run(2).run() is v and v.done
    network = stylegan()
    found = fast(network, targets(network, 2), steps=5)
    assert torch.equal(I.inverted(v.inversion).latent, found.latent)
    v.start()
    assert not v.running  # nothing is left to do


def test_an_error_in_the_background_is_said(monkeypatch):
    v = viewer()
    monkeypatch.setattr(v.inversion, 'step', lambda: 1 / 0)
    v.start()
    v.thread.join()
    with pytest.raises(ZeroDivisionError):
        v.still_image()


def ask(widget, pressed=None, **values):
    "What the browser does; see test_widgets."
    request = widget.request
    values = request['values'] | values
    widget.request = dict(values=values, pressed=pressed, moving=False, id=request['id'] + 1)
    widget.newest.wait()
    return widget.result


def test_the_widget_answers_its_buttons_and_its_slider():
    pytest.importorskip('anywidget')
    v = viewer(steps=4000)
    widget = v.widget()
    widget.newest.wait()
    first = widget.result['image']
    assert list(widget.settings['controls']) == ['alpha'] and not v.running
    assert ask(widget, 'Continue')['problem'] == '' and v.running
    while len(v.inversion.history) < 20:
        time.sleep(0.01)
    assert ask(widget, 'Stop')['image'] != first and not v.running
    ask(widget, alpha=1.0)
    assert v.inversion.alpha == 1.0
    ask(widget, 'Start again')
    v.stop()
    assert v.inversion.alpha == 1.0
    v.error = RuntimeError('broken')
    assert 'broken' in ask(widget)['problem']


def test_where_nothing_runs_there_is_an_image(monkeypatch):
    v = viewer(steps=6).run(3)
    bundle, facts = v._repr_mimebundle_()
    assert 'after 3 steps' in facts['image/png']['alt'] and bundle['image/png']
    monkeypatch.setitem(sys.modules, 'anywidget', None)
    widgets.widget_class.cache_clear()
    alone, _ = v._repr_mimebundle_()
    assert set(alone) == {'image/png', 'text/plain'}


# ---- a GPU, and bad input


def test_on_a_gpu(gpu):
    cuda = torch.device('cuda')
    for name in ('stylegan2', 'dcgan'):
        network = (stylegan(noise=0.5) if name == 'stylegan2' else dcgan()).to(cuda)
        target = torch.rand(2, 3, 16, 16, generator=rng(0, cuda), device=cuda)
        loss = PerceptualLoss(Two().to(cuda))
        for space in spaces(network):
            options = dict(perceptual=loss, progress=False)
            search = Search(prior=0.1, starts=2, noise_maps=space == 'w')
            found = invert(network, target, space, steps=2, search=search, **options)
            assert found.latent.is_cuda and found.image.is_cuda and found.losses.is_cuda
            tuned = I.pivotal_tuning(network, target, found, 2, locality=0.1, **options)
            assert next(tuned.parameters()).is_cuda
        assert InversionViewer(network, target, steps=2, space='z', perceptual=loss).run().still_image().size
    gpu.check()


def test_targets_go_to_the_generator(gpu):
    cuda = torch.device('cuda')
    network = dcgan().to(cuda)
    found = invert(network, torch.zeros(1, 3, 16, 16), 'z', 0.0, 2, progress=False)
    assert found.image.is_cuda
    gpu.check()


def bad(**changes):
    network = stylegan()
    values = dict(generator=network, target=targets(network), perceptual=look(), progress=False) | changes
    return lambda: invert(**values)


def pivots(n=3, side=16, **options):
    network = stylegan()
    wanted = nn.functional.interpolate(targets(network, n), size=side)
    return lambda: I.pivotal_tuning(network, wanted, fast(network, targets(network, 3)), **options)


@pytest.mark.parametrize(
    'call, message',
    [
        (bad(space='v'), 'A space is one of'),
        (bad(alpha=1.5), 'α lies between 0 and 1'),
        (bad(alpha=float('nan')), 'α lies between 0 and 1'),
        (bad(alpha='half'), "α lies between 0 and 1, not 'half'"),
        (bad(steps=0), 'at least one step'),
        (bad(steps=2.5), 'steps is a whole number, not 2.5'),
        (bad(seed='a'), "seed is a whole number, not 'a'"),
        (bad(seed=1.5), 'seed is a whole number, not 1.5'),
        (bad(target=torch.zeros(1, 3, 8, 8)), 'resize them'),
        (bad(target=torch.zeros(0, 3, 16, 16)), 'at least one image'),
        (bad(target=torch.full((1, 3, 16, 16), float('nan'))), 'finite numbers'),
        (bad(target=torch.zeros(3, 16, 16)), 'Images are'),
        (bad(generator=Linear(), target=torch.zeros(1, 3, 4, 4)), 'Linear has no w'),
        (bad(start=torch.zeros(3, 9)), r'are \[3, 8\], not \[3, 9\]'),
        (bad(start=torch.zeros(2, 8)), r'are \[3, 8\], not \[2, 8\]'),
        (bad(search=Search(lr=1e30, ramps=False)), 'diverged'),
        (bad(generator=dcgan(), space='z', search=Search(noise_maps=True)), 'no noise maps'),
        (bad(search=Search(noise_maps=True)), 'have strength 0'),
        (lambda: Search(start='zero'), "starts at 'nearest', 'random' or 'mean'"),
        (lambda: Search(starts=0), 'at least one start'),
        (lambda: Search(starts=9, candidates=8), 'no more than the 8 candidates'),
        (lambda: Search(lr=0.0), 'positive rate'),
        (lambda: I.learning_rate_ramp(11, 10), 'between 0 and 10'),
        (lambda: I.learning_rate_ramp(0, 0), 'at least one step'),
        (lambda: I.learning_rate_ramp(0, 10, up=0.0), 'shares greater than 0'),
        (lambda: I.learning_rate_ramp(3, 10, down=0.0), 'shares greater than 0'),
        (lambda: Search(prior=float('nan')), 'prior is a finite number, not nan'),
        (lambda: Search(prior=-1.0), 'not negative'),
        (lambda: Search(starts=1.5), 'starts is a whole number, not 1.5'),
        (lambda: Search(lr='fast'), "lr is a finite number, not 'fast'"),
        (lambda: Search(candidates=None), 'candidates is a whole number, not None'),
        (bad(start='mean'), r"search=Search\(start='mean'\)"),
        (bad(start=torch.full((3, 8), float('nan'))), 'finite latents'),
        (lambda: I.noise_regulariser([torch.zeros(8, 8)]), 'A noise map is'),
        (lambda: I.noise_regulariser([]), 'give at least one'),
        (lambda: I.noise_regulariser([torch.ones(1, 1, 8, 8, dtype=torch.int64)]), 'floats, not torch.int64'),
        (lambda: I.noise_regulariser([torch.ones(1, 1, 1, 32)]), r'side, side\], not \[1, 1, 1, 32\]'),
        (lambda: I.noise_regulariser([torch.ones(n, 1, 8, 8) for n in (2, 3)]), 'their batches are 2 and 3'),
        (lambda: I.search_noise(0, 0), 'at least one step'),
        (lambda: I.search_noise(11, 10), 'between 0 and 10'),
        (lambda: I.search_noise(3, 10, end=0.0), 'shares greater than 0'),
        (bad(target=255 * torch.rand(1, 3, 16, 16, generator=rng(0))), r'in \[-1, 1\], and these reach 25'),
        (lambda: I.draw_latent(stylegan(), torch.zeros(1, 8), 'p'), 'In p a prior is needed'),
        (lambda: I.latent_energy(torch.zeros(1, 8), 'w'), 'In w a prior is needed'),
        (lambda: I.latent_energy(torch.zeros(1, 8), 'v'), "not 'v'"),
        (lambda: I.latent_energy(torch.zeros(2, 10, 128), 'p'), r'Latents in p are \[n, dim\], not \[2, 10, 128\]'),
        (lambda: I.latent_energy(torch.zeros(2, 8), 'w+'), r'in w\+ are \[n, layers, dim\], not \[2, 8\]'),
        (lambda: I.neighbours(stylegan(), torch.zeros(1, 8), 'w', None, 1.0, rng(0)), 'In w a prior is needed'),
        (lambda: latent_prior(Linear()), 'needs a mapping network'),
        (pivots(2), 'as many pivots'),
        (pivots(3, side=8), 'resize them'),
        (pivots(locality=-1.0), 'locality is a number from 0 on, not -1.0'),
        (pivots(lr=float('nan')), 'lr is a number from 0 on, not nan'),
        (pivots(reach='far'), "reach is a number from 0 on, not 'far'"),
        (pivots(steps=0.5), 'steps is a whole number, not 0.5'),
    ],
)
def test_bad_input_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert '\n' not in str(error.value)


def test_pivots_are_what_an_inversion_returns():
    network = stylegan()
    with pytest.raises(TypeError, match='found is what invert returns, an Inverted, not a Tensor') as error:
        I.pivotal_tuning(network, targets(network), torch.zeros(3, 8))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('search', ['nearest', None, dict(lr=0.1), Search])
def test_a_search_is_no_word(search):
    with pytest.raises(TypeError, match='search is a Search, such as NEAREST') as error:
        bad(search=search)()
    assert '\n' not in str(error.value)
