"""Inversion of pi-GAN: scores, conditions, cameras, starts, the joint search, tuning, the official recipe, stored
results, bad input."""

import copy
import importlib.util
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
import pytest
import torch
from hypothesis import given, settings, strategies as st
from animegan_nb import pigan_inversion
from animegan_nb.cameras import pose
from animegan_nb.core import rng, shipped
from animegan_nb.grading import oracle, trial
from animegan_nb.metrics import FeatureDistance, file_sha256, psnr
from animegan_nb.perceptual import PerceptualLoss
from animegan_nb.geometry import rotation_angle
from animegan_nb.pigan import PiganGenerator, RenderSettings
from animegan_nb.pigan_inversion import (
    Around,
    around_scores,
    cameras_around,
    Heads,
    Inversion,
    InversionConfig,
    grid_start,
    held_out_heads,
    invert,
    condition_distance,
    condition_statistics,
    condition_at,
    official_image,
    official_recipe,
    official_settings,
    own_cameras,
    perceptual_distance,
    pivotal_tuning,
    pixel_error,
    pose_gradient,
    scores,
    toon_pose_reader,
)
from animegan_nb.siren import Condition, FieldConfig

spec = importlib.util.spec_from_file_location(
    'solutions_pigan_inversion', Path(__file__).parent / 'solutions' / 'pigan_inversion.py'
)
SOLUTIONS = importlib.util.module_from_spec(spec)
spec.loader.exec_module(SOLUTIONS)
TINY = InversionConfig(stages=((2, 4), (1, 2)), perceptual=0.0)
ROOT = Path(__file__).resolve().parents[1]


def small(size=8):
    "A little generator whose worlds can be seen."
    torch.manual_seed(0)
    g = PiganGenerator(
        FieldConfig(hidden=16, layers=2, z_dim=8, mapping_hidden=16),
        RenderSettings(samples=4, fine=4, background=1.0, directional=False, first_look='density'),
        size,
    )
    with torch.no_grad():
        g.field.mapping.layers[-1].weight *= 4
    return g.eval().requires_grad_(False)


G = small()


def world(n=2, seed=0):
    conditions = G.condition(torch.randn(n, 8, generator=rng(seed)))
    cams = pose(*(torch.randn(2, n, generator=rng(seed + 1)) * 0.2))
    return conditions, cams, G.render_views(conditions, cams)['image'].clamp(-1, 1)


ZERO = (torch.zeros(2), torch.zeros(2))


@settings(max_examples=25, deadline=None)
@given(st.floats(-3, 3), st.floats(-1.4, 1.4), st.integers(0, 1000))
def test_the_gradient_of_a_pose_is_the_automatic_one(yaw, pitch, seed):
    a, b = torch.tensor([yaw], requires_grad=True), torch.tensor([pitch], requires_grad=True)
    slope = torch.randn(1, 4, 4, generator=rng(seed))
    automatic = torch.stack(torch.autograd.grad((slope * pose(a, b)).sum(), (a, b)), 1)
    assert torch.allclose(pose_gradient(slope, a.detach(), b.detach()), automatic, atol=1e-4)


def test_own_cameras_undo_a_turned_world():
    true, new = pose(torch.tensor([0.1, 0.4]), torch.tensor([0.2, -0.1])), pose(torch.tensor([-0.5, 0.3]))
    assert torch.allclose(own_cameras(true, true, new), new, atol=1e-5)
    turn = pose(torch.tensor([0.3]))  # a rotation about the vertical axis …
    turn = torch.cat([torch.cat([turn[:, :3, :3], torch.zeros(1, 3, 1)], 2), torch.tensor([[[0.0, 0.0, 0.0, 1.0]]])], 1)
    assert torch.allclose(own_cameras(turn @ true, true, new), turn @ new, atol=1e-5)  # … turns every camera alike


def test_knobs_in_standard_deviations():
    usual = condition_statistics(G, 2000)
    assert abs(condition_distance(G.condition(torch.randn(4000, 8, generator=rng(5))), usual).mean().item() - 1) < 0.15
    u = Condition(*torch.randn(2, 3, 3, 16, generator=rng(1)))
    assert torch.allclose(
        condition_distance(condition_at(u, usual), usual),
        torch.cat([x.flatten(1) for x in u], 1).square().mean(1),
        rtol=1e-2,
    )
    with pytest.raises(ValueError, match='two codes'):
        condition_statistics(G, 1)


def test_the_rendered_image_has_the_right_slope():
    smooth = PiganGenerator(G.field, replace(G.view, activation='softplus'), 8)  # no kink where the density is 0
    conditions, _, target = world(1)

    def loss(angles):
        return (
            (smooth.render(conditions, pose(angles[:1], angles[1:]), samples=24, fine=0) - target)
            .double()
            .square()
            .mean()
        )

    at = torch.tensor([0.3, -0.2], requires_grad=True)
    (slope,) = torch.autograd.grad(loss(at), at)
    with torch.no_grad():
        quotient = torch.stack([(loss(at + d) - loss(at - d)) / 6e-4 for d in 3e-4 * torch.eye(2)])
    assert slope.abs().max() > 1e-3 and torch.allclose(slope.double(), quotient, atol=0.03 * slope.abs().max().item())


def test_a_grid_finds_the_camera_of_a_known_head():
    mean = G.mean_condition()
    cams = torch.tensor([-0.6, 0.0, 0.3]), torch.tensor([0.15, 0.0, -0.3])
    images = G.render_views(mean, pose(*cams))['image']
    yaw, pitch = grid_start(G, images, size=8)
    assert torch.allclose(yaw, cams[0], atol=1e-5) and torch.allclose(pitch, cams[1], atol=1e-5)
    z = torch.randn(3, 8, generator=rng(4))
    yaw, pitch = grid_start(G, G.render_views(z, pose(*cams))['image'], z, size=8)
    assert torch.allclose(yaw, cams[0], atol=1e-5) and torch.allclose(pitch, cams[1], atol=1e-5)


@pytest.mark.parametrize('space', ['condition', 'z'])
def test_a_search_lowers_its_loss_and_leaves_the_generator_alone(space):
    _, _, images = world()
    before = {k: v.clone() for k, v in G.state_dict().items()}
    config = replace(TINY, space=space, stages=((2, 25), (1, 5)), lr=0.05, noise=0.0)
    found = invert(G, images, ZERO, config)
    assert found.history.shape == (30, 2) and (found.history[24] < found.history[0]).all()
    assert (
        all(torch.equal(v, before[k]) for k, v in G.state_dict().items())
        and not found.condition.frequencies.requires_grad
    )


def test_a_search_leaves_no_gradient_in_the_generator():
    mine, (_, _, images) = copy.deepcopy(G).requires_grad_(True), world()
    invert(mine, images, ZERO, replace(TINY, stages=((2, 2),)))
    official_recipe(mine, images, steps=2, pixels=16)
    assert all(p.requires_grad and p.grad is None for p in mine.parameters())


def test_a_start_may_be_whole_numbers_and_images_of_another_type():
    _, _, images = world()
    plain, found = (
        invert(G, *x, replace(TINY, stages=((2, 2),)))
        for x in ((images, ZERO), (images.double(), tuple(a.long() for a in ZERO)))
    )
    assert found.yaw.dtype == torch.float32 and torch.allclose(found.yaw, plain.yaw, atol=1e-5)


def test_a_search_works_without_gradients_around_it_and_takes_other_types():
    _, _, images = world()
    tiny, solid = replace(TINY, stages=((2, 2),)), torch.ones(2, 1, 8, 8)
    found = invert(G, images, ZERO, tiny, coverage=solid)
    with torch.no_grad():
        again = invert(G, images, ZERO, tiny, coverage=solid.bool())
        official_recipe(G, images, steps=2, pixels=16)
        pivotal_tuning(G, images, found, steps=1, perceptual=0.0)
    assert torch.equal(again.condition.phases, found.condition.phases)
    assert all(map(torch.equal, grid_start(G, images.double(), size=8), grid_start(G, images, size=8)))


def test_a_search_that_was_stopped_has_no_result(monkeypatch):
    _, _, images = world()
    found, whole = invert(G, images, ZERO, TINY), pigan_inversion.optimise
    two = lambda *arguments: itertools.islice(whole(*arguments), 2)
    monkeypatch.setattr(pigan_inversion, 'optimise', two)
    for search in (
        lambda: invert(G, images, ZERO, TINY),
        lambda: official_recipe(G, images, steps=6),
        lambda: pivotal_tuning(G, images, found, steps=6, perceptual=0.0),
    ):
        with pytest.raises(RuntimeError, match='stopped after 2 of 6 steps'):
            search()


def test_images_in_a_batch_do_not_mix_and_a_seed_repeats():
    _, _, images = world(3)
    start = (torch.tensor([0.1, 0.0, -0.1]), torch.zeros(3))
    many, again, one = (invert(G, images[:k], tuple(a[:k] for a in start), TINY) for k in (3, 3, 1))
    assert torch.equal(many.condition.phases, again.condition.phases)
    assert torch.allclose(many.condition.phases[:1], one.condition.phases, atol=1e-3) and torch.allclose(
        many.yaw[:1], one.yaw, atol=1e-4
    )


def test_the_camera_waits_or_stays():
    _, _, images = world()
    start = (torch.tensor([0.2, -0.2]), torch.tensor([0.1, 0.0]))
    fixed = invert(G, images, start, replace(TINY, pose_lr=0.0))
    assert torch.equal(fixed.yaw, start[0]) and torch.equal(fixed.pitch, start[1])
    assert torch.equal(invert(G, images, start, replace(TINY, hold=1.0)).yaw, start[0])
    assert not torch.equal(invert(G, images, start, replace(TINY, hold=0.0)).yaw, start[0])


def test_a_stronger_prior_stays_nearer_and_a_coverage_counts():
    _, _, images = world()
    usual = condition_statistics(G)
    config = replace(TINY, stages=((2, 20),), noise=0.0)
    free, tied = (
        condition_distance(invert(G, images, ZERO, replace(config, prior=p)).condition, usual).mean()
        for p in (0.0, 5.0)
    )
    assert tied < 0.5 * free
    full, none = (
        invert(G, images, ZERO, replace(config, coverage=5.0), coverage=torch.full((2, 1, 8, 8), c)) for c in (1.0, 0.0)
    )
    opacity = lambda f: G.render_views(f.condition, f.cam2world)['opacity'].mean()
    assert opacity(full) > opacity(none)


def test_the_official_recipe_stays_in_front():
    _, _, images = world()
    found = official_recipe(G, images, steps=60)
    assert not found.yaw.any() and not found.pitch.any() and found.history.shape == (60, 2)
    assert (found.history[-5:].mean(0) < found.history[:5].mean(0)).all()
    assert official_settings(G).samples == 8 and official_settings(G).fine == 0
    assert official_image(G, found.condition, found.cam2world).shape == images.shape
    some = official_recipe(G, images, steps=3, pixels=64)  # all pixels, in another order
    assert torch.allclose(some.condition.phases, official_recipe(G, images, steps=3).condition.phases, atol=1e-4)


def test_tuning_raises_the_given_view_and_spares_the_rest():
    conditions, cams, images = world(1)
    found = Inversion(G.mean_condition(), torch.zeros(1), torch.zeros(1), torch.zeros(1, 1))
    before = {k: v.clone() for k, v in G.state_dict().items()}
    tuned = pivotal_tuning(G, images, found, steps=15, perceptual=0.0, lr=1e-3)
    fit = lambda g: psnr(g.render_views(found.condition, found.cam2world)['image'], images).item()
    assert fit(tuned) > fit(G)
    assert all(torch.equal(v, before[k]) for k, v in G.state_dict().items())
    assert all(torch.equal(v, before[k]) for k, v in tuned.state_dict().items() if 'mapping' in k)
    assert any(not torch.equal(v, before[k]) for k, v in tuned.state_dict().items() if 'trunk' in k)


def test_a_perfect_world_has_perfect_scores():
    conditions, cams, images = world()
    views = [G.render_views(conditions, pose(torch.tensor([0.1, -0.1])), samples=8, fine=8, normal=True)]
    views[0]['opacity'] = (views[0]['opacity'] > 0.5).float()
    heads = Heads(torch.zeros(2, 1), G.render_views(conditions, cams)['image'], torch.zeros(2, 1, 8, 8), cams, views)
    s = scores(G, conditions, cams, heads)
    assert (
        s['given'] > 90
        and s['novel'] > 90
        and s['pose'] < 0.1
        and s['depth'] < 1e-5
        and s['normal'] < 0.5
        and s['overlap'] == 1
    )
    turned = pose(torch.tensor([0.5, 0.5]))
    assert scores(G, conditions, turned, heads)['novel'] > 90 > scores(G, conditions, turned, heads, own=True)['novel']


def test_held_out_heads_repeat_and_the_reader_reads():
    heads, again = held_out_heads(11, 1, others=1), held_out_heads(11, 1, others=1)
    assert torch.equal(heads.images, again.images) and heads.coverage.shape == (1, 1, 32, 32)
    assert (
        set(heads.others[0]) == {'image', 'coverage', 'cam2world', 'opacity', 'depth', 'normal'}
        and heads.others[0]['depth'].isfinite().all()
    )
    found = toon_pose_reader(n=60)(heads.images)
    assert (rotation_angle(pose(*found.unbind(1)), heads.cam2world).rad2deg() < 20).all()


def test_distances():
    x, y = torch.rand(2, 2, 3, 16, 16, generator=rng(0)) * 2 - 1
    d = perceptual_distance()
    assert d(x, x).abs().max() < 1e-6 and (d(x, y) > 0).all() and d(x, y).shape == (2,)
    assert (
        torch.allclose(pixel_error(x, y, (1,)), (x - y).square().mean((1, 2, 3)))
        and pixel_error(x, y).mean() < pixel_error(x, y, (1,)).mean()
    )


def test_a_perceptual_distance_follows_the_images():
    x, d = torch.zeros(2, 3, 16, 16), perceptual_distance()
    assert d(x.to('meta'), x.to('meta')).device.type == 'meta'
    assert (d(x, x) == 0).all()


@pytest.mark.parametrize('size', [16, 48])
def test_it_is_the_perceptual_loss_of_part_four(size):
    "Bit for bit the sum that it used to be, with its gradient: the stored outputs of the chapter rest on it."
    new = perceptual_distance()
    assert isinstance(new, PerceptualLoss)
    old, y = FeatureDistance(new._reader.maps), torch.rand(3, 3, size, size, generator=rng(1)) * 2 - 1
    results = []
    for distance in (old, new):
        x = (torch.rand(3, 3, size, size, generator=rng(0)) * 2 - 1).requires_grad_(True)
        d = distance(x, y)
        d.sum().backward()
        results.append((d.detach(), x.grad))
    assert all(map(torch.equal, *results))


def test_squeezenet_if_its_weights_are_here():
    try:
        d = perceptual_distance('squeezenet', least=64)
    except FileNotFoundError:
        pytest.skip('SqueezeNet: the folder named by ANIMEGAN_WEIGHTS is missing')
    x = torch.rand(1, 3, 32, 32, generator=rng(0)).requires_grad_(True)
    d(x, x.detach().roll(3, -1)).sum().backward()
    assert x.grad.abs().sum() > 0


GOOD = torch.zeros(2, 3, 8, 8)


@pytest.mark.parametrize(
    'images, start, message',
    [
        (torch.zeros(2, 3, 16, 16), ZERO, r'\[n, 3, 8, 8\]'),
        (GOOD[0], ZERO, r'\[n, 3, 8, 8\]'),
        (GOOD[:0], None, 'no image'),
        (GOOD.to(torch.uint8), ZERO, 'to_float'),
        (GOOD + torch.nan, ZERO, 'NaN'),
        (GOOD + 200, ZERO, 'to_float'),
        (GOOD, (torch.zeros(1), torch.zeros(1)), 'yaw and pitch'),
        (GOOD, (torch.full((2,), torch.nan), torch.zeros(2)), 'yaw and pitch'),
        ('x', ZERO, 'str'),
    ],
)
def test_bad_images_are_answered_in_one_sentence(images, start, message):
    with pytest.raises(ValueError, match=message):
        invert(G, images, start, TINY)


def test_bad_settings_are_answered_in_one_sentence():
    for bad, message in (
        (dict(space='w'), "'condition' or 'z'"),
        (dict(stages=()), 'Stages'),
        (dict(stages=((1, 0),)), 'Stages'),
        (dict(prior=-1.0), 'prior'),
        (dict(pose_sigma=0.0), 'pose_sigma'),
    ):
        with pytest.raises(ValueError, match=message):
            InversionConfig(**bad)
    with pytest.raises(ValueError, match='coverage'):
        invert(G, GOOD, ZERO, TINY, coverage=torch.full((2, 1, 8, 8), 255.0))
    with pytest.raises(ValueError, match='by at most 2, so that 4 px are left'):
        invert(G, GOOD, ZERO, replace(TINY, stages=((4, 2),)))
    with pytest.raises(ValueError, match='use generator.float'):
        invert(copy.deepcopy(G).double(), GOOD, ZERO, TINY)
    with pytest.raises(ValueError, match='pivots'):
        pivotal_tuning(G, GOOD, Inversion(G.mean_condition(), torch.zeros(1), torch.zeros(1), torch.zeros(1, 1)))
    for bad in (dict(steps=0), dict(pixels=0), dict(pixels=65)):
        with pytest.raises(ValueError, match='1 to 64 pixels'):
            official_recipe(G, GOOD, **bad)
    with pytest.raises(ValueError, match='vgg'):
        perceptual_distance('vgg')


@pytest.mark.parametrize('id', sorted(SOLUTIONS.SOLUTIONS))
def test_oracles(id):
    report = oracle(id)(SOLUTIONS.SOLUTIONS[id])
    assert report.passed, report
    reports = trial(id)
    assert reports.pop('library').passed and not any(r.passed for r in reports.values())


def test_a_head_around_agrees_with_itself_and_less_with_another():
    images = torch.rand(12, 3, 8, 8, generator=rng(0)) * 2 - 1
    points = torch.rand(400, 3, generator=rng(1)) * 0.1
    head = Around(images, points)
    same, moved = around_scores(head, head), around_scores(Around(images.flip(3), points + 0.01), head)
    assert same['chamfer'] < 0.01  # percent: distances are rounded
    assert same['f_0.005'] == pytest.approx(1) and same['around'] > 90
    assert moved['chamfer'] > same['chamfer'] and moved['f_0.005'] < moved['f_0.01'] < 1
    cams = cameras_around()
    assert cams.shape == (12, 4, 4) and torch.allclose(cams[:1], pose(0.0), atol=1e-6)
    front = [0, 1, 11]  # the views whose mean is called `front`: at most 30° to either side
    assert (cams[front, 2, 3] > 0.8).all() and (cams[2:11, 2, 3] < 0.6).all()


def test_the_stored_results_belong_to_the_shipped_weights():
    stored = json.loads(shipped('results/pigan_inversion.json').read_text())
    assert stored['generator_sha256'] == file_sha256(shipped('pretrained/pigan_toon_32.safetensors'))[:16], (
        f"run {stored['command']} again"
    )
    assert (
        stored['sets'] == len(stored['seeds']) >= 3
        and stored['sets'] * stored['heads'] >= 24
        and 0 not in stored['seeds']
    )
    assert all(
        len(values) == stored['sets'] and all(map(math.isfinite, values))
        for method in stored['methods'].values()
        for values in method.values()
    )
    for name in ('views', 'faces'):
        assert shipped(f'results/pigan_inversion_{name}.jpg').stat().st_size <= 40_000
