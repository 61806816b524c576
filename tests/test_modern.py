"""Properties of the paired loss, of discriminators on frozen features, of the light generator and of their pair."""

import importlib.util
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from tiny import images
from torch import nn

from animegan_nb import modern
from animegan_nb.augment import Augmentation
from animegan_nb.core import rng
from animegan_nb.losses import losses
from animegan_nb.metrics import find_extractor
from animegan_nb.modern import (
    Head,
    LightGenerator,
    ModernConfig,
    ModernPair,
    ProjectedDiscriminator,
    RandomProjection,
    SkipExcitation,
    append_deviation,
    head_penalty,
    margins,
    paired_discriminator_loss,
    paired_generator_loss,
)
from animegan_nb.penalties import r1_penalty, r2_penalty
from animegan_nb.toon_net import toon_network
from animegan_nb.training import Draws, Trainer, TrainingConfig, build_pair, load_run, recipes

SMALL = ModernConfig(16, channels=8, latent=6, projected=4, head_channels=4, penalty_every=2)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=rng(seed), dtype=dtype)


def pair(**changes):
    torch.manual_seed(0)
    return ModernPair(replace(SMALL, **changes))


def trainer(callbacks=(), config=None, **changes):
    config = config or TrainingConfig(batch_size=4, ema_half_life=20)
    recipe = {'model': 'modern', 'network': asdict(replace(SMALL, **changes))}
    return Trainer(pair(**changes), images(24, 16), config, callbacks, 'cpu', recipe)


# ---- the paired loss
@pytest.mark.parametrize('kind', list(losses))
@given(n=st.integers(1, 9), constant=st.floats(-1e3, 1e3), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_only_differences_count(kind, n, constant, seed):
    real, fake = draw(n, seed=seed), draw(n, seed=seed + 1)
    for loss in (paired_discriminator_loss, paired_generator_loss):
        torch.testing.assert_close(loss(real + constant, fake + constant, kind), loss(real, fake, kind))
    # the generator's loss is the discriminator's with the roles turned around
    torch.testing.assert_close(paired_generator_loss(real, fake, kind), paired_discriminator_loss(fake, real, kind))


def test_the_gradient_at_equality():
    real, fake = torch.full((5,), 2.0).requires_grad_(), torch.full((5,), 2.0).requires_grad_()
    loss = paired_discriminator_loss(real, fake)
    torch.testing.assert_close(loss, torch.tensor(2.0).log())
    of_real, of_fake = torch.autograd.grad(loss, (real, fake))
    torch.testing.assert_close(of_real, torch.full((5,), -0.1))
    torch.testing.assert_close(of_fake, torch.full((5,), 0.1))


def test_the_generator_gives_real_logits_no_gradient():
    real, fake = draw(3).requires_grad_(), draw(3, seed=1).requires_grad_()
    paired_generator_loss(real, fake).backward()
    assert real.grad is None and (fake.grad < 0).all()


def test_large_logits_stay_finite_and_half_precision_is_widened():
    far = torch.tensor([1e4, -1e4])
    assert paired_discriminator_loss(far, -far).isfinite() and paired_generator_loss(far, -far).isfinite()
    half = draw(4, dtype=torch.float32).bfloat16()
    assert paired_discriminator_loss(half, half).dtype == torch.float32


def test_pairs_need_partners():
    with pytest.raises(ValueError, match='got 3 and 2 logits'):
        margins(draw(3), draw(2))


# ---- the penalties
@given(seed=st.integers(0, 10**6), gamma=st.floats(0.01, 100), constant=st.floats(-10, 10))
@settings(max_examples=20, deadline=None)
def test_penalties_of_a_linear_critic(seed, gamma, constant):
    a, x = draw(12, seed=seed), draw(5, 3, 2, 2, seed=seed + 1)
    critic = lambda x: x.flatten(1) @ a + constant
    expected = gamma / 2 * a.square().sum()
    torch.testing.assert_close(r1_penalty(critic, x, gamma), expected)
    torch.testing.assert_close(r2_penalty(critic, -x, gamma), expected)


def test_each_head_is_penalised_in_its_own_space():
    a, b = draw(12), draw(8, seed=1)
    x, y = (t.requires_grad_() for t in (draw(5, 3, 2, 2, seed=2), draw(5, 2, 2, 2, seed=3)))
    judged = modern.Judgement(torch.stack([x.flatten(1) @ a + 1, y.flatten(1) @ b], 1), [x, y])
    expected = 3 / 2 * (a.square().sum() + b.square().sum()) / 2
    torch.testing.assert_close(head_penalty(judged, 3.0), expected)


def test_the_penalty_is_lazy_and_weighted():
    p, batch = pair(penalty_every=3), {'image': draw(4, 3, 16, 16, dtype=torch.float32).clamp(-1, 1)}
    seen = []
    for step in range(4):
        p.steps['discriminator'] = step
        logs = p.discriminator_step(batch, Draws(0))
        seen.append('penalty' in logs)
        if 'penalty' in logs:
            plain = paired_discriminator_loss(
                *(p.discriminator(x, by_head=True).logits.flatten() for x in (batch['image'], logs['fake_images']))
            )
            torch.testing.assert_close(logs['loss'], plain + 3 * logs['penalty'])
    assert seen == [True, False, False, True]


# ---- frozen features and projections
def test_the_features_are_those_of_the_toon_network():
    features, network = modern.toon_features(64), toon_network()
    x = draw(2, 3, 64, 64, dtype=torch.float32).clamp(-1, 1)
    for ours, scale, theirs in zip(features(x), features.scale, network.maps(x)[1:]):
        torch.testing.assert_close(ours * scale, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.real
def test_the_features_are_those_of_squeezenet():
    try:
        extractor = find_extractor('squeezenet')
    except FileNotFoundError:
        pytest.skip('the weights of SqueezeNet are not here')
    features = modern.squeezenet_features(128)
    x = draw(2, 3, 128, 128, dtype=torch.float32).clamp(-1, 1)
    last = features(x)[-1] * features.scale[-1]
    torch.testing.assert_close(last.mean((2, 3)), extractor(x)['features'], rtol=1e-4, atol=1e-4)
    discriminator = ProjectedDiscriminator(replace(SMALL, features='squeezenet', features_size=64))
    assert discriminator(draw(2, 3, 16, 16, dtype=torch.float32)).shape == (2,)


def test_nothing_frozen_changes_while_training():
    t = trainer()
    kept = lambda: {k: v.clone() for k, v in t.pair.discriminator.state_dict().items() if not k.startswith('heads')}
    before, heads = kept(), {k: p.clone() for k, p in t.pair.discriminator.heads.named_parameters()}
    t.fit(3, progress=False)
    assert len(before) > 15 and all(torch.equal(v, before[k]) for k, v in kept().items())
    same = [k for k, p in t.pair.discriminator.heads.named_parameters() if torch.equal(heads[k], p)]
    assert same == [f'{i}.judge.2.bias' for i in range(5)]  # a constant in all logits: the paired loss does not see it
    held = {id(p) for group in t.optimizers['discriminator'].param_groups for p in group['params']}
    assert held == {id(p) for p in t.pair.discriminator.heads.parameters()}


def test_the_frozen_network_stays_in_evaluation_mode():
    network = ProjectedDiscriminator(SMALL).train()
    assert network.training and not any(m.training for m in network.features.modules())


def test_gradients_reach_every_image_and_nothing_else():
    network, x = ProjectedDiscriminator(replace(SMALL, deviation=False)), draw(3, 3, 16, 16, dtype=torch.float32)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[1], x)
    assert gradient[1].abs().sum() > 0 and gradient[[0, 2]].abs().max() == 0


def test_a_discriminator_step_does_not_differentiate_the_frozen_network():
    judged = ProjectedDiscriminator(SMALL)(draw(3, 3, 16, 16, dtype=torch.float32), by_head=True)
    assert judged.logits.shape == (3, 5) and all(p.is_leaf and p.requires_grad for p in judged.points)


def test_a_seed_fixes_the_projections():
    maps = [draw(2, c, s, s, dtype=torch.float32) for c, s in ((3, 8), (5, 4), (7, 3))]
    state = torch.random.get_rng_state()
    same, again, other = (RandomProjection([3, 5, 7], 6, seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    for a, b, c, m in zip(same(maps), again(maps), other(maps), maps):
        assert a.shape == (2, 6, *m.shape[2:]) and torch.equal(a, b) and not torch.equal(a, c)
    assert not list(same.parameters())


@pytest.mark.parametrize('changes', [dict(features=''), dict(pixels=False), {}])
def test_heads(changes):
    network = ProjectedDiscriminator(replace(SMALL, **changes))
    x = draw(3, 3, 16, 16, dtype=torch.float32)
    logits = network(x, by_head=True).logits
    assert logits.shape == (3, 4 * bool(network.config.features) + network.config.pixels)
    torch.testing.assert_close(network(x), logits.mean(1))


@pytest.mark.parametrize('side', [1, 2, 3, 4, 7, 15, 16, 31, 64])
def test_a_head_takes_any_side(side):
    assert Head(2, side, 4)(torch.zeros(3, 2, side, side)).shape == (3,)


# ---- the deviation of a batch
def test_the_deviation():
    x = draw(6, 3, 4, 4)
    got = append_deviation(x)
    assert torch.equal(got[:, :3], x)
    expected = x.std(0, correction=0).mean()
    torch.testing.assert_close(got[:, 3], expected.expand(6, 4, 4), rtol=1e-6, atol=1e-7)
    assert append_deviation(x[:1].expand(5, -1, -1, -1))[:, 3].max() <= 1e-4 + 1e-12
    half = append_deviation(x.bfloat16())
    assert half.dtype == torch.bfloat16 and half.isfinite().all()


# ---- the generator
def test_skip_excitation():
    torch.manual_seed(0)
    block, low, high = (
        SkipExcitation(3, 5),
        draw(2, 3, 8, 8, dtype=torch.float32),
        draw(2, 5, 64, 64, dtype=torch.float32),
    )
    gate = block.gate(low)
    assert gate.shape == (2, 5, 1, 1) and ((0 < gate) & (gate < 1)).all()
    torch.testing.assert_close(block(low, high), gate * high)
    for value, bias in ((1, 100.0), (0, -1000.0)):
        nn.init.zeros_(block.body[2].weight)
        nn.init.constant_(block.body[2].bias, bias)
        assert torch.equal(block(low, high), value * high)


@pytest.mark.parametrize('size', [8, 16, 32, 64, 128])
def test_sizes(size):
    generator = LightGenerator(ModernConfig(size, channels=16, latent=5, features=''))
    drawn = generator(torch.randn(2, 5))
    assert drawn.shape == (2, 3, size, size) and drawn.abs().max() <= 1
    assert list(generator.gates) == [str(s) for s in (32, 64, 128) if s <= size]


def test_wrong_latents_and_images_are_one_sentence():
    p = pair()
    with pytest.raises(ValueError, match=r'\[batch, 6\], not \[2, 7\]'):
        p.generator(torch.zeros(2, 7))
    with pytest.raises(ValueError, match=r'\[batch, 3, 16, 16\], not \[2, 3, 8, 8\]'):
        p.discriminator(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match='batch of 1 image'):
        p.discriminator_step({'image': torch.zeros(1, 3, 16, 16)}, Draws(0))


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(size=24), 'size must be'),
        (dict(size=4), 'size must be'),
        (dict(size=64, channels=12), 'multiple of size / 8'),
        (dict(features='', pixels=False), 'needs features or pixels'),
        (dict(features='vgg'), 'one of squeezenet, toon'),
        (dict(features_size=8), 'at least 16'),
        (dict(size=8), 'at least 16'),
        (dict(gamma=-1.0), 'gamma'),
        (dict(penalty_every=0), 'penalty_every'),
        (dict(loss='mean'), 'no loss called'),
    ],
)
def test_impossible_numbers(changes, words):
    with pytest.raises((ValueError, KeyError), match=words):
        ModernConfig(**{**asdict(SMALL), 'size': 16, **changes})


# ---- the pair
def test_a_training_resumes_bit_for_bit(tmp_path):
    t = trainer([Augmentation('ada', p=0.5)]).fit(3, progress=False)
    t.save(tmp_path / 'at-3')
    t.fit(2, progress=False)
    again = trainer([Augmentation('ada', p=0.5)]).load(tmp_path / 'at-3').fit(2, progress=False)
    for (name, a), b in zip(t.pair.state_dict().items(), again.pair.state_dict().values()):
        assert torch.equal(a, b), name
    again.save(tmp_path / 'at-5')
    loaded, generator, info = load_run(tmp_path / 'at-5')
    assert info['model'] == 'modern' and not any(p.requires_grad for p in generator.parameters())
    x = draw(2, 3, 16, 16, dtype=torch.float32)
    torch.testing.assert_close(loaded.discriminator.eval()(x), again.pair.discriminator.eval()(x))


@pytest.mark.parametrize(
    'changes', [dict(paired=False), dict(loss='hinge', paired=False), dict(gamma=0.0), dict(loss='hinge')]
)
def test_other_games_train(changes):
    record = trainer(**changes).fit(2, progress=False).history[-1]
    assert all(v == v for v in record.values())


def test_the_discriminator_sees_augmented_images():
    seen = []
    t = trainer([Augmentation('diffaugment', p=1.0, target=None)])
    t.pair.discriminator.heads[-1].register_forward_pre_hook(lambda head, x: seen.append(x[0].detach().clone()))
    t.fit(1, progress=False)
    real = t.batch['image']
    assert len(seen) == 4  # real and generated in both steps: the generator's loss compares, too
    assert not torch.equal(seen[0], real) and not torch.equal(seen[0], seen[3])


def test_bfloat16_is_near():
    batch = {'image': draw(4, 3, 16, 16, dtype=torch.float32).clamp(-1, 1)}
    found = {}
    for on in (False, True):
        p = pair()
        with torch.autocast('cpu', torch.bfloat16, enabled=on):
            logs = p.discriminator_step(batch, Draws(0))
            found[on] = [logs['loss'], logs['penalty'], p.generator_step(batch, Draws(0))['loss']]
        assert all(v.dtype == torch.float32 for v in found[on])
    for a, b in zip(found[False], found[True]):
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.05)


@pytest.mark.parametrize('name', ['modern-live', 'modern-cpu', 'modern-256'])
def test_presets_build(name):
    recipe = recipes[name]
    with torch.device('meta'):
        p = build_pair(recipe.model, recipe.network)
    size = recipe.network.size
    assert p.generator(torch.zeros(2, recipe.network.latent, device='meta')).shape == (2, 3, size, size)


# ---- the tables
@pytest.fixture
def script(monkeypatch):
    "benchmarks/modern.py as a module."
    folder = Path(__file__).parents[1] / 'benchmarks'
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location('modern_script', folder / 'modern.py')
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_covered_modes(script):
    "Points on two of the centres, and points between them all."
    points = torch.cat([script.centres()[[0] * 50 + [3] * 50], torch.zeros(100, 2)])[None]
    modes, near = script.covered(points)
    assert modes.tolist() == [2] and near.tolist() == [0.5]


def test_many_games_are_many_single_games(script):
    games = [script.Game(True, True, True, 0.1, 1e-3, 1.0, seed) for seed in (0, 0, 1)]
    _, _, points = script.play(games, 3, batch=8, drawn=20)
    assert points.shape == (3, 20, 2) and points.isfinite().all() and not torch.equal(points[0], points[2])


def test_the_verdict_finds_what_is_there_and_nothing_else(script):
    noise = torch.randn(4, 3, generator=rng(5)).mul(0.02).exp().tolist()

    def numbers(frechet):
        return {'squeezenet': {'frechet': frechet}, 'pixels': {'recall': 0.5 + 0.01 * frechet / 1000}}

    results = []
    for row, (way, level) in zip(noise, {'base': 1000, 'same': 1000, 'better': 700}.items()):
        for seed, factor in enumerate(row):
            both = dict(drawn=numbers(level * factor), without_average=numbers(1000 * noise[3][seed]))
            results.append(dict(way=way, seed=seed, **both))
    found = script.verdict(results)
    seen = [r['way'] for r in found['rows'] if r['holm'] < 0.05 and 'frechet' in r['number']]
    assert seen == ['better'] and found['comparisons'] == 6
