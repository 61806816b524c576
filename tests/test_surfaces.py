"Surfaces: distance functions are bounds, rays find the surface, ink lies on the nearer side, bad input is answered."

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
