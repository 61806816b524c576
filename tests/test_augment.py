"""Properties of DiffAugment, of ADA's transformations and controller, and of the callback that hooks into a
discriminator."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st

from animegan_nb.augment import (
    Augmentation,
    ada_augment,
    adjust_probability,
    cut_out,
    diff_augment,
    for_sides,
    jitter_colour,
    policies,
    random_colour,
    random_geometry,
    shift,
    warp,
)
from animegan_nb.core import rng
from animegan_nb.data import ImageSet
from animegan_nb.dcgan import DCGANConfig, DCGANPair
from animegan_nb.training import Draws, Stage, Trainer, TrainingConfig, augmentations

ALL = {
    'colour': jitter_colour,
    'shift': shift,
    'cutout': cut_out,
    'diffaugment': diff_augment,
    'ada': lambda x, g=None: ada_augment(x, g, 0.9),
}


def images(n=4, size=12, seed=0):
    return torch.rand(n, 3, size, size, generator=rng(seed), dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize('name', ALL)
@given(n=st.integers(1, 5), h=st.integers(3, 17), w=st.integers(3, 17), seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_shape_dtype_repeatable_and_private_randomness(name, n, h, w, seed):
    x = torch.rand(n, 3, h, w, generator=rng(seed))
    state = torch.random.get_rng_state()
    first, again = (ALL[name](x, rng(seed)) for _ in range(2))
    assert first.shape == x.shape and first.dtype == x.dtype and torch.equal(first, again) and first.isfinite().all()
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize('name', ALL)
def test_every_image_for_itself(name):
    x = images(5).requires_grad_()
    for i in range(5):
        (gradient,) = torch.autograd.grad(ALL[name](x, rng(1))[i].square().sum(), x)
        assert gradient[[j for j in range(5) if j != i]].abs().max() == 0
    same = images(1).expand(60, -1, -1, -1)
    assert len({tuple(p.flatten().tolist()) for p in ALL[name](same, rng(2))}) > 5


@pytest.mark.parametrize('name', ALL)
def test_second_derivatives(name):
    x = images(2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: ALL[name](t, rng(3)).square().mean((1, 2, 3)), x)
    assert torch.autograd.gradgradcheck(lambda t: ALL[name](t, rng(3)).square().mean((1, 2, 3)), x)


@pytest.mark.parametrize('policy', policies)
def test_strength_zero_and_untouched_images_are_bit_identical(policy):
    x = images(200, 6).float()
    assert torch.equal(policies[policy](x, rng(4), 0.0), x)
    slight = policies[policy](x, rng(4), 0.05)
    same = (slight == x).flatten(1).all(1)
    assert 0.4 < same.float().mean() < 1
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match='probability'):
            policies[policy](x, rng(0), bad)


def test_shift_moves_whole_pixels():
    x = images(300, 16)
    moved = shift(x, rng(5))
    seen = set()
    for i in range(40):
        found = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if torch.equal(
                moved[i, :, max(0, -dy) : 16 - max(0, dy), max(0, -dx) : 16 - max(0, dx)],
                x[i, :, max(0, dy) : 16 + min(0, dy), max(0, dx) : 16 + min(0, dx)],
            )
        ]
        assert len(found) == 1
        seen |= set(found)
    assert len(seen) > 12


def test_warp_identity_mirror_and_quarter_turn():
    x = images(3, 9).float()
    eye = torch.eye(3).expand(3, 3, 3)
    torch.testing.assert_close(warp(x, eye), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        warp(x, torch.diag(torch.tensor([-1.0, 1, 1])).expand(3, 3, 3)), x.flip(3), atol=1e-5, rtol=0
    )
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]).expand(3, 3, 3)
    torch.testing.assert_close(warp(x, turn), x.rot90(1, (2, 3)), atol=1e-5, rtol=0)


def test_a_turn_stays_a_turn_where_the_sides_differ():
    wide = torch.zeros(1, 1, 16, 32)
    wide[:, :, 4:12, 14:18] = 1  # 8 high, 4 wide
    quarter = torch.tensor([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    turned = warp(wide, for_sides(quarter, 16, 32))[0, 0, :, 8:24] > 0.5  # mirrored copies beside it
    assert turned.any(1).sum() == 4 and turned.any(0).sum() == 8
    assert for_sides(quarter, 16, 16) is quarter
    move = torch.eye(3)[None].clone()
    move[:, :2, 2] = 3 * 2 / 32  # three pixels, in units of half the width
    assert torch.allclose(warp(wide, for_sides(move, 16, 32)), wide.roll((-3, -3), (2, 3)), atol=1e-5)


def test_ada_wants_three_channels():
    with pytest.raises(ValueError, match='three channels'):
        ada_augment(torch.rand(2, 1, 8, 8), rng(0), 0.5)


@given(seed=st.integers(0, 10**6), h=st.integers(2, 12), w=st.integers(2, 12))
@settings(max_examples=30, deadline=None)
def test_warp_agrees_with_grid_sample(seed, h, w):
    x = torch.randn(3, 2, h, w, generator=rng(seed))
    matrices = random_geometry(3, 1.0, 12, rng(seed))
    grid = torch.nn.functional.affine_grid(matrices[:, :2], list(x.shape), align_corners=False)
    theirs = torch.nn.functional.grid_sample(x, grid, padding_mode='reflection', align_corners=False)
    torch.testing.assert_close(warp(x, matrices), theirs, atol=2e-3, rtol=0)


def test_geometry_and_colour_are_invertible_and_as_frequent_as_asked():
    geometry, colour = random_geometry(4000, 0.3, 32, rng(6)), random_colour(4000, 0.3, rng(6))
    assert torch.linalg.det(geometry).abs().min() > 0.05 and torch.linalg.det(colour).abs().min() > 1e-3
    assert torch.equal(geometry[:, 2], torch.tensor([0.0, 0, 1]).expand(4000, 3))
    untouched = (colour == torch.eye(4)).all(1).all(1).float().mean()
    assert abs(float(untouched) - (0.7**5 + 0.3 * 0.5 * 0.7**4)) < 0.03  # the luma flip is a flip half the time
    assert torch.equal(random_geometry(50, 0.0, 32, rng(7)), torch.eye(3).expand(50, 3, 3))


@given(p=st.floats(0, 0.85), sure=st.floats(-1, 1), images=st.integers(1, 4096))
@settings(max_examples=60, deadline=None)
def test_controller(p, sure, images):
    new = adjust_probability(p, sure, images)
    assert 0 <= new <= 0.85 and abs(new - p) <= images / 500_000 + 1e-12
    if sure > 0.6 and p < 0.8:
        assert new > p
    if sure < 0.6 and p > 0.01:
        assert new < p


def trainer(*callbacks, steps=0, seed=0):
    torch.manual_seed(seed)
    data = ImageSet({'image': (torch.rand(12, 3, 16, 16, generator=rng(9)) * 255).byte().numpy()})
    t = Trainer(
        DCGANPair(DCGANConfig(16, channels=8, r1_gamma=1.0)),
        data,
        TrainingConfig(batch_size=4),
        callbacks=list(callbacks),
        device='cpu',
    )
    return t.fit(steps) if steps else t


def test_the_callback_augments_training_and_only_training():
    augmentation = Augmentation('diffaugment', p=1.0, target=None)
    t = trainer(augmentation)
    D, x = t.pair.discriminator, images(4, 16).float()
    assert not torch.equal(D(x), D(x))  # a new draw each time
    D.eval()
    assert torch.equal(D(x), D(x))
    D.train()
    plain = D.body(x)[:, 0]
    augmentation.detach()
    assert torch.equal(D(x), plain)
    assert not [k for k in t.pair.state_dict() if 'augment' in k]  # checkpoints keep their names


def test_it_trains_and_logs():
    augmentation = Augmentation('ada', p=0.5, target=0.6, kimg=0.1)
    t = trainer(augmentation, steps=9)
    assert augmentation.p != 0.5 and 'augment_p' in t.history[-1] and -1 <= t.history[-1]['overfitting'] <= 1
    same = trainer(Augmentation('ada', p=0.5, target=0.6, kimg=0.1), steps=9)
    for a, b in zip(t.pair.parameters(), same.pair.parameters()):
        assert torch.equal(a, b)


def test_images_count_one_batch_for_each_step_of_the_generator():
    "A critic with three steps sees more, but the controller counts as the trainer does."
    augmentation = Augmentation('ada', p=0.5, every=4)
    t = trainer(augmentation)
    t.config = replace(t.config, n_critic=3)
    t.fit(4, progress=False)
    assert t.images == 16 and t.position == 12
    assert abs(abs(augmentation.p - 0.5) - 16 / 500_000) < 1e-9


def test_p_zero_changes_nothing():
    a, b = trainer(steps=3), trainer(Augmentation('ada', p=0.0, target=None), steps=3)
    for x, y in zip(a.pair.parameters(), b.pair.parameters()):
        assert torch.equal(x, y)


def test_a_resumed_training_continues_exactly(tmp_path):
    make = lambda: Augmentation('ada', p=0.5, target=0.6, kimg=1)
    whole = trainer(make(), steps=6)
    first = trainer(make(), steps=3)
    first.save(tmp_path / 'at3')
    second = trainer(make(), seed=5)
    second.load(tmp_path / 'at3')
    second.fit(3)
    for a, b in zip(whole.pair.parameters(), second.pair.parameters()):
        assert torch.equal(a, b)


def test_bad_settings():
    with pytest.raises(KeyError, match='There is no augmentation'):
        Augmentation('mixup')
    with pytest.raises(ValueError, match='between 0 and 1'):
        Augmentation('ada', p=2)
    for change in (diff_augment, ada_augment):
        with pytest.raises(ValueError, match='float images'):
            change(torch.zeros(2, 3, 8, 8).byte())
        with pytest.raises(ValueError, match='float images'):
            change(torch.zeros(3, 8, 8))
        for strength in (2.0, float('nan')):
            with pytest.raises(ValueError, match='a probability'):
                change(torch.zeros(2, 3, 8, 8), strength=strength)


def test_the_stored_verdict(root):
    "What the chapter says of real faces comes from three seeds of each way, paired, with held-out faces."
    stored = json.loads((root / 'data' / 'results' / 'augment_faces.json').read_text())
    ways = {'none', 'diffaugment', 'ada'}
    assert {r['way'] for r in stored['results']} == ways and stored['command'].startswith(
        'python benchmarks/augment.py'
    )
    seeds = {way: sorted(r['seed'] for r in stored['results'] if r['way'] == way) for way in ways}
    assert seeds['none'] == seeds['diffaugment'] == seeds['ada'] and len(seeds['none']) >= 3
    for r in stored['results']:
        few, held = r['counts']
        assert (
            few <= 1000
            and held >= few
            and r['looks'][-1]['held_out']['squeezenet']['frechet'] > r['floor']['squeezenet']['frechet']
        )


@pytest.mark.real
def test_the_script_goes_on_where_it_was(tmp_path, root, data_dir, weights_dir):
    run = lambda: subprocess.run(
        [
            sys.executable,
            str(root / 'benchmarks' / 'augment.py'),
            '--preset',
            'tiny',
            '--seeds',
            '2',
            '--runs',
            str(tmp_path),
            '--out',
            str(tmp_path / 'result.json'),
        ],
        capture_output=True,
        text=True,
        timeout=1800,
        env=os.environ | {'ANIMEGAN_DEVICE': 'cpu'},
    )
    first = run()
    assert first.returncode == 0, first.stderr
    stored = json.loads((tmp_path / 'result.json').read_text())
    again = run()
    assert (
        again.returncode == 0
        and ' s, ' not in again.stdout.split('training faces')[0]
        and json.loads((tmp_path / 'result.json').read_text()) == stored
    )
    assert 'lower by' in again.stdout and (tmp_path / 'result.jpg').exists()


@pytest.mark.parametrize('policy', policies)
def test_processes_change_their_slices_as_one_process_changes_the_whole(policy):
    x = images(6).float()
    whole = policies[policy](x, Draws(3), 0.6)
    parts = [policies[policy](x[3 * rank : 3 * rank + 3], Draws(3, 'cpu', rank, 2), 0.6) for rank in range(2)]
    assert torch.equal(torch.cat(parts), whole) and torch.equal(policies[policy](x, rng(3), 0.6), whole)
    assert not torch.equal(whole[:3], x[:3])


def test_a_stage_sets_the_probability_and_the_sign_is_read_with_the_other_numbers():
    watching = Augmentation('ada', p=0.1, target=None)
    stages = Stage(steps=1), Stage(steps=2, augment_p=0.7)
    pair = DCGANPair(DCGANConfig(16, channels=8))
    data = ImageSet({'image': (torch.rand(12, 3, 16, 16, generator=rng(9)) * 255).byte().numpy()})
    t = Trainer(pair, data, TrainingConfig(batch_size=4), [watching], 'cpu', stages=stages).fit(2, progress=False)
    assert [record['augment_p'] for record in t.history] == [0.1, 0.7] and 'real_sign' not in t.history[0]
    t = trainer(Augmentation('ada', p=0.1, every=2), steps=2)
    assert t.history[-1]['overfitting'] == sum(record['real_sign'] for record in t.history) / 2


def test_recipes_know_the_augmentations_by_name():
    assert set(augmentations) >= {'ada', 'diffaugment', 'shift'}
    assert augmentations['ada']().target == 0.6 and augmentations['diffaugment']().p == 1.0
    assert augmentations['shift']().p == 1.0 and augmentations['shift']().policy is policies['shift']


def test_shift_augment_moves_a_share_of_the_images_and_nothing_else():
    x = images(400, 16).float()
    assert torch.equal(policies['shift'](x, rng(6)), shift(x, rng(6)))
    half = policies['shift'](x, rng(6), 0.5)
    kept = (half == x).flatten(1).all(1)
    assert torch.equal(half[~kept], shift(x, rng(6))[~kept]) and 0.4 < kept.float().mean() < 0.65
