"""Tri-planes: equal to the published renderer where that is asked for, and to the laws where ours is better."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from animegan_nb import triplane as triplane_module
from animegan_nb.cameras import field_of_view, pose, Rays, rays
from animegan_nb.core import rng
from animegan_nb.fields import plane_coordinates, triplane as looked_up
from animegan_nb.metrics import blur
from animegan_nb.stylegan import StyleGANConfig
from animegan_nb.training import Draws
from animegan_nb.triplane import (
    blur_width,
    blurred,
    box_limits,
    density_smoothness,
    dual_images,
    dual_reals,
    DualDiscriminator,
    eg3d_camera,
    eg3d_fov,
    eg3d_pitch,
    even_distances,
    march_intervals,
    more_distances,
    PlaneDecoder,
    PlaneSynthesis,
    PlaneView,
    PlaneVolume,
    PoseMapping,
    render_plane_views,
    render_planes,
    sample_planes,
    swap_cameras,
    swap_probability,
    widened,
)

TO_OURS = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))  # OpenCV's axes to OpenGL's


@pytest.fixture(scope='module', params=['eg3d', 'mimic3d'])
def published(request, reference_dir):
    "Numbers of one of the published implementations, and its name."
    with np.load(reference_dir / f'{request.param}_reference.npz', allow_pickle=False) as file:
        return request.param, {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


@pytest.fixture(scope='module')
def eg3d(reference_dir):
    with np.load(reference_dir / 'eg3d_reference.npz', allow_pickle=False) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


def close(a, b, limit=1e-4):
    return a.shape == b.shape and (a - b).abs().max() <= limit


def decoder_of(values):
    decoder = PlaneDecoder(4, 64, 5).requires_grad_(False)
    names = {'hidden': 'net.0', 'out': 'net.2'}
    decoder.load_state_dict(
        {f'{a}.{end}': values[f'param/decoder.{b}.{end}'] for a, b in names.items() for end in ('weight', 'bias')}
    )
    return decoder


def random_volume(seed=0, channels=4, **numbers):
    torch.manual_seed(seed)
    return PlaneVolume((torch.randn(2, 3, channels, 8, 8),), PlaneDecoder(channels, 16, 5), **numbers)


# ---- the published values


@pytest.mark.parametrize('box', [1, 1.6])
def test_reference_planes(published, box):
    order, values = published
    found = sample_planes(values['planes/features'], values['planes/points'], box, order)
    assert close(found, values[f'planes/sampled_box{box}'])
    point = torch.tensor([[1.0, 2.0, 3.0]])
    assert torch.equal(plane_coordinates(point, order), values['planes/project_of_1_2_3'])
    if order == 'mimic3d':
        more = sample_planes(values['planes/detail_features'], values['planes/points'])
        assert box != 1 or close(found + more, values['planes/sampled_coarse_plus_detail_box1'])


def test_reference_decoder(published):
    _, values = published
    features, raw = decoder_of(values)(values['decoder/features_in'])
    assert close(features, values['decoder/rgb']) and close(raw[..., None], values['decoder/sigma'])


@pytest.mark.parametrize('white', [0, 1])
def test_reference_march(published, white):
    _, values = published
    rays_of = [values[f'march/{name}'] for name in ('colors', 'densities', 'depths')]
    seen = march_intervals(rays_of[0], rays_of[1][..., 0], rays_of[2][..., 0], background=float(white), official=True)
    expected = {name: values[f'march/whiteback{white}/{name}'] for name in ('rgb', 'depth', 'weights')}
    assert close(2 * seen.rgb - 1, expected['rgb']) and close(seen.weights[..., None], expected['weights'])
    assert close(seen.distance[..., None], expected['depth'])


def test_reference_fine_samples(published):
    _, values = published
    weights = values['march/whiteback0/weights'][..., 0].reshape(14, 9)
    assert close(widened(weights), values['pdf/smoothed_weights'])
    depths = values['march/depths'][..., 0].reshape(14, 10)
    assert close(more_distances(depths, weights, 8, official=True), values['pdf/samples_det_8'])


def test_reference_cameras_and_rays(eg3d):
    cams = eg3d['camera/lookat_0_0_0.2_radius_2.7_cam2world'] @ TO_OURS
    ours = eg3d_camera(eg3d['camera/horizontal_offset'], eg3d['camera/vertical_offset'])
    assert close(ours, cams, 1e-5)
    focal = float(eg3d['camera/intrinsics_ffhq'][0, 0])
    lines = rays(ours, field_of_view(focal, 1.0), 6)
    assert close(lines.origins, eg3d['rays/origins_6px']) and close(lines.directions, eg3d['rays/directions_6px'])
    diagonal = float(eg3d['camera/fov18.837_intrinsics'][0, 0])
    assert abs(eg3d_fov(18.837) - field_of_view(diagonal, 1.0)) < 1e-4


def test_reference_box(eg3d):
    lines = Rays(eg3d['rays/origins_6px'], eg3d['rays/directions_6px'])
    for official in (False, True):
        near, far = box_limits(lines, 1.0, official)
        assert close(near[..., None], eg3d['box/start_side1']) and close(far[..., None], eg3d['box/end_side1'])


VIEWS = {
    'coarse12': PlaneView(samples=12, fine=0, near=2.25, far=3.3, official=True),
    'coarse12_fine8det': PlaneView(samples=12, fine=8, near=2.25, far=3.3, official=True),
    'auto_whiteback': PlaneView(samples=12, fine=8, background=1.0, official=True),
    'coarse_plus_detail': PlaneView(samples=12, fine=8, near=2.25, far=3.3, official=True),
}


@pytest.mark.parametrize('name', VIEWS)
def test_reference_renderings(published, name):
    order, values = published
    if f'render/{name}/features' not in values:
        pytest.skip('EG3D has no detail planes')
    planes = [values['render/planes']]
    if name == 'coarse_plus_detail':
        planes.append(values['render/detail_planes'])
    volume = PlaneVolume(tuple(planes), decoder_of(values), order=order)
    seen = render_planes(volume, Rays(values['rays/origins_6px'], values['rays/directions_6px']), VIEWS[name])
    assert close(2 * seen.rgb - 1, values[f'render/{name}/features'])
    assert close(seen.distance[..., None], values[f'render/{name}/depth'])
    if f'render/{name}/weight_sum' in values:
        assert close(seen.opacity[..., None], values[f'render/{name}/weight_sum'])


def test_reference_even_distances(eg3d):
    near, far = torch.full((1, 1), 2.25), torch.full((1, 1), 3.3)
    assert close(even_distances(near, far, 12, official=True)[0, 0], eg3d['render/depths_stratified_jitter0.5_12'])


# ---- planes


def test_the_duplicated_plane_by_its_law():
    g = rng(0)
    planes = torch.randn(1, 3, 4, 16, 16, generator=g)
    x, y, z, y2, z2 = (torch.rand(1, 200, generator=g) - 0.5 for _ in range(5))
    for order, vanishes in (('eg3d', True), ('mimic3d', False)):
        at = lambda *p, order=order: sample_planes(planes, torch.stack(p, -1), 1.0, order).sum(1)
        mixed = at(x, y, z) - at(x, y2, z) - at(x, y, z2) + at(x, y2, z2)
        assert (mixed.abs().max() < 1e-5) == vanishes


def test_a_point_looks_where_its_shadow_falls():
    planes = torch.zeros(1, 3, 2, 32, 32)
    along = (2 * torch.arange(32) + 1) / 32 - 1
    planes[:, :, 0], planes[:, :, 1] = along, along[:, None]  # columns, rows
    points = torch.rand(1, 50, 3, generator=rng(0)) * 0.9 - 0.45
    found = sample_planes(planes, points)[0]
    for k, (column, row) in enumerate(((0, 1), (1, 2), (2, 0))):
        assert torch.allclose(found[k], 2 * points[0][:, [column, row]], atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 5.0), st.integers(0, 10**6))
def test_a_larger_box_is_the_same_scene_larger(box, seed):
    volume = random_volume()
    points = torch.rand(2, 9, 3, generator=rng(seed)) - 0.5
    larger = PlaneVolume(volume.planes, volume.decoder, box)
    (a, s), (b, t) = volume(points), larger(box * points)
    assert torch.allclose(a, b, atol=1e-4) and torch.allclose(s, box * t, atol=1e-3)


def test_nothing_is_outside_the_box():
    volume = random_volume()
    outside = 0.5 * (1.001 + torch.rand(2, 40, 3, generator=rng(0)))
    assert not volume(outside)[1].any() and volume(0.9 * torch.zeros(2, 5, 3))[1].all()
    beside = Rays(torch.full((2, 1, 3), 3.0), torch.tensor([[[0.0, 0.0, -1.0]]] * 2))
    assert render_planes(volume, beside, PlaneView(background=1.0)).rgb.eq(1).all()
    fog = render_planes(volume, beside, PlaneView(near=2.0, far=4.0, official=True))
    assert fog.opacity.min() > 0.1  # the published field goes on outside


def test_half_precision_keeps_the_coordinates():
    planes, points = torch.randn(1, 3, 2, 64, 64), torch.rand(1, 30, 3) - 0.5
    half = sample_planes(planes.bfloat16(), points)
    assert half.dtype == torch.float32 and torch.allclose(half, sample_planes(planes, points), atol=0.05)


def test_two_tri_planes_differ_in_how_texels_are_counted():
    "54_fields counts from the middles of the border's texels; a ramp shows by how much."
    ramp = torch.linspace(-1, 1, 16).expand(3, 1, 16, 16)
    points = torch.rand(20, 3, generator=rng(0)) * 1.6 - 0.8
    ours = sample_planes(ramp[None], points[None], 2.0)[0].sum(0)
    assert torch.allclose(ours, looked_up(ramp, points) * 16 / 15, atol=1e-5)


# ---- marching


def test_constant_fog_is_exact():
    t = torch.rand(4, 9, generator=rng(0)).sort(-1).values
    seen = march_intervals(torch.full((4, 9, 2), 0.5), torch.full((4, 9), 1.7), t)
    opacity = 1 - torch.exp(-F.softplus(torch.tensor(0.7)) * (t[:, -1] - t[:, 0]))
    assert torch.allclose(seen.opacity, opacity, atol=1e-6)
    assert torch.allclose(seen.rgb, 0.5 * opacity[:, None].expand(-1, 2), atol=1e-6)


def test_the_distance_of_a_ray_is_its_own():
    "As published, an empty ray's distance depends on the other rays."
    t = torch.stack([torch.linspace(1, 2, 6), torch.linspace(3, 4, 6)])
    raw = torch.full((2, 6), -1e4)
    ours, theirs = (march_intervals(torch.zeros(2, 6, 3), raw, t, official=o).distance for o in (False, True))
    assert ours.tolist() == [2.0, 4.0] and theirs.tolist() == [4.0, 4.0]


def test_an_empty_ray_has_finite_gradients():
    volume = random_volume()
    planes = volume.planes[0].requires_grad_(True)
    lines = Rays(torch.tensor([[[0.0, 0, 2], [3.0, 3, 2]]] * 2), torch.tensor([[[0.0, 0, -1]] * 2] * 2))
    seen = render_planes(volume, lines, PlaneView())
    (seen.rgb.sum() + seen.distance.sum()).backward()
    assert planes.grad.isfinite().all() and planes.grad.any()


def test_more_samples_follow_the_weights():
    t, w = torch.linspace(0, 1, 11), torch.zeros(10)
    w[3] = 1
    found = more_distances(t, w, 1000)
    share = torch.histc(found, 10, 0, 1) / 1000
    assert torch.allclose(share, widened(w) / widened(w).sum(), atol=2e-3)
    early = more_distances(t, w, 1000, official=True)
    assert abs(found.mean() - early.mean() - 0.05) < 0.01


@pytest.mark.parametrize('n', [4, 7])
def test_even_distances_lie_in_their_bins(n):
    near, far = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 5.0]])
    t = even_distances(near, far, n, rng(0))
    edges = near[..., None] + (far - near)[..., None] * torch.linspace(0, 1, n + 1)
    assert (t >= edges[..., :-1]).all() and (t <= edges[..., 1:]).all()
    late = torch.stack([even_distances(near, far, n, rng(s), official=True) for s in range(20)])
    assert (late[..., -1] > far).any()  # the published ones leave the volume


def test_rays_that_miss_the_box():
    lines = Rays(torch.tensor([[[0.0, 0, 2], [0.4, 0, 3], [2.0, 0, 2]]]), torch.tensor([[[0.0, 0, -1]] * 3]))
    near, far = box_limits(lines, 1.0)
    assert torch.allclose(near[0, :2], torch.tensor([1.5, 2.5])) and torch.allclose(
        far[0, :2], torch.tensor([2.5, 3.5])
    )
    assert near[0, 2] < far[0, 2]
    near, far = box_limits(lines, 1.0, official=True)
    assert near[0, 2] == 1.5 and far[0, 2] == 2.5  # the largest entry, where the largest exit (3.5) was meant


def test_a_camera_in_the_box_sees_only_what_is_ahead():
    lines = Rays(torch.zeros(1, 1, 3), torch.tensor([[[0.0, 0, -1]]]))
    near, far = box_limits(lines, 1.0)
    assert 0 < near.item() < far.item() < 1


def test_views_in_chunks_are_the_same():
    volume, cams = random_volume(), pose(torch.tensor([0.2, -0.4]), radius=2.0)
    for source in (None, 0):
        draw = lambda most, source=source: render_plane_views(
            volume, cams, 6, PlaneView(30.0, 5, 4), None if source is None else rng(source), most
        )
        whole, parts = draw(None), draw(100)
        if source is None:
            assert all(torch.allclose(whole[k], parts[k], atol=1e-6) for k in whole)
        assert whole['features'].shape == parts['features'].shape == (2, 5, 6, 6)


def test_published_limits_do_not_depend_on_the_memory():
    "As published, the limits of rays that miss the box come from all the others: the parts of an image would differ."
    volume, cams = random_volume(), pose(torch.tensor([0.2, -0.4]), radius=2.0)
    view = PlaneView(60.0, 5, 4, official=True)
    whole, parts = (render_plane_views(volume, cams, 6, view, None, most) for most in (None, 100))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    beside = Rays(torch.full((2, 1, 3), 3.0), torch.tensor([[[0.0, 0.0, -1.0]]] * 2))
    assert render_planes(volume, beside, view).rgb.isfinite().all()  # not one ray meets the box


def test_published_depth_does_not_depend_on_the_memory():
    "As published, an empty ray has the largest distance of all rays, also if they are rendered in parts."
    volume, cams = random_volume(), pose(torch.tensor([0.2, -0.4]), radius=2.0)
    volume = replace(volume, shift=1e4)  # nothing anywhere
    view = PlaneView(60.0, 5, 4, near=1.0, far=3.0, official=True)
    draw = lambda most, source: render_plane_views(volume, cams, 6, view, source, most)['distance']
    assert torch.allclose(draw(None, None), draw(60, None))
    for most in (None, 60):
        assert len(draw(most, rng(0)).unique()) == 1


def test_one_volume_is_seen_from_many_cameras():
    volume, cams = random_volume(), pose(torch.tensor([0.2, -0.4, 0.1]), radius=2.0)
    one = replace(volume, planes=tuple(p[:1] for p in volume.planes))
    several = replace(volume, planes=tuple(p[:1].repeat(3, 1, 1, 1, 1) for p in volume.planes))
    view = PlaneView(30.0, 5, 4)
    for options in (dict(), dict(max_points=60), dict(rng=0), dict(rng=0, max_points=60)):
        found, expected = (
            render_plane_views(v, cams, 6, view, **{k: rng(x) if k == 'rng' else x for k, x in options.items()})
            for v in (one, several)
        )
        assert all(torch.allclose(found[k], x, atol=1e-5) for k, x in expected.items() if 'rng' not in options)
        assert all(found[k].shape == x.shape for k, x in expected.items())


def test_the_planes_of_one_scene_are_not_copied(monkeypatch):
    "Every look at the planes is one of one scene, however many cameras there are."
    scenes, look = [], triplane_module.sample_planes
    monkeypatch.setattr(triplane_module, 'sample_planes', lambda p, *rest: (scenes.append(len(p)), look(p, *rest))[1])
    volume, cams = random_volume(), pose(torch.tensor([0.2, -0.4, 0.1]), radius=2.0)
    one = replace(volume, planes=tuple(p[:1] for p in volume.planes))
    for most in (None, 60):
        render_plane_views(one, cams, 6, PlaneView(30.0, 5, 4), max_points=most)
    assert set(scenes) == {1}


# ---- cameras, regulariser


def test_the_vertical_offset_is_no_angle():
    pitch = eg3d_pitch(torch.tensor([0.1, 0.2, 0.3, 0.5]))
    assert torch.allclose(-pitch, torch.tensor([0.064, 0.128, 0.192, 0.324]), atol=1e-3)
    assert eg3d_pitch(torch.tensor([-math.pi / 2, math.pi / 2])).abs().sub(math.pi / 2).abs().max() < 1e-3
    assert PlaneView(samples=3, fine=0, official=True).samples == 3
    cams = eg3d_camera(0.3, 0.25, look_at=(0.0, 0.0, 0.0))
    assert torch.allclose(cams, pose(0.3, eg3d_pitch(torch.tensor([0.25])), 2.7), atol=1e-5)


def test_half_of_the_published_points_teach_nothing():
    class Noted(PlaneVolume):
        def raw(self, points):
            seen.append((points.abs() <= self.box / 2).sum(-1))
            return super().raw(points)

    volume = random_volume()
    for official, inside in ((False, 1.0), (True, 1 / 8)):
        seen = []
        density_smoothness(Noted(volume.planes, volume.decoder), Draws(0), 4000, official=official)
        assert abs(float((seen[0] == 3).float().mean()) - inside) < 0.02


def test_a_flat_density_is_smooth():
    volume = PlaneVolume((torch.zeros(1, 3, 4, 8, 8),), PlaneDecoder(4, 8, 3))
    assert density_smoothness(volume, Draws(0)) == 0
    assert density_smoothness(random_volume(), Draws(0)) > 0


# ---- the networks


@given(st.integers(2, 9), st.floats(0, 1), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_swapped_cameras_come_from_the_batch(n, p, seed):
    told = F.normalize(torch.randn(n, 3, generator=rng(seed)), dim=1)
    u = torch.rand(n, generator=rng(seed + 1))
    found = swap_cameras(told, u, p)
    assert torch.equal((found != told).any(1), u < p)
    assert all((row == told).all(1).any() for row in found)


def test_schedules():
    assert [swap_probability(n) for n in (0, 500_000, 10**7)] == [1.0, 0.75, 0.5]
    assert [blur_width(n, 512) for n in (0, 100_000, 10**7)] == [10.0, 5.0, 0.0]
    x = torch.rand(1, 3, 8, 8)
    assert blurred(x, 0.0) is x and torch.allclose(blurred(x, 2.0), blur(x, 2.0), atol=1e-6)


def test_a_backbone_draws_three_planes():
    config = StyleGANConfig(16, z_dim=8, w_dim=8, channel_base=64, channel_max=8, channels=12)
    backbone = PlaneSynthesis(config)
    assert backbone(torch.randn(2, config.num_ws, 8)).shape == (2, 3, 4, 16, 16)
    with pytest.raises(ValueError, match='multiple of three'):
        PlaneSynthesis(StyleGANConfig(16, z_dim=8, w_dim=8, channels=4))


def test_the_mapping_is_told_a_camera_or_not():
    z, ahead = torch.randn(3, 8), torch.tensor([[0.0, 0, 1]] * 3)
    assert not torch.allclose(PoseMapping(8, 8)(z, ahead), PoseMapping(8, 8)(z, -ahead))
    blind = PoseMapping(8, 8, posed=False)
    assert torch.equal(blind(z), blind(z, ahead))


def test_the_discriminator_sees_both_images_and_the_camera():
    torch.manual_seed(0)
    D = DualDiscriminator(StyleGANConfig(16, channel_base=128, channel_max=16, channels=6))
    x = torch.rand(4, 3, 16, 16) * 2 - 1
    pair, ahead = dual_reals(x, 8), F.normalize(torch.randn(4, 3), dim=1)
    logits = D(pair, ahead)
    assert logits.shape == (4,) and not torch.allclose(logits, D(pair, -ahead))
    assert not torch.allclose(logits, D(dual_images(x, torch.zeros(4, 3, 8, 8)), ahead))
    with pytest.raises(ValueError, match='is told cameras'):
        D(pair)
    with pytest.raises(ValueError, match='is told no cameras'):
        DualDiscriminator(StyleGANConfig(16, channel_base=128, channel_max=16, channels=6), posed=False)(pair, ahead)


# ---- bad input


@pytest.mark.parametrize(
    ('call', 'words'),
    [
        (lambda p, x: sample_planes(p[:, :2], x), r'three square planes'),
        (lambda p, x: sample_planes(p[..., :3], x), r'three square planes'),
        (lambda p, x: sample_planes(p[0], x), r'three square planes'),
        (lambda p, x: sample_planes(p, x[0]), r'points of 2 tri-planes'),
        (lambda p, x: sample_planes(p, x[..., :2]), r'points of 2 tri-planes'),
        (lambda p, x: sample_planes(p, x[:1]), r'points of 2 tri-planes'),
        (lambda p, x: sample_planes(p, x, 0.0), r'positive side'),
        (lambda p, x: sample_planes(p, x, math.nan), r'positive side'),
        (lambda p, x: sample_planes(p, x, order='xyz'), r"'mimic3d' or 'eg3d'"),
        (lambda p, x: PlaneVolume((p,), PlaneDecoder(5)), r'4 and 5'),
        (lambda p, x: PlaneVolume((p, p[:, :, :2]), PlaneDecoder(4)), r'as many channels'),
        (lambda p, x: PlaneVolume((p,), PlaneDecoder(4), box=0.0), r'positive side'),
        (lambda p, x: PlaneView(samples=1), r'two or more'),
        (lambda p, x: PlaneView(samples=3, official=True), r'four or more even samples'),
        (lambda p, x: more_distances(torch.ones(3), torch.ones(2), 4, official=True), r'four or more distances'),
        (lambda p, x: eg3d_camera(0.0, 2.0), r'straight up'),
        (lambda p, x: eg3d_pitch(torch.tensor([0.1, math.nan])), r'straight up'),
        (lambda p, x: PlaneView(near=1.0), r'give near and far, or neither'),
        (lambda p, x: PlaneView(near=3.0, far=2.0), r'near lies between'),
        (lambda p, x: march_intervals(x, x[..., 0], x[..., 0][:, :1]), r'two or more samples'),
        (lambda p, x: eg3d_camera(0.0, -math.pi / 2, look_at=(0.0, 0.0, 0.0)), r'straight up or down'),
        (lambda p, x: PlaneView(fov=-12.0), r'0 and 180 degrees'),
        (lambda p, x: dual_images(p[0, :, :, :6], p[0]), r'square images, not 6×8'),
        (lambda p, x: dual_images(p[0], p[0, :, :, :6]), r'square images, not 6×8'),
        (lambda p, x: dual_reals(p[0, :, :, :, :6], 4), r'square images, not 8×6'),
        (lambda p, x: PoseMapping(4, 4)(torch.zeros(1, 4)), r'told a camera'),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call(torch.zeros(2, 3, 4, 8, 8), torch.zeros(2, 5, 3))
    assert str(error.value).count('\n') == 0
