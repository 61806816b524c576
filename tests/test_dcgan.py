import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from animegan_nb import dcgan
from animegan_nb.dcgan import DCGANConfig, DCGANPair, DCGANDiscriminator, DCGANGenerator
from animegan_nb.penalties import r1_penalty
from animegan_nb.training import Draws, Trainer, TrainingConfig, build_pair, recipes


@given(st.integers(1, 5), st.sampled_from([2, 4, 8]), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_any_size_that_doubles(doublings, base, batch):
    config = DCGANConfig(base * 2**doublings, channels=32, base=base, latent=7)
    images = (
        DCGANGenerator(config)(torch.randn(batch, 7)) if batch > 1 else DCGANGenerator(config).eval()(torch.randn(1, 7))
    )
    assert images.shape == (batch, 3, config.size, config.size) and images.abs().max() <= 1
    assert DCGANDiscriminator(config).eval()(images).shape == (batch,)


def test_parameters_follow_from_the_widths():
    with torch.device('meta'):
        pair = DCGANPair(DCGANConfig(128))
    count = lambda network: sum(p.numel() for p in network.parameters())
    wide, narrow = (512, 256, 128, 64), (256, 128, 64, 3)
    kernels = 16 * sum(a * b for a, b in zip(wide, narrow))
    dense = 100 * 512 * 8 * 8 + 512 * 8 * 8
    assert count(pair.generator) == dense + kernels + 2 * sum(wide) + 3  # scales, shifts, the last bias
    assert count(pair.discriminator) == kernels + 64 + 2 * (128 + 256 + 512) + 512 * 8 * 8 + 1


def test_initialisation():
    torch.manual_seed(0)
    g = DCGANGenerator(DCGANConfig(64, channels=256))
    scale = torch.cat([m.weight.flatten() for m in g.modules() if isinstance(m, torch.nn.BatchNorm2d)])
    kernel = torch.cat([m.weight.flatten() for m in g.modules() if isinstance(m, torch.nn.ConvTranspose2d)])
    assert abs(scale.mean() - 1) < 0.01 and abs(scale.std() - 0.02) < 0.005
    assert abs(kernel.mean()) < 0.001 and abs(kernel.std() - 0.02) < 0.001


@pytest.mark.parametrize(
    'wrong, word',
    [
        (dict(size=100), 'not 100'),
        (dict(size=8), 'not 8'),
        (dict(activation='tanh'), 'activation'),
        (dict(size=64, channels=10), 'halved'),
        (dict(loss='nothing'), 'nothing'),
        (dict(channels=0), '1 or more'),
        (dict(latent=0), '1 or more'),
        (dict(base=0), '1 or more'),
        (dict(r1_gamma=-1.0), 'weight of R1'),
    ],
)
def test_wrong_numbers(wrong, word):
    with pytest.raises((ValueError, KeyError), match=word):
        DCGANConfig(**wrong)


def test_wrong_shapes():
    config = DCGANConfig(16, channels=16)
    with pytest.raises(ValueError, match=r'\[batch, 100\]'):
        DCGANGenerator(config)(torch.zeros(2, 99))
    with pytest.raises(ValueError, match=r'\[batch, 3, 16, 16\]'):
        DCGANDiscriminator(config)(torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize('gamma', [0.0, 1.0])
@pytest.mark.parametrize('loss', ['non_saturating', 'hinge', 'least_squares'])
def test_a_step_with_every_loss(gamma, loss):
    from tiny import images

    pair = DCGANPair(DCGANConfig(16, channels=16, loss=loss, r1_gamma=gamma))
    t = Trainer(pair, images(size=16), TrainingConfig(batch_size=8), device='cpu').fit(2, progress=False)
    assert t.history[-1]['step'] == 2 and ('penalty' in t.history[-1]) == bool(gamma)


def test_r1_discriminator_does_not_couple_the_batch():
    d = DCGANPair(DCGANConfig(16, channels=16, r1_gamma=1.0)).discriminator
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(d(x)[0], x)
    assert gradient[0].abs().sum() > 0 and gradient[1:].abs().sum() == 0


def test_r1_costs_no_forward_pass_of_its_own():
    "The discriminator is asked twice in a step; its penalty is that of the real images."
    torch.manual_seed(0)
    pair = DCGANPair(DCGANConfig(16, channels=16, r1_gamma=3.0)).double()
    real, asked = torch.rand(4, 3, 16, 16, dtype=torch.double) * 2 - 1, []
    pair.discriminator.register_forward_hook(lambda *_: asked.append(1))
    pair.latents = lambda n, draws: draws.normal(n, 100).double()
    logs = pair.discriminator_step({'image': real}, Draws(0))
    assert len(asked) == 2 and not real.requires_grad
    expected = r1_penalty(pair.discriminator, real, 3.0)
    torch.testing.assert_close(logs['penalty'], expected)
    plain = F.softplus(-logs['real_logits']).mean() + F.softplus(logs['fake_logits']).mean()
    two_passes = torch.autograd.grad(plain + expected, list(pair.discriminator.parameters()), retain_graph=True)
    for a, b in zip(torch.autograd.grad(logs['loss'], list(pair.discriminator.parameters())), two_passes):
        torch.testing.assert_close(a, b)


def test_it_learns_a_batch():
    "Real and drawn images are told apart within a few steps (the pair is wired correctly)."
    from tiny import images

    torch.manual_seed(0)
    pair = DCGANPair(DCGANConfig(16, channels=32))
    t = Trainer(pair, images(16, 16), TrainingConfig(batch_size=16, mirror=False), device='cpu')
    for _ in range(40):
        t.update('discriminator')
    logs = pair.discriminator_step(t.batch, t.draws)
    assert (logs['real_logits'] > 0).float().mean() > 0.9 and (logs['fake_logits'] < 0).float().mean() > 0.9


@pytest.mark.parametrize('name', [n for n in recipes if n.startswith('dcgan')])
def test_every_recipe_builds(name):
    recipe = recipes[name]
    with torch.device('meta'):
        pair = build_pair(recipe.model, recipe.network)
    assert pair.config.size == recipe.network.size and recipe.source and recipe.steps > 0


def test_latents_are_the_draws():
    pair = DCGANPair(DCGANConfig(16, channels=16))
    assert torch.equal(pair.latents(3, Draws(1)), Draws(1).normal(3, 100))


@pytest.mark.real
def test_real_faces_train(data_dir):
    from animegan_nb.data import ImageFolder

    faces = ImageFolder(data_dir / 'anime_faces_256', 32)
    assert len(faces) == 600
    t = Trainer(DCGANPair(DCGANConfig(32, channels=32)), faces, TrainingConfig(batch_size=16), device='cpu').fit(
        3, progress=False
    )
    assert torch.isfinite(t.sample(4)).all()


def test_sizes_of_the_thesis():
    assert [dcgan.deconv_size(8 * 2**i) for i in range(4)] == [16, 32, 64, 128]


def test_radford_beside_liu():
    r = recipes['dcgan-radford-64']
    assert (
        r.network.widths == [1024, 512, 256, 128]
        and r.network.base == 4
        and r.training.batch_size == 128
        and r.training.generator_betas[0] == 0.5
    )
    with torch.device('meta'):
        pair = build_pair(r.model, r.network)
    assert any(isinstance(m, torch.nn.ReLU) for m in pair.generator.modules()) and not any(
        isinstance(m, torch.nn.LeakyReLU) for m in pair.generator.modules()
    )
    assert (
        sum(p.numel() for p in pair.generator.parameters())
        == 100 * 16_384
        + 16_384
        + 16 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3)
        + 2 * (1024 + 512 + 256 + 128)
        + 3
    )


def test_replace_norms_leaves_everything_else():
    network = DCGANGenerator(DCGANConfig(32, channels=16))
    kinds = [type(m) for m in network.modules()]
    dcgan.replace_norms(network, lambda channels: torch.nn.GroupNorm(1, channels))
    after = [type(m) for m in network.modules()]
    assert [torch.nn.GroupNorm if k is torch.nn.BatchNorm2d else k for k in kinds] == after


def test_channels_last_changes_no_number_and_resumes_exactly(tmp_path, monkeypatch):
    from tiny import images

    def make(seed, first):
        monkeypatch.setattr(dcgan, 'CHANNELS_LAST_FROM', first)
        torch.manual_seed(seed)
        return Trainer(
            DCGANPair(DCGANConfig(16, channels=16, base=4)), images(16, 16), TrainingConfig(batch_size=8), device='cpu'
        )

    plain = make(0, 64).train_step()
    fast = make(0, 0)
    record = fast.train_step()
    for k, v in plain.items():
        assert abs(record[k] - v) < 1e-4 * max(1, abs(v))
    fast.save(tmp_path / 'at1')
    fast.fit(2, progress=False)
    other = make(1, 0)
    other.load(tmp_path / 'at1').fit(2, progress=False)
    for a, b in zip(fast.pair.parameters(), other.pair.parameters()):
        assert torch.equal(a, b)


def greys(*levels):
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, 16, 16).float()


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_distinct_is_the_exponential_of_the_entropy_of_shares(counts, seed):
    "Groups of equal images, far from each other: the number depends on their shares alone."
    images = greys(*[i / 10 for i, n in enumerate(counts) for _ in range(n)])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    shares = torch.tensor(counts).double() / sum(counts)
    assert abs(dcgan.distinct(images[order], 0.001) - float(torch.special.entr(shares).sum().exp())) < 1e-6
    assert abs(dcgan.distinct(images.repeat(2, 1, 1, 1), 0.001) - dcgan.distinct(images, 0.001)) < 1e-6


@given(n=st.integers(1, 20), width=st.floats(0.1, 50), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_distinct_lies_between_one_and_n(n, width, seed):
    images = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    found = dcgan.distinct(images, width)
    assert 1 - 1e-9 <= found <= n + 1e-9 and dcgan.distinct(images, 2 * width) <= found + 1e-9


def watched(draw, steps, **settings):
    "An alarm on a trainer whose generator draws `draw(step)`."
    alarm = dcgan.CollapseAlarm(
        torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1, every=1, n=32, **settings
    )

    class Fake:
        step = 0
        stopping = __import__('threading').Event()

        def sample(self, n, live):
            return draw(self.step)

    trainer = Fake()
    for trainer.step in range(1, steps + 1):
        alarm.on_step(trainer, record := {})
        assert record['distinct'] == alarm.shares[str(trainer.step)]
    return alarm, trainer


def noise(n, seed=0):
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_alarm_needs_patience_and_grace():
    healthy, _ = watched(lambda step: noise(32, step), 30, first=5)
    assert healthy.status == 'healthy' and healthy.raised is None and min(healthy.shares.values()) > 0.6
    late, _ = watched(lambda step: noise(1).repeat(32, 1, 1, 1) if step > 10 else noise(32), 30, first=5, patience=4)
    assert late.raised == 14 and '1.0 different' in late.status
    early, _ = watched(lambda step: noise(1).repeat(32, 1, 1, 1) if step < 9 else noise(32), 30, first=5, patience=4)
    assert early.raised is None  # three low looks after the grace
    two, trainer = watched(lambda step: greys(-1.0, 1.0).repeat(16, 1, 1, 1), 12, first=0, stop=True)
    assert two.raised == 4 and abs(two.shares['12'] * two.of_real - 2) < 0.01 and trainer.stopping.is_set()


def test_the_alarm_is_part_of_a_checkpoint(tmp_path):
    from tiny import images
    from animegan_nb.core import to_float

    data = images(64, 16)
    real = to_float(data.batch(torch.arange(64))['image'])

    def make():
        torch.manual_seed(0)
        return Trainer(
            DCGANPair(DCGANConfig(16, channels=8)),
            data,
            TrainingConfig(batch_size=8),
            [dcgan.CollapseAlarm(real, every=1, n=16, first=0, patience=2)],
            device='cpu',
        )

    whole = make().fit(4, progress=False)
    half = make().fit(1, progress=False)
    half.save(tmp_path / 'at1')
    rest = make()
    rest.load(tmp_path / 'at1').fit(3, progress=False)
    # untrained images are all alike
    assert whole.callbacks[0].state() == rest.callbacks[0].state() and whole.callbacks[0].raised == 2
    for a, b in zip(whole.pair.parameters(), rest.pair.parameters()):
        assert torch.equal(a, b)


def test_bad_input_of_the_alarm():
    with pytest.raises(ValueError, match='compares 64 images'):
        dcgan.CollapseAlarm(noise(10))
    with pytest.raises(ValueError, match='NaN'):
        dcgan.distinct(noise(4) * float('nan'), 1.0)
    with pytest.raises(ValueError, match='an exact copy'):
        dcgan.CollapseAlarm(noise(32).repeat(2, 1, 1, 1))
    heads = 0.8 + 0.01 * noise(32)  # far from 0 and near each other: a matrix product would round too much
    with pytest.raises(ValueError, match='an exact copy'):
        dcgan.CollapseAlarm(heads.repeat(2, 1, 1, 1))
    for images, width in ((noise(4), -1.0), (noise(4)[:0], 1.0)):
        with pytest.raises(ValueError, match='a width above 0'):
            dcgan.distinct(images, width)


def test_stored_gallery_separates_health_from_collapse(root):
    import json

    stored = json.loads((root / 'data' / 'results' / 'dcgan_collapse.json').read_text())
    healthy, *collapsed, few = stored['ways']
    runs = lambda way: [r for r in stored['runs'] if r['way'] == way]
    assert len(runs(healthy)) >= 5 and all(r['raised'] is None for r in runs(healthy))
    for way in collapsed:
        assert len(runs(way)) >= 3 and all(r['raised'] for r in runs(way)), way
    assert few == 'eight training images' and len(runs(few)) >= 3
    alarm = dcgan.CollapseAlarm(noise(64))
    assert stored['alarm'] == {k: getattr(alarm, k) for k in stored['alarm']}
    for r in stored['runs']:  # the alarm follows from the stored counts
        low = [share < alarm.least and alarm.every * i > alarm.first for i, share in enumerate(r['shares'], 1)]
        raised = next((alarm.every * i for i in range(4, len(low) + 1) if all(low[i - 4 : i])), None)
        assert raised == r['raised']


def test_the_nearest_ratio_finds_mirrored_copies(root, monkeypatch):
    import importlib

    monkeypatch.syspath_prepend(str(root / 'benchmarks'))
    ratio = importlib.import_module('dcgan_faces').nearest_ratio
    images = noise(40)
    real, mirrored = images.flatten(1), images.flip(-1).flatten(1)
    assert ratio(mirrored, real, mirrored) < 1e-3 < 0.5 < ratio(mirrored, real)
    assert ratio(noise(40, 1).flatten(1), real, mirrored) > 0.9


def test_the_source_of_a_recipe_tells_what_the_thesis_does_not_say():
    for name in ('dcgan-liu-128', 'dcgan-liu-64', 'dcgan-liu-32'):
        thesis, _, ours = recipes[name].source.partition('our reading:')
        assert 'Adam' not in thesis and 'Adam' in ours


def test_thumbnails_are_made_of_floats():
    with pytest.raises(ValueError, match='to_float'):
        dcgan.thumbnails(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
