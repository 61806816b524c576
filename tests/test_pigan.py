"pi-GAN's networks: laws of generator and discriminator, chunks, bad input, what ships."

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st


from animegan_nb import grading, pigan, siren
from animegan_nb.cameras import pose, rays
from animegan_nb.core import rng
from animegan_nb.pigan import (
    DownBlock,
    PiganDiscriminator,
    PiganGenerator,
    RenderSettings,
    camera_direction,
    truncate_condition,
)
from animegan_nb.siren import Condition, FieldConfig, PIGAN_FIELD, half_pays
from animegan_nb.training import Draws, Growing, PeakMemory

TINY = FieldConfig(hidden=16, layers=2, z_dim=6, mapping_hidden=8)


def tiny(seed=0, **view):
    torch.manual_seed(seed)
    return PiganGenerator(TINY, RenderSettings(**{'samples': 6, 'fine': 0, 'background': 1.0, **view}), size=8).eval()


def codes(n, seed=0):
    return torch.randn(n, 6, generator=rng(seed))


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
def test_stages_change_nothing_and_keep_the_limit(limit, fine, official):
    G, asked = tiny(), []
    whole = G.render_views(
        codes(2), pose(torch.tensor([0.0, 0.3])), samples=5, fine=5 * fine, official=official, max_points=None
    )
    G.field.register_forward_pre_hook(lambda m, a: asked.append(a[0].shape[0] * a[0].shape[1]))
    staged = G.render_views(
        codes(2), pose(torch.tensor([0.0, 0.3])), samples=5, fine=5 * fine, official=official, max_points=limit
    )
    assert max(asked) <= max(limit, 2 * 5)  # a single ray of every image is the least
    assert all(torch.allclose(whole[k], staged[k], atol=2e-5) for k in whole)


def test_deterministic_is_bit_identical_and_random_is_repeatable():
    G, z, cam = tiny(fine=4), codes(2), pose(torch.tensor([0.0, 0.3]))
    assert torch.equal(G.render(z, cam), G.render(z, cam))
    a, b = (G.render(z, cam, rng=rng(3)) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a, G.render(z, cam, rng=rng(4)))


def test_one_code_from_many_cameras():
    G, cams = tiny(), pose(torch.linspace(-0.5, 0.5, 4))
    assert torch.allclose(G.render(codes(1), cams), G.render(codes(1).expand(4, -1), cams), atol=1e-6)
    condition = G.condition(codes(1))
    assert torch.allclose(G.render(condition, cams), G.render(codes(1), cams), atol=1e-6)


def test_the_density_does_not_depend_on_the_direction_and_colour_only_if_it_may():
    z, cam = codes(1), pose(0.4)
    free, locked = tiny(directional=True), tiny(directional=False)
    p, d = torch.rand(1, 9, 3) * 0.1, F.normalize(torch.randn(1, 9, 3), dim=-1)
    a, b = (pigan.conditioned_field(free.field, free.condition(z))(p, way) for way in (d, -d))
    assert torch.equal(a[1], b[1]) and not torch.equal(a[0], b[0])
    a, b = (pigan.conditioned_field(locked.field, locked.condition(z), False)(p, way) for way in (d, -d))
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
    condition = G.condition(z)
    none, all_ = truncate_condition(condition, mean, 1.0), truncate_condition(condition, mean, 0.0)
    assert none is condition and torch.allclose(all_.phases, mean.phases.expand_as(condition.phases), atol=1e-6)
    half = truncate_condition(condition, mean, 0.5)
    assert torch.allclose(
        half.frequencies - mean.frequencies, 0.5 * (condition.frequencies - mean.frequencies), atol=1e-5
    )
    flat = G.render(z, pose(torch.zeros(4)), psi=0.0)
    assert torch.allclose(flat[0], flat[3], atol=1e-5)
    before = G.mean_condition()
    with torch.no_grad():
        G.field.mapping.layers[-1].bias += 1
    assert not torch.equal(before.phases, G.mean_condition().phases)  # a changed network has another mean


@pytest.mark.parametrize('n', [700, 1000, 1500, 2000])
def test_every_code_counts_alike_in_the_mean(n):
    field = tiny().field
    with torch.no_grad():
        found = field.mapping(torch.randn(n, 6, generator=rng(0)))
    for mean, x in zip(pigan.mean_condition(field, n), found):
        assert torch.allclose(mean, x.mean(0, keepdim=True), atol=1e-5)


def test_other_weights_have_another_mean():
    G, other = tiny(0), tiny(1)
    G.mean_condition(500)
    G.load_state_dict(other.state_dict(), assign=True)
    assert all(map(torch.equal, G.mean_condition(500), pigan.mean_condition(other.field, 500)))
    assert G.mean_condition(500) is G.mean_condition(500)


def test_gradients_reach_field_code_and_camera_settings():
    G, z = tiny(fine=4), codes(2).requires_grad_(True)
    G.train().render(z, pose(torch.zeros(2)), rng=rng(0), noise=1.0).square().sum().backward()
    assert z.grad.abs().max() > 0 and all(p.grad is not None and p.grad.isfinite().all() for p in G.parameters())


def test_the_two_looks_of_the_fast_recipe():
    G, z, cam = tiny(fine=6, first_look='density'), codes(2), pose(torch.tensor([0.0, 0.3]))
    calls = []
    G.field.register_forward_pre_hook(lambda m, a: calls.append(a[0].shape[1]))
    fast = G.render(z, cam)
    assert calls == [8 * 8 * 6]  # colours are asked for once, at the second look
    exact = G.render_views(z, cam, samples=200, fine=0)['image']
    many = tiny(fine=40, samples=40, first_look='density').render(z, cam)
    assert (many - exact).abs().mean() < 0.03 and (fast - exact).abs().mean() < 0.15


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(1, 12), st.integers(0, 50))
def test_a_second_look_covers_what_it_stands_for(samples, fine, seed):
    view = RenderSettings(samples=samples, fine=fine, first_look='density')
    first = (0.88 + 0.24 * (torch.arange(samples) + 0.5) / samples).expand(1, 3, -1)
    density = 200 * torch.rand(1, 3, samples, generator=rng(seed)).square()
    t, lengths = pigan.fine_samples(first, density, view, rng(seed))
    assert (
        t.shape == lengths.shape == (1, 3, fine)
        and (t.diff(dim=-1) >= 0).all()
        and (t >= 0.88).all()
        and (t <= 1.12).all()
    )
    assert (lengths > 0).all() and (lengths <= 0.24 + 1e-5).all()
    wall = torch.zeros(1, 3, samples)
    wall[..., samples // 2] = 1e5  # an opaque bin: its points share its length
    t, lengths = pigan.fine_samples(first, wall, view, rng(seed))
    inside = (t - first[..., samples // 2, None]).abs() < 0.12 / samples
    assert inside.float().mean() > 0.85 - 1 / fine and torch.allclose(
        lengths[inside], torch.tensor(0.24 / samples / max(1.0, fine / 1.01 * (1 + 0.01 / samples))), rtol=0.02
    )


def saved_bytes(run):
    "The most that autograd keeps while an image is drawn."
    total = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: total.append(t.numel() * t.element_size()) or t, lambda t: t
    ):
        out = run()
    return sum(total), out


@pytest.mark.parametrize('options', [dict(), dict(noise=3.0), dict(fine=6, noise=3.0, alpha=True)])
@pytest.mark.parametrize('first_look', ['full', 'density'])
def test_deferred_gradients_are_the_direct_ones(options, first_look, monkeypatch):
    "Piece by piece with replayed randomness: the same image, the same gradient, a fraction of the memory."

    def gradients(deferred):
        G, z = (tiny(first_look=first_look, fine=0).double(), codes(2).double().requires_grad_(True))
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


def test_a_graph_that_is_dropped_does_not_count():
    def dropped(draw, loss, condition, seeds):
        again = lambda k: draw(condition, k, torch.Generator().manual_seed(seeds[k]))
        image = torch.cat([again(k).detach() for k in range(len(seeds))]).requires_grad_(True)
        sizes = [len(again(k).detach()) for k in range(len(seeds))]
        slopes = torch.autograd.grad(loss(image), image)[0].split(sizes)
        total = 0
        for k, slope in enumerate(slopes):
            piece = again(k)  # lives on without its buffers until the next one is drawn
            total = total + torch.autograd.grad(piece, condition, slope)[0]
        return total

    report = grading.oracle('pigan.deferred_gradient')(dropped)
    assert report.passed, report


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
def test_the_light_that_is_left_goes_to_the_last_sample(first_look):
    G, z, cam = tiny(fine=6, first_look=first_look, background=-1.0), codes(1), pose(0.2)
    with torch.no_grad():
        G.field.rgb.weight.zero_()  # one colour everywhere
    colour = 2 * G.field.rgb.bias.sigmoid()[None, :, None, None] - 1
    lines, condition = rays(cam, 12.0, 8), G.condition(z)
    plain, filled = (
        pigan.render_rays(G.field, condition, lines, replace(G.view, last_back=back)) for back in (False, True)
    )
    assert plain.opacity.max() < 0.99 and torch.equal(plain.weights[..., :-1], filled.weights[..., :-1])
    assert torch.allclose(filled.opacity, torch.ones_like(filled.opacity), atol=1e-5)
    drawn = G.render(z, cam, last_back=True)
    assert torch.allclose(drawn, colour.expand_as(drawn), atol=1e-5)
    assert not torch.allclose(G.render(z, cam), drawn, atol=0.01)


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
    G = PiganGenerator(
        FieldConfig(hidden=64, layers=4, z_dim=6, mapping_hidden=8), RenderSettings(samples=8, fine=0), 8
    )
    with torch.no_grad():
        exact = G.render(codes(2), pose(torch.zeros(2)))
        with torch.autocast('cpu', torch.bfloat16):
            half = G.render(codes(2), pose(torch.zeros(2)))
    assert half.dtype == torch.float32 and (half - exact).abs().mean() < 0.02
    assert torch.equal(half, exact) != half_pays(torch.device('cpu'))  # other processors do not round


# ---- the discriminator ----------------------------------------------------------------------------------------------
def test_the_shortcut_of_a_strided_block_takes_every_second_pixel():
    torch.manual_seed(0)
    block, x = DownBlock(8, 16, coords=False, strided=True), torch.randn(2, 8, 6, 6)
    shortcut = F.conv2d(x, block.skip.weight, block.skip.bias, stride=2)
    body = F.leaky_relu(block.conv1(F.leaky_relu(block.conv0(x), 0.2)), 0.2)
    assert torch.allclose(block(x), (shortcut + body) / math.sqrt(2), atol=1e-6)


def guided_render(value):
    "An image whose samples are placed by the density, of a code of one value."
    return tiny(fine=4, first_look='density').render(torch.full((1, 6), value), pose(torch.zeros(1)))


@pytest.mark.parametrize('kind', pigan.DISCRIMINATORS)
def test_no_convolution_of_one_pixel_has_a_stride(kind):
    "Some builds of oneDNN then write outside of their memory (uxlfoundation/oneDNN, issue 6035)."
    convolutions = [m for m in PiganDiscriminator(16, kind, 128, 16).modules() if isinstance(m, torch.nn.Conv2d)]
    assert any(m.stride == (2, 2) for m in convolutions) == (kind != 'progressive')
    assert all(m.stride == (1, 1) for m in convolutions if m.kernel_size == (1, 1))


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
        (lambda: RenderSettings(fine=-1), 'fine samples'),
        (lambda: RenderSettings(samples=12.0), 'samples is a whole number'),
        (lambda: RenderSettings(fine='many'), 'fine is a whole number'),
        (lambda: RenderSettings(far=math.inf), 'far is a distance'),
        (lambda: guided_render(math.nan), 'The density contains NaN'),
        (lambda: RenderSettings(first_look='colour'), "'full' or 'density'"),
        (lambda: RenderSettings(near=1.2), 'near must lie before'),
        (lambda: RenderSettings(background='green'), "'painted'"),
        (lambda: RenderSettings(background=5.0), 'from -1 to 1'),
        (lambda: RenderSettings(background=math.nan), 'from -1 to 1'),
        (lambda: RenderSettings(background=None), 'from -1 to 1'),
        (lambda: RenderSettings(fov=-3.0), 'field of view'),
        (lambda: PiganDiscriminator(16, 'foo'), "no discriminator 'foo'"),
        (lambda: PiganDiscriminator(64, channel_base=32), 'channel_base must be at least the size (64)'),
        (lambda: PiganDiscriminator(16, channel_max=0), 'channel_max'),
        (lambda: PiganDiscriminator(8)(torch.zeros(1, 3, 16, 16)), 'takes images'),
        (lambda: PiganDiscriminator(8).grow(16), 'grows through'),
        (lambda: Growing((4, 8, 16), size=5), 'grows through'),
        (lambda: Growing((4, 8, 16), size=0), 'grows through'),
        (lambda: PiganDiscriminator(48), 'a power of two from 4 on, not 48'),
        (lambda: PiganDiscriminator(8).grow(8, 2.0), 'alpha'),
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


# ---- random numbers and memory --------------------------------------------------------------------------------------
CAMERAS = pose(torch.tensor([0.0, 0.3]))
VIEWS = [dict(), dict(fine=6), dict(fine=6, official=True), dict(fine=6, first_look='density', background='painted')]


def image_and_gradients(view, **options):
    G, z = tiny(**view).double(), codes(2).double().requires_grad_(True)
    image = G.render(z, CAMERAS.double(), rng=rng(5), noise=3.0, **options)
    F.softplus(image).square().sum().backward()
    return image.detach(), [z.grad, *(p.grad for p in G.parameters())]


@pytest.mark.parametrize('view', VIEWS)
@pytest.mark.parametrize('options', [dict(max_points=60), dict(max_points=10**6), dict(memory=200_000), dict(memory=1)])
def test_random_numbers_image_and_gradient_do_not_depend_on_the_chunks(view, options):
    (whole, direct), (pieces, found) = (image_and_gradients(view, **o) for o in (dict(), options))
    assert torch.allclose(whole, pieces, rtol=1e-12, atol=1e-12)
    for a, b in zip(found, direct):
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-11 * float(b.abs().max()))


@pytest.mark.parametrize('view', VIEWS)
def test_an_image_uses_the_random_numbers_as_they_come(view):
    "A source that is handed to the rays directly gives the same image."
    G, z = tiny(**view), codes(2)
    lines = pigan.image_rays(CAMERAS, (8, 8), G.view)
    with torch.no_grad():
        seen = pigan.render_rays(G.field, G.condition(z), lines, G.view, rng(5), noise=3.0)
        image = G.render(z, CAMERAS, rng=rng(5), noise=3.0)
    assert torch.allclose(image, 2 * seen.rgb.mT.reshape(2, 3, 8, 8) - 1, atol=1e-6)


@pytest.mark.parametrize('view', VIEWS)
def test_two_processes_render_what_one_renders(view):
    G, z, cams = tiny(**view).double(), codes(2).double(), CAMERAS.double()
    options = dict(noise=3.0, max_points=90)
    with torch.no_grad():
        whole = G.render(z, cams, rng=Draws(7), **options)
        halves = [G.render(z[k : k + 1], cams[k : k + 1], rng=Draws(7, rank=k, world=2), **options) for k in range(2)]
        generator = G.render(z, cams, rng=rng(7), **options)
    assert torch.allclose(torch.cat(halves), whole, atol=1e-10) and torch.equal(whole, generator)
    assert not torch.allclose(halves[1], G.render(z[1:], cams[1:], rng=Draws(7), **options), atol=1e-3)


def plain_form(monkeypatch):
    "As on a GPU: no chunks of points that limit what is kept."
    for module in (siren, pigan):
        monkeypatch.setattr(module, 'runs_in_chunks', lambda points: False)
    monkeypatch.setattr(siren, 'half_pays', lambda device: True)


@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize('view', VIEWS)
@pytest.mark.parametrize('config', [FieldConfig(hidden=96, layers=3, z_dim=6, mapping_hidden=8), PIGAN_FIELD])
def test_the_bytes_of_a_gradient_are_known_beforehand(config, view, half, monkeypatch):
    plain_form(monkeypatch)
    G = PiganGenerator(config, RenderSettings(**{'samples': 6, 'fine': 0, **view}), 12)
    condition = Condition(*(x.detach().requires_grad_(True) for x in G.condition(torch.zeros(2, config.z_dim))))
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        measured = pigan.saved_bytes(lambda: G.render(condition, CAMERAS, rng=rng(0), noise=1.0))
    expected = pigan.render_bytes(config, G.view, 2, 12, half=half)
    assert abs(expected / measured - 1) < 0.12, (expected, measured)


@pytest.mark.parametrize('view', VIEWS)
def test_a_render_keeps_to_its_limit_forward_and_backward(view, monkeypatch):
    plain_form(monkeypatch)
    config = FieldConfig(hidden=64, layers=4, z_dim=6, mapping_hidden=8)
    G = PiganGenerator(config, RenderSettings(**{'samples': 6, 'fine': 0, **view}), 24)
    z, whole = torch.zeros(2, 6), pigan.render_bytes(config, G.view, 2, 24)
    limit, most = whole // 5, {}
    for memory in (None, limit):
        with PeakMemory() as peak:
            G.render(z, CAMERAS, rng=rng(0), noise=1.0, memory=memory).square().sum().backward()
        most[memory] = peak.most
        G.zero_grad()
    allowed = pigan.render_bytes(config, G.view, 2, 24, limit)
    assert most[limit] < 1.25 * allowed < 0.5 * most[None], (most, allowed)


def test_without_a_gradient_large_batches_are_rendered_in_pieces(monkeypatch):
    plain_form(monkeypatch)
    G, asked = tiny(), []
    G.field.register_forward_pre_hook(lambda m, a: asked.append(a[0].shape[1]))
    with torch.no_grad():
        whole, pieces = (G.render(codes(2), CAMERAS, memory=m) for m in (None, 2**15))
    assert len(asked) > 3 and torch.allclose(whole, pieces, atol=1e-6)


@pytest.mark.parametrize('name, batch', [('pigan-celeba', 56), ('pigan-carla', 2), ('pigan-cats', 28)])
def test_the_paper_s_settings_fit_a_gpu_of_80_gb(name, batch):
    from animegan_nb.pigan_training import recipes

    c, card = recipes[name].network, 80 * 10**9
    expected = pigan.render_bytes(c.field, c.view, batch, c.size, memory=card // 2)
    assert expected < 0.7 * card


def test_the_mean_condition_follows_the_network_s_type():
    G = tiny()
    assert G.mean_condition(50).phases.dtype == torch.float32
    G.double()
    mean = G.mean_condition(50)
    assert mean.phases.dtype == torch.float64 and torch.allclose(
        mean.phases, pigan.mean_condition(G.field, 50).phases, rtol=1e-12
    )
