"StyleGAN and StyleGAN2: counts, growing, mixing, truncation, path length, the pair in a trainer, bad input."

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from animegan_nb import training
from animegan_nb.callbacks import Checkpoints
from animegan_nb import stylegan as sg
from animegan_nb.data import ImageSet
from animegan_nb.penalties import r1_penalty
from animegan_nb.training import Draws, Trainer, TrainingConfig, build_pair, load_run

SMALL = sg.StyleGANConfig(
    16, z_dim=8, w_dim=12, mapping_layers=2, channel_base=128, channel_max=16, r1_every=2, path_every=2
)
GROWS = replace(SMALL, size=32, architecture='stylegan1', channel_base=256, path_weight=0.0)


def networks(config, seed=0):
    torch.manual_seed(seed)
    return sg.StyleGANGenerator(config), sg.StyleGANDiscriminator(config)


def images(n=32, size=16, seed=0):
    g = torch.Generator().manual_seed(seed)
    return ImageSet({'image': torch.randint(0, 256, (n, 3, size, size), generator=g, dtype=torch.uint8).numpy()})


@pytest.mark.parametrize(
    'config, generator, discriminator',
    [
        (sg.STYLEGAN_A, 26_179_768, None),
        (sg.STYLEGAN_B, 24_860_935, 24_030_753),
        (sg.STYLEGAN_C, 30_276_583, 28_982_849),
        (replace(sg.STYLEGAN_A, size=1024), 26_219_627, None),
        (replace(sg.STYLEGAN_A, size=256), 26_086_229, None),
        (replace(sg.STYLEGAN_A, size=128), 25_843_858, None),
        (replace(sg.STYLEGAN_C, size=1024), 30_370_060, 29_012_513),
        (replace(sg.STYLEGAN_C, size=256), 30_034_338, 28_864_129),
        (replace(sg.STYLEGAN_B, size=256), 24_767_458, 24_001_089),
        (replace(sg.STYLEGAN_B, size=128, mapping_layers=2), 22_949_277, 23_882_369),
    ],
)
def test_published_parameter_counts(config, generator, discriminator):
    "Counts of the published implementations, on the meta device: no memory."
    with torch.device('meta'):
        g, d = sg.StyleGANGenerator(config), sg.StyleGANDiscriminator(config)
    assert sg.count_parameters(g) == generator
    assert discriminator is None or sg.count_parameters(d) == discriminator


@pytest.mark.parametrize('architecture', ['stylegan1', 'stylegan2'])
@pytest.mark.parametrize('size', [8, 16, 64])
def test_shapes_and_ranges(architecture, size):
    config = replace(SMALL, size=size, architecture=architecture, channel_base=8 * size)
    g, d = networks(config)
    for n in (1, 3):
        ws = g.mapping(torch.randn(n, 8))
        assert ws.shape == (n, config.num_ws, 12) and config.num_ws == sg.num_layers(size)
        image = g.synthesis(ws)
        assert image.shape == (n, 3, size, size) and torch.isfinite(image).all()
        assert d(image).shape == (n,)
    assert len(g.synthesis.noise_sizes) == (config.num_ws if architecture == 'stylegan1' else config.num_ws - 1)


@pytest.mark.parametrize('size', [8, 16, 32])
def test_fading_is_exactly_continuous(size):
    g, d = networks(GROWS)
    ws, real = g.mapping(torch.randn(4, 8)), torch.randn(4, 3, size, size)

    def at(size, alpha):
        g.synthesis.grow(size, alpha)
        return g.synthesis(ws, 'constant')

    def judge(size, alpha, x):
        d.grow(size, alpha)
        return d(x)

    assert torch.equal(at(size, 0.0), F.interpolate(at(size // 2, 1.0), scale_factor=2))
    assert torch.equal(judge(size, 0.0, real), judge(size // 2, 1.0, F.avg_pool2d(real, 2)))
    assert (at(size, 1e-4) - at(size, 0.0)).abs().max() < 1e-2 and (
        at(size, 1 - 1e-4) - at(size, 1.0)
    ).abs().max() < 1e-2
    assert (judge(size, 1e-4, real) - judge(size, 0.0, real)).abs().max() < 1e-2


def test_a_grown_network_is_the_smaller_one():
    "Grown to 16 of 32 px, with the weights of a 16 px network, it draws and judges the same bits."
    big, small = networks(GROWS), networks(replace(GROWS, size=16), seed=1)
    for one, other in zip(big, small):
        state = {k: v for k, v in other.state_dict().items() if 'progress' not in k}
        if isinstance(one, sg.StyleGANGenerator):
            state['mapping.w_avg'] = torch.zeros(12)
        missing, extra = one.load_state_dict(state, strict=False)
        assert not extra
    big[0].synthesis.grow(16)
    big[1].grow(16)
    ws, real = small[0].mapping(torch.randn(3, 8)), torch.randn(3, 3, 16, 16)
    more = torch.cat([ws, torch.randn(3, 2, 12)], 1)  # the layers that have not grown are not looked at
    assert torch.equal(big[0].synthesis(more, 'constant'), small[0].synthesis(ws, 'constant'))
    assert torch.equal(big[1](real), small[1](real))


def test_the_stages_are_table_4_1():
    stages = sg.growth_stages()
    whole = [stage for stage in stages if not stage.fade or stage.size == 512]
    assert [(s.size, s.generator_lr, s.batch_size) for s in whole] == [
        (4, 0.0015, 32),
        (8, 0.0015, 32),
        (16, 0.0015, 16),
        (32, 0.0015, 8),
        (64, 0.0015, 4),
        (128, 0.0015, 4),
        (256, 0.002, 4),
        (512, 0.003, 4),
    ]
    assert [s.batch_size * s.accumulate for s in whole[1:]] == [256, 128, 64, 32, 32, 32, 32]
    assert [s.discriminator_lr for s in stages] == [s.generator_lr for s in stages]
    assert [s.images for s in stages] == 13 * [600_000] + [200_000]
    assert stages[-1].fade == 600_000  # a third of it, then 8,000 thousand images are over
    assert not stages[0].fresh_optimizers and all(s.fresh_optimizers for s in stages[1:])
    longer = sg.growth_stages(images=10_000_000)
    assert longer[-1].images == 10_000_000 - 14 * 600_000 and not longer[-1].fade
    recipe = sg.STYLEGAN_LIU_A
    assert recipe.stages == stages and recipe.steps == training.stage_starts(stages, recipe.training)[-1]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9_000_000), st.integers(1, 10**6), st.integers(0, 10**6))
def test_growing_never_jumps(images, stable, fade):
    stages = sg.growth_stages(images=images, stable=stable, fade=fade)
    assert sum(stage.images for stage in stages) == images
    for before, stage in zip(stages, stages[1:]):
        assert stage.size in (before.size, 2 * before.size)
        # a new resolution begins unseen, and one that stays has been faded in whole
        assert stage.fade == (fade if stage.size > before.size else 0)
        assert not fade or stage.size > before.size or before.images == before.fade


@pytest.mark.parametrize(
    'rows, words',
    [
        (((4, 0.1, 2, 4), (16, 0.1, 2, 4)), 'after 4 px comes 8'),
        (((4, 0.1, 3, 4),), 'multiple of the micro-batch'),
        (((4, 0.0, 2, 4),), 'positive'),
        ((), 'needs rows'),
    ],
)
def test_wrong_tables_are_refused(rows, words):
    with pytest.raises(ValueError, match=words):
        sg.growth_stages([sg.GrowthRow(*row) for row in rows])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 8), st.integers(0, 99))
def test_mixing_takes_whole_layers(crossover, seed):
    torch.manual_seed(seed)
    a, b = torch.randn(3, 8, 4), torch.randn(3, 8, 4)
    mixed = sg.mix_styles(a, b, crossover)
    assert torch.equal(mixed[:, :crossover], a[:, :crossover]) and torch.equal(mixed[:, crossover:], b[:, crossover:])
    each = sg.mix_styles(a, b, torch.tensor([0, 8, crossover]))
    assert torch.equal(each[0], b[0]) and torch.equal(each[1], a[1]) and torch.equal(each[2], mixed[2])


def test_mixing_leaves_coarser_features_alone():
    g, _ = networks(SMALL)
    a, b = g.mapping(torch.randn(1, 8)), g.mapping(torch.randn(1, 8))
    seen = {}
    for name, block in g.synthesis.blocks.items():
        block.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o[0]}))

    def features(ws):
        g.synthesis(ws, 'constant')
        return dict(seen)

    one, mixed = features(a), features(sg.mix_styles(a, b, 3))
    assert (
        torch.equal(one['b4'], mixed['b4'])
        and torch.equal(one['b8'], mixed['b8'])
        and not torch.equal(one['b16'], mixed['b16'])
    )


def test_truncation_in_w():
    g, _ = networks(SMALL)
    g.mapping.w_avg.normal_()
    z = torch.randn(5, 8)
    assert torch.equal(g.mapping(z, truncation=1.0), g.mapping(z))
    flat = g.mapping(z, truncation=0.0)
    assert torch.allclose(flat, g.mapping.w_avg.expand_as(flat), atol=1e-6)
    assert torch.allclose(g(z, truncation=0.0)[0], g(z, truncation=0.0)[4], atol=1e-5)  # the mean image
    assert torch.equal(g.mapping(z, truncation=0.5, cutoff=2)[:, 2:], g.mapping(z)[:, 2:])


def test_no_image_feels_its_neighbours():
    for config in (SMALL, GROWS):
        g, _ = networks(config)
        z = torch.randn(6, 8)
        assert torch.allclose(g(z)[:2], g(z[:2]), atol=1e-4)


def test_path_length_second_derivative():
    torch.manual_seed(0)
    A, probe = (
        torch.randn(3 * 4 * 4, 5, dtype=torch.double, requires_grad=True),
        torch.randn(2, 3, 4, 4, dtype=torch.double),
    )
    ws = torch.randn(2, 3, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda A: sg.path_lengths((ws.tanh().sum(1) @ A.t()).view(2, 3, 4, 4), ws, probe), (A,)
    )


@pytest.mark.parametrize('config', [SMALL, replace(GROWS, size=16)], ids=['stylegan2', 'stylegan1'])
def test_the_pair_trains_and_resumes_bit_for_bit(config, tmp_path):
    def trainer():
        torch.manual_seed(0)
        recipe = {'model': 'stylegan', 'network': {k: getattr(config, k) for k in config.__dataclass_fields__}}
        return Trainer(
            sg.StyleGANPair(config),
            images(),
            TrainingConfig(8, 0.002, 0.002, (0.0, 0.99), (0.0, 0.99), ema_half_life=100),
            device='cpu',
            recipe=recipe,
        )

    whole = trainer()
    whole.fit(5)
    first = trainer()
    first.fit(2)
    first.save(tmp_path / 'step-00000002')
    second = trainer().load(tmp_path / 'step-00000002')
    second.fit(3)
    for a, b in zip(whole.pair.state_dict().values(), second.pair.state_dict().values()):
        assert torch.equal(a, b)
    assert whole.pair.generator.mapping.w_avg.abs().max() > 0
    assert whole.pair.steps == {'discriminator': 5, 'generator': 5}
    _, generator, info = load_run(tmp_path)
    z = torch.ones(1, 8)
    assert info['step'] == 2 and torch.equal(generator(z), first.average(z))
    assert not torch.equal(generator(z), second.average(z))


def test_lazy_penalties_have_their_full_weight():
    "Every second step twice the penalty: the mean over two steps is the penalty of every step."
    config = replace(SMALL, path_weight=0.0, mixing=0.0)
    torch.manual_seed(0)
    pair = sg.StyleGANPair(config)
    batch = {'image': torch.randn(4, 3, 16, 16)}
    first = pair.discriminator_step(batch, Draws(1))
    pair.steps['discriminator'] += 1
    second = pair.discriminator_step(batch, Draws(1))
    assert 'r1' in first and 'r1' not in second
    plain = F.softplus(-first['real_logits']).mean() + F.softplus(first['fake_logits']).mean()
    assert torch.allclose(first['loss'], plain + 2 * first['r1'], atol=1e-5)


@pytest.mark.parametrize('config', [SMALL, replace(GROWS, size=16)], ids=['stylegan2', 'stylegan1'])
def test_r1_is_that_of_the_real_images_before_augmentation(config):
    "In one pass: the augmentation lies between the images that are differentiated and the discriminator."
    torch.manual_seed(0)
    pair = sg.StyleGANPair(replace(config, path_weight=0.0), augment=lambda x: 0.5 * x.flip(3) + 0.1)
    real, asked = torch.rand(4, 3, 16, 16) * 2 - 1, []
    pair.discriminator.register_forward_hook(lambda *_: asked.append(1))
    logs = pair.discriminator_step({'image': real}, Draws(0))
    assert len(asked) == 2 and not real.requires_grad
    torch.testing.assert_close(logs['r1'], r1_penalty(pair.judge, pair.reals(real), config.r1_gamma))
    parameters = [p for p in pair.discriminator.parameters() if p.requires_grad]
    two = logs['loss'] - config.r1_every * logs['r1']
    two = two + config.r1_every * r1_penalty(pair.judge, pair.reals(real), config.r1_gamma)
    how = dict(retain_graph=True, allow_unused=True)
    for a, b in zip(torch.autograd.grad(logs['loss'], parameters, **how), torch.autograd.grad(two, parameters, **how)):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * b.abs().max().item())


def test_penalties_are_lazy_in_optimiser_steps():
    "With two batches a step, R1 and path length act in both of every second step and in none of the others."
    torch.manual_seed(0)
    pair, found = sg.StyleGANPair(SMALL), {'r1': [], 'path_length': []}

    def noting(step, name):
        return lambda *a: found[name].append(name in (logs := step(*a))) or logs

    pair.discriminator_step = noting(pair.discriminator_step, 'r1')
    pair.generator_step = noting(pair.generator_step, 'path_length')
    Trainer(pair, images(), TrainingConfig(4, accumulate=2), device='cpu').fit(4, progress=False)
    assert found['r1'] == found['path_length'] == [True, True, False, False] * 2


@pytest.mark.parametrize('config', [SMALL, replace(GROWS, size=16)], ids=['stylegan2', 'stylegan1'])
@pytest.mark.parametrize('precision', [torch.float16, torch.bfloat16])
def test_a_step_in_half_precision(config, precision):
    "Losses and gradients are finite and near those of float32, with R1 on the logits of the same pass."
    real, found = torch.rand(4, 3, 16, 16) * 2 - 1, []
    for enabled in (False, True):
        torch.manual_seed(0)
        pair = sg.StyleGANPair(replace(config, path_weight=0.0))
        for name, network in (('discriminator', pair.discriminator), ('generator', pair.generator)):
            with torch.autocast('cpu', precision, enabled=enabled):
                logs = getattr(pair, f'{name}_step')({'image': real}, Draws(0))
            gradients = torch.autograd.grad(logs['loss'], list(network.parameters()), allow_unused=True)
            found.append(torch.cat([g.flatten().float() for g in gradients if g is not None]))
    for exact, rounded in zip(found[:2], found[2:]):
        assert rounded.isfinite().all()
        assert (rounded - exact).norm() < (0.05 if precision == torch.float16 else 0.15) * exact.norm()


def test_counts_of_earlier_checkpoints_are_left_out():
    pair = sg.StyleGANPair(SMALL)
    old = pair.state_dict() | {'counts': torch.tensor([3, 3])}
    pair.load_state_dict(pair.names_of_today(old))


def test_path_penalty_reaches_the_generator_only_through_its_images():
    torch.manual_seed(0)
    pair = sg.StyleGANPair(SMALL)
    logs = pair.generator_step({'image': torch.randn(4, 3, 16, 16)}, Draws(0))
    assert logs['path_length'].shape == (2,) and pair.path_mean > 0
    logs['loss'].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in pair.generator.parameters())


def test_growing_inside_the_trainer(tmp_path):
    rows = (sg.GrowthRow(4, 0.001, 4, 8), sg.GrowthRow(8, 0.001, 4, 8), sg.GrowthRow(16, 0.002, 4, 4))
    stages, sizes = sg.growth_stages(rows, 96, stable=16, fade=16), []

    class Watch(training.Callback):
        def on_step(self, trainer, record):
            sizes.append((record['size'], record['alpha'], trainer.logs['fake_images'].shape[-1]))

    def train(run, until=None):
        torch.manual_seed(0)
        pair = sg.StyleGANPair(replace(GROWS, size=16))
        config = TrainingConfig(batch_size=4, ema_half_life=10)
        watch = [Watch(), Checkpoints(run, 1, keep=99)]
        return training.fit_stages(pair, images(), stages, run, config, watch, 'cpu', until=until, progress=False)

    trainer = train(tmp_path / 'whole')
    assert [s for s, *_ in sizes] == sorted(s for s, *_ in sizes) and trainer.pair.grown == (16, 1.0)
    assert all(size == drawn for size, _, drawn in sizes)
    assert {s for s, *_ in sizes} == {4, 8, 16} and 0 < [a for s, a, _ in sizes if s == 16][1] < 1
    assert trainer.config.generator_lr == 0.002 and trainer.sample(2).shape == (2, 3, 16, 16)
    assert trainer.images == 96
    for stop in (1, 2, 4, 7):  # in and between the stages
        train(tmp_path / str(stop), stop)
        again = train(tmp_path / str(stop))
        for a, b in zip(trainer.pair.state_dict().values(), again.pair.state_dict().values()):
            assert torch.equal(a, b)
        assert all(torch.equal(a, b) for a, b in zip(trainer.average.parameters(), again.average.parameters()))


def test_real_images_are_faded_as_the_fakes_are():
    pair = sg.StyleGANPair(replace(GROWS, size=16))
    x = torch.randn(2, 3, 16, 16)
    pair.grow(16, 0.0)
    assert torch.allclose(pair.reals(x), F.interpolate(F.avg_pool2d(x, 2), scale_factor=2))
    pair.grow(8, 1.0)
    assert torch.equal(pair.reals(x), F.avg_pool2d(x, 2))
    pair.grow(16, 1.0)
    assert torch.equal(pair.reals(x), x)
    for height, width in ((8, 8), (16, 24), (24, 24)):  # nothing is enlarged, squashed or resampled unevenly
        with pytest.raises(ValueError, match=f'{width}×{height} px cannot be averaged down to 16×16 px'):
            pair.reals(torch.zeros(2, 3, height, width))


def test_looking_changes_nothing():
    torch.manual_seed(0)
    trainer = Trainer(
        sg.StyleGANPair(replace(SMALL, path_weight=0.0)), images(), TrainingConfig(8, ema_half_life=10), device='cpu'
    )
    trainer.fit(1)
    state, draws = torch.random.get_rng_state(), trainer.draws.generator.get_state()
    assert torch.equal(trainer.sample(3), trainer.sample(3))
    assert torch.equal(state, torch.random.get_rng_state()) and torch.equal(draws, trainer.draws.generator.get_state())


def test_it_is_found_by_name():
    pair = build_pair('stylegan', {'size': 16, 'z_dim': 4, 'w_dim': 4, 'mapping_layers': 1, 'channel_base': 64})
    assert isinstance(pair, sg.StyleGANPair) and {'stylegan-liu-a', 'stylegan-liu-b', 'stylegan-liu-c'} <= set(
        training.recipes
    )


def test_bad_input_is_named_in_one_sentence():
    g, d = networks(SMALL)
    for call, words in (
        (lambda: sg.StyleGANConfig(96), 'power of two'),
        (lambda: sg.StyleGANConfig(64, 'stylegan3'), "'stylegan1' or 'stylegan2'"),
        (lambda: g.synthesis(torch.randn(1, 5, 12)), r'\[batch, 6, 12\]'),
        (lambda: g.synthesis(torch.randn(1, 12)), 'generator.mapping'),
        (lambda: d(torch.randn(1, 3, 8, 8)), 'resize'),
        (lambda: g(torch.randn(1, 9)), r'z is \[batch, 8\]'),
        (lambda: g.synthesis(torch.randn(1, 6, 12), noise=[]), '5 noise maps'),
        (lambda: g.synthesis(torch.randn(1, 6, 12), noise='some'), "noise is 'none'"),
        (lambda: networks(GROWS)[1].grow(64), 'grows through'),
        (lambda: networks(GROWS)[1].grow(8, 2.0), 'from 0 to 1'),
        (lambda: sg.StyleGANConfig(64, mixing=2.0), 'probability'),
        (lambda: sg.StyleGANConfig(64, channel_base=32), 'channel_base'),
        (lambda: sg.StyleGANConfig(64.0), 'power of two from 8 on, not 64.0'),
        (lambda: sg.style_layers(16, 4), 'not 16 and then 4'),
        (lambda: sg.style_layers(5, 20), 'from 4 on, not 5'),
        (lambda: sg.style_layers(1, 2), 'from 4 on, not 1'),
        (lambda: sg.num_layers(96), 'from 4 on, not 96'),
        (lambda: sg.truncate(torch.zeros(2, 6, 3), torch.zeros(3), 0.5, -1), 'from 0 on, not -1'),
        (lambda: sg.truncate(torch.zeros(2, 3), torch.zeros(3), 0.5, 1), 'have no layers'),
        (lambda: sg.mix_styles(torch.zeros(2, 6, 3), torch.ones(2, 6, 3), -1), 'from 0 to 6'),
        (lambda: sg.growth_stages(images=-5), 'images ≥ 1'),
    ):
        with pytest.raises(ValueError, match=words) as error:
            call()
        assert '\n' not in str(error.value)


@pytest.mark.parametrize('way', ['mapping', 'generator', 'no_grad'])
def test_the_warning_of_an_untracked_mean_names_the_line_that_called(way):
    generator, z = networks(SMALL)[0], torch.zeros(1, 8)
    calls = {
        'mapping': lambda: generator.mapping(z, truncation=0.5),
        'generator': lambda: generator(z, truncation=0.5),
        'no_grad': torch.no_grad()(lambda: generator(z, truncation=0.5)),
    }
    with pytest.warns(UserWarning, match='running mean of w is still 0') as seen:
        calls[way]()
    assert [w.filename for w in seen] == [__file__]


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    Trainer(sg.StyleGANPair(SMALL), images(), TrainingConfig(4), device='cpu').save(tmp_path / 'c')
    other = Trainer(sg.StyleGANPair(replace(SMALL, channel_max=8)), images(), TrainingConfig(4), device='cpu')
    with pytest.raises(ValueError, match='another network'):
        other.load(tmp_path / 'c')


def test_the_shipped_generator_draws():
    generator, facts = sg.pretrained_stylegan()
    drawn = generator(
        torch.randn(4, generator.config.z_dim, generator=torch.Generator().manual_seed(0)), truncation=0.7
    )
    assert drawn.shape == (4, 3, 32, 32) and torch.isfinite(drawn).all() and drawn.std() > 0.1
    assert (
        generator.mapping.w_avg.abs().max() > 0 and facts['images'] > 0 and 'train_stylegan_toon.py' in facts['command']
    )


def test_tensors_of_the_first_edition_get_their_names_of_today():
    pair = sg.StyleGANPair(sg.STYLEGAN_TINY.network)
    own = pair.state_dict()
    former = {name.replace('discriminator.epilogue.', 'discriminator.verdict.'): x for name, x in own.items()}
    assert former.keys() != own.keys()
    assert pair.names_of_today(former).keys() == pair.names_of_today(own).keys() == own.keys()


PLAIN = replace(SMALL, size=32, channel_base=256, noise=False, discriminator='dcgan', r1_every=1, path_weight=0.0)


def test_the_plain_discriminator_judges_each_image_by_itself():
    _, d = networks(PLAIN)
    real = torch.randn(4, 3, 32, 32)
    alone = torch.cat([d(image[None]) for image in real])
    assert torch.allclose(d(real), alone, atol=1e-5)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in d.modules())


def test_noise_maps_that_are_off_stay_off_and_draw_no_numbers():
    pair = sg.StyleGANPair(PLAIN)
    Trainer(pair, images(size=32), TrainingConfig(batch_size=8), device='cpu').fit(3, progress=False)
    layers = [module for module in pair.generator.modules() if isinstance(module, sg.Noise)]
    assert layers and all(layer.strength.item() == 0 for layer in layers)
    drawn = []
    draws = Draws(0)
    draws.normal = lambda *shape: drawn.append(shape) or torch.zeros(shape)
    pair.fakes(2, draws)
    assert all(len(shape) == 2 for shape in drawn)  # latents only, no maps


def test_noise_is_drawn_for_the_layers_that_have_grown():
    pair, drawn = sg.StyleGANPair(GROWS), []
    pair.grow(8, 0.5)
    draws = Draws(0)
    draws.normal = lambda *shape: drawn.append(shape) or torch.zeros(shape)
    _, images = pair.fakes(2, draws)
    assert images.shape == (2, 3, 8, 8)
    assert [shape[-1] for shape in drawn if len(shape) == 4] == [4, 4, 8, 8]


@pytest.mark.parametrize(
    'changes, part',
    [
        (dict(discriminator='unet'), "'residual' or 'dcgan'"),
        (dict(discriminator='dcgan', architecture='stylegan1'), 'does not grow'),
        (dict(discriminator='dcgan', size=8), '16 pixels or more'),
        (dict(discriminator='dcgan', channels=1), 'three colours, not 1'),
        (dict(mapping_layers=-1), 'mapping_layers must be at least 0, not -1'),
        (dict(r1_gamma=-1.0), 'r1_gamma must be at least 0'),
        (dict(path_weight=float('nan')), 'path_weight must be at least 0, not nan'),
        (dict(w_avg_beta=1.5), 'w_avg_beta is a share'),
    ],
)
def test_impossible_networks_are_named(changes, part):
    with pytest.raises(ValueError, match=part):
        replace(SMALL, **changes)
