"Properties of the five losses, of smoothing and top-k, of the divergences and of the GAN of three numbers."

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from animegan_nb.core import rng
from animegan_nb.losses import (
    GANLoss,
    best_discriminator,
    check_logits,
    discriminator_loss,
    find_loss,
    generator_loss,
    js_divergence,
    losses,
    smooth_labels,
    top_k,
    top_k_fraction,
    toy_field,
    toy_jacobian,
    toy_path,
    wasserstein_1d,
)

KINDS = ['minimax', 'non_saturating', 'least_squares', 'hinge', 'wasserstein']
some = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=12)


def test_exactly_five_losses():
    assert list(losses) == KINDS


@pytest.mark.parametrize('kind', KINDS)
@given(real=some, fake=some)
@settings(max_examples=40, deadline=None)
def test_value_and_gradient_are_finite_up_to_ten_thousand(kind, real, fake):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        r, f = (torch.tensor(v).to(dtype).requires_grad_() for v in (real, fake))
        loss_d, loss_g = discriminator_loss(r, f, kind), generator_loss(f, kind)
        assert loss_d.ndim == loss_g.ndim == 0 and loss_d.isfinite() and loss_g.isfinite()
        assert loss_d.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        for gradient in (*torch.autograd.grad(loss_d, (r, f)), *torch.autograd.grad(loss_g, f)):
            assert gradient.isfinite().all()


@pytest.mark.parametrize('kind', KINDS)
@given(real=some, fake=some)
@settings(max_examples=25, deadline=None)
def test_each_batch_has_its_own_mean(kind, real, fake):
    r, f = torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64)
    expected = (
        torch.stack([find_loss(kind).on_real(x) for x in r]).mean()
        + torch.stack([find_loss(kind).on_fake(x) for x in f]).mean()
    )
    torch.testing.assert_close(discriminator_loss(r, f, kind), expected)
    torch.testing.assert_close(discriminator_loss(r.repeat(3), f, kind), discriminator_loss(r, f, kind))
    torch.testing.assert_close(generator_loss(f.flip(0), kind), generator_loss(f, kind))


@given(real=some, fake=some)
@settings(max_examples=40, deadline=None)
def test_non_saturating_is_cross_entropy(real, fake):
    r, f = torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64)
    torch.testing.assert_close(discriminator_loss(r, f), bce(r, torch.ones_like(r)) + bce(f, torch.zeros_like(f)))
    torch.testing.assert_close(generator_loss(f), bce(f, torch.ones_like(f)))
    torch.testing.assert_close(generator_loss(f, 'minimax'), -bce(f, torch.zeros_like(f)))


@given(scores=some, shift=st.floats(-100, 100))
@settings(max_examples=40, deadline=None)
def test_only_wasserstein_ignores_a_constant(scores, shift):
    s = torch.tensor(scores, dtype=torch.float64)
    torch.testing.assert_close(
        discriminator_loss(s + shift, 2 * s + shift, 'wasserstein'),
        discriminator_loss(s, 2 * s, 'wasserstein'),
        atol=1e-9,
        rtol=1e-9,
    )
    if abs(shift) > 1:
        assert abs(discriminator_loss(s * 0 + shift, s * 0 + shift, 'hinge') - 2) > 0.5 * (abs(shift) - 1)


@pytest.mark.parametrize(
    'wrong, clue',
    [
        (torch.zeros(4, 1), 'squeeze'),
        (torch.zeros(()), 'float tensor'),
        (torch.zeros(2, 1, 3, 3), 'patches'),
        (torch.zeros(0), 'empty'),
        (torch.zeros(4, dtype=torch.long), 'int64'),
        ([1.0, 2.0], 'list'),
        (None, 'NoneType'),
        (torch.tensor([0.0, math.nan]), 'NaN'),
        (1.5, 'float'),
    ],
)
def test_bad_logits_get_one_sentence(wrong, clue):
    good = torch.zeros(4)
    for call in (
        lambda: discriminator_loss(wrong, good),
        lambda: discriminator_loss(good, wrong),
        lambda: generator_loss(wrong),
        lambda: check_logits(wrong),
    ):
        with pytest.raises(ValueError, match=clue) as caught:
            call()
        assert '\n' not in str(caught.value) and len(str(caught.value)) < 260


def test_logits_on_an_accelerator_are_not_waited_for():
    "On a device whose values cannot be read, nothing tries to; shapes are still checked there."
    logits = torch.zeros(4, device='meta', requires_grad=True)
    for kind in losses:
        assert discriminator_loss(logits, logits, kind).device.type == 'meta'
        generator_loss(top_k(logits, 0.5), kind).backward()
    with pytest.raises(ValueError, match='squeeze'):
        check_logits(logits[:, None])


def test_the_toy_games_stay_on_the_device_of_their_numbers():
    p = torch.rand(2, 5, device='meta')
    assert all(x.device.type == 'meta' for x in best_discriminator(p, p))
    state = torch.zeros(3, device='meta')
    assert toy_path(state, steps=2).shape == (3, 3) and toy_jacobian(state).shape == (3, 3)


def test_the_error_says_which_logits():
    with pytest.raises(ValueError, match='real logits'):
        discriminator_loss(torch.zeros(2, 1), torch.zeros(2))
    with pytest.raises(ValueError, match='fake logits'):
        discriminator_loss(torch.zeros(2), torch.zeros(2, 1))


def test_an_unknown_loss_names_the_known_ones():
    with pytest.raises(KeyError, match='choose one of hinge, least_squares, minimax, non_saturating, wasserstein'):
        generator_loss(torch.zeros(1), 'lsgan')


def test_a_loss_object_is_a_loss():
    game = GANLoss('mine', torch.exp, lambda d: torch.exp(-d), torch.exp)
    assert generator_loss(torch.zeros(3), game) == 1 and find_loss(game) is game
    with pytest.raises(AttributeError):
        game.name = 'other'


def test_infinite_logits_are_no_nan():
    "A discriminator that overflowed to inf is a true statement about a lost game, not an error of the loss."
    assert discriminator_loss(torch.tensor([math.inf]), torch.tensor([-math.inf])) == 0


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_what_a_perfect_discriminator_measures(data):
    seed = data.draw(st.integers(0, 10**6))
    p, q = (t / t.sum() for t in torch.rand(2, 5, generator=rng(seed), dtype=torch.float64).pow(2) + 1e-3)
    best = {kind: float(best_discriminator(p, q, kind)[1]) for kind in KINDS}
    assert (
        best['non_saturating']
        == pytest.approx(math.log(4) - 2 * float(js_divergence(p, q)), abs=1e-6)
        == best['minimax']
    )
    assert best['hinge'] == pytest.approx(2 * float(torch.minimum(p, q).sum()), abs=1e-3)
    assert best['least_squares'] == pytest.approx(float((p * q / (p + q)).sum() / 2), abs=1e-6)
    assert best['wasserstein'] == pytest.approx(-30 * float((p - q).abs().sum()), abs=1e-6)
    assert 0 <= float(js_divergence(p, q)) <= math.log(2)


def test_js_divergence_of_disjoint_tables():
    empty = js_divergence(
        torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])
    )  # in float32, with a place that is empty
    assert float(empty) == pytest.approx(math.log(2), abs=1e-6)
    assert float(js_divergence(torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 0.5, 0.5]))) == pytest.approx(math.log(2))


@given(a=st.lists(st.floats(-50, 50), min_size=1, max_size=20), data=st.data())
@settings(max_examples=50, deadline=None)
def test_wasserstein_1d_is_a_distance(a, data):
    def sample():
        return torch.tensor(
            data.draw(st.lists(st.floats(-50, 50), min_size=len(a), max_size=len(a))), dtype=torch.float64
        )

    a, b, c = torch.tensor(a, dtype=torch.float64), sample(), sample()
    ab = wasserstein_1d(a, b)
    assert ab == wasserstein_1d(b, a) and wasserstein_1d(a, a) == 0 <= ab
    assert ab <= wasserstein_1d(a, c) + wasserstein_1d(c, b) + 1e-9
    assert ab + 1e-9 >= (a.mean() - b.mean()).abs()


def test_wasserstein_1d_agrees_with_scipy():
    scipy = pytest.importorskip('scipy.stats')
    a, b = torch.randn(2, 500, generator=rng(0), dtype=torch.float64)
    assert float(wasserstein_1d(a, 2 * b + 1)) == pytest.approx(scipy.wasserstein_distance(a, 2 * b + 1))


def test_wasserstein_1d_needs_equal_samples():
    with pytest.raises(ValueError, match='equally many'):
        wasserstein_1d(torch.zeros(3), torch.zeros(4))


@given(real=st.floats(0.55, 1), fake=st.floats(0, 0.45))
@settings(max_examples=15, deadline=None)
def test_smoothed_labels(real, fake):
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.3, 0.6])
    answer = best_discriminator(p, q, smooth_labels('non_saturating', real, fake))[0].sigmoid()
    torch.testing.assert_close(answer, ((real * p + fake * q) / (p + q)).double(), atol=1e-3, rtol=0)
    d = torch.linspace(-9, 9, 13)
    torch.testing.assert_close(
        smooth_labels('minimax', real, fake).on_fake(d), bce(d, torch.full_like(d, fake), reduction='none')
    )
    assert smooth_labels('hinge', real, fake).on_generator is losses['hinge'].on_generator


def test_smoothing_that_turns_the_labels_round_is_refused():
    for real, fake in ((0.1, 0.9), (0.5, 0.5), (1.1, 0), (0.9, -0.1)):
        with pytest.raises(ValueError, match='0 ≤ fake < real ≤ 1'):
            smooth_labels('hinge', real, fake)


@given(values=st.lists(st.floats(-100, 100), min_size=1, max_size=40, unique=True), fraction=st.floats(0.001, 1))
@settings(max_examples=60, deadline=None)
def test_top_k_keeps_the_best(values, fraction):
    d = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    kept = top_k(d, fraction)
    assert 1 <= len(kept) <= len(d) and len(kept) == math.ceil(round(fraction * len(d), 6))
    (gradient,) = torch.autograd.grad(kept.sum(), d)
    assert set(gradient.tolist()) <= {0.0, 1.0} and int(gradient.sum()) == len(kept)
    if len(kept) < len(d):
        assert d[gradient == 1].min() >= d[gradient == 0].max()


def test_top_k_fraction_is_pi_gans_schedule():
    assert top_k_fraction(0) == 1 and top_k_fraction(2000) == pytest.approx(0.99) and top_k_fraction(10**6) == 0.6
    assert top_k_fraction(10**6, 1000, 1.0) == 1  # the preset in which it is off
    shares = [top_k_fraction(s) for s in range(0, 200_000, 1000)]
    assert shares == sorted(shares, reverse=True)
    for bad in ((-1, 1, 0.5), (0, 0, 0.5), (0, 1, 0), (0, 1, 2)):
        with pytest.raises(ValueError, match='top-k schedule'):
            top_k_fraction(*bad)
    for bad in (0, 1.5, -1):
        with pytest.raises(ValueError, match='share in'):
            top_k(torch.zeros(3), bad)
    assert top_k(torch.zeros(4, dtype=torch.float16), 0.5).shape == (2,)
    assert top_k(torch.zeros(4), 1e-8).shape == (1,)


@pytest.mark.parametrize('kind', KINDS)
def test_toy_field_is_minus_the_gradient_of_each_player(kind):
    states = torch.randn(7, 3, generator=rng(1), dtype=torch.float64)
    field = toy_field(states, kind)
    for state, velocity in zip(states, field):
        theta, slope, bias = (v.clone().requires_grad_() for v in state)
        loss_d = discriminator_loss(bias[None], (slope * theta + bias)[None], kind)
        loss_g = generator_loss((slope * theta + bias)[None], kind)
        of_slope, of_bias = torch.autograd.grad(loss_d, (slope, bias))
        (of_theta,) = torch.autograd.grad(loss_g, theta)
        torch.testing.assert_close(velocity, -torch.stack([of_theta, of_slope, of_bias]), atol=1e-12, rtol=1e-9)
    assert torch.equal(toy_field(states.view(7, 1, 3), kind)[:, 0], field)


@pytest.mark.parametrize('kind', KINDS)
def test_no_loss_attracts_by_itself(kind):
    goal = torch.tensor([0.0, 0.0, 0.5 if kind == 'least_squares' else 0.0])
    values = torch.linalg.eigvals(toy_jacobian(goal, kind))
    turning = values[values.imag.abs() > 1e-6]
    assert len(turning) == 2 and turning.real.abs().max() < 1e-6


@given(h=st.floats(0.01, 1), theta=st.floats(-2, 2), slope=st.floats(0.1, 2))
@settings(max_examples=20, deadline=None)
def test_wasserstein_steps_grow_by_the_same_factor(h, theta, slope):
    path = toy_path(torch.tensor([theta, slope, 0.0], dtype=torch.float64), 'wasserstein', 10, h)[:, :2].norm(dim=-1)
    torch.testing.assert_close(path[1:] / path[:-1], torch.full((10,), (1 + h * h) ** 0.5, dtype=torch.float64))
    turns = toy_path(torch.tensor([theta, slope, 0.0], dtype=torch.float64), 'wasserstein', 200, h, alternate=True)[
        :, :2
    ]
    energy = turns.square().sum(-1) - h * turns.prod(-1)  # what alternating steps conserve
    torch.testing.assert_close(energy, energy[:1].expand(201), rtol=1e-6, atol=1e-9)


def test_a_path_leaves_its_start_alone():
    start = torch.tensor([1.0, 0.0, 0.0])
    toy_path(start, 'hinge', 5)
    assert start.tolist() == [1.0, 0.0, 0.0]
