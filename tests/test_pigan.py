"pi-GAN: the published pictures, laws of generator, discriminator and losses, exact resume through stages, bad input."

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from tiny import ball
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from animegan_nb import geometry
from animegan_nb import pigan_training
from animegan_nb import siren
from animegan_nb import pigan
from animegan_nb.cameras import PRIORS, pose, rays
from animegan_nb.core import rng, shipped
from animegan_nb.data import ImageSet
from animegan_nb.pigan import (
    CARLA_PHASES,
    PIGAN_CARLA,
    PIGAN_CATS,
    PIGAN_CELEBA,
    PIGAN_POSTER,
    PIGAN_TOON_32,
    Discriminator,
    Generator,
    Phase,
    PiganConfig,
    View,
    camera_direction,
    truncate,
)
from animegan_nb.pigan_training import PiganPair, fit_curriculum, noise_level, phase_at
from animegan_nb.siren import Condition, FieldConfig
from animegan_nb.training import EMA, Draws, Trainer, TrainingConfig, build_pair, load_run, models, recipes
from animegan_nb.callbacks import Checkpoints, JSONLog

TINY = FieldConfig(hidden=16, layers=2, z_dim=6, mapping_hidden=8)
SMALL = PiganConfig(
    8, TINY, View(samples=4, fine=4, background=1.0), channel_base=64, channel_max=16, noise=5.0, noise_steps=10
)


def tiny(seed=0, **view):
    torch.manual_seed(seed)
    return Generator(TINY, View(**{'samples': 6, 'fine': 0, 'background': 1.0, **view}), size=8).eval()


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


# ---- the generator -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('size', [5, (4, 7)])
def test_what_a_look_returns(size):
    h, w = (5, 5) if size == 5 else size
    G = tiny()
    out = G.render_views(codes(3), pose(torch.tensor([0.0, 0.3, -0.4])), size=size, normal=True)
    assert torch.equal(out.pop('cam2world'), pose(torch.tensor([0.0, 0.3, -0.4])))
    assert {k: tuple(v.shape) for k, v in out.items()} == {
        'image': (3, 3, h, w),
        'depth': (3, 1, h, w),
        'distance': (3, 1, h, w),
        'opacity': (3, 1, h, w),
        'normal': (3, 3, h, w),
    }
    assert (out['image'].abs() <= 1 + 1e-5).all() and (out['opacity'] >= 0).all() and (out['opacity'] <= 1 + 1e-5).all()
    assert (
        (out['distance'] >= 0.88).all()
        and (out['distance'] <= 1.12).all()
        and (out['depth'] <= out['distance'] + 1e-6).all()
    )
    assert not any(v.requires_grad for v in out.values())
    assert torch.equal(G.render(codes(3), pose(torch.tensor([0.0, 0.3, -0.4])), size=size), out['image'])


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 300), st.booleans(), st.booleans())
def test_stages_change_nothing_and_keep_the_limit(limit, hierarchical, official):
    G, asked = tiny(), []
    whole = G.render_views(
        codes(2),
        pose(torch.tensor([0.0, 0.3])),
        samples=5,
        hierarchical=hierarchical,
        official=official,
        max_points=None,
    )
    G.field.register_forward_pre_hook(lambda m, a: asked.append(a[0].shape[0] * a[0].shape[1]))
    staged = G.render_views(
        codes(2),
        pose(torch.tensor([0.0, 0.3])),
        samples=5,
        hierarchical=hierarchical,
        official=official,
        max_points=limit,
    )
    assert max(asked) <= max(limit, 2 * 5)  # a single ray of every picture is the least
    assert all(torch.allclose(whole[k], staged[k], atol=2e-5) for k in whole)


def test_deterministic_is_bit_identical_and_random_is_repeatable():
    G, z, cam = tiny(fine=4), codes(2), pose(torch.tensor([0.0, 0.3]))
    assert torch.equal(G.render(z, cam), G.render(z, cam))
    a, b = (G.render(z, cam, deterministic=False, rng=rng(3)) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a, G.render(z, cam, deterministic=False, rng=rng(4)))
    torch.manual_seed(0)
    a = G.render(z, cam, deterministic=False)
    torch.manual_seed(0)
    assert torch.equal(a, G.render(z, cam, deterministic=False))


def test_one_code_from_many_cameras():
    G, cams = tiny(), pose(torch.linspace(-0.5, 0.5, 4))
    assert torch.allclose(G.render(codes(1), cams), G.render(codes(1).expand(4, -1), cams), atol=1e-6)
    knobs = G.condition(codes(1))
    assert torch.allclose(G.render(knobs, cams), G.render(codes(1), cams), atol=1e-6)


def test_the_density_does_not_depend_on_the_direction_and_colour_only_if_it_may():
    z, cam = codes(1), pose(0.4)
    free, locked = tiny(directional=True), tiny(directional=False)
    p, d = torch.rand(1, 9, 3) * 0.1, F.normalize(torch.randn(1, 9, 3), dim=-1)
    a, b = (free.world(free.condition(z))(p, way) for way in (d, -d))
    assert torch.equal(a[1], b[1]) and not torch.equal(a[0], b[0])
    a, b = (locked.world(locked.condition(z), False)(p, way) for way in (d, -d))
    assert torch.equal(a[0], b[0])
    assert not torch.equal(free.render(z, cam), locked.render(z, cam))


def test_truncation():
    G = tiny()
    mean, z = G.mean_condition(500), codes(4)
    assert torch.allclose(
        mean.frequencies,
        torch.stack([c for c in G.condition(torch.randn(500, 6, generator=rng(0))).frequencies]).mean(0),
        atol=1e-5,
    )
    knobs = G.condition(z)
    none, all_ = truncate(knobs, mean, 1.0), truncate(knobs, mean, 0.0)
    assert none is knobs and torch.allclose(all_.phases, mean.phases.expand_as(knobs.phases), atol=1e-6)
    half = truncate(knobs, mean, 0.5)
    assert torch.allclose(half.frequencies - mean.frequencies, 0.5 * (knobs.frequencies - mean.frequencies), atol=1e-5)
    flat = G.render(z, pose(torch.zeros(4)), psi=0.0)
    assert torch.allclose(flat[0], flat[3], atol=1e-5)
    before = G.mean_condition()
    with torch.no_grad():
        G.field.mapping.layers[-1].bias += 1
    assert not torch.equal(before.phases, G.mean_condition().phases)  # a changed network has another mean


def test_gradients_reach_field_code_and_camera_settings():
    G, z = tiny(fine=4), codes(2).requires_grad_(True)
    G.train().render(z, pose(torch.zeros(2)), deterministic=False, rng=rng(0), noise=1.0).square().sum().backward()
    assert z.grad.abs().max() > 0 and all(p.grad is not None and p.grad.isfinite().all() for p in G.parameters())


def test_the_two_looks_of_the_fast_recipe():
    G, z, cam = tiny(fine=6, first_look='density'), codes(2), pose(torch.tensor([0.0, 0.3]))
    calls = []
    G.field.register_forward_pre_hook(lambda m, a: calls.append(a[0].shape[1]))
    fast = G.render(z, cam)
    assert calls == [8 * 8 * 6]  # colours are asked for once, at the second look
    exact = G.render_views(z, cam, samples=200, hierarchical=False)['image']
    many = tiny(fine=40, samples=40, first_look='density').render(z, cam)
    assert (many - exact).abs().mean() < 0.03 and (fast - exact).abs().mean() < 0.15


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(1, 12), st.integers(0, 50))
def test_a_second_look_covers_what_it_stands_for(samples, fine, seed):
    view = View(samples=samples, fine=fine, first_look='density')
    first = (0.88 + 0.24 * (torch.arange(samples) + 0.5) / samples).expand(1, 3, -1)
    density = 200 * torch.rand(1, 3, samples, generator=rng(seed)).square()
    t, lengths = pigan.second_look(first, density, view, rng(seed))
    assert (
        t.shape == lengths.shape == (1, 3, fine)
        and (t.diff(dim=-1) >= 0).all()
        and (t >= 0.88).all()
        and (t <= 1.12).all()
    )
    assert (lengths > 0).all() and (lengths <= 0.24 + 1e-5).all()
    wall = torch.zeros(1, 3, samples)
    wall[..., samples // 2] = 1e5  # an opaque bin: its points share its length
    t, lengths = pigan.second_look(first, wall, view, rng(seed))
    inside = (t - first[..., samples // 2, None]).abs() < 0.12 / samples
    assert inside.float().mean() > 0.85 - 1 / fine and torch.allclose(
        lengths[inside], torch.tensor(0.24 / samples / max(1.0, fine / 1.01 * (1 + 0.01 / samples))), rtol=0.02
    )


def saved_bytes(run):
    "The most that autograd keeps while a picture is drawn."
    total = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: total.append(t.numel() * t.element_size()) or t, lambda t: t
    ):
        out = run()
    return sum(total), out


@pytest.mark.parametrize(
    'options',
    [dict(), dict(deterministic=False, noise=3.0), dict(deterministic=False, hierarchical=True, noise=3.0, alpha=True)],
)
@pytest.mark.parametrize('first_look', ['full', 'density'])
def test_deferred_gradients_are_the_direct_ones(options, first_look, monkeypatch):
    "Piece by piece with replayed randomness: the same picture, the same gradient, a fraction of the memory."

    def gradients(deferred):
        G, z = (
            tiny(first_look=first_look, fine=5 if 'hierarchical' in options else 0).double(),
            codes(2).double().requires_grad_(True),
        )
        G.field.register_forward_pre_hook(lambda m, a: None)
        if not deferred:
            monkeypatch.setattr(pigan, 'checkpoint', lambda f, *a, **k: f(*a))
        kept, image = saved_bytes(
            lambda: G.render(
                z,
                pose(torch.tensor([0.0, 0.3])).double(),
                rng=rng(5) if options else None,
                max_points=2 * 6 * 5,
                **options,
            )
        )
        monkeypatch.undo()
        F.softplus(image).square().sum().backward()
        return kept, image.detach(), [z.grad, *(p.grad for p in G.parameters())]

    (small, a, ga), (large, b, gb) = gradients(True), gradients(False)
    assert torch.equal(a, b) and all(
        torch.allclose(x, y, rtol=1e-9, atol=1e-12 * float(y.abs().max())) for x, y in zip(ga, gb)
    )
    assert small < large / 8


def test_alpha_is_the_opacity():
    G, z, cam = tiny(), codes(2), pose(torch.tensor([0.0, 0.3]))
    four = G.render(z, cam, alpha=True)
    assert four.shape[1] == 4 and torch.allclose((four[:, 3:] + 1) / 2, G.render_views(z, cam)['opacity'], atol=1e-6)
    assert torch.equal(four[:, :3], G.render(z, cam))


def test_the_background_is_behind():
    G, z, cam = tiny(), codes(1), pose(0.0)
    black, white, out = G.render(z, cam, background=-1.0), G.render(z, cam, background=1.0), G.render_views(z, cam)
    assert torch.allclose(white - black, 2 * (1 - out['opacity']).expand(-1, 3, -1, -1), atol=1e-5)


@pytest.mark.parametrize('first_look', ['full', 'density'])
def test_a_painted_background_is_the_field_at_the_far_plane_and_learns(first_look):
    G, z, cam = tiny(fine=6, first_look=first_look, background='painted'), codes(2), pose(torch.tensor([0.0, 0.3]))
    with torch.no_grad():
        G.field.density.weight.zero_(), G.field.density.bias.fill_(-1.0)  # nothing but air
    lines = rays(cam, 12.0, 8)
    wall = G.field(lines.origins + 1.12 * lines.directions, z, lines.directions)[0].mT.reshape(2, 3, 8, 8)
    drawn = G.render(z, cam)
    assert torch.allclose(drawn, 2 * wall - 1, atol=1e-5) and drawn.flatten(2).std(-1).min() > 1e-3
    assert torch.equal(G.render_views(z, cam)['image'], drawn) and (G.render_views(z, cam)['opacity'] == 0).all()
    drawn.square().sum().backward()
    assert G.field.rgb.weight.grad.abs().max() > 0
    assert torch.allclose(G.render(z, cam, background=1.0), torch.ones(()), atol=1e-5)  # what is asked for goes before
    assert torch.isfinite(G.render(z, cam, official=True)).all()


def test_half_precision_leaves_coordinates_alone():
    torch.manual_seed(0)
    G = Generator(FieldConfig(hidden=64, layers=4, z_dim=6, mapping_hidden=8), View(samples=8, fine=0), 8)
    with torch.no_grad():
        exact = G.render(codes(2), pose(torch.zeros(2)))
        with torch.autocast('cpu', torch.bfloat16):
            half = G.render(codes(2), pose(torch.zeros(2)))
    assert half.dtype == torch.float32 and not torch.equal(half, exact) and (half - exact).abs().mean() < 0.02


# ---- the discriminator ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize('recipe, gflop', [(PIGAN_CELEBA, [3.9, 7.7, 11.5]), (PIGAN_CARLA, [6.9, 14.3, 21.7])])
def test_the_published_discriminators_in_work_and_size(recipe, gflop):
    "GFLOP of one picture at 32, 64, 128 px and the number of parameters, as measured on the published code."
    config = replace(recipe.network, size=128, phases=(), latent_weight=1e-9)
    with torch.device('meta'):
        assert 12.3e6 < sum(p.numel() for p in Discriminator(config).parameters()) < 13.4e6
    assert [round(pigan.discriminator_flops(config, size) / 1e9, 1) for size in (32, 64, 128)] == gflop


class Count(TorchDispatchMode):
    "Adds up the operations of every product and convolution, also those of backward passes."

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def test_the_work_of_a_step_is_the_counted_work():
    """The formula against operations counted while both players take a step (float64: the form of the field without a
    cache)."""
    for base in (replace(SMALL, noise=0.0), pigan_training.fast_recipe(replace(SMALL, noise=0.0))):
        config = replace(
            base,
            field=replace(TINY, hidden=32, mapping_hidden=2, z_dim=2),
            view=replace(base.view, samples=16, fine=16),
            r1_every=1,
        )
        pair, draws, batch = PiganPair(config).double(), Draws(0), {'image': torch.zeros(2, 3, 8, 8).double()}
        pair.latents = lambda n, draws: (torch.randn(n, 2).double(), pose(torch.zeros(n)).double())
        with Count() as count:
            pair.generator.requires_grad_(False)
            pair.discriminator_step(batch, draws)['loss'].backward()
            pair.generator.requires_grad_(True)
            pair.discriminator.requires_grad_(False)
            pair.generator_step(batch, draws)['loss'].backward()
        assert abs(count.total / sum(pigan_training.step_flops(config, 2).values()) - 1) < 0.08


def test_the_recipes_of_the_poster_by_the_numbers():
    official = replace(PIGAN_POSTER.network, view=replace(PIGAN_POSTER.network.view, samples=24, fine=24))
    work, fast = (
        pigan_training.step_flops(official, 14),
        pigan_training.step_flops(pigan_training.fast_recipe(official), 14),
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
    D = Discriminator(config)
    direction = F.normalize(torch.randn(4, 3), dim=1) if config.condition_pose else None
    x = torch.randn(4, 3 + config.alpha, 8, 8)
    judgement = D(x, direction, heads=True)
    assert (
        judgement.logits.shape == (4,)
        and judgement.direction.shape == (4, 3)
        and judgement.latent.shape == (4, 6 if config.latent_weight else 0)
    )
    assert torch.equal(D(x, direction), judgement.logits)
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
        Discriminator(replace(SMALL, condition_pose=True)),
        torch.randn(4, 3, 8, 8),
        F.normalize(torch.randn(4, 3), dim=1),
    )
    assert not torch.allclose(D(x, d), D(x, d.roll(1, 0)))
    with pytest.raises(ValueError, match='shown the camera'):
        D(x)
    with pytest.raises(ValueError, match='not shown'):
        Discriminator(SMALL)(x, d)


def test_the_product_of_two_opinions():
    p, v = torch.randn(2, 400, generator=rng(0), dtype=torch.float64) * 5
    assert torch.allclose(pigan.product_logit(p, v).sigmoid(), p.sigmoid() * v.sigmoid())
    far = torch.tensor([-1e4, 1e4, -1e4], requires_grad=True)
    value = pigan.product_logit(far, torch.tensor([-1e4, 1e4, 1e4]))
    value.sum().backward()
    assert value.isfinite().all() and far.grad.isfinite().all() and value[1] > 0 > value[0] and value[2] < 0


def test_a_coordinate_convolution_knows_its_place():
    torch.manual_seed(0)
    conv = pigan.CoordConv(1, 1, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([0.0, 1.0, 10.0]).view(1, 3, 1, 1))
        conv.bias.zero_()
    y = conv(torch.zeros(1, 1, 3, 5))[0, 0]
    assert torch.allclose(y, torch.linspace(-1, 1, 5) + 10 * torch.linspace(-1, 1, 3)[:, None])


def test_camera_direction_has_no_seam():
    a, b = (camera_direction(pose(y, 0.2)) for y in (math.pi - 1e-4, -math.pi + 1e-4))
    assert torch.allclose(a, b, atol=1e-3) and torch.allclose(
        camera_direction(pose(0.0)), torch.tensor([[0.0, 0.0, 1.0]])
    )


# ---- schedules ------------------------------------------------------------------------------------------------------
def test_the_curriculum_as_published():
    config = PIGAN_CARLA.network
    at = lambda step: (phase_at(config, step)[0].size, round(phase_at(config, step)[1], 3))
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
    assert noise_level(config, 0) == 1 and noise_level(config, 2500) == 0.5 and noise_level(config, 9000) == 0


@pytest.mark.parametrize(
    'changes, word',
    [
        ([dict(), dict(start=9_000)], 'overlap'),
        ([dict(), dict(start=11_000)], 'nothing happens'),
        ([dict(start=5)], 'begins at step 0'),
        ([dict(size=48)], 'power of two'),
        ([dict(stop=0)], 'ends at step'),
        ([dict(split=4)], 'split into 4'),
        ([dict(generator_lr=0.0)], 'learning rates'),
        ([dict(), dict(size=128)], 'doubles'),
    ],
)
def test_a_curriculum_that_cannot_be_is_one_sentence(changes, word):
    phases = [replace(p, **c) for p, c in zip(CARLA_PHASES, changes)]
    with pytest.raises(ValueError, match=word) as error:
        replace(PIGAN_CARLA.network, phases=tuple(phases), size=phases[-1].size)
    assert '\n' not in str(error.value)


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
    assert sum(moved) > 0.9 * len(moved) and int(pair.counts[1]) == 2
    assert trainer.sample(3).shape == (3, 3, 8, 8)


def test_shared_fakes_are_the_same_pictures_and_give_the_same_gradient():
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
    real = pair.reals(batch)
    pair.reconstruct(batch, real, pair.discriminator(real, heads=True).latent).backward()
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
    ask = pair.generator.field.density_only
    pair.generator.field.density_only = lambda points, knobs: (asked.append(points), ask(points, knobs))[1]
    fakes = pair.draw_fakes(3, Draws(0))
    assert abs(pair.matter_in_front(fakes, Draws(1)).item() - max(bias, 0.0)) < 1e-4
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
    fakes = pair.draw_fakes(4, Draws(1))
    descent = torch.optim.Adam(pair.generator.parameters(), 1e-2)
    amounts = []
    for _ in range(10):
        loss = pair.matter_in_front(fakes, Draws(2))
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
    fakes = pair.draw_fakes(2, Draws(0))
    assert fakes.images.shape[1] == 3 and fakes.opacity.shape == (2, 1, 8, 8)  # the discriminator is not shown it
    alone = pair.generator.render_views(fakes.z, fakes.cam2world)['opacity']
    assert (fakes.opacity - alone).abs().mean() < 0.3 and PiganPair(SMALL).draw_fakes(2, Draws(0)).opacity is None
    logs = pair.generator_step({'image': torch.zeros(2, 3, 8, 8)}, Draws(0))
    assert 0 <= logs['holes'] <= 1


def test_r1_is_lazy():
    pair, draws = PiganPair(replace(SMALL, r1_every=3)), Draws(0)
    logs = [pair.discriminator_step({'image': torch.zeros(2, 3, 8, 8)}, draws) for _ in range(6)]
    assert ['r1' in log for log in logs] == [True, False, False, True, False, False]


def test_mirrored_pictures_have_mirrored_cameras_and_coverage():
    pair = PiganPair(replace(SMALL, condition_pose=True, alpha=True))
    rows = images(2).batch([0, 1])
    batch = rows | dict(image=torch.zeros(2, 3, 8, 8), mirrored=torch.tensor([False, True]))
    plain = camera_direction(rows['cam2world'])
    turned = pair.real_directions(batch)
    assert torch.equal(turned[0], plain[0]) and torch.equal(turned[1], plain[1] * torch.tensor([-1.0, 1.0, 1.0]))
    angles = lambda c: torch.atan2(c[:, 0, 2], c[:, 2, 2])
    mirrored = pair.real_cameras(batch)
    assert torch.allclose(
        angles(mirrored), angles(rows['cam2world']) * torch.tensor([1.0, -1.0]), atol=1e-6
    ) and torch.allclose(torch.linalg.det(mirrored), torch.ones(2), atol=1e-5)
    cover = pair.reals(batch)[:, 3]
    assert torch.allclose(cover[1], rows['coverage'][1, 0].flip(-1) / 127.5 - 1, atol=1e-6)


GROWING = replace(
    SMALL, phases=(Phase(0, 3, 4, 4, 1e-3, 1e-3), Phase(3, 6, 8, 6, 5e-4, 1e-3, split=2)), fade=2, share_fakes=True
)


def watch(folder):
    return lambda phase: [
        EMA(50),
        pigan_training.SlowAverage(500),
        Checkpoints(folder, 1, keep=9),
        JSONLog(folder / 'log.jsonl'),
    ]


def test_a_curriculum_trains_through_its_stages_and_resumes_bit_for_bit(tmp_path):
    config = TrainingConfig(4, 1.0, 1.0, seed=1)

    def start(folder, until=None, run=None):
        torch.manual_seed(0)
        return fit_curriculum(
            PiganPair(GROWING),
            images(),
            config,
            watch(folder),
            run,
            until,
            'cpu',
            {'model': 'pigan', 'network': asdict(GROWING)},
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
    shape = pigan.toon_shape(3, 8)
    assert shape.depth.shape == (1, 1, 8, 8) and 0 < shape.relief < 0.05
    watch_shape = pigan_training.ShapeWatch(shape, every=2, n=3)
    trainer = Trainer(
        PiganPair(SMALL), images(), TrainingConfig(4, 1e-3, 1e-3, ema_half_life=100), [watch_shape], device='cpu'
    ).fit(2, progress=False)
    assert (
        {'relief', 'correlation', 'missing'} <= set(trainer.history[-1])
        and 'relief' not in trainer.history[0]
        and watch_shape.status != 'not looked yet'
    )


# ---- bad input ------------------------------------------------------------------------------------------------------
G = tiny()


@pytest.mark.parametrize(
    'call, word',
    [
        (lambda: G.render(codes(1), pose(0.0), near=1.2, far=1.1), 'near must lie before far'),
        (lambda: G.render(codes(1), pose(0.0), samples=0), 'at least one sample'),
        (lambda: G.render(codes(1), pose(0.0), near=-0.1), 'inside the volume'),
        (lambda: G.render(codes(1), pose(0.0), samples=2.5), 'whole number'),
        (lambda: G.render(codes(2), pose(torch.zeros(3))), '2 codes for 3 cameras'),
        (lambda: G.render(torch.zeros(1, 5), pose(0.0)), 'latent code'),
        (lambda: G.render(Condition(torch.zeros(1, 3, 15), torch.zeros(1, 3, 15)), pose(0.0)), 'frequencies'),
        (lambda: G.render(codes(1), torch.eye(4)), 'cam2world'),
        (lambda: G.render(codes(1), pose(0.0), fov=190.0), 'field of view'),
        (lambda: G.render(codes(1), pose(0.0), size=0), 'at least one pixel'),
        (lambda: View(fine=-1), 'second look'),
        (lambda: View(first_look='colour'), "'full' or 'density'"),
        (lambda: View(near=1.2), 'near must lie before'),
        (lambda: View(background='green'), "'painted'"),
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
        (lambda: fit_curriculum(PiganPair(SMALL), images(), TrainingConfig()), 'no curriculum'),
        (lambda: replace(SMALL, phases=(Phase(0, 9, 4, 4, 1.0, 1.0),)), 'curriculum ends at 4 px'),
        (lambda: Discriminator(SMALL)(torch.zeros(1, 3, 16, 16)), 'takes pictures'),
        (lambda: Discriminator(SMALL).grow(16), 'grows through'),
        (lambda: Discriminator(SMALL).grow(8, 2.0), 'alpha'),
        (lambda: PiganPair(SMALL).reals({'image': torch.zeros(1, 3, 12, 12)}), 'averaged down'),
        (lambda: PiganPair(replace(SMALL, alpha=True)).reals({'image': torch.zeros(1, 3, 8, 8)}), 'covered'),
        (lambda: PiganPair(replace(SMALL, condition_pose=True)).real_directions({}), 'camera of every real picture'),
        (lambda: build_pair('pigan', {'hidden': 3}), 'no setting'),
    ],
)
def test_bad_input_is_one_sentence(call, word):
    with pytest.raises(ValueError) as error:
        call()
    assert word in str(error.value) and '\n' not in str(error.value)


def test_a_diverged_field_is_said():
    broken = tiny()
    with torch.no_grad():
        broken.field.density.bias.fill_(math.nan)
    with pytest.raises(ValueError, match='NaN'):
        broken.render(codes(1), pose(0.0))


# ---- what ships -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('name', ['pigan_toon_32', 'pigan_toon_32_floaters'])
def test_the_shipped_networks_are_what_their_facts_say(name):
    generator, facts = pigan.pretrained_generator(name)
    assert (
        sum(p.numel() for p in generator.parameters()) * 4 < 8e6
        and not generator.training
        and not any(p.requires_grad for p in generator.parameters())
    )
    assert (
        PiganConfig(**facts['network']).size == 32
        and facts['steps'] > 0
        and facts['seconds'] > 0
        and 'train_pigan_toon.py' in facts['command']
    )
    z = torch.randn(8, generator.z_dim, generator=rng(5))
    front = generator.render_views(z, pose(torch.zeros(8)), size=32, samples=16, hierarchical=True)
    found, stored = pigan_training.alarms(front, pigan.toon_shape(16, 32)), facts['measures']['network']
    for name, room in (('missing', 0.05), ('relief', 0.4), ('correlation', 0.15)):
        assert abs(found[name] - stored[name]['value']) < room + 3 * stored[name]['half_range']


def test_stored_measurements_are_complete():
    measured = json.loads(shipped('results/pigan_cpu.json').read_text())
    assert (
        set(measured['step']['seconds']) == {'plain', 'official', 'fast'}
        and set(measured['recipes']) == {'12+12', '24+24'}
        and measured['step']['picture_gap'] < 1e-3
    )
    ways = json.loads(shipped('results/pigan_floaters.json').read_text())['ways']
    assert len(ways) == 3 and all([row['seed'] for row in rows] == [0, 1, 2] for rows in ways.values())
    tried = json.loads(shipped('results/pigan_summary.json').read_text())
    assert len(tried['runs']) == 3 and all(
        [run['seed'] for run in runs] == [0, 1, 2] for runs in tried['runs'].values()
    )
