import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from animegan_nb import dcgan
from animegan_nb.dcgan import DCGANConfig, DCGANPair, Discriminator, Generator
from animegan_nb.training import Draws, Trainer, TrainingConfig, build_pair, recipes


@given(st.integers(1, 5), st.sampled_from([2, 4, 8]), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_any_size_that_doubles(doublings, base, batch):
    config = DCGANConfig(base*2**doublings, channels=32, base=base, latent=7)
    pictures = Generator(config)(torch.randn(batch, 7)) if batch > 1 else Generator(config).eval()(torch.randn(1, 7))
    assert pictures.shape == (batch, 3, config.size, config.size) and pictures.abs().max() <= 1
    assert Discriminator(config).eval()(pictures).shape == (batch,)


@pytest.mark.parametrize('size, g, d', [(128, 6_067_075, 2_790_209)])
def test_parameters_of_the_thesis(size, g, d):
    with torch.device('meta'): pair = DCGANPair(DCGANConfig(size))
    assert sum(p.numel() for p in pair.generator.parameters()) == g
    assert sum(p.numel() for p in pair.discriminator.parameters()) == d


def test_initialisation():
    torch.manual_seed(0)
    g = Generator(DCGANConfig(64, channels=256))
    scale = torch.cat([m.weight.flatten() for m in g.modules() if isinstance(m, torch.nn.BatchNorm2d)])
    kernel = torch.cat([m.weight.flatten() for m in g.modules() if isinstance(m, torch.nn.ConvTranspose2d)])
    assert abs(scale.mean() - 1) < .01 and abs(scale.std() - .02) < .005
    assert abs(kernel.mean()) < .001 and abs(kernel.std() - .02) < .001


@pytest.mark.parametrize('wrong, word', [(dict(size=100), 'not 100'), (dict(size=8), 'not 8'), (dict(activation='tanh'), 'activation'),
                                         (dict(size=64, channels=10), 'halved'), (dict(loss='nothing'), 'nothing')])
def test_wrong_numbers(wrong, word):
    with pytest.raises((ValueError, KeyError), match=word): DCGANConfig(**wrong)


def test_wrong_shapes():
    config = DCGANConfig(16, channels=16)
    with pytest.raises(ValueError, match=r'\[batch, 100\]'): Generator(config)(torch.zeros(2, 99))
    with pytest.raises(ValueError, match=r'\[batch, 3, 16, 16\]'): Discriminator(config)(torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize('gamma', [0., 1.])
@pytest.mark.parametrize('loss', ['non_saturating', 'hinge', 'least_squares'])
def test_a_step_with_every_loss(gamma, loss):
    from tiny import pictures
    pair = DCGANPair(DCGANConfig(16, channels=16, loss=loss, r1_gamma=gamma))
    t = Trainer(pair, pictures(size=16), TrainingConfig(batch_size=8), device='cpu').fit(2, progress=False)
    assert t.history[-1]['step'] == 2 and ('penalty' in t.history[-1]) == bool(gamma)


def test_r1_discriminator_does_not_couple_the_batch():
    d = DCGANPair(DCGANConfig(16, channels=16, r1_gamma=1.)).discriminator
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    gradient, = torch.autograd.grad(d(x)[0], x)
    assert gradient[0].abs().sum() > 0 and gradient[1:].abs().sum() == 0


def test_it_learns_a_batch():
    "Real and drawn pictures are told apart within a few steps (the pair is wired correctly)."
    from tiny import pictures
    torch.manual_seed(0)
    pair = DCGANPair(DCGANConfig(16, channels=32))
    t = Trainer(pair, pictures(16, 16), TrainingConfig(batch_size=16, mirror=False), device='cpu')
    for _ in range(40): t.update('discriminator')
    logs = pair.discriminator_step(t.batch, t.draws)
    assert (logs['real_logits'] > 0).float().mean() > .9 and (logs['fake_logits'] < 0).float().mean() > .9


@pytest.mark.parametrize('name', [n for n in recipes if n.startswith('dcgan')])
def test_every_recipe_builds(name):
    recipe = recipes[name]
    with torch.device('meta'): pair = build_pair(recipe.model, recipe.network)
    assert pair.config.size == recipe.network.size and recipe.source and recipe.steps > 0


def test_latents_are_the_draws():
    pair = DCGANPair(DCGANConfig(16, channels=16))
    assert torch.equal(pair.latents(3, Draws(1)), Draws(1).normal(3, 100))


@pytest.mark.real
def test_real_faces_train(data_dir):
    from animegan_nb.data import ImageFolder
    faces = ImageFolder(data_dir/'anime_faces_256', 32)
    assert len(faces) == 600
    t = Trainer(DCGANPair(DCGANConfig(32, channels=32)), faces, TrainingConfig(batch_size=16), device='cpu').fit(3, progress=False)
    assert torch.isfinite(t.sample(4)).all()


def test_sizes_of_the_thesis():
    assert [dcgan.deconv_size(8*2**i) for i in range(4)] == [16, 32, 64, 128]
