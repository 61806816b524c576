"Fitting one scene: rays in a cube, backgrounds, three kinds of field, exact resumption, measures, bad input."

import importlib.util
import json
import math
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from animegan_nb import fields
from animegan_nb.cameras import pose
from animegan_nb.core import rng, shipped
from animegan_nb.fields import (
    FIELDS,
    RATES,
    Fit,
    FitConfig,
    Views,
    bundle,
    chamfer,
    cube_range,
    lego_views,
    load_field,
    make_field,
    measure_field,
    over_background,
    plane_coordinates,
    render_views,
    resume_fit,
    save_fit,
    save_field,
    seen_points,
    toon_mesh,
    toon_views,
    triplane,
)
from animegan_nb.raymarch import march
from animegan_nb.toon import encode
from animegan_nb.training import checkpoints, DamagedCheckpoint

spec = importlib.util.spec_from_file_location('solutions_fields', Path(__file__).parent / 'solutions' / 'fields.py')
SOLUTIONS = importlib.util.module_from_spec(spec)
spec.loader.exec_module(SOLUTIONS)


class Ball(fields.SceneField):
    "An opaque red ball of a given radius, in closed form."

    def __init__(self, side, radius):
        super().__init__(side)
        self.radius, self.kind = radius, 'ball'

    def forward(self, points, directions=None):
        inside = torch.sigmoid((self.radius - points.norm(dim=-1)) * 1000 / self.side)
        return torch.tensor([0.8, 0.1, 0.1]).expand_as(points), 1000 / self.side * inside


def ball_views(n=4, size=24, radius=0.5, side=2.0):
    "Exact images of the ball, by intersection."
    from animegan_nb.cameras import distance_to_depth, rays

    cams = pose(torch.arange(n) * 2 * math.pi / n, torch.linspace(-0.3, 0.3, n), 4.0)
    o, d = rays(cams, 30.0, size)
    b, c = (o * d).sum(-1), o.square().sum(-1) - radius**2
    hit = b * b > c
    t = torch.where(hit, -b - (b * b - c).clamp(min=0).sqrt(), torch.inf)
    normal = torch.where(hit[..., None], (o + t.nan_to_num(posinf=0.0)[..., None] * d) / radius, 0.0)
    alpha = hit.float().view(n, 1, size, size)
    square = lambda x: x.mT.reshape(n, -1, size, size)
    depth = torch.where(hit, distance_to_depth(t.nan_to_num(posinf=1.0), d, cams), torch.inf)
    return Views(
        torch.cat([torch.tensor([0.8, 0.1, 0.1])[:, None, None] * alpha, alpha], 1),
        cams,
        size / 2 / math.tan(math.radians(15)),
        side,
        depth.view(n, size, size),
        square(normal),
    )


VIEWS = ball_views()
SETTING = FitConfig(steps=40, rays=64, samples=8, fine=8, lr=2e-2)


def new_fit(kind='triplane', views=VIEWS, seed=0, **options):
    return Fit(make_field(kind, views.side, seed, **options), views, replace(SETTING, lr=RATES[kind], seed=seed))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 5.0))
def test_near_and_far_lie_on_the_cube(seed, side):
    o, d = torch.randn(2, 50, 3, generator=rng(seed))
    o, d = o / o.norm(dim=-1, keepdim=True) * side * 2, d / d.norm(dim=-1, keepdim=True)
    near, far, met = cube_range(o, d, side)
    on = lambda t: (o + t[:, None] * d).abs().amax(-1)[met] / (side / 2)
    assert (
        torch.allclose(on(near), torch.ones(1), atol=1e-3)
        and torch.allclose(on(far), torch.ones(1), atol=1e-3)
        and (near < far)[met].all()
    )
    assert (on((near + far) / 2) <= 1 + 1e-4).all()


def test_a_ray_along_an_axis_has_a_range():
    near, far, met = cube_range(
        torch.tensor([[0.0, 0, 3], [0, 0, 3], [2, 0, 3]]), torch.tensor([[0.0, 0, -1], [0, 0, 1], [0, 0, -1]]), 2.0
    )
    assert met.tolist() == [True, False, False] and near[0] == 2 and far[0] == 4


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_over_is_associative_where_it_should_be(seed):
    "Painting twice over a background is painting once with the composite."
    a, b = torch.rand(2, 1, 4, 3, 3, generator=rng(seed))
    a[:, :3] *= a[:, 3:]
    b[:, :3] *= b[:, 3:]
    both = torch.cat([a[:, :3] + (1 - a[:, 3:]) * b[:, :3], a[:, 3:] + (1 - a[:, 3:]) * b[:, 3:]], 1)
    assert torch.allclose(over_background(a, over_background(b, 0.7)), over_background(both, 0.7), atol=1e-5)


@pytest.mark.parametrize('kind', list(FIELDS))
def test_a_field_has_the_interface_of_every_renderer(kind):
    field = make_field(kind, 2.0, seed=1)
    points = torch.rand(2, 7, 3, generator=rng(0)) * 2 - 1
    rgb, density = field(points, points)
    assert (
        rgb.shape == (2, 7, 3)
        and density.shape == (2, 7)
        and (rgb >= 0).all()
        and (rgb <= 1).all()
        and (density > 0).all()
    )
    assert march(field, torch.tensor([[[0.0, 0, 3]]]), torch.tensor([[[0.0, 0, -1]]]), 2.0, 4.0, 8).rgb.shape == (
        1,
        1,
        3,
    )
    same, other = make_field(kind, 2.0, seed=1), make_field(kind, 2.0, seed=2)
    assert torch.equal(same(points)[1], density) and not torch.equal(other(points)[1], density)


def test_make_field_leaves_the_global_random_source_alone():
    torch.manual_seed(5)
    a = torch.rand(1)
    torch.manual_seed(5)
    make_field('siren', 1.0)
    assert torch.equal(a, torch.rand(1))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(0, 1000))
def test_the_triplane_is_bilinear(texels, seed):
    planes, points = (
        torch.randn(3, 2, texels, texels, generator=rng(seed)),
        torch.rand(20, 3, generator=rng(seed + 1)) * 2 - 1,
    )
    three_planes = SOLUTIONS.three_planes
    assert torch.allclose(triplane(planes, points), three_planes(planes, points), atol=1e-4)


@pytest.mark.parametrize('kind', list(FIELDS))
def test_every_kind_learns_a_ball(kind):
    fit = new_fit(kind)
    fit.config = replace(fit.config, steps=100, lr={'siren': 4e-3, 'encoded': 1e-2, 'triplane': 2e-2}[kind])
    fit.run(progress=False)
    assert np.mean(fit.history[-10:]) > np.mean(fit.history[:10]) + 1.5 and fit.seconds > 0


def test_the_truth_scores_as_the_truth():
    ball = Ball(2.0, 0.5)
    scores = measure_field(ball, VIEWS, 64, 64)
    assert scores['psnr'] > 18 and scores['depth'] < 1 and scores['normal'] < 3 and scores['missed'] < 0.05
    worse = measure_field(Ball(2.0, 0.6), VIEWS, 64, 64)
    assert worse['psnr'] < scores['psnr'] and 3 < worse['depth'] < 8  # a tenth nearer is 5 % of the side


def test_images_of_a_field_show_white_where_the_cube_is_not():
    out = render_views(Ball(2.0, 0.5), pose(0.0, 0.0, 4.0), 80.0, 24, 24, 24, with_normals=True)
    assert (
        out['image'][0, :, 0, 0].tolist() == [1.0, 1.0, 1.0]
        and out['opacity'][0, 0, 0, 0] == 0
        and out['depth'][0, 0, 0] == torch.inf
    )
    normal = out['normal'][0, :, 11:13, 11:13].mean((1, 2))
    assert normal[2] > 0.9 and abs(float(out['depth'][0, 11:13, 11:13].mean()) - 3.5) < 0.05


def test_resumed_is_bit_for_bit_the_same(tmp_path):
    whole = new_fit(texels=8).run(progress=False)
    first = new_fit(texels=8).run(13, progress=False)
    save_fit(first, tmp_path / 'run')
    second = resume_fit(new_fit(texels=8), tmp_path / 'run')
    save_fit(second.run(10, progress=False), tmp_path / 'run')
    assert [p.name for p in (tmp_path / 'run').iterdir()] == ['step-0000023']
    third = resume_fit(new_fit(texels=8), tmp_path / 'run').run(progress=False)
    assert third.history == whole.history and all(
        torch.equal(a, b) for a, b in zip(third.field.parameters(), whole.field.parameters())
    )


def test_a_fit_never_replaces_another_one(tmp_path):
    kept = save_fit(new_fit(texels=8).run(3, progress=False), tmp_path)
    before = (kept / 'state.json').read_bytes()
    other = new_fit(texels=8)
    with torch.no_grad():
        other.field.planes += 0.1  # as a field of another seed
    for fit, steps, word in (
        (other, 3, 'another fit with the same settings'),
        (other, 2, 'another fit with the same settings'),
        (new_fit('siren'), 5, 'another field'),
        (new_fit(texels=8, seed=1), 5, 'other settings'),
        (new_fit(texels=8), 2, 'further than step 2'),
    ):
        with pytest.raises(ValueError, match=word):
            save_fit(fit.run(steps, progress=False), tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == [kept.name]
        assert (kept / 'state.json').read_bytes() == before
    assert save_fit(new_fit(texels=8).run(3, progress=False), tmp_path) == kept  # the same once more


def test_looking_does_not_change_the_fit():
    one, two = new_fit(texels=8), new_fit(texels=8)
    one.run(5, progress=False)
    measure_field(one.field, VIEWS, 8, 8)
    one.run(5, progress=False)
    assert two.run(10, progress=False).history == one.history


def test_an_interrupt_ends_after_a_whole_step():
    fit = new_fit(texels=8)
    fit.config = replace(fit.config, steps=100_000)
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    fit.run(progress=False)
    timer.join()
    assert 0 < fit.step < 100_000 and len(fit.history) == fit.step
    fit.run(2, progress=False)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    place = save_fit(new_fit(texels=8).run(2, progress=False), tmp_path)
    data = bytearray((place / 'tensors.safetensors').read_bytes())
    data[-1] ^= 1
    (place / 'tensors.safetensors').write_bytes(data)
    with pytest.raises(DamagedCheckpoint):
        resume_fit(new_fit(texels=8), tmp_path)


def test_a_fit_is_saved_beside_a_damaged_checkpoint_and_in_its_place(tmp_path):
    fit = new_fit(texels=8).run(2, progress=False)
    tensors = save_fit(fit, tmp_path) / 'tensors.safetensors'
    tensors.write_bytes(tensors.read_bytes()[:-1])
    assert save_fit(fit, tmp_path) == tensors.parent  # written again
    tensors.write_bytes(tensors.read_bytes()[:-1])
    save_fit(fit.run(1, progress=False), tmp_path)
    assert [folder.name for folder in checkpoints(tmp_path)] == ['step-0000002', 'step-0000003']
    assert resume_fit(new_fit(texels=8), tmp_path).step == 3


def test_a_field_as_a_file(tmp_path):
    for kind in FIELDS:
        field = make_field(kind, 2.0, 3)
        again, half = (
            load_field(save_field(field, tmp_path / f'{kind}.safetensors')),
            load_field(save_field(field, tmp_path / f'{kind}-half.safetensors', half=True)),
        )
        x = torch.rand(9, 3, generator=rng(0))
        assert (
            torch.equal(again(x)[0], field(x)[0])
            and torch.allclose(half(x)[0], field(x)[0], atol=0.02)
            and again.options == field.options
        )
    assert not list(tmp_path.glob('.*'))


def test_f_score_is_the_harmonic_mean_of_two_shares():
    made = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [5.0, 0, 0]])
    true = torch.tensor([[0.1, 0, 0], [1.1, 0, 0]])
    to_true, to_made = fields.nearest_distances(made, true)
    assert torch.allclose(to_true, torch.tensor([0.1, 0.1, 3.9])) and torch.allclose(to_made, torch.full((2,), 0.1))
    assert fields.f_score(made, made, 1e-3) == pytest.approx(1)
    assert fields.f_score(made, true, 0.2) == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))  # precision 2/3, recall 1
    assert fields.f_score(made, true, 0.05) == 0
    with pytest.raises(ValueError, match='positive length'):
        fields.f_score(made, true, 0.0)


def test_chamfer_of_a_mesh_with_itself_is_its_floor():
    identity = encode(hair_style='bob')
    views, mesh = toon_views(identity, 4, 32), toon_mesh(identity, resolution=48)
    clouds = [
        seen_points(mesh, views.cam2world, views.fov, views.depth, 0.02 * views.side, 1500, seed=s) for s in (0, 1)
    ]
    assert 200 < len(clouds[0]) < 1500  # the underside is seen by nobody
    assert chamfer(*clouds).chamfer < 0.02 * views.side and chamfer(clouds[0], clouds[0]).chamfer < 1e-4


def test_toon_views_are_premultiplied_and_repeat():
    a, b = (toon_views(encode(hair_style='bob'), 3, 20, seed=4) for _ in range(2))
    assert (
        torch.equal(a.rgba, b.rgba)
        and (a.rgba[:, :3] <= a.rgba[:, 3:] + 1e-5).all()
        and a.depth.shape == (3, 20, 20)
        and abs(a.fov - 12) < 1e-4
    )
    assert len(a[[0, 2]]) == 2 and torch.equal(a[1:].depth, a.depth[1:])


@pytest.mark.real
def test_lego_stands_upright():
    folder = os.environ.get('ANIMEGAN_DATA')
    if not folder or not (Path(folder) / 'lego_100.npz').exists():
        pytest.skip('ANIMEGAN_DATA names no folder with lego_100.npz')
    train, test = lego_views(Path(folder) / 'lego_100.npz'), lego_views(Path(folder) / 'lego_100.npz', test=True)
    assert len(train) == 100 and len(test) == 25 and train.depth is None
    # cameras above the ground, their heads up
    assert (train.cam2world[:, 1, 3] > -0.1).all() and (train.cam2world[:, 1, 1] >= -1e-3).all()
    assert len(bundle(test).near) > 100_000


def test_the_stored_results_are_whole():
    stored = json.loads(shipped('results/fields.json').read_text())
    assert len(stored['seeds']) >= 3 and stored['command'].startswith('OMP_NUM_THREADS=1 python benchmarks/fields.py')
    assert all(math.isfinite(v) for run in stored['runs'].values() for v in run.values())
    wanted = [
        f'{scene}/{kind}/{seed}'
        for scene in ('toon', 'lego')
        for kind in ('siren', 'encoded', 'triplane', 'triplane, equal time')
        for seed in stored['seeds']
    ]
    missing = [run for run in wanted if run not in stored['runs']]
    if missing:
        pytest.skip(f"{len(missing)} of {len(wanted)} runs are not stored yet: {stored['command']}")
    assert len({stored['runs'][f'toon/{kind}/0']['steps'] for kind in ('siren', 'encoded', 'triplane')}) == 1


def test_the_shipped_head_is_the_one_that_was_measured():
    about = json.loads(shipped('pretrained/fields_head.json').read_text())
    path = shipped('pretrained/fields_head.safetensors')
    assert path.stat().st_size < 1_000_000
    test = toon_views(encode(**about['head']), 12, seed=1)[::6]
    head = load_field(path)
    scores = measure_field(head, test)
    assert abs(scores['psnr'] - about['scores']['psnr']) < 3 and scores['depth'] < 2 * about['scores']['depth'] + 0.5


def spoiled(**changes):
    return lambda: replace(VIEWS, **{k: f(getattr(VIEWS, k)) for k, f in changes.items()})


def with_nan(x):
    x = x.clone()
    x[1, 0, 2, 2] = torch.nan
    return x


def scaled(x):
    x = x.clone()
    x[2, :3, :3] *= 2
    return x


@pytest.mark.parametrize(
    'call, word',
    [
        (spoiled(rgba=with_nan), 'View 1'),
        (spoiled(rgba=lambda x: x[:, :3]), 'alpha'),
        (spoiled(rgba=lambda x: 255 * x), r'0, 1'),
        (spoiled(rgba=lambda x: x[:0]), 'images'),
        (spoiled(rgba=lambda x: torch.cat([torch.ones_like(x[:, :3]), x[:, 3:]], 1)), 'multiply'),
        (spoiled(cam2world=scaled), 'view 2'),
        (spoiled(cam2world=lambda x: x[:2]), 'poses'),
        (spoiled(cam2world=lambda x: x[:, :3]), '4, 4'),
        (spoiled(cam2world=lambda x: x.double()), 'one kind of number'),
        (spoiled(depth=lambda x: x[:, None]), 'The depth of these views is ['),
        (spoiled(depth=lambda x: x[:1]), 'The depth of these views is ['),
        (spoiled(normal=lambda x: x[:, :2]), 'The normal of these views is ['),
        (lambda: measure_field(make_field('triplane', 1.0), replace(VIEWS, depth=None), mesh='any'), "views' depth"),
        (spoiled(side=lambda s: 20.0), 'inside'),
        (spoiled(side=lambda s: -1.0), 'side'),
        (spoiled(focal=lambda f: 0.0), 'focal'),
        (spoiled(focal=lambda f: math.nan), 'focal'),
        (lambda: bundle(replace(VIEWS, side=0.3)), 'larger'),
        (lambda: FitConfig(rays=0), 'rays'),
        (lambda: FitConfig(steps=0), 'steps'),
        (lambda: FitConfig(samples=0), 'samples'),
        (lambda: FitConfig(lr=2.0), 'rate'),
        (lambda: plane_coordinates(torch.zeros(2, 3), 'xyz'), "'mimic3d' or 'eg3d'"),
        (lambda: FitConfig(background='sky'), 'background'),
        (lambda: Fit(make_field('siren', 1.0), VIEWS), 'side 1'),
        (lambda: make_field('siren', 0.0), 'side'),
        (lambda: chamfer(torch.zeros(0, 3), torch.zeros(1, 3)), 'clouds'),
    ],
)
def test_bad_input_is_one_sentence(call, word):
    with pytest.raises(ValueError) as error:
        call()
    assert word in str(error.value) and '\n' not in str(error.value)


def test_checkpoints_of_others_are_refused(tmp_path):
    save_fit(new_fit(texels=8).run(1, progress=False), tmp_path)
    for other, word in (
        (new_fit('siren'), 'another field'),
        (new_fit(texels=9), 'another field'),
        (new_fit(texels=8, seed=1), 'other settings'),
    ):
        with pytest.raises(ValueError, match=word):
            resume_fit(other, tmp_path)
        assert other.step == 0


def test_checkpoints_of_other_views_are_refused(tmp_path, monkeypatch):
    save_fit(new_fit(texels=8).run(1, progress=False), tmp_path / 'new')
    other = new_fit(texels=8)
    other.views = other.views.flip(0)
    with pytest.raises(ValueError, match='other views'):
        resume_fit(other, tmp_path / 'new')
    fit = new_fit(texels=8)
    fit.views = None
    save_fit(fit, tmp_path / 'old')  # as before the views were kept
    with pytest.raises(ValueError, match='does not say which views'):
        resume_fit(new_fit(texels=8), tmp_path / 'old')


def test_views_are_recognised_by_images_and_cameras():
    views = VIEWS
    short = fields._views_in_short(views)
    moved = replace(views, focal=1.1 * views.focal)
    dim = replace(views, rgba=0.9 * views.rgba)
    for other in (moved, dim, views[list(range(len(views)))[::-1]]):
        assert not torch.allclose(short, fields._views_in_short(other), atol=1e-3)
    noisy = replace(views, rgba=(views.rgba - 1e-6).clamp(min=0))
    assert torch.allclose(short, fields._views_in_short(noisy), atol=1e-3)


class OfOnesOwn(fields.SceneField):
    def __init__(self, side):
        super().__init__(side)
        self.net = torch.nn.Linear(3, 4)


def test_a_field_of_ones_own_is_fitted_but_needs_a_name_to_be_saved(tmp_path):
    views = VIEWS
    fit = Fit(OfOnesOwn(views.side), views, FitConfig(steps=2, rays=8)).run(progress=False)
    assert fit.step == 2
    with pytest.raises(ValueError, match='make_field'):
        save_field(fit.field, tmp_path / 'own.safetensors')


def test_a_cloud_far_from_the_origin_is_at_distance_0_from_itself():
    cloud = torch.rand(500, 3, generator=rng(0)) + 100
    assert chamfer(cloud, cloud).chamfer == 0


def test_a_diverged_fit_says_so():
    fit = new_fit(texels=8)
    with torch.no_grad():
        fit.field.planes.fill_(torch.nan)
    with pytest.raises(ValueError, match='diverged'):
        fit.run(1, progress=False)


def test_missing_and_wrong_files(tmp_path):
    (tmp_path / 'x.safetensors').write_bytes(b'12345678')
    with pytest.raises(ValueError, match='save_field'):
        load_field(tmp_path / 'x.safetensors')
    with pytest.raises(FileNotFoundError, match='no file'):
        load_field(tmp_path / 'y.safetensors')
    with pytest.raises(FileNotFoundError, match='ANIMEGAN_DATA'):
        lego_views(tmp_path / 'lego_100.npz')
    with pytest.raises(KeyError):
        make_field('cubes', 1.0)


def test_a_fit_without_a_rate_takes_that_of_its_kind():
    fit = Fit(make_field('siren', VIEWS.side), VIEWS, FitConfig(steps=2, rays=8, samples=3, fine=0))
    assert fit.lr == RATES['siren'] == fit.optimizer.param_groups[0]['lr']
    assert Fit(make_field('siren', VIEWS.side), VIEWS, FitConfig(lr=0.5)).lr == 0.5
