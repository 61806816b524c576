"Ray marching: closed forms and laws by hypothesis, the published compositing, the inspector, bad input."

import base64, io, sys
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from PIL import Image
from animegan_nb import raymarch, widgets
from animegan_nb.cameras import pose, rays
from animegan_nb.raymarch import (
    RayInspector,
    composite,
    distortion,
    intervals,
    march,
    merge,
    sample_bins,
    sample_pdf,
    transmittance,
)
from animegan_nb.training import Draws


def random_ray(seed, samples=12):
    g = torch.Generator().manual_seed(seed)
    return (
        torch.rand(2, 3, samples, 3, generator=g),
        torch.randn(2, 3, samples, generator=g) * 20,
        1 + 2 * torch.rand(2, 3, samples, generator=g).sort(-1).values,
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(['far', 'inf']),
    st.sampled_from(['relu', 'softplus']),
    st.booleans(),
    st.integers(1, 20),
)
def test_weights_and_the_rest_sum_to_one(seed, last, activation, bins, samples):
    rgb, density, t = random_ray(seed, samples)
    near = dict(near=1.0) if bins else {}
    out = composite(rgb, density, t, far=3.0, last=last, activation=activation, **near)
    tau = raymarch.optical_depth(density, intervals(t, far=3.0, last=last, **near), activation)
    assert torch.allclose(out.weights.sum(-1) + transmittance(tau)[..., -1], torch.ones(2, 3), atol=1e-5)
    assert (
        (out.weights >= 0).all()
        and torch.isfinite(out.rgb).all()
        and ((out.distance >= t[..., 0] - 1e-4) & (out.distance <= 3 + 1e-4)).all()
    )
    assert (out.rgb <= 1 + 1e-5).all() and torch.allclose(out.opacity, out.weights.sum(-1))


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-6, 1e4), st.integers(1, 50), st.floats(0.1, 5), st.floats(0.01, 5))
def test_constant_fog_is_exact_for_any_number_of_samples(sigma, samples, near, length):
    t = sample_bins(near, near + length, samples, 1, 1)
    out = composite(torch.ones(1, 1, samples, 3), torch.full((1, 1, samples), sigma), t, near=near, far=near + length)
    assert torch.allclose(
        out.opacity, torch.tensor(-np.expm1(-sigma * length), dtype=torch.float32), rtol=2e-3, atol=1e-6
    )


def test_a_homogeneous_ball():
    sigma, R = 4.0, 0.5
    field = lambda p, d: (torch.ones_like(p), torch.where(p.norm(dim=-1) < R, sigma, 0.0))
    o, d = rays(pose(0.3, 0.2, radius=2.0), 30.0, 9)
    b2 = (o**2).sum(-1) - (o * d).sum(-1) ** 2
    exact = 1 - torch.exp(-sigma * 2 * (R**2 - b2).clamp(min=0).sqrt())
    assert (march(field, o, d, 1.4, 2.6, 2000).opacity - exact).abs().max() < 4e-3


def test_gradients_stay_finite_behind_walls_and_in_vacuum():
    density = torch.tensor([[0.0, 1e30, 1e30, 0.0, 3.0]], requires_grad=True)
    out = composite(torch.rand(1, 5, 3), density, torch.linspace(1, 2, 5)[None], far=2.2)
    (out.rgb.sum() + out.distance.sum()).backward()
    assert torch.isfinite(density.grad).all()
    empty = torch.zeros(1, 5, requires_grad=True)
    composite(
        torch.rand(1, 5, 3), empty, torch.linspace(1, 2, 5)[None], far=2.2, activation='softplus'
    ).distance.sum().backward()
    assert torch.isfinite(empty.grad).all()


def test_background_and_empty_rays():
    rgb, t = torch.rand(1, 1, 4, 3), torch.linspace(1, 2, 4)[None, None]
    out = composite(rgb, torch.zeros(1, 1, 4), t, far=2.5, background=torch.tensor([0.2, 0.4, 0.6]))
    assert torch.allclose(out.rgb[0, 0], torch.tensor([0.2, 0.4, 0.6])) and out.distance == 2.5
    assert torch.equal(composite(rgb, torch.zeros(1, 1, 4), t, far=2.5).rgb, torch.zeros(1, 1, 3))


def test_a_trailing_axis_of_one_is_dropped():
    rgb, density, t = random_ray(3)
    a, b = composite(rgb, density, t, far=3.0), composite(rgb, density[..., None], t[..., None], far=3.0)
    assert all(torch.equal(x, y) for x, y in zip(a, b))


def test_noise_needs_and_follows_its_generator():
    rgb, density, t = random_ray(4)
    one, two = (composite(rgb, density, t, far=3.0, noise=1.0, rng=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one.rgb, two.rgb) and not torch.equal(one.rgb, composite(rgb, density, t, far=3.0).rgb)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 40))
def test_pdf_samples_are_sorted_inside_and_stratified(seed, bins, samples):
    g = torch.Generator().manual_seed(seed)
    edges = torch.rand(5, bins + 1, generator=g).cumsum(-1)
    weights = torch.rand(5, bins, generator=g) * (torch.rand(5, bins, generator=g) > 0.3)
    for rng in (None, g):
        t = sample_pdf(edges, weights, samples, rng)
        assert (
            t.shape == (5, samples)
            and (t.diff(dim=-1) >= -1e-6).all()
            and (t >= edges[:, :1] - 1e-6).all()
            and (t <= edges[:, -1:] + 1e-6).all()
        )


def test_merge_keeps_every_sample_with_its_values():
    g = torch.Generator().manual_seed(0)
    sets = [
        (
            torch.rand(2, 3, n, generator=g).sort(-1).values,
            torch.rand(2, 3, n, 3, generator=g),
            torch.rand(2, 3, n, generator=g),
        )
        for n in (4, 6)
    ]
    t, rgb, density = merge(*sets)
    assert (t.diff(dim=-1) >= 0).all()
    for s in sets:
        for k in range(s[0].shape[-1]):
            where = (t == s[0][..., k : k + 1]).float().argmax(-1, keepdim=True)
            assert torch.equal(density.gather(-1, where), s[2][..., k : k + 1]) and torch.equal(
                rgb.gather(-2, where[..., None].expand(-1, -1, -1, 3))[..., 0, :], s[1][..., k, :]
            )


def test_the_second_look_evaluates_only_new_points():
    seen = []

    def field(p, d):
        seen.append(p.shape[1])
        return torch.ones_like(p), torch.ones_like(p[..., 0])

    o, d = rays(pose(0.0, radius=2.0), 30.0, 4)
    out = march(field, o, d, 1.0, 3.0, 6, fine=10)
    assert seen == [16 * 6, 16 * 10] and out.weights.shape == (1, 16, 16)


def test_deterministic_rendering_is_bit_identical():
    field = lambda p, d: (p.sin() ** 2, 5 * p.norm(dim=-1))
    o, d = rays(pose(0.1, radius=2.0), 30.0, 8)
    assert torch.equal(march(field, o, d, 1.0, 3.0, 8, 8).rgb, march(field, o, d, 1.0, 3.0, 8, 8).rgb)


def test_a_bound_for_each_ray():
    near = torch.linspace(1, 1.5, 6).view(2, 3)
    far = near + 1
    t = sample_bins(near, far, 4, 2, 3)
    assert torch.allclose(t[..., 0], near + 0.125) and torch.allclose(
        intervals(t, near, far), torch.full((2, 3, 4), 0.25), atol=1e-6
    )


def test_distortion_counts_all_pairs():
    g = torch.Generator().manual_seed(1)
    w, s, delta = (
        torch.rand(4, 9, generator=g),
        torch.rand(4, 9, generator=g).sort(-1).values,
        torch.rand(4, 9, generator=g),
    )
    pairs = (w[:, :, None] * w[:, None] * (s[:, :, None] - s[:, None]).abs()).sum((1, 2)) + (w**2 * delta).sum(-1) / 3
    assert torch.allclose(distortion(w, s, delta, 0.0, 1.0), pairs, atol=1e-5)
    assert torch.allclose(distortion(w, 2 * s + 1, 2 * delta, 1.0, 3.0), pairs, atol=1e-5)
    wide = torch.tensor([1.0, 2.0, 3.0, 4.0])  # of each ray, on as many rays as samples
    square = distortion(w[:, :4], s[:, :4], delta[:, :4], torch.zeros(4), wide)
    alone = torch.stack([distortion(w[i, :4], s[i, :4], delta[i, :4], 0.0, float(x)) for i, x in enumerate(wide)])
    assert torch.allclose(square, alone, atol=1e-5)


def ball(points, directions):
    return points.sigmoid(), 5 - points.square().sum(-1)


def test_a_flat_density_has_no_normals():
    points = torch.rand(1, 5, 3, generator=torch.Generator().manual_seed(0))
    for flat in (lambda p, d: (p, torch.ones(p.shape[:2])), lambda p, d: (p, 0 * p.sum(-1))):
        assert not raymarch.normals(flat, points).any()
    assert torch.allclose(raymarch.normals(ball, points), F.normalize(points, dim=-1), atol=1e-5)


RGB, DENSITY, T = torch.rand(1, 1, 4, 3), torch.ones(1, 1, 4), torch.linspace(1, 2, 4)[None, None]


def test_whole_distances_have_intervals_of_any_length():
    assert torch.equal(raymarch.intervals(torch.tensor([1, 2]), near=0.5, far=2.5), torch.ones(2))


@pytest.mark.parametrize(
    'call, word',
    [
        (lambda: sample_bins(2.0, 1.0, 4, 1, 1), 'near'),
        (lambda: sample_bins(1.0, 1.0, 4, 1, 1), 'near'),
        (lambda: sample_bins(0.0, 1.0, 4, 1, 1), 'inside'),
        (lambda: sample_bins(1.0, 2.0, 0, 1, 1), 'sample'),
        (lambda: sample_bins(torch.ones(2), torch.full((2,), 2.0), 4, 2, 2), 'one for each ray'),
        (lambda: sample_bins(torch.tensor([[1.0, 5.0]]), torch.tensor([[2.0, 3.0]]), 4, 1, 2), 'near=5, far=3'),
        (lambda: sample_pdf(T, torch.ones(1, 1, T.shape[-1] - 1), 4, placement='middel'), "'middle'"),
        (lambda: march(ball, torch.zeros(5, 3), torch.ones(5, 3), 1.0, 2.0, 4), '[batch, rays, 3]'),
        (lambda: march(lambda p, d: (p, p), *rays(pose(0.0), 12.0, 2), 1.0, 2.0, 4), 'densities'),
        (lambda: march(ball, *rays(pose(0.0), 12.0, 2), 1.0, 2.0, 2, 2, official=True), 'three samples'),
        (lambda: raymarch.bounds(torch.tensor([[0.0, 0.0, 0.2]]), 0.3), 'inside'),
        (lambda: composite(RGB, DENSITY * torch.nan, T), 'NaN'),
        (lambda: composite(RGB, torch.ones(1, 1, 5), T), 'Shapes'),
        (lambda: composite(RGB, DENSITY, T, last='end'), 'last interval'),
        (lambda: composite(RGB, DENSITY, T, activation='exp'), 'activation'),
        (lambda: composite(RGB, DENSITY, T, noise=1.0), 'rng'),
        (lambda: composite(RGB[:, :, :0], DENSITY[..., :0], T[..., :0]), 'samples'),
        (lambda: composite(RGB[:, :, :1], DENSITY[..., :1], T[..., :1]), 'far'),
        (lambda: sample_pdf(torch.rand(4), torch.rand(4), 3), 'edges'),
        (lambda: sample_pdf(torch.rand(4), torch.rand(3), 0), 'sample'),
        (lambda: sample_pdf(torch.rand(4), torch.zeros(3), 2, floor=-1.0), 'cannot be'),
        (lambda: sample_bins(1.0, torch.inf, 4, 1, 1), 'far is a distance, not inf'),
        (lambda: sample_bins(1.0, 2.0, 4, 1, 1, placement='left'), 'placed'),
    ],
)
def test_bad_input_is_one_sentence(call, word):
    with pytest.raises(ValueError) as error:
        call()
    assert word in str(error.value) and '\n' not in str(error.value)


@pytest.fixture(scope='module')
def inspector():
    field = lambda p, d: ((p + 1) / 2, 30 * torch.sigmoid(40 * (0.5 - p.norm(dim=-1))))
    return RayInspector(field, *rays(pose(0.3, radius=2.0), 40.0, 12), 1.3, 2.7, 16)


def test_the_inspector_shows_an_image_everywhere(inspector):
    bundle, facts = inspector._repr_mimebundle_()
    assert all('row' in fact['alt'] for fact in facts.values())
    image = Image.open(io.BytesIO(base64.b64decode(bundle.get('image/png') or bundle['image/jpeg'])))
    assert image.width > 300 and 'RayInspector' in bundle['text/plain']


def test_the_inspector_reads_the_ray_that_was_rendered(inspector):
    ray = inspector.ray(6, 6)
    assert np.isclose(ray['weights'].sum() + ray['transmittance'][-1], 1, atol=1e-5)
    assert np.allclose(ray['weights'], inspector.rendered.weights[0, 6 * 12 + 6])
    with pytest.raises(ValueError, match='no pixel'):
        inspector.ray(12, 0)


def test_a_click_moves_the_mark(inspector):
    pytest.importorskip('anywidget')
    widget = inspector.widget()
    widget.newest.wait()
    before = widget.result
    widget.request = dict(pixel=[2, 9], id=1)
    widget.newest.wait()
    after = widget.result
    assert inspector.pixel == (2, 9) and after['plot'] != before['plot'] and after['image'] != before['image']
    assert after['id'] == 1 and 'row 2, column 9' in after['alt']
    widget.request = dict(pixel=[200, 9], id=2)
    widget.newest.wait()
    assert 'no pixel (200, 9)' in widget.result['problem'] and inspector.pixel == (2, 9)


def test_without_widgets_the_image_remains(inspector, monkeypatch):
    for name in ('anywidget', 'ipywidgets'):
        monkeypatch.setitem(sys.modules, name, None)
    widgets.widget_class.cache_clear()
    bundle, _ = inspector._repr_mimebundle_()
    assert set(bundle) == {'image/png', 'text/plain'}


@pytest.fixture(scope='module')
def published(reference_dir):
    with np.load(reference_dir / 'pigan_reference.npz') as file:
        return {k: torch.from_numpy(file[k]) for k in file if k.startswith(('march/', 'pdf/'))}


@pytest.mark.real
@pytest.mark.parametrize('activation', ['relu', 'softplus'])
@pytest.mark.parametrize('last_back', [0, 1])
@pytest.mark.parametrize('white', [0, 1])
def test_the_published_compositing(published, activation, last_back, white):
    values, t = published['march/rgb_sigma'], published['march/z_vals'][..., 0]
    out = composite(
        values[..., :3],
        values[..., 3],
        t,
        last='inf',
        activation=activation,
        last_back=bool(last_back),
        background=1.0 if white else None,
        normalise=False,
    )
    name = f'march/{activation}_lastback{last_back}_whiteback{white}'
    assert torch.allclose(out.rgb, published[f'{name}/rgb'], atol=1e-5) and torch.allclose(
        out.distance, published[f'{name}/depth'][..., 0], atol=1e-5
    )
    assert torch.allclose(out.weights, published[f'{name}/weights'][..., 0], atol=1e-5)


@pytest.mark.real
def test_the_published_inverse_cdf(published):
    t = sample_pdf(published['pdf/bins'], published['pdf/weights'], 16, placement='ends')
    assert torch.allclose(t, published['pdf/samples_det_16'], atol=1e-5)


class Source:
    "A source of random numbers as `training.Draws`, that notes what is asked for."

    def __init__(self):
        self.rng, self.asked = torch.Generator().manual_seed(0), []

    def uniform(self, *shape):
        self.asked.append(('uniform', shape))
        return torch.rand(shape, generator=self.rng)

    def normal(self, *shape):
        self.asked.append(('normal', shape))
        return torch.randn(shape, generator=self.rng)


@pytest.mark.parametrize('official', [False, True])
def test_any_source_of_random_numbers_will_do(official):
    field = lambda points, directions: (points.sigmoid(), 5 * points.sum(-1))
    o, d = torch.zeros(2, 3, 3), F.normalize(torch.ones(2, 3, 3), dim=-1)
    source, options = Source(), dict(official=official, noise=1.0)
    a = march(field, o, d, 1.0, 2.0, 4, 5, source, **options)
    b = march(field, o, d, 1.0, 2.0, 4, 5, torch.Generator().manual_seed(0), **options)
    assert torch.equal(a.rgb, b.rgb)
    assert source.asked == [('uniform', (2, 3, 4)), ('uniform', (2, 3, 5)), ('normal', (2, 3, 9))]


def test_two_processes_march_as_one():
    field = lambda points, directions: (points.sigmoid(), 5 * points.sum(-1))
    o, d = (
        torch.zeros(4, 3, 3).double(),
        F.normalize(torch.randn(4, 3, 3, generator=torch.Generator()).double(), dim=-1),
    )
    run = lambda part, *ranks: (
        march(field, o[part], d[part], 1.0, 2.0, 4, 5, Draws(3, 'cpu', *ranks), noise=2.0, background=0.5).rgb
    )
    both = torch.cat([run(slice(0, 2), 0, 2), run(slice(2, 4), 1, 2)])
    assert torch.allclose(both, run(slice(0, 4)), rtol=1e-12)
