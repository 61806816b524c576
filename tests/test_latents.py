"Latents: truncation, layers, mixing, paths, directions, influence, path length, explorers, bad input."

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from animegan_nb import latents as la
from animegan_nb import toon, toon_net
from animegan_nb.core import figure, rng, shipped
from animegan_nb.metrics import FeatureDistance, file_sha256
from test_widgets import ask, decoded, drawn
from animegan_nb.stylegan import StyleGANConfig, StyleGANGenerator, pretrained_stylegan, style_layers

TINY = StyleGANConfig(16, z_dim=8, w_dim=12, mapping_layers=2, channel_base=128, channel_max=16)


@pytest.fixture(scope='module')
def tiny():
    torch.manual_seed(0)
    return StyleGANGenerator(TINY).eval().requires_grad_(False)


@pytest.fixture(scope='module')
def shipped_generator():
    return pretrained_stylegan('stylegan_toon_64')[0]


def test_samples_are_a_function_of_the_seed(tiny):
    w = la.sample_w(tiny, 10, seed=3)
    assert (
        w.shape == (10, 12)
        and torch.equal(w, la.sample_w(tiny, 10, seed=3))
        and not torch.equal(w, la.sample_w(tiny, 10, seed=4))
    )
    assert torch.allclose(w, la.sample_w(tiny, 10, seed=3, batch=3), atol=1e-6)
    images = la.draw(tiny, w)
    assert images.shape == (10, 3, 16, 16) and images.abs().max() <= 1
    assert torch.allclose(images, la.draw(tiny, la.as_ws(tiny, w), batch=4), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 4), st.integers(0, 1000))
def test_a_truncated_normal_stays_inside_and_is_symmetric(threshold, seed):
    z = la.truncated_normal(400, 10, threshold, rng(seed))
    assert z.abs().max() <= threshold + 1e-4 and abs(float(z.mean())) < 5 * threshold / 4000**0.5
    exact = torch.special.ndtr(torch.tensor(threshold / 2)) - torch.special.ndtr(torch.tensor(-threshold / 2))
    exact = exact / (torch.special.ndtr(torch.tensor(threshold)) - torch.special.ndtr(torch.tensor(-threshold)))
    assert abs((z.abs() < threshold / 2).float().mean() - exact) < 0.05


def test_truncation_in_w_reaches_the_mean_and_in_z_does_nothing(tiny):
    z = torch.randn(5, 8, generator=rng(1))
    assert torch.allclose(tiny.mapping(z, truncation=0.0), tiny.mapping.w_avg.expand(5, tiny.config.num_ws, -1))
    assert torch.allclose(tiny.mapping(z), tiny.mapping(0.2 * z), atol=1e-5)


@pytest.mark.parametrize(
    'size, middle, fine',
    [(16, 4, 6 - 0), (32, 4, 6), (64, 4, 8), (128, 4, 8), (256, 6, 10), (512, 6, 12), (1024, 6, 12)],
)
def test_layer_groups_cover_all_layers_once(size, middle, fine):
    groups = la.layer_groups(size)
    flat = [i for r in groups.values() for i in r]
    assert flat == list(range(2 * (size.bit_length() - 2)))
    if size > 16:
        assert groups['middle'][0] == middle and groups['fine'][0] == fine
    assert all(r.start % 2 == 0 for r in groups.values())  # never inside a resolution


def test_layer_groups_at_512_are_resolutions():
    groups = la.layer_groups(512)
    assert (
        groups['coarse'] == style_layers(4, 16)
        and groups['middle'] == style_layers(32, 128)
        and groups['fine'] == style_layers(256, 512)
    )


@pytest.mark.parametrize('architecture', ['stylegan1', 'stylegan2'])
def test_receivers_name_every_layer_once(architecture):
    torch.manual_seed(1)
    g = StyleGANGenerator(
        StyleGANConfig(32, architecture, z_dim=8, w_dim=8, mapping_layers=1, channel_base=256, channel_max=8)
    )
    heard = [la.receivers(g, [i]) for i in range(g.config.num_ws)]
    names = [n for h in heard for n in h]
    assert len(names) == len(set(names)) == len(la.receivers(g, range(g.config.num_ws)))
    assert la.receivers(g, []) == []
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in g.modules())  # nothing is left behind


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 5)), st.integers(0, 100))
def test_replacing_twice_is_replacing_once(layers, seed):
    a, b = torch.randn(2, 3, 6, 4, generator=rng(seed))
    once = la.replace_layers(a, b, sorted(layers))
    assert torch.equal(la.replace_layers(once, b, sorted(layers)), once)
    assert torch.equal(
        la.replace_layers(b, once, [i for i in range(6) if i not in layers])[:, sorted(layers)], b[:, sorted(layers)]
    )
    assert torch.equal(la.replace_layers(once, a, sorted(layers)), a)


def test_a_mixing_grid_holds_its_sources_and_its_limits(tiny):
    rows, columns = la.sample_w(tiny, 2, 1), la.sample_w(tiny, 3, 2)
    everything = la.mixing_grid(tiny, rows, columns, range(6)).view(3, 4, 3, 16, 16)
    nothing = la.mixing_grid(tiny, rows, columns, []).view(3, 4, 3, 16, 16)
    close = partial(torch.allclose, atol=1e-5)
    assert close(everything[0, 1:], la.draw(tiny, columns)) and close(everything[1:, 0], la.draw(tiny, rows))
    assert close(everything[1, 1:], everything[0, 1:]) and close(everything[2, 1:], everything[0, 1:])
    assert close(nothing[1:, 1:], nothing[1:, :1].expand(-1, 3, -1, -1, -1))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 16), st.floats(0, 1), st.integers(0, 1000))
def test_slerp_keeps_lengths_and_meets_its_ends(dim, t, seed):
    a, b = F.normalize(torch.randn(2, 4, dim, generator=rng(seed), dtype=torch.float64), dim=-1)
    apart = (a + b).norm(dim=-1) > 1e-2  # nearly opposite vectors have no arc
    assert torch.allclose(la.slerp(a, b, t).norm(dim=-1)[apart], torch.ones(1, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(la.slerp(a, b, 0.0), a) and torch.allclose(la.slerp(a, b, 1.0), b, atol=1e-6)
    assert torch.allclose(la.slerp(a, b, t), la.slerp(b, a, 1 - t), atol=1e-6)
    assert torch.isfinite(la.slerp(a, -a, t)).all()  # opposite: no plane, but no NaN


@pytest.mark.parametrize('n, dim', [(5, 3), (3, 3), (3, 5)])
def test_slerp_takes_one_t_for_each_point_in_either_shape(n, dim):
    a, b = torch.randn(2, n, dim, generator=rng(1), dtype=torch.float64)
    t = torch.rand(n, generator=rng(2)).double()
    each = torch.stack([la.slerp(x, y, float(s)) for x, y, s in zip(a, b, t)])
    assert torch.allclose(la.slerp(a, b, t), each) and torch.allclose(la.slerp(a, b, t[:, None]), each)
    assert torch.equal(la.slerp(a[0], b[0], t[0]), la.slerp(a[0], b[0], float(t[0])))
    layers = torch.rand(3, 1, dtype=a.dtype, generator=rng(9))  # one number for each layer
    ws = [x[:3, None].expand(3, 3, dim) for x in (a, b)]
    torch.testing.assert_close(la.slerp(*ws, layers), la.slerp(*ws, layers[None].expand(3, 3, 1)))
    path = la.slerp(a[0], b[0], t[:, None])
    assert path.shape == (n, dim) and torch.allclose(path[1], la.slerp(a[0], b[0], float(t[1])))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(1, 9), st.booleans(), st.booleans())
def test_a_journey_has_no_frame_twice(k, frames, loop, smooth):
    keys = torch.randn(k, 2, 3, generator=rng(k))
    film = la.travel(keys, frames, loop, smooth)
    assert len(film) == (k * frames if loop else (k - 1) * frames + 1)
    assert all(torch.equal(film[i * frames], keys[i]) for i in range(k))
    assert torch.pdist(film.flatten(1).double()).min() > 0 or (k == 2 and loop)  # there and back meets itself


def test_poses_share_all_but_some_layers():
    ws = torch.randn(3, 6, 4)
    keys = la.poses(ws, range(2))
    assert torch.equal(keys[:, :2], ws[:, :2]) and torch.equal(keys[:, 2:], ws[:1, 2:].expand(3, -1, -1))


def test_a_space_is_white_and_invertible():
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=rng(0)))
    w = torch.randn(5000, 6, generator=rng(1)) * torch.tensor([4.0, 3, 2, 1, 0.5, 0]) @ turn + 3
    space = la.principal_space(w)
    assert space.axes.shape == (5, 6)  # the flat direction is left out
    u = space.coordinates(w)
    assert torch.allclose(torch.cov(u.T), torch.eye(5), atol=1e-3) and u.mean(0).abs().max() < 1e-4
    assert torch.allclose(space.step(u) + space.mean, w, atol=1e-3)
    assert la.principal_space(w, 2).axes.shape == (2, 6)


def test_an_attribute_direction_is_found_exactly_where_it_is_linear():
    w = torch.randn(4000, 5, generator=rng(2)) * torch.tensor([3.0, 2, 1, 1, 0.5])
    space, truth = la.principal_space(w), torch.tensor([0.0, 1, 0, -2, 0])
    found = la.attribute_direction(space, w, w @ truth, ridge=1e-6)
    white = found @ space.axes.T / space.spreads
    assert abs(float(white.norm()) - 1) < 1e-4
    assert F.cosine_similarity(white, (truth @ space.axes.T) * space.spreads, dim=0) > 0.999
    other = la.attribute_direction(space, w, w[:, 0])
    kept = la.attribute_direction(space, w, w @ truth + w[:, 0], keep=[other])
    assert abs(float((kept @ space.axes.T / space.spreads) @ (other @ space.axes.T / space.spreads))) < 1e-4
    with pytest.raises(ValueError, match='Nothing is left'):
        la.attribute_direction(space, w, w[:, 0], keep=[other], ridge=0.02)


def test_a_direction_that_is_kept_twice_is_kept_once():
    w = torch.randn(400, 5, generator=rng(2))
    space, truth = la.principal_space(w), torch.tensor([1.0, 1, 0, -2, 0])
    other = la.attribute_direction(space, w, w[:, 0])
    once, twice, scaled = (
        la.attribute_direction(space, w, w @ truth, keep=keep) for keep in ([other], [other, other], [other, 3 * other])
    )
    assert torch.allclose(once, twice, atol=1e-5) and torch.allclose(once, scaled, atol=1e-5)


def test_edits_touch_their_layers_only():
    ws, direction = torch.randn(2, 6, 4), torch.randn(4)
    assert torch.allclose(la.edit(ws, direction, 2.0), ws + 2 * direction)
    some = la.edit(ws, direction, torch.tensor([1.0, -1.0]), [4, 5])
    assert torch.equal(some[:, :4], ws[:, :4]) and torch.allclose(some[1, 4:], ws[1, 4:] - direction)
    assert torch.allclose(la.edit(la.edit(ws, direction, 1.5), direction, -1.5), ws, atol=1e-5)
    assert torch.equal(la.edit(ws[:, 0], direction, 0.0), ws[:, 0])


def test_the_bootstrap_interval_of_a_mean_is_the_textbook_one():
    x = torch.randn(900, 2, generator=rng(3)) * torch.tensor([1.0, 3.0]) + 5
    low, high = la.resampled(x, lambda m: m, 1500)
    assert torch.allclose(high - low, 2 * 1.96 * x.std(0) / 30, rtol=0.12)


def fake_readings(images):
    "A reader with known answers: the sign of the top half, the mean of the bottom half."
    top, bottom = images[:, :, :8].mean((1, 2, 3)), images[:, :, 8:].mean((1, 2, 3))
    return {'top': torch.stack([top, -top], 1), 'bottom': bottom}


def test_influence_of_everything_is_one_and_of_nothing_zero(tiny):
    found = la.influence(
        tiny, fake_readings, {'all': range(6), 'none': (), 'some': (0, 1)}, ('top', 'bottom'), pairs=60
    )
    assert torch.allclose(found.share[0], torch.ones(2), atol=1e-5) and (found.share[1] <= 1e-5).all()
    assert (found.low <= found.share + 1e-4).all() and (found.share <= found.high + 1e-4).all()
    again = la.Influence.from_dict(json.loads(json.dumps(found.to_dict())))
    assert torch.allclose(again.share, found.share) and again.groups == found.groups


def test_influence_holds_one_set_of_mixtures_at_a_time(tiny, monkeypatch):
    events, draw = [], la.draw

    def drawn(*args, **options):
        events.append('drawn')
        return draw(*args, **options)

    def read(images):
        events.append('read')
        return fake_readings(images)

    monkeypatch.setattr(la, 'draw', drawn)
    la.influence(tiny, read, {'first': range(3), 'last': range(3, 6)}, ('top', 'bottom'), pairs=4)
    assert events == ['drawn', 'read'] * 4 + ['read']  # the last set, with fresh noise, is drawn elsewhere


def test_influence_finds_a_planted_split(tiny):
    "A generator whose first layers draw the top and whose last layers draw the bottom."

    class Planted(torch.nn.Module):
        config, mapping = tiny.config, tiny.mapping

        class Synthesis(torch.nn.Module):
            noise_sizes = [4]

            def forward(self, ws, noise='constant', rng=None):
                rows = torch.cat(
                    [
                        ws[:, :3, :1].mean(1, keepdim=True).expand(-1, 8, 16),
                        ws[:, 3:, 1:2].mean(1, keepdim=True).expand(-1, 8, 16),
                    ],
                    1,
                )
                return rows[:, None].expand(-1, 3, -1, -1) * 0.2

        def __init__(self):
            super().__init__()
            self.synthesis = self.Synthesis()

    found = la.influence(
        Planted(), fake_readings, {'first': range(3), 'last': range(3, 6)}, ('top', 'bottom'), pairs=80
    )
    assert torch.allclose(found.share, torch.eye(2), atol=0.2) and (found.share.diag() > 0.999).all()


def test_influence_is_empty_where_nothing_moves_or_too_little_is_seen(tiny):
    "A reading that never changes, and one that changes in a single pair of sixty."

    def still(images):
        rare = torch.zeros(len(images))
        rare[7] = images[7].mean()
        return {'still': torch.zeros(len(images)), 'rare': rare, 'top': images[:, :, :8].mean((1, 2, 3))}

    found = la.influence(tiny, still, {'all': range(6)}, ('still', 'rare', 'top'), pairs=60)
    assert found.share[0].isnan().tolist() == found.low[0].isnan().tolist() == [True, True, False]
    text = json.dumps(found.to_dict(), allow_nan=False)  # stored as plain JSON
    assert la.Influence.from_dict(json.loads(text)).share.isnan().tolist() == found.share.isnan().tolist()


def test_films_are_written_or_one_sentence_says_why_not(tiny, tmp_path, monkeypatch):
    frames = la.draw(tiny, la.travel(la.sample_w(tiny, 2), 4))
    assert la.save_film(frames, tmp_path / 'a.gif').stat().st_size and Image.open(tmp_path / 'a.gif').n_frames == 8
    assert la.save_film(frames, tmp_path / 'a.mp4').stat().st_size
    import imageio.v2

    def broken(*args, **options):
        raise RuntimeError('No ffmpeg exe could be found.\nInstall it.')

    monkeypatch.setattr(imageio.v2, 'mimwrite', broken)
    with pytest.raises(RuntimeError, match='imageio-ffmpeg, or save as .gif') as error:
        la.save_film(frames, tmp_path / 'b.mp4')
    assert '\n' not in str(error.value) and not list(tmp_path.glob('*b*'))
    with pytest.raises(ValueError, match='.gif, .png, .webp or .mp4'):
        la.save_film(frames, tmp_path / 'a.avi')
    with pytest.raises(FileNotFoundError):
        la.save_film(frames, tmp_path / 'nowhere' / 'a.gif')


def test_a_film_that_cannot_be_written_is_not_blamed_on_the_encoder(tiny, tmp_path, monkeypatch):
    import imageio.v2

    frames = la.draw(tiny, la.travel(la.sample_w(tiny, 2), 4))
    (tmp_path / 'folder.mp4').mkdir()
    with pytest.raises(OSError) as error:
        la.save_film(frames, tmp_path / 'folder.mp4')
    assert 'encoder' not in str(error.value)
    for fault in (PermissionError('not yours'), RuntimeError('frames of two sizes')):

        def broken(*args, fault=fault, **options):
            raise fault

        monkeypatch.setattr(imageio.v2, 'mimwrite', broken)
        with pytest.raises(type(fault)) as error:
            la.save_film(frames, tmp_path / 'b.mp4')
        assert 'encoder' not in str(error.value)


def test_an_encoder_that_does_not_run_is_named(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('IMAGEIO_FFMPEG_EXE', str(tmp_path / 'nowhere' / 'ffmpeg'))
    assert not la.mp4_encoder_works()
    with pytest.raises(RuntimeError, match='no MP4 encoder works here'):
        la.save_film(la.draw(tiny, la.travel(la.sample_w(tiny, 2), 4)), tmp_path / 'a.mp4')


class Linear(torch.nn.Module):
    "A synthesis network that is linear: ws [n, layers, dim] to images of 12 numbers."

    def __init__(self, layers, dim):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.randn(layers * dim, 12, generator=rng(5), dtype=torch.float64))

    def forward(self, ws, noise):
        assert noise == 'constant'
        return (ws.flatten(1) @ self.matrix).view(-1, 3, 2, 2)


def test_path_length_of_a_linear_generator_and_its_spaces():
    torch.manual_seed(0)
    g = StyleGANGenerator(TINY).double().eval().requires_grad_(False)
    g.synthesis = Linear(TINY.num_ws, TINY.w_dim)
    square = lambda a, b: (a - b).square().flatten(1).sum(1)
    length = partial(la.perceptual_path_length, g, square, 25, seed=4)
    source = rng(4)
    z0, z1 = (torch.randn(25, TINY.z_dim, generator=source).double() for _ in range(2))
    t = torch.rand(25, generator=source).double()
    w = lambda z: g.mapping(z)[:, 0]
    image = lambda w: w.repeat(1, TINY.num_ws) @ g.synthesis.matrix
    line = (image(w(z1)) - image(w(z0))).square().sum(1)
    for where in ('full', 'end'):  # the squared length of the segment, wherever
        assert torch.allclose(length('w', where, batch=10), line, rtol=1e-6)
    a, b = F.normalize(z0, dim=1), F.normalize(z1, dim=1)
    angle, speeds = (a * b).sum(1, keepdim=True).arccos(), {}
    arc = lambda t: (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()
    at = lambda t: arc(t[:, None])
    for where, place in (('full', t), ('end', 0 * t)):
        step = image(w(at(place + 1e-4))) - image(w(at(place)))
        speeds[where] = (step / 1e-4).square().sum(1)
        assert torch.allclose(length('z', where, batch=10), speeds[where], rtol=1e-4)
    assert not torch.allclose(speeds['full'], speeds['end'], rtol=0.1)


def test_a_path_length_is_a_function_of_the_seed_and_its_mean_is_trimmed(tiny):
    square = lambda a, b: (a - b).square().flatten(1).sum(1)
    for space in 'zw':
        steps = la.perceptual_path_length(tiny, square, 25, space, batch=10)
        assert steps.shape == (25,) and torch.isfinite(steps).all() and (steps >= 0).all()
    x = torch.arange(1000.0)
    assert abs(la.trimmed_mean(x) - x.mean()) < 0.6 and la.trimmed_mean(torch.cat([x, torch.tensor([1e9])])) < 600
    one, again, other = (la.perceptual_path_length(tiny, square, 5, seed=k) for k in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_a_feature_distance_is_a_distance():
    d = FeatureDistance(toon_net.toon_network().maps)
    a, b = torch.rand(2, 3, 3, 32, 32, generator=rng(1)) * 2 - 1
    assert d(a, a).abs().max() == 0 and torch.allclose(d(a, b), d(b, a)) and (d(a, b) > 0).all()


def test_scores_are_log_odds():
    readings = {'skin': torch.randn(4, len(toon.SKIN)), 'yaw': torch.randn(4)}
    odds = la.score(readings, 'skin=deep')
    assert torch.allclose(odds.sigmoid(), readings['skin'].softmax(1)[:, list(toon.SKIN).index('deep')], atol=1e-5)
    assert torch.equal(la.score(readings, 'yaw'), readings['yaw'])


def test_the_explorer_moves_with_its_sliders(tiny):
    pytest.importorskip('anywidget')
    w = la.sample_w(tiny, 500)
    space = la.principal_space(w)
    explorer = la.LatentExplorer(
        tiny,
        {'first': space.step(torch.eye(len(space.axes))[0]), 'second': space.step(torch.eye(len(space.axes))[1])},
        seed=2,
        scale=2,
    )
    widget = explorer.widget()
    start = np.asarray(drawn(widget))
    after = lambda **values: (ask(widget, **values), np.asarray(drawn(widget)))[1]
    same = np.array_equal
    moved = after(first=2.0)
    assert not same(moved, start)
    fine = after(layers='fine')
    assert not same(fine, start) and not same(fine, moved)
    assert same(after(first=0.0), start)  # back at the beginning, whatever the layers
    assert not same(after(seed=3), start)
    mean = after(psi=0.0)
    assert same(after(seed=4), mean)  # at ψ = 0 all are the mean
    forms, facts = explorer._repr_mimebundle_()
    assert decoded(forms).size == (32, 32) and facts['image/png']['alt'].endswith('first, second')


def test_the_labels_of_the_explorer_are_words(tiny):
    step = torch.zeros(tiny.mapping.w_avg.shape[-1])
    widget = la.LatentExplorer(tiny, {'hair_colour=blonde': step}).widget()
    assert [c['label'] for c in widget.settings['controls'].values()] == [
        'seed',
        'truncation ψ',
        'layers to edit',
        'hair colour: blonde',
    ]


def test_the_mixer_mixes(tiny):
    pytest.importorskip('anywidget')
    mixer = la.StyleMixer(tiny, (1, 2), scale=1)
    a, b, mixed = mixer.ws(coarse='B', middle='A', fine='A')
    groups = la.layer_groups(16)
    assert torch.equal(mixed[list(groups['coarse'])], b[list(groups['coarse'])]) and all(
        torch.equal(mixed[i], a[i]) for i in groups['middle']
    )
    widget = mixer.widget()
    after = lambda **values: (ask(widget, **values), np.asarray(drawn(widget)))[1]
    as_a = after(fine='A')
    assert not np.array_equal(after(coarse='B'), as_a)
    assert np.array_equal(after(coarse='A'), as_a)
    assert decoded(mixer._repr_mimebundle_()[0]).size == (3 * 16 + 2 * 2 + 4, 16 + 24)


def test_without_widgets_there_is_an_image(tiny, monkeypatch):
    mixer = la.StyleMixer(tiny)

    def missing():
        raise ImportError('no anywidget')

    monkeypatch.setattr(mixer, 'widget', missing)
    assert set(mixer._repr_mimebundle_()[0]) == {'image/png', 'text/plain'}


def test_bad_input_is_answered_in_one_sentence(tiny):
    w = la.sample_w(tiny, 5)
    space = la.principal_space(la.sample_w(tiny, 50))
    for call, words in (
        (lambda: la.layer_groups(96), 'power of two'),
        (lambda: la.layer_groups(8), '16 px on'),
        (lambda: la.replace_layers(torch.zeros(1, 6, 2), torch.zeros(1, 6, 2), [6]), 'no layer 6'),
        (lambda: la.replace_layers(torch.zeros(3, 6), torch.zeros(3, 6), [1]), 'must have layers'),
        (lambda: la.poses(torch.zeros(3, 6), range(2)), 'must have layers'),
        (lambda: la.travel(torch.zeros(1, 2), 3), '2 keys'),
        (lambda: la.travel(torch.zeros(2, 2), 0), '1 frame'),
        (lambda: la.truncated_normal(2, 2, 0.0, rng(0)), 'positive'),
        (lambda: la.principal_space(w[:2]), 'thousands'),
        (lambda: la.attribute_direction(space, w, torch.zeros(4)), 'one score for each'),
        (lambda: la.principal_space(la.sample_w(tiny, 50), -1), 'at least 1 axis, not -1'),
        (lambda: la.principal_space(la.sample_w(tiny, 50), 0), 'at least 1 axis, not 0'),
        (lambda: la.attribute_direction(space, w, torch.full((5,), 0.1)), 'all equal'),
        (lambda: la.attribute_direction(space, w, torch.tensor([1, 2, math.nan, 3, 4])), 'finite'),
        (lambda: la.attribute_direction(space, w, w[:, 0], ridge=-1), 'from 0 on, not -1'),
        (lambda: la.edit_changes(tiny, None, w[:1], {'one': w[0]}, ['yaw']), 'at least 2, not 1'),
        (lambda: la.travel(torch.zeros(2, 2, dtype=torch.int64), 3), 'floating-point'),
        (lambda: la.LatentExplorer(tiny, {'one': w[0]}).ws(layers='all2'), "no layers 'all2'"),
        (lambda: la.StyleMixer(tiny).ws(coarse='a'), "'A' or 'B', not 'a'"),
        (lambda: la.edit(w, w[0], 1.0, [0]), 'as_ws'),
        (lambda: la.score({'yaw': w}, 'roll'), "called 'roll'"),
        (lambda: la.score({'skin': w}, 'skin=green'), "no value 'green'"),
        (lambda: la.score({'yaw': w}, 'yaw=3'), "write 'yaw'"),
        (lambda: la.LatentExplorer(tiny, {}), 'at least one direction'),
        (lambda: la.path_steps(None, None, None, w, w, w[:, 0], space='x'), "'w' or 'z'"),
        (lambda: la.perceptual_path_length(tiny, None, 5, where='middle'), "'full'"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            call()
        assert '\n' not in str(error.value)


def test_directions_of_the_shipped_generator_do_what_they_say(shipped_generator):
    g, net = shipped_generator, toon_net.toon_network()
    space, w = la.principal_space(la.sample_w(g, 4000, 1)), la.sample_w(g, 500, 8)
    readings = la.read_heads(net, la.draw(g, w))
    names = ('yaw', 'hair_colour=blonde', 'hair_style=long')
    directions = {n: la.attribute_direction(space, w, la.score(readings, n)) for n in names}
    effects = la.edit_effects(g, net, torch.lerp(g.mapping.w_avg, la.sample_w(g, 40, 9), 0.8), directions)
    assert (effects.diag() > 0.5).all() and (effects.argmax(0) == torch.arange(3)).all()


def test_effects_are_the_mean_of_the_changes_of_single_heads(shipped_generator):
    g, net = shipped_generator, toon_net.toon_network()
    w, directions = la.sample_w(g, 6, 9), {'one': la.sample_w(g, 1, 3)[0] * 0.1}
    scores = ('yaw', 'skin=tan', 'pitch')
    changes = la.edit_changes(g, net, w, directions, scores)
    assert changes.shape == (1, 6, 3) and changes.std(1).min() > 0  # every head has its own
    assert torch.allclose(la.edit_effects(g, net, w, directions, scores), changes.mean(1))


def test_the_figure_of_influence_may_stand_on_an_axis(tiny):
    found = la.influence(tiny, fake_readings, la.layer_groups(16), ('top', 'bottom'), pairs=20)
    fig, axes = figure(1, 2)
    assert la.influence_figure(found, ax=axes[1]) is fig and len(axes[1].get_yticks()) == 2
    assert not axes[0].lines and len(axes[1].lines) == 4  # a line of dots for each group, and the line at 1
    alone = la.influence_figure(found)
    assert alone is not fig and alone.axes[0].get_ylim() == (1.5, -0.5)


@pytest.mark.parametrize('style', ['anime', 'human'])
def test_stored_measurements_belong_to_the_shipped_generators(style):
    "The influence that the chapter prints is that of these generators: a quick measurement falls near it."
    stored = json.loads(shipped('results/latents_influence.json').read_text())
    found = la.Influence.from_dict(stored[style]['groups'])
    generator, _ = pretrained_stylegan(stored['generators'][style])
    groups = la.layer_groups(generator.config.size)
    quick = la.influence(generator, partial(la.read_heads, toon_net.toon_network()), groups, pairs=60, seed=9)
    shown = [found.names.index(n) for n in ('yaw', 'cloth_colour', 'background')]
    assert (found.share - quick.share)[:, shown].abs().max() < 0.3
    assert len(stored['seeds']) >= 3 and stored['pairs_a_seed'] * 3 == found.pairs


@pytest.mark.parametrize('name', ['latents_influence', 'latents_path_length'])
def test_stored_measurements_name_the_weights_that_ship(name):
    stored = json.loads(shipped(f'results/{name}.json').read_text())
    for style, network in stored['generators'].items():
        weights = shipped(f'pretrained/{network}.safetensors')
        assert stored['generator_sha256'][style] == file_sha256(weights)[:16]
    assert stored['network_sha256'] == file_sha256(shipped('pretrained/toon_net.safetensors'))[:16]
