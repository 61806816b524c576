"Metrics: laws, equality with torch-fidelity, extractors, cards, bad input, and real images."

import hashlib
import io
import json
import math
import os
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from animegan_nb import metrics
from animegan_nb.core import rng, to_float, to_uint8


def points(seed, n, d, scale=1.0, shift=0.0):
    return torch.randn(n, d, generator=rng(seed), dtype=torch.float64) * scale + shift


def faces(n, seed=0, size=32):
    return torch.nn.functional.interpolate(
        torch.rand(n, 3, 6, 6, generator=rng(seed)) * 2 - 1, (size, size), mode='bilinear'
    )


def features(seed, n=60, d=12, classes=7, shift=0.0):
    return metrics.Features(
        points(seed, n, d, shift=shift).float(),
        points(seed + 50, n, classes, 2.0).float(),
        'points',
        'none',
        'none',
        8,
        'none',
    )


# PSNR


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1.0), st.integers(0, 1000))
def test_psnr_of_a_constant_error(error, seed):
    x = torch.rand(2, 3, 4, 4, generator=rng(seed))
    assert torch.allclose(metrics.psnr(x, x - error), torch.full((2,), -20 * math.log10(error / 2)), atol=0.02)


def test_psnr_under_a_mask_and_of_other_shapes():
    a = torch.zeros(2, 3, 4, 4)
    b, left = a.clone(), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    b[..., 2:], left[..., :2] = 0.2, True
    assert metrics.psnr(a, b, left).tolist() == [100, 100]  # equal: the greatest value
    assert torch.allclose(metrics.psnr(a, b, ~left), torch.full((2,), 20.0), atol=1e-4)
    assert torch.allclose(metrics.psnr(a, b), torch.full((2,), 20 + 10 * math.log10(2)), atol=1e-4)
    assert torch.equal(metrics.psnr(a, b, left.float()), metrics.psnr(a, b, left))
    thin = torch.full_like(a, 1e-3)  # weights may be small
    assert torch.allclose(metrics.psnr(a, b, thin), metrics.psnr(a, b))
    assert metrics.psnr(a, b, torch.zeros_like(a)).isnan().all()  # nothing was compared
    with pytest.raises(ValueError, match='differ'):
        metrics.psnr(a, b[:1])
    for odd in (a[0], a[0, 0], torch.zeros(1, 8, 8)):
        with pytest.raises(ValueError, match=r'give one image as image\[None\]'):
            metrics.psnr(odd, odd)
    assert metrics.psnr(torch.zeros(2, 5, 3), torch.zeros(2, 5, 3)).shape == (2,)  # lists of pixels


# Fréchet distance


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(2, 40), st.integers(1, 30))
def test_frechet_routes_agree_and_are_symmetric(seed, n, m, d):
    x, y = points(seed, n, d), points(seed + 1, m, d, 1.5, 0.3)
    value = metrics.frechet_distance(x, y)
    assert value >= 0 and torch.isfinite(value)
    assert torch.isclose(
        value, metrics.frechet_from_moments(*metrics.moments(x), *metrics.moments(y)), rtol=1e-6, atol=1e-5
    )
    assert torch.isclose(value, metrics.frechet_distance(y, x), rtol=1e-9, atol=1e-9)
    assert metrics.frechet_distance(x, x) < 1e-9


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.floats(0.1, 3), st.floats(0.1, 3))
def test_frechet_of_round_gaussians(seed, d, s1, s2):
    m1, m2 = points(seed, 2, d)
    eye = torch.eye(d, dtype=torch.float64)
    expected = (m1 - m2).square().sum() + d * (s1 - s2) ** 2
    assert torch.isclose(metrics.frechet_from_moments(m1, s1**2 * eye, m2, s2**2 * eye), expected, atol=1e-9)


def test_frechet_moves_and_turns():
    x, y = points(0, 50, 7), points(1, 40, 7, 2.0)
    turn = torch.linalg.qr(points(2, 7, 7)).Q
    assert torch.isclose(metrics.frechet_distance(x @ turn, y @ turn), metrics.frechet_distance(x, y))
    assert torch.isclose(metrics.frechet_distance(x, x + 2), torch.tensor(28.0, dtype=torch.float64))
    assert torch.isclose(metrics.frechet_distance(3 * x, 3 * y), 9 * metrics.frechet_distance(x, y))


def test_frechet_bias_falls_with_the_count():
    values = [
        np.mean([float(metrics.frechet_distance(points(s, n, 32), points(s + 99, n, 32))) for s in range(6)])
        for n in (16, 64, 256)
    ]
    assert values[0] > 2 * values[1] > 4 * values[2] > 0


# kernel distance, score, precision and recall


def test_kernel_distance_in_blocks_is_the_same(monkeypatch):
    x, y = points(0, 70, 5), points(1, 50, 5, 1.2)
    whole = metrics.kernel_distance(x, y)
    monkeypatch.setattr(metrics._pair_sum, '__defaults__', (16,))
    assert torch.isclose(metrics.kernel_distance(x, y), whole)


# one pass over the pairs


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(12, 200), st.integers(12, 200), st.integers(1, 20), st.booleans())
def test_one_pass_over_the_pairs_gives_what_the_definitions_give_for_every_resampled_set(seed, n, m, d, blocks):
    real, fake = (features(seed + i, k, d, shift=0.3 * i) for i, k in enumerate((n, m)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, 'PAIRS_AT_ONCE', 1 if blocks else 2**20)  # 1: as few rows at a time as there can be
        (w, kept), (v, kept_fakes) = (metrics._resample(k, 3, rng(seed + k)) for k in (n, m))
        found = metrics._compare(metrics._within(real, w, kept), metrics._within(fake, v, kept_fakes))
    assert kept.sum(1).tolist() == [n, *[n // 2] * 3] and (w.sum(1) == n).all()
    for b in range(4):
        rows = [count[b].long().nonzero()[:, 0].repeat_interleave(count[b].long()[count[b] > 0]) for count in (w, v)]
        x, y = (f.features[i] for f, i in zip((real, fake), rows))
        assert torch.isclose(found['frechet'][b], metrics.frechet_distance(x, y), rtol=1e-6, atol=1e-6)
        assert torch.isclose(found['diversity'][b], metrics.diversity(x, y))
        assert torch.isclose(found['score'][b], metrics.inception_score(fake.logits[rows[1]]))
        halves = real.features[kept[b]], fake.features[kept_fakes[b]]
        wanted = [*metrics.precision_recall(*halves), *metrics.density_coverage(*halves)]
        assert torch.allclose(torch.stack([found[name][b] for name in metrics.BALLS]), torch.stack(wanted))
    assert torch.allclose(found['kernel'], metrics.kernel_distance(real.features, fake.features, w, v))


@pytest.mark.parametrize('replicates, cuts', [(3, 4), (40, 4), (5, 1)])
def test_evaluate_looks_at_every_pair_once_however_often_it_resamples(monkeypatch, replicates, cuts):
    seen, blocks = [], metrics.distance_blocks

    def counted(x, y, once=False):
        seen.append((len(x), len(y), once))
        return blocks(x, y, once)

    monkeypatch.setattr(metrics, 'distance_blocks', counted)
    real, fake = features(0, 60), features(1, 30)
    metrics.evaluate(fake, real, n=30, replicates=replicates, cuts=cuts, engine='animegan_nb')
    # within the reference, the fakes and both sets of each cut, between the two of each comparison;
    # the first cut's first set is the reference
    assert sorted(seen) == [(30, 30, False)] * (1 + cuts) + [(30, 30, True)] * (1 + 2 * cuts)


def test_equal_points_have_distance_0_and_do_not_depend_on_where_the_origin_is():
    x = points(0, 40, 300).float().double()
    for shift in (0.0, 1000.0):
        (_, gaps), *_ = metrics.distance_blocks(x + shift, x[:7] + shift)
        assert (gaps.diagonal() == 0).all()
        assert torch.allclose(gaps, torch.cdist(x, x[:7], compute_mode='donot_use_mm_for_euclid_dist'), rtol=1e-9)
    assert metrics.diversity(x, x[:1].expand(40, -1)) == 0
    assert metrics.precision_recall(x, x) == (1, 1)


def test_the_quick_frechet_distance_of_the_bootstrap():
    for n, d in ((30, 80), (300, 20)):
        x, y = points(0, n, d), points(1, n, d, 1.2, 0.1)
        a, b = metrics._factor(x), metrics._factor(y)
        assert torch.isclose(metrics._frechet(a, b, quick=True), metrics.frechet_distance(x, y), rtol=1e-9)
        assert metrics._frechet(a, a, quick=True) < 1e-5 and metrics._frechet(a, a) < 1e-9


def test_weights_of_one_change_nothing_and_repeat_points_without_themselves():
    x, y = points(0, 9, 4), points(1, 8, 4)
    ones = metrics.kernel_distance(x, y, torch.ones(2, 9), torch.ones(2, 8))
    assert torch.allclose(ones, metrics.kernel_distance(x, y).expand(2))
    zero_last = torch.ones(1, 9)
    zero_last[0, -1] = 0
    assert torch.isclose(
        metrics.kernel_distance(x, y, zero_last, torch.ones(1, 8))[0], metrics.kernel_distance(x[:-1], y)
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(2, 9))
def test_score_lies_between_one_and_the_classes(seed, n, classes):
    score = metrics.inception_score(points(seed, n, classes, 5.0))
    assert 1 - 1e-9 <= score <= min(n, classes) + 1e-9


def test_precision_recall_swap_with_the_sets():
    x, y = points(0, 80, 3), points(1, 60, 3, 0.4)
    assert metrics.precision_recall(x, y) == metrics.precision_recall(y, x)[::-1]


def test_diversity_scales():
    x = points(0, 50, 3)
    assert torch.isclose(metrics.diversity(x, x * 0.5 + 4), torch.tensor(0.5, dtype=torch.float64))


# torch-fidelity


@pytest.mark.parametrize('n,d', [(60, 12), (40, 80)])
def test_equal_to_torch_fidelity_on_the_same_features(n, d):
    a, b = features(0, n, d), features(1, n, d, shift=0.3)
    ours, theirs = metrics.measure(a, b), metrics.fidelity(a, b)
    assert set(theirs) == {'frechet', 'kernel', 'precision', 'recall', 'score'}
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=2e-6, abs=2e-6), name


def test_equal_to_torch_fidelity_from_images():
    from torch_fidelity import calculate_metrics

    real, fake = to_uint8(faces(40)), to_uint8(faces(40, 9) * 0.8)
    look = metrics.find_extractor('pixels')
    name = metrics.register_with_fidelity('test-pixels', lambda rows: look(to_float(rows)))
    theirs = calculate_metrics(
        input1=metrics.Rows(fake),
        input2=metrics.Rows(real),
        feature_extractor=name,
        fid=True,
        prc=True,
        kid=True,
        kid_subset_size=40,
        kid_subsets=1,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    ours = metrics.measure(*(metrics.extract(p, 'pixels', device='cpu') for p in (real, fake)))
    assert ours['frechet'] == pytest.approx(theirs['frechet_inception_distance'], rel=1e-4)  # float32 rows there
    assert ours['kernel'] == pytest.approx(theirs['kernel_inception_distance_mean'], rel=1e-4)
    assert (ours['precision'], ours['recall']) == pytest.approx((theirs['precision'], theirs['recall']), abs=0.05)


# extractors and passes


def test_the_pass_does_not_depend_on_batches_bytes_or_kind_of_set():
    images = to_uint8(faces(23))
    whole = metrics.extract(images, 'pixels')

    class Tuples(torch.utils.data.Dataset):
        def __len__(self):
            return 23

        def __getitem__(self, i):
            return to_float(images)[i], 'a label'

    class Fast:
        def __len__(self):
            return 23

        def batch(self, rows):
            return {'image': images[torch.as_tensor(rows)]}

    for source, kwargs in ((images, dict(batch=5)), (to_float(images), {}), (Tuples(), {}), (Fast(), dict(batch=4))):
        seen = metrics.extract(source, 'pixels', **kwargs)
        assert torch.allclose(seen.features, whole.features, atol=1e-6) and seen.images == whole.images


def test_a_generator_is_asked_for_exactly_n():
    asked = []

    def generator(n):
        asked.append(n)
        return faces(n, len(asked))

    assert len(metrics.extract(generator, 'pixels', n=70, batch=32)) == 70 and asked == [32, 32, 6]


def test_own_modules_are_extractors_with_a_checksum():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1))
    seen = metrics.extract(faces(6), net)
    assert seen.features.shape == (6, 4) and len(seen.weights) == 64
    with torch.no_grad():
        net[0].weight += 1
    assert metrics.extract(faces(6), net).weights != seen.weights


def test_the_callers_own_module_stays_as_it_is():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.AdaptiveAvgPool2d(1))
    net[1].eval()  # a mixed mode, which must not change either
    before = {k: v.clone() for k, v in net.state_dict().items()}
    metrics.extract(faces(6), net)
    metrics.evaluate(faces(12), faces(24), net, replicates=2, cuts=1)
    metrics.find_extractor(net, 'meta')
    assert [m.training for m in net] == [True, False, True] and net.training
    assert all(p.requires_grad and p.device.type == 'cpu' for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    net(faces(6)).sum().backward()  # it can still be trained
    assert net[0].weight.grad.abs().sum() > 0


def test_a_module_that_is_ready_is_used_as_it_is():
    net = torch.nn.Conv2d(3, 4, 3).eval().requires_grad_(False)
    assert metrics.find_extractor(net).module is net
    look = metrics.find_extractor(net)
    assert metrics.find_extractor(look) is look and metrics.find_extractor(look, 'cpu') is look


def test_an_extractor_on_another_device_leaves_the_first_where_it_is():
    try:
        here = metrics.find_extractor('toon')
    except FileNotFoundError:
        pytest.skip('the toon network does not ship with this checkout')
    away = metrics.find_extractor('toon', 'meta')
    assert {p.device.type for p in away.parameters()} == {'meta'}
    assert metrics.find_extractor('toon') is here and {p.device.type for p in here.parameters()} == {'cpu'}


class Blocks(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return [x, self.one(x)]

    def maps(self, x):
        return self(x)


def test_a_distance_of_features_follows_the_images_to_their_device():
    net, x = Blocks().requires_grad_(False), faces(2)
    for maps in (net, net.maps):
        d = metrics.FeatureDistance(maps)
        there = d(x.to('meta'), x.to('meta'))
        assert there.device.type == 'meta' and there.shape == (2,)
        assert net.one.weight.device.type == 'cpu' and (d(x, x) == 0).all() and d(x, x.flip(0)).min() > 0
    assert metrics.FeatureDistance(lambda x: [x])(x, x).tolist() == [0, 0]


def test_only_asked_for_checksums_are_made():
    images = to_uint8(faces(9))
    assert metrics.extract(images, 'pixels').images == hashlib.sha256(images.numpy().tobytes()).hexdigest()
    assert metrics.extract(images, 'pixels', checksum=False).images == ''


class Sampler:
    "Stands for a trainer: images from a seed, and where they were wanted."

    def __init__(self):
        self.asked = []

    def sample(self, n, seed, device):
        self.asked.append(device)
        return faces(n, 70 + len(self.asked))


def test_while_a_network_trains_the_reference_is_paired_once(monkeypatch):
    passes, within = [], metrics._within
    monkeypatch.setattr(metrics, '_within', lambda *a, **k: passes.append(len(a[0])) or within(*a, **k))
    real, trainer = faces(80), Sampler()
    track = metrics.tracker(real, 'pixels', n=30)
    first, second = track(trainer), track(trainer)
    assert len(passes) == 3 and trainer.asked == [None, None]  # the images may stay where they are
    reference = metrics._halves(metrics.extract(real, 'pixels'), 30, 0)[0]
    for numbers, seed in ((first, 71), (second, 72)):
        expected = metrics.measure(reference, metrics.extract(faces(30, seed), 'pixels'))
        assert numbers == {metrics.metric_name(m, 'pixels'): pytest.approx(expected[m]) for m in expected}


def test_while_a_network_trains_the_sets_are_compared_as_evaluate_does():
    class Small:
        def sample(self, n, seed, device):
            return faces(n, 7, size=16)

    track = metrics.tracker(faces(80), 'pixels', n=30)
    for _ in range(2):  # the first time, and later
        with pytest.raises(ValueError, match='16×16 and the real ones 32×32'):
            track(Small())

    class Few:
        def sample(self, n, seed, device):
            return faces(n - 1, 7)

    with pytest.raises(ValueError, match='30 generated images were asked for, and 29 came'):
        metrics.tracker(faces(80), 'pixels', n=30)(Few())
    with pytest.raises(ValueError, match="'pixels' knows no classes, so there is no 'score'"):
        metrics.tracker(faces(80), 'pixels', n=30, metrics=('frechet', 'score'))(Sampler())


def test_while_a_network_trains_only_numbers_leave_the_gpu(gpu):
    class OnGPU:
        images = faces(30, 7).cuda()

        def sample(self, n, seed, device):
            return self.images

    track, trainer = metrics.tracker(faces(80), 'pixels', n=30), OnGPU()
    track(trainer)
    gpu.syncs.clear()
    gpu.copies.clear()
    assert all(type(value) is float for value in track(trainer).values())
    gpu.check()
    waits = {place.split(':')[2].split()[0] for place in gpu.syncs if place.startswith('metrics.py')}
    assert waits <= {'check_features', '_frechet', '_floats', 'run_extractor'}, waits
    assert not any(place.startswith('metrics.py') for place in gpu.copies)


def test_names_are_honest():
    assert metrics.metric_name('frechet', 'inception') == 'FID' and metrics.metric_name('score', 'inception') == 'IS'
    assert (
        metrics.metric_name('frechet', 'pixels') == 'frechet_distance[pixels]'
        and metrics.metric_name('recall', 'inception') == 'recall[inception]'
    )


def _inception_folder(tmp_path, monkeypatch, payload):
    buffer = io.BytesIO()
    payload(buffer)
    (tmp_path / metrics.INCEPTION_FILE).write_bytes(buffer.getvalue())
    monkeypatch.setenv('ANIMEGAN_WEIGHTS', str(tmp_path))
    return hashlib.sha256(buffer.getvalue()).hexdigest()[:8]


def test_an_unknown_inception_file_is_not_opened(tmp_path, monkeypatch):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'exploded'),)

    digest = _inception_folder(tmp_path, monkeypatch, lambda f: pickle.dump({'w': Bomb()}, f))
    with pytest.raises(ValueError, match='sha256'):
        metrics.Inception()
    monkeypatch.setattr(metrics, 'INCEPTION_HASH', digest)  # even with a colliding checksum
    with pytest.raises(ValueError, match='more than tensors'):
        metrics.Inception()
    assert not (tmp_path / 'exploded').exists()


def test_inception_runs_on_weights_of_its_shape(tmp_path, monkeypatch):
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    monkeypatch.setattr(theirs, 'load_state_dict_from_url', lambda *a, **k: {})
    with monkeypatch.context() as patch:
        patch.setattr(theirs.FeatureExtractorInceptionV3, 'load_state_dict', lambda self, state: None)
        torch.manual_seed(0)
        random = theirs.FeatureExtractorInceptionV3('x', ['2048']).state_dict()
    digest = _inception_folder(tmp_path, monkeypatch, lambda f: torch.save(random, f))
    monkeypatch.setattr(metrics, 'INCEPTION_HASH', digest)
    seen = metrics.extract(faces(2), metrics.Inception())
    assert seen.features.shape == (2, 2048) and seen.logits.shape == (2, 1008) and seen.weights.startswith(digest)


def test_missing_weights_are_one_sentence(tmp_path, monkeypatch):
    for variable in ('ANIMEGAN_WEIGHTS', 'ANIMEGAN_CACHE', 'TORCH_HOME'):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv('ANIMEGAN_SQUEEZENET_URL', raising=False)
    with pytest.raises(FileNotFoundError, match='ANIMEGAN_WEIGHTS'):
        metrics.SqueezeNet()
    with pytest.raises(FileNotFoundError, match='ANIMEGAN_WEIGHTS'):
        metrics.Inception()
    monkeypatch.setenv('ANIMEGAN_SQUEEZENET_URL', (tmp_path / 'nowhere').as_uri())
    with pytest.raises(OSError, match='could not be fetched'):
        metrics.SqueezeNet()
    assert not list((tmp_path / 'weights').glob('*'))  # nothing half-written
    (tmp_path / metrics.SQUEEZENET_FILE).write_bytes(b'other')
    with pytest.raises(ValueError, match='sha256'):
        metrics.SqueezeNet()


# evaluate


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_its_definition(p_values):
    "Step by step: the smallest p-value counts as often as there are comparisons, the next once less, and so on."
    corrected, worst, left = metrics.holm(p_values), 0.0, len(p_values)
    for k in sorted(range(len(p_values)), key=p_values.__getitem__):
        worst = max(worst, min(1.0, p_values[k] * left))
        left -= 1
        assert math.isclose(corrected[k], worst, abs_tol=1e-12) or p_values.count(p_values[k]) > 1
    assert (corrected >= np.array(p_values)).all()


def test_what_too_few_images_cannot_tell_is_said(monkeypatch):
    resample = metrics._resample

    def unlucky(n, replicates, generator):  # draws one image n times, as may happen with six
        counts, kept = resample(n, replicates + 1, generator)
        counts[1] = n * torch.eye(n)[0]
        return counts, kept

    monkeypatch.setattr(metrics, '_resample', unlucky)
    real, fake = (torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(n)) * 2 - 1 for n in (12, 6))
    text = str(metrics.evaluate(fake, real, 'pixels', n=6))
    assert text.count('too few images for one') >= 4 and 'inf ' not in text and 'nan ' not in text
    monkeypatch.undo()
    spread = metrics.standard_errors(features(0, 60), features(1, 59))
    assert {m for m, value in spread.items() if math.isnan(value)} == set(metrics.BALLS)
    assert all(value > 0 for value in metrics.standard_errors(features(0, 60), features(1, 60)).values())
    with pytest.raises(ValueError, match='2 or more replicates, not 1'):
        metrics.evaluate(fake, real, 'pixels', n=6, replicates=1)


def test_evaluate_is_repeatable_and_survives_json(tmp_path):
    real, fake = faces(120), faces(60, 5)
    result = metrics.evaluate(fake, real, 'pixels', replicates=5)
    again = metrics.evaluate(fake, real, 'pixels', replicates=5)
    assert result == again and result.card.n_real == result.card.n_fake == 60
    assert metrics.Evaluation.from_dict(json.loads(result.save(tmp_path / 'e.json').read_text())) == result
    few = metrics.evaluate(fake[:30], real[:60], 'pixels', replicates=5)  # too few for some intervals
    assert math.isnan(few['recall'].low) and few == metrics.evaluate(fake[:30], real[:60], 'pixels', replicates=5)
    text = few.save(tmp_path / 'e.json').read_text()
    assert 'NaN' not in text and metrics.Evaluation.from_dict(json.loads(text)) == few != result
    stored = result.to_dict()
    stored['card']['real_pictures'] = stored['card'].pop('real_images')  # as the first edition wrote it
    assert metrics.Evaluation.from_dict(stored) == result
    assert [p.name for p in tmp_path.iterdir()] == ['e.json']
    for number in result.numbers.values():
        assert number.low <= number.value <= number.high and number.floor_low <= number.floor <= number.floor_high
    assert (
        'frechet_distance[pixels]' in str(result)
        and 'frechet_distance[pixels]' in result._repr_markdown_()
        and 'FID' not in str(result)
    )


def test_both_engines_and_reused_features_give_the_same_numbers():
    real, fake = metrics.extract(faces(80), 'pixels'), faces(40, 3) * 0.7
    one, two = (
        metrics.evaluate(fake, real, 'pixels', replicates=3, engine=e) for e in ('torch-fidelity', 'animegan_nb')
    )
    for name in one.numbers:
        assert one[name].value == pytest.approx(two[name].value, rel=2e-6, abs=2e-6)


@pytest.mark.parametrize('engine', ['torch-fidelity', 'animegan_nb'])
def test_a_distance_is_never_negative_and_lies_in_its_own_interval(engine):
    rows = features(0, 120, 256)
    reference, _ = metrics._halves(rows, 60, 0)
    numbers = metrics.evaluate(reference, rows, n=60, replicates=4, engine=engine).numbers
    assert 0 <= numbers['frechet'].value < 1e-3
    for number in numbers.values():
        assert number.low <= number.value <= number.high
    if engine == 'torch-fidelity':
        assert metrics.fidelity(reference, reference)['frechet'] >= 0


def test_the_default_engine_is_the_librarys_own_where_the_others_matrices_would_be_large():
    rows = features(0, 10)
    assert metrics._default_engine(rows, 5_001) == 'animegan_nb'
    assert metrics._default_engine(rows, 100) == 'torch-fidelity'
    away = metrics.replace(rows, features=rows.features.to('meta'))
    assert metrics._default_engine(away, 100) == 'animegan_nb'


def test_the_order_of_good_and_bad():
    real = faces(120)
    good, bad = (metrics.evaluate(f, real, 'pixels', n=50, replicates=4) for f in (faces(50, 77), faces(50, 77) * 0.3))
    assert bad['frechet'].low > good['frechet'].value and bad['diversity'].value < 0.6 < good['diversity'].value


@pytest.mark.parametrize(
    'fake,real,n,message',
    [
        (faces(3), faces(40), None, 'At least 6'),
        (faces(30), faces(40), 30, 'at most n=20'),
        (faces(10), faces(40), 15, 'only 10 images'),
        (faces(20, size=16), faces(40), None, 'one size'),
        (faces(20) * float('nan'), faces(40), None, 'NaN'),
        (faces(20)[0], faces(40), None, r'\[batch, 3'),
        (faces(20), faces(40)[:0], None, 'no image'),
        (to_uint8(faces(20)).long(), faces(40), None, 'torch.int64'),
        (faces(20) > 0, faces(40), None, 'torch.bool'),
        (faces(20) * 1j, faces(40), None, 'torch.complex64'),
        (faces(20), faces(40) / 0.0, None, 'infinity|NaN'),
        (faces(20), to_uint8(faces(40)).float(), None, r'lie in \[-1, 1\]'),
    ],
)
def test_bad_images_are_one_sentence(fake, real, n, message):
    with pytest.raises(ValueError, match=message) as error:
        metrics.evaluate(fake, real, 'pixels', n=n)
    assert '\n' not in str(error.value)


def test_images_between_0_and_1_are_warned_about():
    with pytest.warns(UserWarning, match=r'2 \* x - 1'):
        metrics.extract((faces(9) + 1) / 2, 'pixels')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        metrics.extract(faces(9), 'pixels')
        metrics.extract(to_uint8(faces(9)), 'pixels')


def test_other_bad_input_is_one_sentence():
    with pytest.raises(KeyError, match='choose one of'):
        metrics.extract(faces(4), 'vgg')
    with pytest.raises(TypeError, match='nn.Module'):
        metrics.extract(faces(4), 3)
    with pytest.raises(ValueError, match='n=…'):
        metrics.extract(lambda n: faces(n), 'pixels')
    with pytest.raises(TypeError, match='function of n'):
        metrics.extract(5, 'pixels')
    with pytest.raises(ValueError, match='differ in size'):
        metrics.extract(lambda n: faces(n, size=8 * n), 'pixels', n=3, batch=2)
    with pytest.raises(ValueError, match='same extractor'):
        metrics.frechet_distance(points(0, 9, 3), points(0, 9, 4))
    with pytest.raises(ValueError, match='NaN'):
        metrics.kernel_distance(points(0, 9, 3) * float('inf'), points(0, 9, 3))
    with pytest.raises(ValueError, match='At least 4'):
        metrics.precision_recall(points(0, 3, 3), points(0, 9, 3))
    with pytest.raises(ValueError, match='expected'):
        metrics.extract(faces(4), _Flat())
    with pytest.raises(ValueError, match='engine'):
        metrics.evaluate(faces(9), faces(40), 'pixels', engine='clean-fid')
    for batch in (0, -1):
        with pytest.raises(ValueError, match=f'1 image or more, not {batch}'):
            metrics.evaluate(faces(9), faces(40), 'pixels', batch=batch)
    for k in (0, -1):
        for function in (metrics.precision_recall, metrics.in_regions, metrics.density_coverage):
            with pytest.raises(ValueError, match=f'1 or more, not {k}'):
                function(points(0, 9, 3), points(1, 9, 3), k)


def test_features_of_different_extractors_are_not_compared():
    "Those of `pixels` and of `toon` both have 256 coordinates."
    real, fake = (metrics.extract(faces(20, i), 'pixels') for i in (0, 1))
    for other, says in (
        (replace(fake, extractor='toon'), "'toon'"),
        (replace(fake, weights='0' * 64), 'other weights'),
    ):
        for compare in (metrics.measure, metrics.standard_errors, metrics.nearest_neighbours, metrics.fidelity):
            with pytest.raises(ValueError, match=says):
                compare(real, other)
            compare(real, fake)
        for three in ((other, real, fake), (fake, real, other)):
            with pytest.raises(ValueError, match=says):
                metrics.memorisation(*three, 'pixels')
        with pytest.raises(ValueError, match=says):
            metrics.nearest_neighbours(faces(20, 2), other, 'pixels')


class _Flat(metrics.Extractor):
    name = 'flat'

    def forward(self, images):
        return {'features': images}


# neighbours


def test_neighbours_find_the_originals():
    train = faces(50)
    distance, index = metrics.nearest_neighbours(train[10:20], train, 'pixels', k=2)
    assert torch.equal(index[:, 0], torch.arange(10, 20)) and (distance[:, 0] == 0).all() and (distance[:, 1] > 0).all()
    assert metrics.memorisation(train[:20], train, faces(50, 4), 'pixels') == 1
    assert abs(metrics.memorisation(faces(50, 8), train, faces(50, 4), 'pixels') - 0.5) < 0.2
    with pytest.raises(ValueError, match='lower k'):
        metrics.nearest_neighbours(train, train[:2], 'pixels', k=3)
    assert metrics.show_nearest(train[:4], train, 'pixels').image().width > 100


def test_corruptions_do_what_they_say():
    images = faces(12)
    assert torch.allclose(metrics.turn_hue(images, 2 * np.pi), images, atol=1e-5)
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert torch.allclose(metrics.turn_hue(grey, 1.0), grey, atol=1e-5)
    flat = torch.full((1, 3, 9, 9), 0.3)
    assert torch.allclose(metrics.blur(flat, 2.0), flat, atol=1e-6) and metrics.blur(images, 2.0).std() < images.std()
    six = torch.cat([images, -images], 1)  # any number of channels, each by itself
    assert torch.allclose(metrics.blur(six, 1.0)[:, 3:], -metrics.blur(images, 1.0), atol=1e-6)
    half = metrics.mirror_half(faces(3, size=15))
    assert half.shape[-1] == 15 and torch.equal(half, half.flip(-1))
    assert len(metrics.repeat_few(images, 5).unique(dim=0)) == 5
    light = images.mean((1, 2, 3))
    brightest = metrics.one_kind(images, 0.25)  # each once
    assert torch.equal(brightest.mean((1, 2, 3)), light.sort(descending=True).values[:3])
    assert torch.equal(metrics.keep_some(images, 0.25), images[:3]) and len(metrics.keep_some(images, 0.01)) == 1
    for name in ('dropped mode', 'fewer images'):  # as many of the one as of the other
        function, shares = metrics.CORRUPTIONS[name]
        assert [len(function(faces(40), share)) for share in shares] == [20, 10, 4]


def test_a_ladder_needs_enough_images_for_its_smallest_set():
    with pytest.raises(ValueError, match='Of 80 images .* leaves 4, and 6 are needed'):
        metrics.ladder(faces(80), 'pixels')


def test_a_ladder_says_what_each_strength_does():
    table = metrics.ladder(faces(140), 'pixels')
    assert set(table) == {'real', *metrics.CORRUPTIONS} and all(len(table[name]) == 3 for name in metrics.CORRUPTIONS)
    assert [row['recall'] for row in table['memorised'][1:]] == [0, 0]  # more than k copies: balls of radius 0
    fig = metrics.ladder_figure(table, 'faces')
    kernel = next(ax for ax in fig.axes if ax.get_title().startswith('kernel'))
    ticks = [tick for tick in kernel.get_yticks() if tick]
    linear = max(table[name][0]['kernel'] for name in metrics.CORRUPTIONS) / 10
    assert 0 in kernel.get_yticks() and ticks and min(ticks) >= linear  # none of them beside the 0
    assert len(fig.axes[0].lines) == len(metrics.CORRUPTIONS) + 1


# real images and weights


@pytest.mark.real
def test_squeezenet_knows_a_car(weights_dir):
    from PIL import Image

    car = Image.open(weights_dir / 'car.png').convert('RGB').resize((227, 227), Image.BILINEAR)
    image = torch.from_numpy(np.array(car)).permute(2, 0, 1)[None]
    logits = metrics.extract(image, metrics.SqueezeNet(227)).logits[0]
    assert logits.topk(3).indices.tolist() == [817, 479, 511]


@pytest.mark.real
def test_real_faces_lie_on_the_floor_and_humans_far_above(data_dir, weights_dir):
    from animegan_nb.data import ImageFolder

    anime, human = (
        metrics.extract(ImageFolder(data_dir / name, 64, progress=False), 'squeezenet', n=n)
        for name, n in (('anime_faces_256', 300), ('human_faces_89x109', 100))
    )
    same = metrics.evaluate(anime.rows(slice(200, 300)), anime.rows(slice(200)), n=100, replicates=5)
    other = metrics.evaluate(human, anime.rows(slice(200)), n=100, replicates=5)
    assert (
        same['frechet'].value < 1.3 * same['frechet'].floor_high
        and other['frechet'].low > 2 * other['frechet'].floor_high
    )
    assert (
        other['kernel'].low > other['kernel'].floor_high and other['precision'].value < 0.5 * other['precision'].floor
    )


def test_the_toon_extractor_tells_drawn_heads_from_noise():
    from animegan_nb import toon

    try:
        heads = toon.ready_heads().batch(range(120))['image']
    except FileNotFoundError:
        pytest.skip('the drawn heads do not ship with this checkout')
    try:
        look = metrics.find_extractor('toon')
    except FileNotFoundError:
        pytest.skip('the toon network does not ship with this checkout')
    result = metrics.evaluate(metrics.add_noise(to_float(heads[:40]), 0.5), heads[40:], look, replicates=4)
    assert result.card.extractor == 'toon' and len(result.card.weights_sha256) == 64
    assert result['frechet'].low > result['frechet'].floor_high


def test_an_interval_of_a_few_numbers():
    mean, half = metrics.interval([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(4.302653 / 3**0.5, rel=1e-5)
    assert metrics.interval([5.0])[0] == 5 and math.isnan(metrics.interval([5.0])[1])
    assert metrics.interval([4.0] * 6) == (4.0, 0.0)
    with pytest.raises(ValueError, match='list of numbers'):
        metrics.interval([])
    for level in (95, 1, 0, float('nan')):
        with pytest.raises(ValueError, match='a share between 0 and 1'):
            metrics.interval([1.0, 2.0, 3.0], level=level)


@pytest.mark.parametrize('name', ['pixels', 'toon', 'squeezenet'])
def test_an_extractor_that_was_made_while_looking_can_be_differentiated_later(name):
    metrics._made.cache_clear()
    try:
        with torch.inference_mode():
            metrics.find_extractor(name)
    except FileNotFoundError:
        pytest.skip('the weights of this extractor are not here')
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    assert torch.autograd.grad(metrics.find_extractor(name)(x)['features'].sum(), x)[0].abs().sum() > 0


def test_weights_are_not_dropped():
    x, y = torch.randn(12, 3, generator=rng(0)), torch.randn(9, 3, generator=rng(1))
    weights = torch.rand(4, 9, generator=rng(2))
    assert metrics.kernel_distance(x, y, fake_weights=weights).shape == (4,)
    with pytest.raises(ValueError, match='takes no weights'):
        metrics.inception_score(torch.randn(8, 3), splits=2, weights=torch.ones(1, 8))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 30), st.integers(1, 30), st.integers(1, 3), st.integers(1, 4))
def test_density_and_coverage_count_real_balls_alone(seed, n, m, k, d):
    real, fake = torch.randn(n, d, generator=rng(seed)), torch.randn(m, d, generator=rng(seed + 1))
    density, coverage = metrics.density_coverage(real, fake, k)
    balls = [sorted(float((x - other).norm()) for other in real)[k] for x in real.double()]  # plainly, in loops
    inside = [[float((x - y).norm()) <= r for x, r in zip(real.double(), balls)] for y in fake.double()]
    assert density == pytest.approx(sum(map(sum, inside)) / (k * m))
    assert coverage == pytest.approx(sum(map(any, zip(*inside))) / n)
    again = metrics.density_coverage(real, torch.cat([fake, fake]), k)  # copies change neither
    assert again == (pytest.approx(float(density)), pytest.approx(float(coverage)))
    lone = torch.full((1, d), 1e4)  # a generated image that is far from everything covers nothing
    assert metrics.density_coverage(real, torch.cat([fake, lone]), k)[1] == pytest.approx(float(coverage))


def test_density_and_coverage_of_bad_input_are_one_sentence():
    with pytest.raises(ValueError, match='k=5 need 6 real images or more, not 5'):
        metrics.density_coverage(torch.randn(5, 2), torch.randn(9, 2))
    with pytest.raises(ValueError, match='NaN'):
        metrics.density_coverage(torch.randn(9, 2), torch.full((1, 2), float('nan')))
    assert all(torch.isfinite(v) for v in metrics.density_coverage(torch.randn(6, 2), torch.randn(1, 2)))


def test_the_card_counts_what_was_measured():
    real = metrics.extract(faces(80), 'pixels')
    for few in (real.rows(slice(20)), lambda n: faces(5), faces(20)):
        with pytest.raises(ValueError, match='40 generated images were asked for|40 are asked for'):
            metrics.evaluate(few, real, 'pixels', n=40, replicates=2, cuts=1)
    loader = torch.utils.data.DataLoader(list(faces(30, 1)), batch_size=8)
    assert metrics.evaluate(loader, real, 'pixels', replicates=2, cuts=1).card.n_fake == 30
    with pytest.raises(ValueError, match='0 were'):
        metrics.evaluate(faces(40), real, 'pixels', n=0)


def test_features_of_two_networks_are_not_compared():
    networks = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 4)) for _ in range(2)]
    real, fake = (metrics.extract(faces(40), network) for network in networks)
    assert real.extractor == fake.extractor
    with pytest.raises(ValueError, match='other weights'):
        metrics.evaluate(fake, real, n=20, replicates=2, cuts=1)


def test_what_cannot_be_measured_is_said_in_one_sentence():
    with pytest.raises(ValueError, match='32 pixels high and 20 wide'):
        metrics.extract(faces(8)[..., :20], 'pixels')
    with pytest.raises(ValueError, match='to_float'):
        metrics.psnr(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.ones(2, 3, 4, 4, dtype=torch.uint8))
    for one in (torch.zeros(3, 8, 8), torch.zeros(8, 8)):
        with pytest.raises(ValueError, match=r'image\[None\]'):
            metrics.psnr(one, one)
    pixels = torch.zeros(1, 20, 3)  # pixels without an order, of one image
    assert metrics.psnr(pixels, pixels + 0.2).tolist() == pytest.approx([20], abs=1e-3)
    with pytest.raises(ValueError, match="no metric 'fid'"):
        metrics.tracker(faces(40), 'pixels', n=8, metrics=('fid',))
    images = faces(2)
    assert torch.equal(metrics.blur(images, 0), images)


def test_a_card_says_how_small_images_were_resized():
    small, large = (metrics.extract(faces(8, size=size), 'pixels').resize for size in (32, 64))
    assert small.startswith('bilinear') and large.startswith('area')
