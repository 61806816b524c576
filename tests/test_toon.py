"Heads: the ground truth is exact, sets are repeatable, the prior is as stated, bad input is answered."

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from animegan_nb import surfaces
from animegan_nb import toon
from animegan_nb.cameras import pose
from animegan_nb.core import rng

FOV = torch.tensor([12.0])


def draw(person, yaw=0.0, pitch=0.0, size=40, **options):
    return toon.render(person, pose(yaw, pitch), FOV, size, **options)


def rays(cam2world, size):
    return surfaces.scene_rays(cam2world, FOV, size)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.floats(-3.1, 3.1), st.floats(-0.5, 0.5), st.sampled_from(['anime', 'human']))
def test_reported_points_lie_on_the_surface(seed, yaw, pitch, style):
    person = toon.sample_identity(1, rng(seed))
    out = draw(person, yaw, pitch, 32, style=style, supersample=1)
    origins, ways, cosine = rays(out['cam2world'], 32)
    t = out['distance'].flatten(1)
    met = t.isfinite()
    assert met.float().mean() > 0.2
    points = origins + torch.where(met, t, 1.0) * ways
    scene = toon.HeadScene(person, style)
    assert scene.distance(points)[met].abs().max() < 1e-3 * toon.HEAD
    assert torch.allclose(out['depth'].flatten(1)[met], (t * cosine)[met])
    labels = scene.parts(points)[met]
    _, painted = scene.colours(
        points, surfaces.scene_normals(scene, points), scene.parts(points), torch.full((1, 1), 1e-3)
    )
    assert (out['parts'].flatten(1)[met] == painted[met]).float().mean() > 0.97
    assert (labels > 0).all() and (out['parts'].flatten(1)[~met] == 0).all()


def test_normals_are_the_finite_differences_of_the_distance():
    person = toon.sample_identity(1, rng(5))
    out = draw(person, 0.3, 0.1, 40, supersample=1)
    origins, ways, _ = rays(out['cam2world'], 40)
    t = out['distance'].flatten(1)
    met = t.isfinite()
    points = (origins + torch.where(met, t, 1.0) * ways).double()
    scene = toon.HeadScene(person)
    scene.p = {k: v.double() if v.is_floating_point() else v for k, v in scene.p.items()}
    h = 1e-4
    steps = torch.eye(3, dtype=torch.float64) * h
    gradient = torch.stack(
        [scene.distance(points + s[:, None, None]) - scene.distance(points - s[:, None, None]) for s in steps]
    )
    cosine = (torch.nn.functional.normalize(gradient, dim=0) * out['normal'].flatten(2).transpose(0, 1)).sum(0)[met]
    assert (cosine > 0.98).float().mean() > 0.93 and cosine.median() > 0.9999  # creases differ by the size of the step


def test_two_views_agree():
    person = toon.sample_identity(1, rng(12))
    difference, share = toon.warp_agreement(person, pose(0.15, 0.05), pose(-0.1, 0.0), FOV, size=160)
    assert difference < 10 ** (-30 / 20) and share > 0.6


def test_rendering_does_not_depend_on_the_company():
    people = toon.sample_identity(5, rng(3))
    views = pose(torch.linspace(-1, 1, 5), torch.zeros(5))
    together = toon.render(people, views, FOV.expand(5), 24)
    for i in (0, 3):
        alone = toon.render(people[i : i + 1], views[i : i + 1], FOV, 24)
        assert (alone['image'][0] - together['image'][i]).abs().mean() < 1e-3


def test_many_heads_take_few_operations():
    "The time of a short operation is spent on calling it, so a set of heads must not need more of them for each head."

    class Count(TorchDispatchMode):
        n = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.n += 1
            return function(*args, **(kwargs or {}))

    rows = toon.toon_rows(0, 0, 32)
    with Count() as count:
        toon.render(rows['identity'], rows['cam2world'], rows['fov'], 64, geometry=False)
    assert count.n / 32 < 8000  # 23,000 when every four heads were traced to the end alone


@pytest.mark.parametrize('attribute, value, label, distance', toon.EXTRAS)
def test_what_some_heads_have_is_computed_for_them_alone(attribute, value, label, distance):
    people = toon.encode().repeat(4, 1)
    people[1:3] = toon.encode(**{attribute: value})
    points = 0.05 * torch.randn(3, 4, 50, generator=rng(0))
    found = [row for row in toon.find_extras(toon.HeadScene(people).p) if row[1] is distance]
    assert [(row[0], row[2].tolist()) for row in found] == [(label, [1, 2])]
    ((_, distances),) = toon.extra_distances(points, found)
    for i in range(4):
        alone = distance(toon.HeadScene(people[i : i + 1]).p, *points[:, i : i + 1])[0]
        assert torch.equal(distances[i], alone if i in (1, 2) else torch.full((50,), 9.0))


def test_identities_are_repeatable_and_follow_the_prior():
    assert torch.equal(toon.sample_identity(9, rng(1)), toon.sample_identity(9, rng(1)))
    people = toon.decode(toon.sample_identity(6000, rng(0)))
    for name, values in toon.CATEGORIES.items():
        weights = np.array(toon.ATTRIBUTES[name][1], float)
        share = np.bincount(people[name].numpy(), minlength=len(values)) / 6000
        assert np.abs(share - weights / weights.sum()).max() < 0.025, name
    for name, i in toon.SLOT.items():
        assert toon.LOW[i] - 1e-4 <= float(people[name].min()) and float(people[name].max()) <= toon.HIGH[i] + 1e-4


def test_a_row_does_not_depend_on_how_many_are_asked_for():
    few, many = toon.toon_rows(4, 0, 3), toon.toon_rows(4, 0, 300)
    assert all(torch.equal(few[k], many[k][:3]) for k in few)
    late = toon.toon_rows(4, 250, 262)
    assert all(torch.equal(late[k], many[k][250:262]) for k in late)


def test_an_interrupted_drawing_goes_on_where_it_stopped(tmp_path, monkeypatch):
    class Counted(toon.ToonHeads):
        chunk, drawn_now = 2, 0

        def draw_chunk(self, part, size):
            if Counted.drawn_now == 3:
                raise KeyboardInterrupt
            Counted.drawn_now += 1
            return super().draw_chunk(part, size)

    whole = toon.ToonHeads(9, 16, seed=31)
    monkeypatch.setenv('ANIMEGAN_CACHE', str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        Counted(9, 16, seed=31)
    assert sorted(f.name for f in tmp_path.glob('toon/heads*/*')) == ['0', '2', '4']
    damaged = next(tmp_path.glob('toon/heads*/2/image.npy'))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b'?')
    Counted.drawn_now = 0
    heads = Counted(9, 16, seed=31)
    assert Counted.drawn_now == 3 and len(list((tmp_path / 'toon').iterdir())) == 1  # 2, 6 and 8 are drawn
    assert all(np.array_equal(whole.arrays[k], heads.arrays[k]) for k in whole.arrays)


def test_items_hold_what_is_promised():
    heads = toon.ToonHeads(n=4, size=16, seed=2)
    item = heads[1]
    assert len(heads) == 4 and item['image'].shape == (3, 16, 16) and item['image'].dtype == torch.float32
    assert {'attributes', 'identity', 'cam2world', 'fov', 'depth', 'normal', 'mask', 'parts'} <= set(item)
    assert item['image'].abs().max() <= 1 and heads.batch([0, 2])['image'].dtype == torch.uint8
    assert torch.equal(toon.ToonHeads(n=4, size=16, seed=2).batch([1])['image'], heads.batch([1])['image'])
    assert set(toon.render(item['identity'][None], item['cam2world'][None], item['fov'][None], 16)) >= {
        'image',
        'depth',
        'normal',
        'mask',
        'parts',
        'identity',
        'attributes',
    }


@pytest.mark.parametrize('name', ['celeba', 'uniform', 'full_turn', 'frontal'])
def test_cameras_look_at_the_origin(name):
    cameras = toon.sample_camera(500, rng(0), name)
    c2w = cameras['cam2world']
    assert torch.allclose(c2w[:, :3, 3].norm(dim=1), torch.ones(500), atol=1e-5)
    assert torch.allclose(c2w[:, :3, 2], c2w[:, :3, 3], atol=1e-5) and torch.allclose(
        torch.linalg.det(c2w), torch.ones(500), atol=1e-4
    )
    if name == 'celeba':
        assert abs(cameras['yaw'].std() - 0.3) < 0.03 and abs(cameras['pitch'].std() - 0.155) < 0.02


def detached(masks):
    "Pixels of [n, h, w] masks that are not connected with the middle of the image; gaps of two pixels are bridged."
    grow = lambda x: torch.nn.functional.max_pool2d(x[:, None], 3, 1, 1)[:, 0]
    wide = grow(masks.float())
    reached = torch.zeros_like(wide)
    reached[:, masks.shape[1] // 2, masks.shape[2] // 2] = 1.0
    while True:
        more = grow(reached) * wide
        if torch.equal(more, reached):
            return ((wide > 0) & masks & (reached == 0)).flatten(1).sum(1)
        reached = more


def bald(out, views, size):
    "Pixels that show skin where hair belongs: on the crown, and behind the ears above their height."
    origins, ways, _ = surfaces.scene_rays(views, FOV, size)
    t = out['distance'].flatten(1)
    x, y, z = (origins + torch.where(t.isfinite(), t, 1.0) * ways) / toon.HEAD
    return ((out['parts'].flatten(1) == toon.PART['face']) & ((y > 0.60) | ((y > 0.15) & (z < -0.2)))).sum(1)


@pytest.mark.parametrize('yaw, pitch', [(0.6, 0.1), (1.9, 0.0), (math.pi, 0.25), (-2.3, 0.5), (0.0, 1.15)])
def test_nothing_floats_and_no_patch_is_bald(yaw, pitch):
    "40 of the 500 heads that benchmarks/toon.py --check looks at."
    people = toon.toon_rows(77, 0, 40)['identity']
    people[:10, toon.SLOT['hair_style']] = torch.arange(10.0)
    views = pose(yaw, pitch).expand(40, 4, 4)
    out = toon.render(people, views, FOV.expand(40), 64, supersample=1, outline=False)
    assert detached(out['distance'][:, 0].isfinite()).max() == 0 and bald(out, views, 64).max() <= 2


def test_spectacle_arms_end_at_the_ears():
    "Straight from the side, the wire runs from the rim to the ear without a gap, above the cheek."
    person = toon.encode(glasses='yes', hair_style='bun', fringe='open')[None]
    scene = toon.HeadScene(person)
    p = scene.p
    rim = p['eye_x'] + p['eye_w'] + 0.045
    ends = [
        torch.stack([rim, p['eye_y'] + 0.03, 0.60 - 0.35 * rim * rim]),
        torch.tensor([0.515, 0.02, -0.02])[:, None, None],
    ]
    along = torch.cat([ends[0] + s * (ends[1] - ends[0]) for s in torch.linspace(0, 1, 20).tolist()], 2)
    assert toon.glasses_distance(p, *along).max() < 0


@pytest.mark.parametrize(
    'call, words',
    [
        (lambda: toon.ToonHeads(n=4, size=0), 'size'),
        (lambda: toon.ToonHeads(n=4, size=2.5), 'size'),
        (lambda: toon.ToonHeads(n=-1), 'n must'),
        (lambda: toon.ToonHeads(n=1, size=16, style='oil'), 'style'),
        (lambda: toon.ToonHeads(n=1, size=16, camera='drone'), 'camera'),
        (lambda: toon.encode(hair_style='mohawk'), 'hair_style'),
        (lambda: toon.encode(tail=1), 'tail'),
        (lambda: toon.encode(jaw=7.0), 'jaw'),
        (lambda: toon.render(torch.zeros(1, 3), pose(0.0, 0.0), FOV, 16), 'identity'),
        (lambda: toon.render(toon.encode()[None], torch.eye(3)[None], FOV, 16), 'cam2world'),
        (lambda: draw(toon.sample_identity(1, rng(0)), size=-3), 'size'),
        (lambda: draw(toon.sample_identity(1, rng(0)), style='oil'), 'style'),
        (lambda: draw(toon.sample_identity(1, rng(0)), background='sky'), 'background'),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(ValueError) as error:
        call()
    message = str(error.value)
    assert words in message and '\n' not in message and len(message) < 900


def test_ready_heads_open_at_once():
    heads = toon.ready_heads()
    batch = heads.batch([0, 1500, 2999])
    assert len(heads) == 3000 and heads.size == 64 and batch['image'].shape == (3, 3, 64, 64)
    rows = toon.toon_rows(0, 0, 3000)
    assert torch.allclose(torch.from_numpy(np.array(heads.arrays['identity'])), rows['identity'], atol=1e-5)
    again = toon.render(rows['identity'][:2], rows['cam2world'][:2], rows['fov'][:2], 64, geometry=False)['image']
    assert (again - heads.batch([0, 1])['image'].float().div(127.5).sub(1)).abs().mean() < 0.06


def test_parts_name_the_mouth_and_the_brows():
    parts = draw(toon.encode(mouth='open', fringe='open')[None], size=96, supersample=1)['parts']
    assert all((parts == toon.PART[name]).sum() > 20 for name in ('mouth', 'brow', 'eye'))


def test_ready_heads_stand_before_one_of_two_backgrounds():
    with pytest.raises(ValueError, match="'pastel' or 'white'"):
        toon.ready_heads((1.0, 0.0, 0.0))


def test_a_seed_of_numpy_draws_the_same_heads():
    one, two = (toon.ToonHeads(2, 16, seed=seed).batch([0, 1])['image'] for seed in (3, np.int64(3)))
    assert torch.equal(one, two)


def test_the_ready_heads_are_the_drawn_ones_but_for_their_compression():
    rows, drawn = toon.ready_heads('white').batch(range(8)), toon.ToonHeads(8, 64, seed=0, background='white')
    drawn = drawn.batch(range(8))
    assert torch.equal(rows['identity'], drawn['identity']) and torch.equal(rows['yaw'], drawn['yaw'])
    away = (rows['image'].float() - drawn['image'].float()).abs() / 255
    assert 0.002 < away.mean() < 0.015 and away.max() < 0.4
