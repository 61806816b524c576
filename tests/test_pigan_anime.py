"The poster's guesses: cut images, exposures, covered eyes, conditions, scores, decisions, and what is stored."

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from animegan_nb import pigan, pigan_anime, pigan_training, toon
from animegan_nb.cameras import pose as camera, rays
from animegan_nb.core import rng, shipped
from animegan_nb.pigan_anime import (
    CONDITIONS,
    FACE_FOV,
    GUESS_CONFIG,
    HELD_OUT,
    IMAGES_SEEN,
    condition_config,
    condition_images,
    condition_scores,
    cover_eyes,
    crop_fov,
    cropped,
    decision,
    expose,
    eye_band,
    paired_difference,
    set_distances,
    train_condition,
)
from animegan_nb.training import Callback


# ---- switches


@given(st.floats(1, 150), st.floats(0.05, 1), st.floats(0.05, 1))
def test_cutting_twice_is_cutting_once(fov, a, b):
    assert crop_fov(crop_fov(fov, a), b) == pytest.approx(crop_fov(fov, a * b), rel=1e-9)


def test_the_cut_keeps_its_rays():
    cam = camera(torch.tensor([0.3]))
    whole = rays(cam, 12.0, 64).directions.view(64, 64, 3)[8:56, 8:56]
    assert torch.allclose(whole, rays(cam, FACE_FOV, 48).directions.view(48, 48, 3), atol=1e-6)


@pytest.mark.parametrize('kept', [0, -1, 1.01])
def test_a_share_is_a_share(kept):
    with pytest.raises(ValueError, match='share'):
        crop_fov(12.0, kept)


def test_cropped_is_the_mean_of_nine_pixels():
    image = torch.randint(0, 256, (2, 3, 64, 64), generator=rng(0), dtype=torch.uint8)
    small = cropped(image)
    assert small.shape == (2, 3, 16, 16) and small.dtype == torch.uint8
    assert small[1, 2, 0, 15] == image[1, 2, 8:11, 53:56].float().mean().round()


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 3), st.integers(0, 2**16))
def test_exposure_is_a_gain_before_white(gain, seed):
    cover = torch.randint(0, 256, (2, 1, 3, 3), generator=rng(seed), dtype=torch.uint8)
    head = torch.rand(2, 3, 3, 3, generator=rng(seed + 1)) * cover.float()
    image = (head + 255 - cover.float()).round().to(torch.uint8)
    out = expose(image, cover, torch.full((2,), gain)).float()
    assert ((out - (head * gain + 255 - cover.float()).clamp(max=255)).abs() <= 0.5 * gain + 0.51).all()


def test_every_image_has_its_gain():
    with pytest.raises(ValueError, match='3 images, 2 gains'):
        expose(torch.zeros(3, 3, 4, 4, dtype=torch.uint8), torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.ones(2))


@pytest.mark.parametrize(
    'kinds', [(torch.uint8, torch.float32), (torch.float32, torch.uint8), (torch.uint8, torch.bool)]
)
def test_images_and_coverage_are_bytes(kinds):
    image, cover = torch.zeros(1, 3, 2, 2, dtype=kinds[0]), torch.ones(1, 1, 2, 2, dtype=kinds[1])
    with pytest.raises(ValueError, match='from 0 to 255'):
        expose(image, cover, torch.ones(1))


def test_covered_eyes_change_nothing_else_and_not_the_original():
    identity = toon.sample_identity(9, rng(1))
    before = identity.clone()
    changed = cover_eyes(identity, 2, 2)
    assert torch.equal(identity, before)
    touched = [toon.SLOT['hair_over_eye'], toon.SLOT['hair_alpha']]
    others = [i for i in range(identity.shape[1]) if i not in touched]
    assert torch.equal(changed[:, others], before[:, others])
    assert (changed[::2, touched[0]] == 1).all() and (changed[::4, touched[1]] == 0.5).all()
    assert torch.equal(changed[1::2], before[1::2]) and (changed[2::4, touched[1]] == 1).all()


def test_images_are_drawn_once(tmp_path, monkeypatch):
    first = condition_images('opaque', range(3), tmp_path)
    monkeypatch.setattr(pigan_anime, '_drawn', lambda *a: pytest.fail('drawn again'))
    assert torch.equal(condition_images('opaque', range(3), tmp_path), first) and first.shape == (3, 3, 16, 16)


def test_every_second_head_has_a_file_of_its_own(tmp_path):
    some, all_ = (condition_images('plain', indices, tmp_path) for indices in (range(0, 8, 2), range(8)))
    assert torch.equal(some, all_[::2]) and len(all_) == 8


def test_an_unknown_kind():
    with pytest.raises(ValueError, match="no heads of the kind 'purple'"):
        condition_images('purple', range(2))


# ---- training and judging


class Seen(Callback):
    def __init__(self):
        self.batches = []

    def on_step(self, trainer, record):
        self.batches.append(trainer.config.batch_size)


def test_a_condition_decides_images_batch_and_stages(monkeypatch):
    asked, seen = [], []

    def heads(kind, indices, cache=None):
        asked.append((kind, len(indices)))
        return torch.full((len(indices), 3, 16, 16), 100, dtype=torch.uint8)

    def watch():
        seen.append(Seen())
        return [seen[-1]]

    monkeypatch.setattr(pigan_anime, 'condition_images', heads)
    trainer = train_condition(dict(first=28, n=60), images=42, callbacks=watch)
    assert (
        asked == [('human', 400), ('plain', 60)]
        and [s.batches for s in seen] == [[14] * 2, [14] * 3]
        and trainer.step == 3
    )
    assert trainer.pair.steps['generator'] == 5  # the density noise goes on where it was
    assert train_condition(dict(batch=56, kind='mixed'), images=56).config.batch_size == 56 and asked[-1] == (
        'mixed',
        726,
    )


@pytest.mark.parametrize('call', [condition_config, train_condition])
def test_a_misspelt_condition_is_refused(call):
    with pytest.raises(ValueError, match="no 'btach': choose from n, kind, batch"):
        call(dict(btach=3))


def test_a_run_that_was_stopped_is_no_result(monkeypatch):
    monkeypatch.setattr(
        pigan_anime, 'condition_images', lambda *a: torch.full((726, 3, 16, 16), 100, dtype=torch.uint8)
    )

    class Stop(Callback):
        def on_step(self, trainer, record):
            trainer.stopping.set()

    with pytest.raises(RuntimeError, match='stopped at step 1 of 3'):
        train_condition({}, images=42, callbacks=lambda: [Stop()])


def test_conditions_differ_in_one_thing():
    assert CONDITIONS['as the poster'] == {} and all(
        len(c) == 1 for name, c in CONDITIONS.items() if name != 'as the poster'
    )
    # nothing is told about real images
    assert not GUESS_CONFIG.alpha and not GUESS_CONFIG.condition_pose and GUESS_CONFIG.pose_teacher == 'fakes'


def test_the_scores_see_a_network():
    torch.manual_seed(0)
    generator = pigan.PiganGenerator(GUESS_CONFIG.field, GUESS_CONFIG.view, 16).eval()
    reference = condition_images('plain', range(2400, 2432))
    found = condition_scores(generator, reference, pigan_training.toon_shape(8, 32, fov=FACE_FOV))
    assert {'frechet', 'eyes', 'missing', 'correlation', 'consistency', 'board', 'black_hole'} <= set(found) and all(
        math.isfinite(v) for v in found.values()
    )
    assert found['frechet'] > 3 and found == condition_scores(
        generator, reference, pigan_training.toon_shape(8, 32, fov=FACE_FOV)
    )


def test_a_set_has_no_distance_to_itself():
    images = condition_images('plain', range(64))
    same = set_distances(images, images.float() / 127.5 - 1)
    assert abs(same['frechet']) < 1e-3 and abs(same['eyes']) < 1e-3
    assert eye_band(images).shape == (64, 150)


# ---- decisions


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=2, max_size=8))
def test_paired_agrees_with_scipy(pairs):
    a, b = map(np.array, zip(*pairs))
    if np.ptp(b - a) < 1e-6:
        return
    mean, half = paired_difference(a, b)
    low, high = ttest_rel(b, a).confidence_interval(0.95)
    assert mean - half == pytest.approx(low, abs=1e-6) and mean + half == pytest.approx(high, abs=1e-6)


@pytest.mark.parametrize(('base', 'changed'), [([1.0], [2.0]), ([1.0, 2.0], [1.0, 2.0, 3.0])])
def test_pairs_are_pairs(base, changed):
    with pytest.raises(ValueError, match='same two or more seeds'):
        paired_difference(base, changed)


def test_decisions():
    assert [decision(*x) for x in ((2.0, 1.0), (-2.0, 1.0), (1.0, 1.0), (-0.5, 1.0), (1.0, math.nan))] == [
        'worse',
        'better',
        'undecided',
        'undecided',
        'undecided',
    ]


# ---- what is stored


def test_the_stored_runs_are_of_these_conditions():
    facts = json.loads(shipped('results/pigan_guesses.json').read_text())
    assert (
        facts['conditions'] == CONDITIONS and facts['images'] == IMAGES_SEEN and facts['fov'] == pytest.approx(FACE_FOV)
    )
    assert all(sorted(r['seed'] for r in runs) == [0, 1, 2] for runs in facts['runs'].values()) and set(
        facts['runs']
    ) == set(CONDITIONS)
    assert all(math.isfinite(v) for runs in facts['runs'].values() for r in runs for v in r.values())
    plain = set_distances(
        condition_images('plain', HELD_OUT), condition_images('plain', range(600)).float() / 127.5 - 1
    )
    assert facts['floors']['plain'] == pytest.approx(plain, rel=1e-3)
