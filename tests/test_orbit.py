"""The orbit viewer: laws of drag and zoom, all three sources, depth and normals, requests, the fallback, films, bad
input."""

import base64
import io
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from animegan_nb import cameras
from animegan_nb import orbit, pigan, toon, widgets
from animegan_nb.cameras import pose, project, rays
from animegan_nb.orbit import (
    CHANNELS,
    FieldSource,
    OrbitCamera,
    OrbitViewer,
    PiganSource,
    ToonSource,
    answer,
    depth_colours,
    depth_normals,
    drag,
    enlarge,
    radians_per_pixel,
    zoom,
)

BALL = lambda p, d=None: (p * 5 + 0.5, 600 * torch.sigmoid(400 * (0.1 - p.norm(dim=-1))))


@pytest.fixture(scope='module')
def ball():
    return FieldSource(BALL, samples=8, fine=8, name='ball')


@pytest.fixture(scope='module')
def learned():
    return PiganSource(pigan.pretrained_pigan()[0], 8, axes=2, codes=700)


@pytest.fixture(scope='module')
def truth():
    return ToonSource(toon.encode(hair_style='bob', hair_colour='blue'), resolution=48)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-6, 6),
    st.floats(-1.2, 1.2),
    st.lists(st.tuples(st.floats(-2000, 2000), st.floats(-2000, 2000)), max_size=5),
    st.floats(1e-4, 0.05),
)
def test_there_and_back_is_the_identity_whatever_the_path(yaw, pitch, path, gain):
    for dx, dy in path:
        turned = drag(yaw, pitch, dx, dy, gain)
        assert abs(turned[1]) <= orbit.PITCH_LIMIT
        camera = OrbitCamera(*turned).cam2world(1.3)
        assert camera[0, 1, 1] > 0 and torch.allclose(
            project(torch.zeros(1, 1, 3), camera, 20.0, 9)[0], torch.tensor(4.0), atol=1e-4
        )
    assert drag(yaw, pitch, 0.0, 0.0, gain) == (yaw, pitch)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-3, 3),
    st.floats(-1, 1),
    st.floats(2, 60),
    st.floats(0.05, 0.5),
    st.integers(100, 600),
    st.floats(-1, 1),
    st.floats(-1, 1),
)
def test_the_front_of_the_ball_stays_under_the_pointer(yaw, pitch, fov, R, width, dx, dy):
    front = R * OrbitCamera(yaw, pitch).cam2world().double()[:, None, :3, 2]
    turned = OrbitCamera(*drag(yaw, pitch, dx, dy, radians_per_pixel(fov, width, 1.0, R))).cam2world().double()
    row, column = (project(front, turned, fov, width)[0][0, 0] - (width - 1) / 2).tolist()
    turn = radians_per_pixel(fov, width, 1.0, R) * math.hypot(dx, dy) / math.cos(pitch)
    assert math.hypot(column - dx, row - dy) < 1.5 * turn * math.hypot(dx, dy) + 2e-3


def test_a_yaw_limit_holds():
    assert (
        drag(0.2, 0.0, -9999.0, 0.0, 0.01, yaw_limit=0.6)[0] == 0.6
        and drag(0.2, 0.0, 9999.0, 0.0, 0.01, yaw_limit=0.6)[0] == -0.6
    )


@settings(max_examples=60, deadline=None)
@given(st.floats(2, 100), st.floats(-2, 2), st.floats(-2, 2))
def test_zooming_adds_up_and_scales_the_screen(fov, a, b):
    size = lambda f: 1 / math.tan(math.radians(f) / 2)
    assert math.isclose(zoom(zoom(fov, a), b), zoom(fov, a + b), rel_tol=1e-9)
    assert math.isclose(size(zoom(fov, a)), size(fov) * 1.1**-a, rel_tol=1e-9)
    assert zoom(fov, 1000) == 120 and zoom(fov, -1000) == 1


@pytest.mark.parametrize('which', ['ball', 'learned', 'truth'])
@pytest.mark.parametrize('coarse', [True, False])
def test_every_source_keeps_its_promise(which, coarse, request):
    source = request.getfixturevalue(which)
    view = orbit.render_checked(source, pose(torch.tensor([0.2, -0.4]), 0.1), 16, 12.0, coarse)
    assert set(view) == set(CHANNELS) and not any(v.requires_grad for v in view.values())
    solid = view['opacity'][:, 0] > 0.99
    assert solid.any() and (view['opacity'] >= 0).all() and (view['opacity'] <= 1 + 1e-5).all()
    depth = view['depth'][:, 0][solid]
    assert (depth > source.near - 0.06).all() and (depth < source.far + 0.06).all()
    assert torch.allclose(view['normals'].norm(dim=1)[solid], torch.ones(()), atol=1e-3)
    assert (view['colour'].abs() <= 1 + 1e-4).all()


@pytest.mark.parametrize('which', ['ball', 'learned', 'truth'])
def test_a_source_draws_the_same_twice(which, request):
    source = request.getfixturevalue(which)
    a, b = (source.render(OrbitCamera(0.3).cam2world(), 12, 12.0, True) for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in CHANNELS)


def test_the_coarse_truth_is_the_truth(truth):
    quick, exact = (truth.render(OrbitCamera(0.4, 0.1).cam2world(), 24, 12.0, coarse) for coarse in (True, False))
    both = quick['depth'].isfinite() & exact['depth'].isfinite()
    assert (quick['depth'].isfinite() == exact['depth'].isfinite()).float().mean() > 0.97
    assert (quick['depth'] - exact['depth'])[both].abs().quantile(0.85) < 1e-3
    assert ((quick['normals'] * exact['normals']).sum(1, keepdim=True)[both] > 0.9).float().mean() > 0.9
    assert (quick['colour'] - exact['colour']).abs().mean() < 0.12  # without ink lines


def test_sliders_move_the_condition_along_their_axes(learned):
    at = lambda **a: learned.space.coordinates(orbit.flat_condition(learned.edited_condition(**a)))
    assert torch.allclose(at(**{'axis 1': 2.0}) - at(), torch.tensor([[2.0, 0.0]]), atol=1e-3)
    assert torch.allclose(
        orbit.flat_condition(learned.edited_condition(ψ=1.0)), orbit.flat_condition(learned.condition)
    )
    moved = learned.render(OrbitCamera().cam2world(), 16, 12.0, **{'axis 2': 3.0})['colour']
    assert (moved - learned.render(OrbitCamera().cam2world(), 16, 12.0)['colour']).abs().mean() > 0.02


@settings(max_examples=15, deadline=None)
@given(st.floats(-3, 3), st.floats(-1, 1), st.floats(0.2, 0.7), st.floats(20, 70))
def test_depth_normals_of_a_sphere(yaw, pitch, R, fov):
    cam = pose(yaw, pitch, 2.0)
    lines = rays(cam, fov, 96)
    b = (lines.origins * lines.directions).sum(-1)
    t = -b - (b**2 - 4 + R**2).sqrt()
    exact = ((lines.origins + t[..., None] * lines.directions) / R).mT.view(1, 3, 96, 96)
    depth = cameras.distance_to_depth(t, lines.directions, cam).view(1, 1, 96, 96)
    middle = (-(exact * lines.directions.mT.view(1, 3, 96, 96)).sum(1) > 0.8)[0]
    middle[[0, -1]] = False
    middle[:, [0, -1]] = False
    inside = (depth_normals(depth, cam, fov) - exact).norm(dim=1)[0][middle]
    assert len(inside) == 0 or inside.max() < 0.04 + 0.2 * (fov / 96 / R / 57) ** 2 * 50


def test_normals_from_the_depth_and_from_the_density_agree(ball):
    other = FieldSource(BALL, samples=24, fine=24, normals_from='depth')
    cam = OrbitCamera(0.5, -0.3).cam2world()
    a, b = FieldSource(BALL, samples=24, fine=24).render(cam, 48, 12.0), other.render(cam, 48, 12.0)
    facing = ((a['normals'] * cam[:, :3, 2, None, None]).sum(1) > 0.6) & (a['opacity'][:, 0] > 0.95)
    assert facing.sum() > 300 and (a['normals'] * b['normals']).sum(1)[facing].mean() > 0.995


def test_a_field_sees_few_points_at_once():
    seen = []

    def counted(points, directions=None):
        seen.append(points.shape[:2].numel())
        return BALL(points, directions)

    cams, settings = OrbitCamera(0.5, -0.3).cam2world().expand(2, -1, -1), dict(samples=6, fine=10)
    whole = FieldSource(BALL, **settings).render(cams, (9, 14), 12.0)
    parts = FieldSource(counted, **settings, max_points=1000).render(cams, (9, 14), 12.0)
    assert 500 < max(seen) <= 1000 and sum(seen) == 2 * 9 * 14 * (6 + 10 + 1)
    for channel, image in whole.items():
        assert torch.allclose(parts[channel], image, atol=1e-5, equal_nan=True), channel


def test_depth_colours_order_the_depths():
    depth = torch.linspace(0.8, 1.2, 100).view(1, 1, 1, -1)
    light = depth_colours(depth, torch.ones_like(depth), 0.88, 1.12)[0, :, 0].mean(0)
    assert (light.diff() <= 1e-6).all() and light[0] > light[50] > light[-1]
    empty = torch.full((1, 1, 2, 2), torch.inf)
    assert (depth_colours(empty, torch.zeros_like(empty), 0.88, 1.12) == 1).all()


def test_enlarging_keeps_the_shape_of_the_image():
    p = torch.rand(2, 3, 8, 16) * 2 - 1
    assert [i.size for i in enlarge(p, 64)] == [(64, 32)] * 2
    nearest = np.asarray(enlarge(p, 64, 'nearest')[0])
    assert (nearest[::4, ::4] == nearest[1::4, 2::4]).all()


def test_a_request_is_drawn_from_coarse_to_fine_until_it_is_superseded(ball, learned):
    viewer = OrbitViewer(ball, learned, sizes=(8, 16, 24), shown=32)
    seen = []
    show = lambda images, size, problem: seen.append((size, len(images), problem))
    answer(viewer, viewer.request(), show)
    assert seen == [(8, 2, ''), (16, 2, ''), (24, 2, '')]
    seen.clear()
    answer(viewer, viewer.request(moving=True), show)
    assert seen == [(8, 2, '')]
    seen.clear()
    answer(viewer, viewer.request(), show, superseded=lambda: len(seen) > 1)
    assert seen == [(8, 2, ''), (16, 2, '')]
    seen.clear()
    answer(viewer, viewer.request() | dict(channel='smell'), show)
    assert len(seen) == 1 and 'smell' in seen[0][2] and '\n' not in seen[0][2]


def test_what_rests_ends_on_an_exact_image(ball):
    drawn = []
    exact = ball.render
    source = SimpleNamespace(**{k: getattr(ball, k) for k in ('name', 'sliders', 'radius', 'near', 'far')})
    source.render = lambda cam, size, fov, coarse=False, **k: (
        drawn.append((size, coarse)) or exact(cam, size, fov, coarse)
    )
    for sizes, moving, wanted in (
        ((8, 16), False, [(8, True), (16, False)]),
        ((8,), False, [(8, False)]),
        ((8,), True, [(8, True)]),
    ):
        viewer = OrbitViewer(source, sizes=sizes, shown=16)
        drawn.clear()
        answer(viewer, viewer.request(moving=moving), lambda *shown: None)
        assert drawn == wanted


def test_the_widget_draws_what_is_requested(ball):
    pytest.importorskip('anywidget')
    viewer = OrbitViewer(ball, sizes=(8, 16), shown=32)
    widget = viewer.widget()
    widget.newest.wait()
    first = widget.result
    assert (
        first['size'] == 16
        and first['count'] == 2
        and first['problem'] == ''
        and first['images'][0].startswith('data:image/png')
    )
    widget.request = widget.request | dict(yaw=0.8, channel='normals')
    widget.newest.wait()
    assert viewer.camera.yaw == 0.8 and viewer.channel == 'normals' and widget.result['images'] != first['images']
    widget.request = widget.request | dict(fov=400.0)
    widget.newest.wait()
    assert 'field of view' in widget.result['problem'] and widget.result['images'] == []
    widget.request = widget.request | dict(fov=12.0, moving=True)
    widget.newest.wait()
    assert (
        widget.result['problem'] == ''
        and widget.result['images'][0].startswith('data:image/jpeg')
        and widget.result['size'] == 8
    )


@pytest.mark.parametrize('missing', [(), ('anywidget',), ('anywidget', 'ipywidgets')])
def test_a_plain_image_everywhere(ball, monkeypatch, missing):
    widgets.widget_class.cache_clear()
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    bundle, facts = OrbitViewer(ball, sizes=(8, 16))._repr_mimebundle_()
    (kind,) = set(bundle) - {'text/plain'}
    data = base64.b64decode(bundle[kind])
    assert len(data) < 40_100 and Image.open(io.BytesIO(data)).width > 300
    assert 'normals' in facts[kind]['alt'] and 'yaw 0°' in facts[kind]['alt']


def test_films(tmp_path, ball, learned):
    viewer = OrbitViewer(ball, learned, sizes=(8, 16))
    film = viewer.film(frames=5, swing=0.4)
    assert film.shape == (5, 3, 16, 34) and (film[0] - film[1]).abs().mean() > 0.005
    one = orbit.draw_source(learned, OrbitCamera(0.0, 0.0, 12.0), 'colour', 16)
    assert torch.allclose(film[0, :, :, 18:], one[0], atol=1e-4)
    touching = viewer.film(frames=1, swing=0.4, gap=0)
    assert touching.shape == (1, 3, 16, 32) and torch.allclose(touching[..., 16:], film[:1, :, :, 18:], atol=1e-4)
    gif = viewer.save(tmp_path / 'turn.gif', frames=5)
    assert Image.open(gif).n_frames == 5
    assert viewer.save(tmp_path / 'turn.mp4', frames=3).stat().st_size > 500 and len(list(tmp_path.iterdir())) == 2


def sick(change):
    class Sick:
        name, radius, near, far, sliders = 'sick', 1.0, 0.88, 1.12, {}

        def render(self, *a):
            return change(FieldSource(BALL, samples=4, fine=0).render(*a))

    return lambda: OrbitViewer(Sick()).sheet(8)


@pytest.mark.parametrize(
    'call, word',
    [
        (lambda: FieldSource(BALL, near=1.2, far=0.9), 'near'),
        (lambda: FieldSource(BALL, near=0.0), 'camera stands inside'),
        (lambda: FieldSource(BALL, radius=3.0), 'origin'),
        (lambda: FieldSource(BALL, samples=0), 'sample'),
        (lambda: FieldSource(BALL, normals_from='air'), "'density'"),
        (lambda: OrbitViewer(), 'at least one source'),
        (lambda: OrbitViewer(FieldSource(BALL), channel='color'), 'channel'),
        (lambda: OrbitViewer(FieldSource(BALL), sizes=(0,)), 'pixel'),
        (lambda: OrbitViewer(FieldSource(BALL), sizes=(64, 16)), 'coarse first'),
        (lambda: OrbitViewer(FieldSource(BALL), sizes=(16, 16)), 'coarse first'),
        (lambda: OrbitViewer(FieldSource(BALL), FieldSource(BALL)), 'names'),
        (lambda: OrbitViewer(FieldSource(BALL), camera=OrbitCamera(fov=0.0)), 'field of view'),
        (lambda: OrbitViewer(FieldSource(BALL), camera=OrbitCamera(pitch=1.5)), 'limits'),
        (lambda: OrbitViewer(FieldSource(BALL), pitch_limit=2.0), 'upside down'),
        (lambda: OrbitViewer(FieldSource(BALL), pitch_limit=0.0), 'pitch_limit'),
        (lambda: OrbitViewer(FieldSource(BALL), upsampling='magic'), 'lanczos'),
        (lambda: OrbitViewer(FieldSource(BALL)).film(frames=0), 'frame'),
        (lambda: OrbitViewer(FieldSource(BALL)).film(channel='smell'), 'channel'),
        (lambda: FieldSource(BALL).render(torch.eye(4), 8, 12.0), 'cam2world'),
        (sick(lambda v: v | dict(colour=v['colour'] * torch.nan)), 'NaN'),
        (sick(lambda v: v | dict(depth=v['depth'][..., 1:])), 'depth'),
        (sick(lambda v: {k: v[k] for k in ('colour', 'depth')}), 'opacity'),
        (lambda: radians_per_pixel(12.0, 256, 1.0, 1.0), 'smaller'),
        (lambda: zoom(190.0, 1), 'field of view'),
        (lambda: enlarge(torch.zeros(1, 3, 4, 4), 0), 'pixel'),
    ],
)
def test_bad_input_is_one_sentence(call, word):
    with pytest.raises(ValueError) as error:
        call()
    assert word in str(error.value) and '\n' not in str(error.value)


def test_pigan_source_errors(learned):
    with pytest.raises(ValueError, match='no slider'):
        learned.edited_condition(smile=1.0)
    with pytest.raises(ValueError, match='one code'):
        PiganSource(learned.generator, torch.zeros(2, 64))
