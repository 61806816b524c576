"Surfaces: distance functions are bounds, rays find the surface, ink lies on the nearer side, bad input is answered."

import threading

import pytest
import torch
from hypothesis import given, settings, strategies as st

from animegan_nb import surfaces
from animegan_nb.cameras import pose
from animegan_nb.core import rng

FOV = torch.tensor([12.0])


class Ball(surfaces.Scene):
    "Balls around the origin: one part, one colour."

    def __init__(self, *radii):
        self.p = {'r': torch.tensor(radii)[:, None]}

    def bounds(self):
        return torch.zeros(3, self.batch), self.p['r'][:, 0] * 1.5

    def distance(self, points):
        return surfaces.sphere(*points, self.p['r'])

    def parts(self, points):
        return torch.ones(points.shape[1:], dtype=torch.long)

    def colours(self, points, normals, parts, pixel):
        return torch.full_like(points, 0.5), parts


def test_a_ball_is_traced_to_its_closed_form():
    t, origins, ways, _ = surfaces.trace_scene(Ball(0.06), pose(0.7, -0.2), FOV, 48)
    b = (origins * ways).sum(0)
    root = b * b - (origins**2).sum(0) + 0.06**2
    assert (t.isfinite() != (root > 0)).float().mean() < 0.01
    met = t.isfinite() & (root > 1e-4)
    assert (t - (-b - root.clamp_min(0).sqrt()))[met].abs().max() < 5e-4


def test_the_geometry_of_a_ball_is_exact():
    out = surfaces.render_scene(Ball(0.06, 0.08), pose([0.4, -1.0], [0.1, 0.3]), 12.0, 33)
    origins, ways, cosine = surfaces.scene_rays(out['cam2world'], out['fov'], 33)
    t = out['distance'].flatten(1)
    met = t.isfinite()
    points = origins + torch.where(met, t, 1.0) * ways
    radius = torch.tensor([0.06, 0.08])[:, None].expand_as(t)
    assert torch.allclose(points.norm(dim=0)[met], radius[met], atol=1e-4)
    assert torch.allclose(out['depth'].flatten(1)[met], (t * cosine)[met])
    normals = out['normal'].flatten(2).transpose(0, 1)
    assert torch.allclose((normals * points / radius).sum(0)[met], torch.ones(int(met.sum())), atol=1e-3)
    assert torch.equal(out['parts'].flatten(1) == 1, met) and (normals[:, ~met] == 0).all()


def test_ink_is_a_ring_on_the_ball():
    bare, inked = (surfaces.render_scene(Ball(0.07), pose(0.0), FOV, 64, outline=o)['image'] for o in (False, True))
    changed = (bare != inked).any(1)[0]
    assert changed.any() and not changed[24:40, 24:40].any()  # none in the middle
    assert (inked[:, :, changed] <= bare[:, :, changed]).all()  # and only darker


bodies = {
    'sphere': lambda p: surfaces.sphere(*p, 0.5),
    'ellipsoid': lambda p: surfaces.ellipsoid(*p, 0.5, 0.45, 0.55),
    'rounded box': lambda p: surfaces.rounded_box(*p, 0.5, 0.3, 0.4, 0.1),
    'round cone': lambda p: surfaces.round_cone(
        p, *torch.tensor([[0.1, 0, 0], [0.5, 0.4, 0.2]])[..., None, None], 0.3, 0.1
    ),
    'union': lambda p: surfaces.smooth_union(surfaces.sphere(*p, 0.4), surfaces.sphere(*(p - 0.4), 0.3), 0.2),
    'cut': lambda p: surfaces.smooth_cut(surfaces.sphere(*p, 0.4), surfaces.sphere(*(p - 0.3), 0.3), 0.1),
}


@pytest.mark.parametrize('name', bodies)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_a_distance_is_a_bound(name, seed):
    "Two points differ by no more in their distances than they lie apart."
    source = rng(seed)
    a = torch.randn(3, 1, 500, generator=source)
    b = a + 0.05 * torch.randn(3, 1, 500, generator=source)
    slope = (bodies[name](a) - bodies[name](b)).abs() / (a - b).norm(dim=0)
    assert slope.max() < 1.1


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(cam2world=torch.eye(3)[None]), 'cam2world'),
        (dict(cam2world=torch.eye(4).repeat(3, 1, 1)), 'cameras'),
        (dict(fov=torch.tensor([12.0, 12.0, 12.0])), 'fields of view'),
        (dict(fov=180.0), 'field of view'),
        (dict(size=0), 'size'),
        (dict(size=16.0), 'size'),
        (dict(size=True), 'size'),
    ],
)
def test_bad_views_are_one_sentence(options, words):
    good = dict(cam2world=pose(0.0).expand(2, 4, 4), fov=12.0, size=8)
    with pytest.raises(ValueError) as error:
        surfaces.render_scene(Ball(0.05, 0.06), **{**good, **options})
    assert words in str(error.value) and '\n' not in str(error.value)


def test_an_image_does_not_depend_on_its_company():
    "A narrow view beside a wide one: each ray steps by the width of its own pixels."
    scene, cams, fov = Ball(0.06, 0.07), pose([0.2, -0.4]), torch.tensor([9.0, 70.0])
    together = surfaces.render_scene(scene, cams, fov, 24)
    for i in range(2):
        alone = surfaces.render_scene(scene[i : i + 1], cams[i : i + 1], fov[i : i + 1], 24)
        for name in ('image', 'mask', 'depth', 'normal', 'parts'):
            assert torch.equal(alone[name][0], together[name][i]), name


def test_many_scenes_are_drawn_as_few():
    "More rays than one block holds."
    radii = torch.linspace(0.03, 0.07, 12).tolist()
    cams = pose(torch.linspace(-1, 1, 12))
    together = surfaces.render_scene(Ball(*radii), cams, 12.0, 72)
    for i in (0, 7, 11):
        alone = surfaces.render_scene(Ball(radii[i]), cams[i : i + 1], 12.0, 72)
        assert torch.equal(alone['image'][0], together['image'][i])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 10**6))
def test_true_entries_come_first(rows, columns, seed):
    mask = torch.rand(rows, columns, generator=rng(seed)) < 0.4
    sorted_mask = mask.byte().argsort(dim=1, descending=True, stable=True)
    assert torch.equal(surfaces.first_true(mask, columns), sorted_mask)


def test_drawing_takes_one_thread_and_gives_the_others_back():
    seen = []

    class Watched(Ball):
        def parts(self, points):
            seen.append(torch.get_num_threads())
            return super().parts(points)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        surfaces.render_scene(Watched(0.06), pose(0.0), FOV, 8)
        with pytest.raises(ValueError):
            surfaces.render_scene(Watched(0.06), pose(0.0), FOV, 0)
        assert set(seen) == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_drawings_in_two_threads_give_all_threads_back():
    before, found, second_draws, first_is_done = torch.get_num_threads(), [], threading.Event(), threading.Event()

    def second():
        with surfaces.one_thread():
            second_draws.set()
            first_is_done.wait(60)
        found.append(torch.get_num_threads())

    other = threading.Thread(target=second)
    try:
        torch.set_num_threads(2)
        with surfaces.one_thread():
            other.start()
            assert second_draws.wait(60)
            with surfaces.one_thread():
                pass
            found.append(torch.get_num_threads())
        first_is_done.set()
        other.join()
        assert found == [1, 2] and torch.get_num_threads() == 2
        new = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        new.start()
        new.join()
        assert found[-1] == 2
    finally:
        torch.set_num_threads(before)


def test_nothing_to_draw_and_no_rays_are_one_sentence():
    with pytest.raises(ValueError, match='no scene'):
        surfaces.render_scene(Ball(), pose(torch.zeros(0)), 12.0, 8)
    with pytest.raises(ValueError, match='supersample'):
        surfaces.render_scene(Ball(0.06), pose(0.0), FOV, 8, supersample=0)


@pytest.mark.parametrize('background', [1.0, (1.0, 0.0), torch.zeros(2, 3)])
def test_a_background_that_fits_no_scene(background):
    from animegan_nb.toon import HeadScene, sample_identity

    scene = HeadScene(sample_identity(1, rng(0)))
    with pytest.raises(ValueError, match='one for each of the 1 scenes'):
        surfaces.render_scene(scene, pose(0.0, radius=4.0), 20.0, 8, background=background)
    with pytest.raises(ValueError, match='whole number'):
        surfaces.render_scene(scene, pose(0.0, radius=4.0), 20.0, 8, supersample=1.5)


def test_a_camera_in_double_precision():
    from animegan_nb.toon import HeadScene, sample_identity

    scene, camera = HeadScene(sample_identity(1, rng(0))), pose(0.2, radius=4.0)
    one, two = (surfaces.render_scene(scene, c, 20.0, 8)['image'] for c in (camera, camera.double()))
    assert torch.equal(one, two)
