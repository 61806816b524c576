"pi-GAN's training: presets, schedules, losses, work, exact resume through stages, alarms, bad input, what ships."

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from tiny import ball


from animegan_nb import geometry, pigan, pigan_training, siren, toon
from animegan_nb.callbacks import Checkpoints, JSONLog
from animegan_nb.cameras import PRIORS, pose
from animegan_nb.core import rng, shipped
from animegan_nb.data import ImageSet
from animegan_nb.penalties import r1_penalty
from animegan_nb.pigan import RenderSettings, camera_direction
from animegan_nb.pigan_training import (
    CARLA_STAGES,
    PIGAN_CARLA,
    PIGAN_CATS,
    PIGAN_CELEBA,
    PIGAN_POSTER,
    PIGAN_TOON_32,
    PiganConfig,
    PiganPair,
    discriminator_flops,
    discriminator_of,
    matter_in_front,
    noise_level,
    real_cameras,
    real_directions,
    real_images,
    reconstruction_loss,
    toon_shape,
)
from animegan_nb.siren import FieldConfig
from animegan_nb.training import (
    EMA,
    Draws,
    PeakMemory,
    Stage,
    Trainer,
    TrainingConfig,
    build_pair,
    count_flops,
    faded_in,
    fit_stages,
    load_run,
    models,
    network_config,
    recipes,
    stage_at,
    stage_starts,
)

TINY = FieldConfig(hidden=16, layers=2, z_dim=6, mapping_hidden=8)
SMALL = PiganConfig(
    8,
    TINY,
    RenderSettings(samples=4, fine=4, background=1.0),
    channel_base=64,
    channel_max=16,
    noise=5.0,
    noise_steps=10,
)


def codes(n, seed=0):
    return torch.randn(n, 6, generator=rng(seed))


def images(n=20, size=8, seed=0):
    g = np.random.default_rng(seed)
    cams = pose(torch.from_numpy(g.normal(0, 0.3, n)).float())
    return ImageSet(
        dict(
            image=g.integers(0, 255, (n, 3, size, size), dtype=np.uint8),
            coverage=g.integers(0, 255, (n, 1, size, size), dtype=np.uint8),
            cam2world=cams.numpy(),
        )
    )


# ---- the discriminator of a configuration, and its work ----------------------------------------------------------
@pytest.mark.parametrize('recipe, gflop', [(PIGAN_CELEBA, [3.9, 7.7, 11.5]), (PIGAN_CARLA, [6.9, 14.3, 21.7])])
def test_the_published_discriminators_in_work_and_size(recipe, gflop):
    "GFLOP of one image at 32, 64, 128 px and the number of parameters, as measured on the published code."
    config = replace(recipe.network, size=128, latent_weight=1e-9)
    with torch.device('meta'):
        assert 12.3e6 < sum(p.numel() for p in discriminator_of(config).parameters()) < 13.4e6
    assert [round(discriminator_flops(config, size) / 1e9, 1) for size in (32, 64, 128)] == gflop


def both_steps(pair, batch, draws):
    "Both networks take a step; the other's weights are frozen."
    pair.generator.requires_grad_(False)
    pair.discriminator_step(batch, draws)['loss'].backward()
    pair.generator.requires_grad_(True)
    pair.discriminator.requires_grad_(False)
    pair.generator_step(batch, draws)['loss'].backward()


def test_the_work_of_a_step_is_the_counted_work():
    """The formula against operations counted while both players take a step (float64: the form of the field without a
    cache)."""
    full = replace(SMALL, noise=0.0, view=replace(SMALL.view, samples=16, fine=16))
    fast, few = pigan_training.fast_recipe(full), dict(samples=4, fine=4)
    official = replace(fast, view=replace(fast.view, official=True, **few))
    painted = [replace(c, view=replace(c.view, background='painted', **few)) for c in (full, fast, official)]
    for base in (full, fast, official, *painted):
        config = replace(base, field=replace(TINY, hidden=32, mapping_hidden=2, z_dim=2), r1_every=1)
        pair, draws, batch = PiganPair(config).double(), Draws(0), {'image': torch.zeros(2, 3, 8, 8).double()}
        pair.latents = lambda n, draws: (torch.randn(n, 2).double(), pose(torch.zeros(n)).double())
        assert (
            abs(count_flops(both_steps, pair, batch, draws) / sum(pigan_training.pigan_flops(config, 2).values()) - 1)
            < 0.08
        )


def test_the_recipes_of_the_poster_by_the_numbers():
    official = replace(PIGAN_POSTER.network, view=replace(PIGAN_POSTER.network.view, samples=24, fine=24))
    work, fast = (
        pigan_training.pigan_flops(official, 14),
        pigan_training.pigan_flops(pigan_training.fast_recipe(official), 14),
    )
    assert (
        pigan_training.field_flops(siren.PIGAN_FIELD) == 1_053_696
        and pigan_training.field_flops(siren.PIGAN_FIELD, colour=False) == 919_552
    )
    assert abs(work['field'] / 11.60e12 - 1) < 0.001 and sum(work.values()) / sum(fast.values()) > 1.9


@pytest.mark.parametrize('kind', ['progressive', 'coord_strided', 'strided', 'product'])
@pytest.mark.parametrize('options', [{}, dict(alpha=True, condition_pose=True, group_size=2, latent_weight=1.0)])
def test_discriminator_shapes_and_fade(kind, options):
    config = replace(SMALL, discriminator=kind, **options)
    torch.manual_seed(0)
    D = discriminator_of(config)
    direction = F.normalize(torch.randn(4, 3), dim=1) if config.condition_pose else None
    x = torch.randn(4, 3 + config.alpha, 8, 8)
    output = D(x, direction, heads=True)
    assert (
        output.logits.shape == (4,)
        and output.direction.shape == (4, 3)
        and output.latent.shape == (4, 6 if config.latent_weight else 0)
    )
    assert torch.equal(D(x, direction), output.logits)
    if kind == 'product':
        return  # the patch network sees every size as it is
    D.grow(8, 0.0)
    faded = D(x, direction)
    D.grow(4)
    small = D(F.avg_pool2d(x, 2), direction)
    assert torch.allclose(faded, small, atol=1e-5)  # at α = 0 the new resolution changes nothing
    D.grow(8, 1e-4)
    assert (D(x, direction) - faded).abs().max() < 0.02


def test_the_camera_reaches_a_conditional_discriminator_only():
    torch.manual_seed(0)
    D, x, d = (
        discriminator_of(replace(SMALL, condition_pose=True)),
        torch.randn(4, 3, 8, 8),
        F.normalize(torch.randn(4, 3), dim=1),
    )
    assert not torch.allclose(D(x, d), D(x, d.roll(1, 0)))
    with pytest.raises(ValueError, match='shown the camera'):
        D(x)
    with pytest.raises(ValueError, match='not shown'):
        discriminator_of(SMALL)(x, d)


# ---- schedules ------------------------------------------------------------------------------------------------------
def test_the_curriculum_as_published():
    recipe = PIGAN_CARLA
    starts = stage_starts(recipe.stages, recipe.training)
    assert starts == [0, 10_000, 55_000, recipe.steps] and recipe.stages == CARLA_STAGES

    def at(step):
        k = stage_at(starts, step)
        return recipe.stages[k].size, round(faded_in(recipe.stages[k], step - starts[k], 1), 3)

    assert [at(s) for s in (0, 9999, 10_000, 15_000, 20_000, 54_999, 55_000, 65_000, 10**6)] == [
        (32, 1.0),
        (32, 1.0),
        (64, 0.0),
        (64, 0.5),
        (64, 1.0),
        (64, 1.0),
        (128, 0.0),
        (128, 1.0),
        (128, 1.0),
    ]
    numbers = [stage.training(recipe.training) for stage in recipe.stages]
    assert [(c.batch_size * c.accumulate, c.accumulate, c.generator_lr, c.discriminator_lr) for c in numbers] == [
        (30, 1, 4e-5, 4e-4),
        (14, 1, 2e-5, 2e-4),
        (10, 5, 1e-5, 1e-4),
    ]
    assert all(c.clip_gradient == 1.0 for c in numbers)
    config = recipe.network
    assert noise_level(config, 0) == 1 and noise_level(config, 2500) == 0.5 and noise_level(config, 9000) == 0


def test_presets_are_the_published_numbers():
    p, c = PIGAN_POSTER, PIGAN_CELEBA
    assert (p.training.batch_size, p.training.generator_lr, p.training.discriminator_lr, p.network.size) == (
        14,
        6e-5,
        2e-4,
        64,
    )
    assert (
        c.training.batch_size,
        c.network.view.fov,
        c.network.view.near,
        c.network.view.far,
        c.network.r1_gamma,
        c.network.pose_weight,
        c.network.top_k_floor,
    ) == (56, 12, 0.88, 1.12, 0.2, 15, 0.6)
    assert (
        PIGAN_CATS.training.batch_size == 28
        and PIGAN_CATS.network.view.samples == 24
        and PIGAN_CATS.network.prior == 'cats'
    )
    for recipe in (PIGAN_POSTER, PIGAN_CELEBA, PIGAN_CATS, PIGAN_CARLA, PIGAN_TOON_32):
        assert recipe.network.prior in PRIORS and recipe.source and recipe in recipes.values()
        network = json.loads(json.dumps(asdict(recipe.network)))
        assert models['pigan'][0](**network) == recipe.network  # through JSON and back


# ---- training -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(share_fakes=True),
        dict(pose_weight=15.0, latent_weight=1.0, top_k_floor=0.5),
        dict(alpha=True, condition_pose=True, pose_weight=1.0, pose_teacher='reals', group_size=2),
        dict(discriminator='product', reconstruction=2.0, alpha=True, share_fakes=True),
        dict(front_weight=1.0, solid_weight=1.0, share_fakes=True, view=replace(SMALL.view, background='painted')),
    ],
)
def test_the_pair_trains(options):
    pair = PiganPair(replace(SMALL, **options))
    trainer = Trainer(pair, images(), TrainingConfig(4, 1e-3, 1e-3), device='cpu')
    before = [p.clone() for p in pair.parameters()]
    trainer.fit(2, progress=False)
    assert all(math.isfinite(v) for record in trainer.history for v in record.values())
    moved = [not torch.equal(a, b) for a, b in zip(before, pair.parameters())]
    assert sum(moved) > 0.9 * len(moved) and pair.steps == {'discriminator': 2, 'generator': 2}
    assert trainer.sample(3).shape == (3, 3, 8, 8)


def test_shared_fakes_are_the_same_images_and_give_the_same_gradient():
    "Both players see one batch of fakes, and the generator's gradient is what a fresh forward pass would give."

    def run(share):
        torch.manual_seed(0)
        pair, draws = PiganPair(replace(SMALL, share_fakes=share)), Draws(1)
        pair.generator.requires_grad_(False)
        pair.discriminator_step(images().batch(range(4)) | {'image': torch.zeros(4, 3, 8, 8)}, draws)
        pair.generator.requires_grad_(True)
        if not share:
            draws = Draws(1)  # the same codes, cameras and samples again
        pair.generator_step({'image': torch.zeros(4, 3, 8, 8)}, draws)['loss'].backward()
        return [p.grad for p in pair.generator.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(run(True), run(False)))


def test_the_reconstruction_reaches_generator_and_encoder():
    pair = PiganPair(replace(SMALL, reconstruction=1.0))
    batch = images(2).batch([0, 1]) | dict(image=torch.zeros(2, 3, 8, 8))
    real = real_images(pair.config, batch, 8)
    code = pair.discriminator(real, heads=True).latent
    reconstruction_loss(pair.generator, pair.config, batch, real, code).backward()
    assert (
        all(p.grad is not None for p in pair.generator.parameters())
        and pair.discriminator.out.weight.grad.abs().max() > 0
    )


@settings(max_examples=10, deadline=None)
@given(st.floats(0.05, 1.0), st.floats(-2.0, 2.0))
def test_matter_in_front_is_the_mean_density_where_it_says(share, bias):
    pair, asked = PiganPair(replace(SMALL, front_share=share)), []
    with torch.no_grad():
        pair.generator.field.density.weight.zero_(), pair.generator.field.density.bias.fill_(bias)
    density_only = pair.generator.field.density_only
    pair.generator.field.density_only = lambda points, condition: (
        asked.append(points),
        density_only(points, condition),
    )[1]
    fakes = pair.generated(3, Draws(0))
    assert abs(matter_in_front(pair.generator, pair.config, fakes, Draws(1)).item() - max(bias, 0.0)) < 1e-4
    distance = (asked[-1] - fakes.cam2world[:, None, :3, 3]).norm(dim=-1)
    assert 0.88 - 1e-5 <= distance.min() and 0.88 + 0.22 * share < distance.max() <= 0.88 + 0.24 * share + 1e-5
    assert distance.std() > 0.05 * share  # all of that range


def test_the_penalty_on_matter_in_front_empties_it_and_only_it_changes_a_step():
    "Its own steps leave less matter in front; without a weight, no random number is used and nothing changes."

    def gradients(**options):
        torch.manual_seed(0)
        pair, draws = PiganPair(replace(SMALL, **options)), Draws(1)
        logs = pair.generator_step({'image': torch.zeros(4, 3, 8, 8)}, draws)
        logs['loss'].backward()
        return [p.grad for p in pair.generator.parameters()], logs, draws.uniform(1)

    (plain, logs, following), (other, _, same) = gradients(), gradients(front_share=0.7)
    assert 'front' not in logs and torch.equal(following, same) and all(torch.equal(a, b) for a, b in zip(plain, other))
    punished, logs, _ = gradients(front_weight=2.0)
    assert logs['front'] > 0 and any(not torch.equal(a, b) for a, b in zip(plain, punished))
    torch.manual_seed(0)
    pair = PiganPair(SMALL)
    fakes = pair.generated(4, Draws(1))
    descent = torch.optim.Adam(pair.generator.parameters(), 1e-2)
    amounts = []
    for _ in range(10):
        loss = matter_in_front(pair.generator, pair.config, fakes, Draws(2))
        amounts.append(loss.item())
        descent.zero_grad()
        loss.backward()
        descent.step()
    assert amounts[-1] < 0.5 * amounts[0]


def test_what_can_be_seen_through_counts_in_the_middle_only():
    opacity = torch.ones(2, 1, 9, 9)
    opacity[..., 0, :] = 0.0
    assert pigan_training.seen_through(opacity) == 0
    opacity[0, 0, 4, 4] = 0.5
    assert 0 < pigan_training.seen_through(opacity) < 0.5 and pigan_training.seen_through(torch.zeros(1, 1, 9, 9)) == 1
    pair = PiganPair(replace(SMALL, solid_weight=1.0))
    fakes = pair.generated(2, Draws(0))
    assert fakes.images.shape[1] == 3 and fakes.opacity.shape == (2, 1, 8, 8)  # the discriminator is not shown it
    alone = pair.generator.render_views(fakes.z, fakes.cam2world)['opacity']
    assert (fakes.opacity - alone).abs().mean() < 0.3 and PiganPair(SMALL).generated(2, Draws(0)).opacity is None
    logs = pair.generator_step({'image': torch.zeros(2, 3, 8, 8)}, Draws(0))
    assert 0 <= logs['holes'] <= 1


def test_r1_is_lazy():
    pair, draws = PiganPair(replace(SMALL, r1_every=3)), Draws(0)
    penalised = []
    for pair.steps['discriminator'] in range(6):  # the trainer counts
        penalised.append('r1' in pair.discriminator_step({'image': torch.zeros(2, 3, 8, 8)}, draws))
    assert penalised == [True, False, False, True, False, False]


@pytest.mark.parametrize('extra', [dict(), dict(condition_pose=True, pose_teacher='reals'), dict(reconstruction=1.0)])
def test_r1_is_that_of_a_pass_of_its_own(extra):
    torch.manual_seed(0)
    pair, seen = PiganPair(replace(SMALL, r1_gamma=3.0, **extra)), []
    batch = images(4).batch(range(4))
    batch['image'] = batch['image'] / 127.5 - 1
    pair.discriminator.register_forward_pre_hook(lambda m, a: seen.append(a[0].shape))
    log = pair.discriminator_step(batch, Draws(0))
    assert len(seen) == 2  # real and generated images, each once
    direction = (real_directions(pair.config, batch),) if extra.get('condition_pose') else ()
    alone = r1_penalty(lambda x: pair.discriminator(x, *direction), batch['image'], 3.0)
    assert torch.allclose(log['r1'], alone)
    found = torch.autograd.grad(log['r1'], list(pair.discriminator.parameters()), allow_unused=True)
    for a, b in zip(found, torch.autograd.grad(alone, list(pair.discriminator.parameters()), allow_unused=True)):
        assert (a is None and b is None) or torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


@pytest.mark.parametrize('first_look', ['full', 'density'])
def test_two_processes_draw_what_one_draws(first_look):
    config = replace(SMALL, view=replace(SMALL.view, first_look=first_look), front_weight=1.0)
    torch.manual_seed(0)
    pair, one, two = PiganPair(config), Draws(3), [Draws(3, rank=k, world=2) for k in range(2)]
    whole, halves = pair.generated(4, one), [pair.generated(2, d) for d in two]
    assert torch.allclose(torch.cat([h.images for h in halves]), whole.images, atol=2e-4)
    front = [matter_in_front(pair.generator, config, h, d) for h, d in zip(halves, two)]
    assert torch.allclose(sum(front) / 2, matter_in_front(pair.generator, config, whole, one), rtol=1e-4)
    assert not torch.allclose(halves[0].images, halves[1].images, atol=0.01)


def test_the_limit_of_the_configuration_is_kept(monkeypatch):
    asked = []
    render = pigan.PiganGenerator.render
    monkeypatch.setattr(pigan.PiganGenerator, 'render', lambda *a, **k: asked.append(k['memory']) or render(*a, **k))
    for memory in (0.0, 1.5):
        PiganPair(replace(SMALL, memory=memory)).generated(2, Draws(0))
    assert asked == [None, 3 * 2**29]


@pytest.mark.parametrize('limit', [0.0, 0.003])
def test_the_bytes_of_a_step_are_known_beforehand(limit, monkeypatch):
    for module in (siren, pigan):  # as on a GPU
        monkeypatch.setattr(module, 'runs_in_chunks', lambda points: False)
    field = FieldConfig(hidden=64, layers=3, z_dim=6, mapping_hidden=8)
    config = replace(SMALL, size=16, field=field, memory=limit)
    trainer = Trainer(PiganPair(config), images(20, 16), TrainingConfig(batch_size=4, ema_half_life=20), device='cpu')
    trainer.fit(1, progress=False)
    with PeakMemory() as peak:
        trainer.fit(1, progress=False)
    parts = pigan_training.training_bytes(config, 4)
    most = parts['images'] + parts['discriminator']
    assert 0.6 * parts['images'] < peak.most < 1.2 * (most + parts['networks'])


@pytest.mark.parametrize('name', [name for name in recipes if name.startswith('pigan')])
def test_every_preset_fits_into_80_gb(name):
    recipe, card = recipes[name], 80 * 10**9
    trainings = [(s.training(recipe.training), s.size) for s in recipe.stages] or [(recipe.training, None)]
    for training, size in trainings:
        batch = training.batch_size
        assert sum(pigan_training.training_bytes(recipe.network, batch, size, card).values()) < 0.7 * card


@pytest.mark.parametrize('conditional', [False, True])
def test_r1_is_that_of_the_real_images_in_one_forward_pass(conditional):
    "Value and gradients equal those of a second pass; the discriminator is asked twice in a step."
    torch.manual_seed(0)
    pair, asked = PiganPair(replace(SMALL, r1_every=1, r1_gamma=3.0, condition_pose=conditional)), []
    batch = {'image': torch.rand(2, 3, 8, 8) * 2 - 1, 'cam2world': pose(torch.tensor([0.1, -0.2]))}
    pair.discriminator.register_forward_hook(lambda *_: asked.append(1))
    logs = pair.discriminator_step(batch, Draws(0))
    assert len(asked) == 2 and not batch['image'].requires_grad
    shown = camera_direction(batch['cam2world']) if conditional else None
    expected = r1_penalty(lambda x: pair.discriminator(x, shown), batch['image'], 3.0)
    torch.testing.assert_close(logs['r1'], expected)
    parameters = list(pair.discriminator.parameters())
    gradients = lambda loss: torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    for one, two in zip(gradients(logs['loss']), gradients(logs['loss'] - logs['r1'] + expected)):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_mirrored_images_have_mirrored_cameras_and_coverage():
    pair = PiganPair(replace(SMALL, condition_pose=True, alpha=True))
    rows = images(2).batch([0, 1])
    batch = rows | dict(image=torch.zeros(2, 3, 8, 8), mirrored=torch.tensor([False, True]))
    plain = camera_direction(rows['cam2world'])
    turned = real_directions(pair.config, batch)
    assert torch.equal(turned[0], plain[0]) and torch.equal(turned[1], plain[1] * torch.tensor([-1.0, 1.0, 1.0]))
    angles = lambda c: torch.atan2(c[:, 0, 2], c[:, 2, 2])
    mirrored = real_cameras(batch)
    assert torch.allclose(
        angles(mirrored), angles(rows['cam2world']) * torch.tensor([1.0, -1.0]), atol=1e-6
    ) and torch.allclose(torch.linalg.det(mirrored), torch.ones(2), atol=1e-5)
    cover = real_images(pair.config, batch, 8)[:, 3]
    assert torch.allclose(cover[1], rows['coverage'][1, 0].flip(-1) / 127.5 - 1, atol=1e-6)


GROWING = (
    Stage(3, size=4, batch_size=4, generator_lr=1e-3, discriminator_lr=1e-3),
    Stage(3, size=8, fade=2, batch_size=3, accumulate=2, generator_lr=5e-4, discriminator_lr=1e-3),
)


def test_a_curriculum_trains_through_its_stages_and_resumes_bit_for_bit(tmp_path):
    def start(folder, until=None, run=None):
        torch.manual_seed(0)
        watch = [EMA(50), pigan_training.SlowAverage(500), Checkpoints(folder, 1, keep=9)]
        return fit_stages(
            PiganPair(SMALL),
            images(),
            GROWING,
            run,
            TrainingConfig(4, 1.0, 1.0, seed=1),
            [*watch, JSONLog(folder / 'log.jsonl')],
            'cpu',
            {'model': 'pigan', 'network': asdict(SMALL)},
            until,
            progress=False,
        )

    whole = start(tmp_path / 'whole')
    assert (
        whole.step == 6
        and whole.images == 3 * 4 + 3 * 6
        and whole.pair.grown == (8, 1.0)
        and whole.loader.batch_size == 3
    )
    assert whole.optimizers['generator'].param_groups[0]['lr'] == 5e-4
    assert [(r['stage'], r['size'], r['alpha']) for r in whole.history] == [(0, 4, 1.0)] * 3 + [
        (1, 8, 0.0),
        (1, 8, 0.5),
        (1, 8, 1.0),
    ]
    for stop in (2, 3, 5):  # within a stage, between two, in the last
        folder = tmp_path / str(stop)
        start(folder, stop)
        again = start(folder, run=folder)
        assert again.step == 6 and all(
            torch.equal(a, b) for a, b in zip(whole.pair.state_dict().values(), again.pair.state_dict().values())
        )
        assert all(torch.equal(a, b) for a, b in zip(whole.average.parameters(), again.average.parameters()))
        assert all(torch.equal(a, b) for a, b in zip(whole.slow_average.parameters(), again.slow_average.parameters()))
    pair, generator, info = load_run(tmp_path / 'whole')
    assert info['step'] == 6 and torch.equal(
        generator.render(codes(1), pose(0.0)), whole.average.render(codes(1), pose(0.0))
    )


def test_shared_fakes_are_of_one_batch():
    pair = PiganPair(replace(SMALL, share_fakes=True))
    with pytest.raises(ValueError, match='Stage 1 of the curriculum: With share_fakes'):
        Trainer(pair, images(), TrainingConfig(4), stages=GROWING, device='cpu')


def test_two_averages_forget_at_different_speeds():
    pair = PiganPair(SMALL)
    trainer = Trainer(
        pair, images(), TrainingConfig(4, 1e-2, 1e-3), [EMA(8, ramp=0), pigan_training.SlowAverage(800)], device='cpu'
    )
    start = [p.clone() for p in pair.generator.parameters()]
    trainer.fit(3, progress=False)
    gap = lambda net: sum(float((a - b).abs().sum()) for a, b in zip(net.parameters(), start))
    assert 0 < gap(trainer.slow_average) < gap(trainer.average) < gap(pair.generator)


# ---- measures -------------------------------------------------------------------------------------------------------
def test_alarms_ring_when_they_should():
    truth = ball(0.0, size=32)
    solid = truth['opacity'] > 0.5
    shape = geometry.mean_shape(torch.where(solid, truth['depth'], torch.inf), solid)
    ring = lambda **changes: pigan_training.alarms(truth | changes, shape)
    found = ring()
    assert (
        found['missing'] == 0
        and abs(found['relief'] - 1) < 1e-4
        and found['correlation'] > 0.999
        and not any(found[k] for k in ('black_hole', 'billboard', 'hollow'))
    )
    hole = truth['opacity'].clone()
    hole[..., 12:20, 12:20] = 0.0
    assert ring(opacity=hole)['black_hole']
    assert ring(depth=1 + 0.1 * (truth['depth'] - 1))['billboard']
    assert ring(depth=torch.where(solid, 2 - truth['depth'], 1.12))['hollow']


def test_the_watch_writes_into_the_log():
    shape = toon_shape(3, 8)
    assert shape.depth.shape == (1, 1, 8, 8) and 0 < shape.relief < 0.05
    watch_shape = pigan_training.ShapeWatch(shape, every=2, n=3)
    trainer = Trainer(
        PiganPair(SMALL), images(), TrainingConfig(4, 1e-3, 1e-3, ema_half_life=100), [watch_shape], device='cpu'
    ).fit(2, progress=False)
    assert (
        {'relief', 'correlation', 'missing'} <= set(trainer.history[-1])
        and 'relief' not in trainer.history[0]
        and watch_shape.status != 'not measured yet'
    )


# ---- bad input ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    'call, word',
    [
        (lambda: replace(SMALL, size=12), 'power of two'),
        (lambda: replace(SMALL, prior='moon'), 'pose prior'),
        (lambda: replace(SMALL, discriminator='big'), 'discriminator'),
        (lambda: replace(SMALL, pose_teacher='me'), 'pose head'),
        (lambda: replace(SMALL, noise=-1.0), 'noise must be at least 0'),
        (lambda: replace(SMALL, r1_every=0), 'r1_every must be at least 1'),
        (lambda: replace(SMALL, top_k_floor=0.0), 'top_k_floor'),
        (lambda: replace(SMALL, front_weight=-1.0), 'front_weight must be at least 0'),
        (lambda: replace(SMALL, solid_weight=-1.0), 'solid_weight must be'),
        (lambda: replace(SMALL, front_share=1.5), 'front_share is a share'),
        (lambda: replace(SMALL, latent_weight=1.0, pose_teacher='reals'), 'the codes of real images'),
        (lambda: real_images(SMALL, {'image': torch.zeros(1, 3, 12, 12)}, 8), 'averaged down'),
        (lambda: real_images(replace(SMALL, alpha=True), {'image': torch.zeros(1, 3, 8, 8)}, 8), 'covered'),
        (lambda: real_directions(replace(SMALL, condition_pose=True), {}), 'camera of every real image'),
        (lambda: build_pair('pigan', {'hidden': 3}), 'no setting'),
    ],
)
def test_bad_input_is_one_sentence(call, word):
    with pytest.raises(ValueError) as error:
        call()
    assert word in str(error.value) and '\n' not in str(error.value)


# ---- a training that begins with a trained network -------------------------------------------------------------------
def short_run(folder, config):
    "A run of one step."
    data = ImageSet({'image': np.zeros((4, 3, config.size, config.size), np.uint8)})
    facts = {'model': 'pigan', 'network': asdict(config)}
    numbers = TrainingConfig(4, 1e-3, 1e-3, ema_half_life=4)
    fit_stages(
        PiganPair(config), data, (Stage(1),), folder, numbers, [Checkpoints(folder, 1)], 'cpu', facts, progress=False
    )
    return folder


def begun(config, start):
    pair = PiganPair(replace(config, start=str(start)))
    pair.start()
    return pair


def same(a, b):
    b = b.state_dict()
    return all(torch.equal(v, b[k]) for k, v in a.state_dict().items())


def test_a_training_begins_with_a_trained_generator(tmp_path):
    run = short_run(tmp_path / 'run', SMALL)
    trained, average, _ = load_run(run)
    assert not same(trained.generator, average)
    both = begun(SMALL, run)
    assert same(both.generator, average) and same(both.discriminator, trained.discriminator)
    larger = begun(replace(SMALL, size=16), run)  # whose discriminator has one block more
    assert same(larger.generator, average) and larger.discriminator.grown == (16, 1.0)
    assert same(larger.discriminator.blocks['b4'], trained.discriminator.blocks['b4'])
    wide = replace(SMALL, channel_base=128, channel_max=24, alpha=True)
    torch.manual_seed(3)
    other = begun(wide, run).discriminator
    torch.manual_seed(3)
    assert other.grown == (8, 1.0) and same(other, PiganPair(wide).discriminator)  # nothing fits
    bias = begun(replace(SMALL, group_size=4), run).discriminator.out  # sees one map more
    assert bias.bias.abs().max() == 0 < trained.discriminator.out.bias.abs().max()
    strided = begun(replace(SMALL, discriminator='strided'), run).discriminator
    assert not same(strided.from_rgb, trained.discriminator.from_rgb)
    alone = begun(SMALL, average.save_pretrained(tmp_path / 'alone'))
    assert same(alone.generator, average) and not same(alone.discriminator, trained.discriminator)


def test_a_recipe_begins_with_a_network_that_ships():
    generator, _ = pigan.pretrained_pigan('pigan_toon_32')
    recipe = recipes['pigan-toon-64']
    trainer = recipe.trainer(toon.ready_heads('white'), [], 'cpu')
    assert same(trainer.pair.generator, generator) and trainer.pair.discriminator.grown[0] == recipe.network.size == 64
    first = recipe.stages[0]
    assert first.generator_lr < 1e-5 < first.discriminator_lr  # the new discriminator learns alone


def test_a_start_that_does_not_fit_is_one_sentence(tmp_path):
    run = short_run(tmp_path / 'run', SMALL)
    with pytest.raises(ValueError, match='different fields'):
        begun(replace(SMALL, field=replace(TINY, hidden=24)), run)
    with pytest.raises(FileNotFoundError, match='There is no network'):
        begun(SMALL, 'pigan_moon')


# ---- what ships -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('name, size', [('pigan_toon_32', 32), ('pigan_toon_32_floaters', 32), ('pigan_toon_64', 64)])
def test_the_shipped_networks_are_what_their_facts_say(name, size):
    generator, facts = pigan.pretrained_pigan(name)
    assert (
        sum(p.numel() for p in generator.parameters()) * 4 < 8e6
        and not generator.training
        and not any(p.requires_grad for p in generator.parameters())
    )
    assert (
        network_config('pigan', facts['network']).size == size
        and facts['steps'] > 0
        and facts['seconds'] > 0
        and 'train_pigan_toon.py' in facts['command']
    )
    z = torch.randn(8, generator.z_dim, generator=rng(5))
    front = generator.render_views(z, pose(torch.zeros(8)), size=size, samples=16, fine=16)
    found, stored = pigan_training.alarms(front, toon_shape(16, size)), facts['measures']['network']
    for name, room in (('missing', 0.05), ('relief', 0.4), ('correlation', 0.15)):
        assert abs(found[name] - stored[name]['value']) < room + 3 * stored[name]['half_range']


def test_stored_measurements_are_complete():
    measured = json.loads(shipped('results/pigan_cpu.json').read_text())
    assert (
        set(measured['step']['seconds']) == {'plain', 'official', 'fast'}
        and set(measured['recipes']) == {'12+12', '24+24'}
        and measured['step']['picture_gap'] < 1e-3
    )
    sizes = json.loads(shipped('results/pigan_sizes.json').read_text())['networks']
    small, control, large = (sizes[f'pigan_toon_{name}'] for name in ('32', '64_control', '64'))
    assert abs(control['core_minutes'] / large['core_minutes'] - 1) < 0.1  # an equal time
    assert all(len(m['frechet']) == 3 for found in (small, control, large) for m in found['measures'].values())
    assert pigan.pretrained_pigan('pigan_toon_64')[1]['distances'] == large['measures']
    ways = json.loads(shipped('results/pigan_floaters.json').read_text())['ways']
    assert len(ways) == 3 and all([row['seed'] for row in rows] == [0, 1, 2] for rows in ways.values())
    tried = json.loads(shipped('results/pigan_summary.json').read_text())
    assert len(tried['runs']) == 3 and all(
        [run['seed'] for run in runs] == [0, 1, 2] for runs in tried['runs'].values()
    )
