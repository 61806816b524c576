"Properties of clipping and of the gradient penalties: closed forms, leaks, half precision, bad input."

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from animegan_nb.core import rng
from animegan_nb.losses import toy_jacobian, toy_path
from animegan_nb.penalties import (
    Lazy,
    batch_leak,
    check_no_batch_coupling,
    clip_weights,
    dragan_penalty,
    gradient_norms,
    gradient_penalty,
    input_gradients,
    interpolate,
    r1_of_logits,
    r1_penalty,
    r2_penalty,
)
from animegan_nb.training import Draws

ALL = {
    'gp': lambda D, x, y: gradient_penalty(D, x, y),
    'zero': lambda D, x, y: gradient_penalty(D, x, y, center=0.0),
    'dragan': lambda D, x, y: dragan_penalty(D, x),
    'r1': lambda D, x, y: r1_penalty(D, x),
    'r2': lambda D, x, y: r2_penalty(D, y),
}


def net(inputs=6, norm=None, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(inputs, 16), norm or nn.Identity(), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0)]
    return nn.Sequential(*layers).to(dtype)


def batch(*shape, seed=0):
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 9), weight=st.floats(0, 100))
@settings(max_examples=40, deadline=None)
def test_linear_critic(seed, n, weight):
    a = batch(12, seed=seed).requires_grad_()
    real, fake = batch(2, n, 3, 2, 2, seed=seed + 1)
    D = lambda x: x.flatten(1) @ a
    norm = a.norm()
    expected = {
        'gp': weight * (norm - 1) ** 2,
        'zero': weight * norm**2,
        'dragan': weight * (norm - 1) ** 2,
        'r1': weight / 2 * norm**2,
        'r2': weight / 2 * norm**2,
    }
    found = {
        'gp': gradient_penalty(D, real, fake, weight),
        'zero': gradient_penalty(D, real, fake, weight, center=0.0),
        'dragan': dragan_penalty(D, real, weight),
        'r1': r1_penalty(D, real, weight),
        'r2': r2_penalty(D, fake, weight),
    }
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])
        torch.testing.assert_close(
            *(torch.autograd.grad(v, a, retain_graph=True)[0] for v in (found[name], expected[name]))
        )


@given(seed=st.integers(0, 10**6), radius=st.floats(0.5, 4))
@settings(max_examples=10, deadline=None)
def test_quadratic_critic(seed, radius):
    n = 4000
    far = radius * nn.functional.normalize(batch(n, 5, seed=seed), dim=1)
    found = gradient_penalty(lambda x: x.square().sum(1) / 2, 0 * far, far, 1.0, rng(seed)).detach()
    u = torch.rand(200_000, generator=rng(seed + 1), dtype=torch.float64)
    spread = float(((radius * u - 1) ** 2).std()) / n**0.5
    assert abs(float(found) - (radius**2 / 3 - radius + 1)) < 5 * spread


@given(seed=st.integers(0, 10**6), n=st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_interpolates_lie_on_their_own_segment(seed, n):
    real, fake = batch(2, n, 2, 3, 3, seed=seed)
    points = interpolate(real, fake, rng(seed))
    share = ((points - fake) / (real - fake)).flatten(1)
    assert (share >= -1e-9).all() and (share <= 1 + 1e-9).all() and share.sub(share[:, :1]).abs().max() < 1e-6
    if n > 1:
        assert len(share[:, 0].unique()) == n
    assert torch.equal(points, interpolate(real, fake, rng(seed))) and not points.requires_grad
    torch.testing.assert_close(interpolate(real, real), real)


@pytest.mark.parametrize('name', ALL)
def test_nothing_flows_to_the_images(name):
    real, fake = (batch(4, 6, seed=s).requires_grad_() for s in (1, 2))
    D = net()
    ALL[name](D, real, 2 * fake).backward()
    assert real.grad is None and fake.grad is None and D[0].weight.grad.abs().sum() > 0


@given(seed=st.integers(0, 10**6), n=st.integers(1, 9), gamma=st.floats(0.01, 100))
@settings(max_examples=25, deadline=None)
def test_r1_of_the_losses_own_logits_is_r1(seed, n, gamma):
    "Value, loss and every gradient equal those of a second forward pass; the critic is asked once."
    D, real = net(norm=nn.LayerNorm(16), seed=seed), batch(n, 6, seed=seed)
    calls = []
    D.register_forward_hook(lambda *_: calls.append(1))
    change = lambda x: x * 1.5 + x.roll(1, 1)  # what an augmentation may do between images and critic
    found = []
    for one_pass in (False, True):
        x = real.detach().requires_grad_(one_pass)
        logits = D(change(x))
        penalty = r1_of_logits(logits, x, gamma) if one_pass else r1_penalty(lambda y: D(change(y)), x, gamma)
        loss = nn.functional.softplus(-logits).mean() + penalty
        found.append([penalty, loss, *torch.autograd.grad(loss, list(D.parameters()))])
    for two, one in zip(*found):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-11)
    assert len(calls) == 3 and not real.requires_grad


def test_r1_of_logits_says_what_it_needs():
    D, real = net(), batch(4, 6)
    with pytest.raises(ValueError, match='require a gradient before they are scored'):
        r1_of_logits(D(real), real)
    real.requires_grad_()
    with pytest.raises(ValueError, match='3 logits for 4 images'):
        r1_of_logits(D(real)[:3], real)
    with pytest.raises(ValueError, match='squeeze'):
        r1_of_logits(D(real)[:, None], real)


@pytest.mark.parametrize('name', ALL)
def test_derivatives_by_finite_differences(name):
    D, (x, y) = net(3), batch(2, 2, 3)
    shapes = dict(D.named_parameters())

    def value(*weights):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            return ALL[name](lambda p: torch.func.functional_call(D, dict(zip(shapes, weights)), p), x, y)

    weights = tuple(p.detach().clone().requires_grad_() for p in D.parameters())
    assert torch.autograd.gradcheck(value, weights) and torch.autograd.gradgradcheck(value, weights)


def test_input_gradients_are_those_of_each_image_alone():
    D, x = net(), batch(5, 6)
    together = input_gradients(D, x)
    alone = torch.cat([input_gradients(D, p[None]) for p in x])
    torch.testing.assert_close(together, alone)
    jacobian = torch.autograd.functional.jacobian(D, x)
    torch.testing.assert_close(together, jacobian[range(5), range(5)])
    assert jacobian[~torch.eye(5, dtype=bool)].abs().max() == 0 == batch_leak(D, x)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_euler_identity_of_networks_without_bias(seed):
    torch.manual_seed(seed)
    D = nn.Sequential(
        nn.Linear(6, 20, bias=False),
        nn.LeakyReLU(0.2),
        nn.Linear(20, 20, bias=False),
        nn.ReLU(),
        nn.Linear(20, 1, bias=False),
        nn.Flatten(0),
    ).double()
    x = batch(8, 6, seed=seed)
    torch.testing.assert_close((x * input_gradients(D, x)).sum(1), D(x))
    one = nn.Sequential(
        nn.Linear(1, 20, bias=False), nn.LeakyReLU(0.2), nn.Linear(20, 1, bias=False), nn.Flatten(0)
    ).double()
    torch.testing.assert_close(r1_penalty(one, x[:, :1], 4.0), 2 * (one(x[:, :1]) / x[:, 0]).square().mean())


@pytest.mark.parametrize('name', ALL)
def test_a_flat_critic_has_a_finite_gradient(name):
    D = net()
    nn.init.zeros_(D[0].weight)
    value = ALL[name](D, *batch(2, 4, 6))
    value.backward()
    assert value.isfinite() and all(p.grad.isfinite().all() for p in D.parameters() if p.grad is not None)


@given(gamma=st.floats(0, 0.95), h=st.floats(0.05, 1))
@settings(max_examples=40, deadline=None)
def test_dirac_gan_converges_exactly_above_a_quarter_of_the_step(gamma, h):
    penalty = lambda D, real, fake: r1_penalty(D, real, gamma)
    pair = 1 + h * torch.linalg.eigvals(toy_jacobian(torch.zeros(3), 'non_saturating', penalty))
    pair = pair[pair.imag.abs() > 1e-6]
    torch.testing.assert_close(
        pair.abs().square(), torch.full((2,), 1 - h * gamma + h * h / 4, dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_r1_brings_the_toy_home_and_one_centred_penalties_do_not():
    start = torch.tensor([1.5, 0.0, 0.0])

    def distance(kind, penalty):
        return float(toy_path(start, kind, 500, 0.1, penalty)[-40:, 0].abs().max())

    assert distance('non_saturating', lambda D, r, f: r1_penalty(D, r, 1.0)) < 0.01
    assert distance('non_saturating', lambda D, r, f: r2_penalty(D, f, 1.0)) < 0.01
    assert distance('wasserstein', lambda D, r, f: gradient_penalty(D, r, f, 0.25)) > 0.5
    assert distance('non_saturating', None) > 0.2


# what a critic may contain


@pytest.mark.parametrize(
    'norm', [nn.BatchNorm1d(16), nn.SyncBatchNorm(16), nn.BatchNorm1d(16, track_running_stats=False)], ids=str
)
@pytest.mark.parametrize('name', ALL)
def test_batchnorm_is_refused_by_every_penalty(name, norm):
    with pytest.raises(ValueError, match='normalises over the batch in 1 .*LayerNorm'):
        ALL[name](net(norm=norm), *batch(2, 4, 6))


def test_what_does_not_mix_is_accepted():
    for norm in (nn.LayerNorm(16), nn.GroupNorm(1, 16), nn.Identity()):
        D = net(norm=norm)
        check_no_batch_coupling(D, batch(4, 6))
        gradient_penalty(D, *batch(2, 4, 6))
    frozen = net(norm=nn.BatchNorm1d(16)).eval()
    check_no_batch_coupling(frozen, batch(4, 6))
    unstored = net(norm=nn.BatchNorm1d(16, track_running_stats=False)).eval()
    with pytest.raises(ValueError, match='BatchNorm1d'):
        check_no_batch_coupling(unstored)


def test_a_hidden_coupling_is_measured():
    D = net(norm=nn.BatchNorm1d(16))
    hidden = lambda x: D(x)
    check_no_batch_coupling(hidden)  # a function cannot be looked into
    with pytest.raises(ValueError, match='depends on the others'):
        check_no_batch_coupling(hidden, batch(4, 6))
    spread = lambda x: x.sum(1) + x.std(0, correction=0).mean()  # a minibatch-deviation feature
    with pytest.raises(ValueError, match='depends on the others'):
        check_no_batch_coupling(spread, batch(4, 6))
    with pytest.raises(ValueError, match='depends on the others'):
        check_no_batch_coupling(lambda x: x.sum(1) + math.nan * x.sum(), batch(4, 6))
    with pytest.raises(ValueError, match='One image has no others'):
        check_no_batch_coupling(spread, batch(1, 6))


def test_spectral_norm_and_wrappers_work():
    D = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(6, 16)), nn.LeakyReLU(), nn.Linear(16, 1), nn.Flatten(0)
    ).double()
    assert gradient_penalty(D, *batch(2, 4, 6)).isfinite()
    with pytest.raises(ValueError, match='module.1'):
        r1_penalty(nn.DataParallel(net(norm=nn.BatchNorm1d(16))), batch(4, 6))


# bad input


@pytest.mark.parametrize(
    'call, clue',
    [
        (lambda D, x: gradient_penalty(D, x, x[:2]), 'as many real'),
        (lambda D, x: gradient_penalty(D, x, x[:, :3]), 'as many real'),
        (lambda D, x: interpolate(x, x[:1]), 'as many real'),
        (lambda D, x: r1_penalty(lambda p: D(p)[:, None], x), 'squeeze'),
        (lambda D, x: r1_penalty(lambda p: D(p) * math.nan, x), 'NaN'),
        (lambda D, x: dragan_penalty(lambda p: D(p)[:2], x), 'returned 2 logits for 4'),
        (lambda D, x: r2_penalty(lambda p: D(p).mean()[None], x), 'returned 1 logits for 4'),
        (lambda D, x: Lazy(r1_penalty, 0), 'every 1, 2'),
        (lambda D, x: clip_weights(D, 0), 'positive limit'),
    ],
)
def test_bad_input_gets_one_sentence(call, clue):
    with pytest.raises(ValueError, match=clue) as caught:
        call(net(), batch(4, 6))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ALL)
def test_a_batch_of_one(name):
    assert ALL[name](net(), *batch(2, 1, 6)).isfinite()


def test_works_where_gradients_are_switched_off():
    expected = r1_penalty(net(), batch(4, 6))
    with torch.no_grad():
        assert torch.equal(r1_penalty(net(), batch(4, 6)), expected)  # to log a penalty


def test_randomness_is_an_argument():
    D, (x, y) = net(), batch(2, 4, 6)
    for penalty in (lambda g: gradient_penalty(D, x, y, rng=g), lambda g: dragan_penalty(D, x, rng=g)):
        assert penalty(rng(1)) == penalty(rng(1)) != penalty(rng(2))
        state = torch.random.get_rng_state()
        penalty(rng(1))
        assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    'penalty',
    [lambda D, x, y, g: gradient_penalty(D, x, y, rng=g), lambda D, x, y, g: dragan_penalty(D, x, scale=1.0, rng=g)],
)
def test_each_process_has_its_own_slice_of_the_same_draw(penalty):
    "Two processes of 3 images draw what one process of 6 draws; a plain generator goes on working."
    D, (x, y) = net(), batch(2, 3, 6)
    parts = [penalty(D, x, y, Draws(0, rank=rank, world=2)) for rank in range(2)]
    assert parts[0] != parts[1]
    assert penalty(D, x, y, rng(1)) != penalty(D, x, y, rng(2))
    real, fake = batch(2, 6, 6)
    whole = interpolate(real, fake, Draws(0))
    halves = [interpolate(real[i : i + 3], fake[i : i + 3], Draws(0, rank=i // 3, world=2)) for i in (0, 3)]
    assert torch.equal(torch.cat(halves), whole)


# half precision


def test_autocast_is_left_by_default():
    D, x = net(dtype=torch.float32), batch(8, 6).float()
    exact = r1_penalty(D, x)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(r1_penalty(D, x), exact)
        rough = r1_penalty(D, x, amp_scale=4.0)
    assert rough.dtype == torch.float32 and 0 < abs((rough / exact).item() - 1) < 0.05


def test_r1_of_logits_stays_in_the_precision_of_its_logits():
    "As accurate in bfloat16 as the loss there; in float16 small gradients are not lost."
    D, x = net(dtype=torch.float32), batch(64, 6).float().requires_grad_()
    gradient = lambda loss: torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(D.parameters())[:-1])])
    with torch.autocast('cpu', torch.bfloat16):
        logits = D(x)
        rough = r1_of_logits(logits, x, 1.0)
    exact = gradient(r1_penalty(D, x, 1.0))
    assert rough.dtype == torch.float32
    assert (gradient(rough) - exact).norm() < 0.03 * exact.norm()
    tiny = torch.full((12,), 2.0**-24).half()
    x = torch.zeros(2, 12).half().requires_grad_()
    logits = (x @ tiny[:, None]).squeeze(1) * torch.tensor(2.0**-4).half()
    assert r1_of_logits(logits, x, 2.0).item() == pytest.approx(12 * 2.0**-56)


def test_norms_of_half_precision_critics_are_taken_in_float32():
    a = torch.full((3 * 64 * 64,), 4.0).half()
    assert float(gradient_norms(lambda x: x.flatten(1) @ a, torch.zeros(2, 3, 64, 64).half())[0]) == pytest.approx(
        4 * (3 * 64 * 64) ** 0.5
    )
    tiny = torch.full((12,), 2.0**-24).half()  # the smallest number of float16
    D = lambda x: (x @ tiny[:, None]).squeeze(1) * torch.tensor(2.0**-4).half()
    assert float(gradient_norms(D, torch.zeros(2, 12).half())[0]) == 0  # lost
    assert float(gradient_norms(D, torch.zeros(2, 12).half(), amp_scale=2.0**12)[0]) == pytest.approx(
        2.0**-28 * 12**0.5
    )


# lazily, and clipped


@given(every=st.integers(1, 20), rounds=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_lazy_penalties_push_as_much(every, rounds):
    calls = []
    lazy = Lazy(lambda: calls.append(1) or torch.tensor(3.0), every)
    assert (
        float(sum(lazy(step) for step in range(every * rounds))) == pytest.approx(3 * every * rounds)
        and len(calls) == rounds
    )


def test_lazy_passes_everything_on():
    D, x = net(), batch(4, 6)
    assert (
        torch.equal(Lazy(r1_penalty, 4)(8, D, x, gamma=2.0), 4 * r1_penalty(D, x, gamma=2.0))
        and Lazy(r1_penalty, 4)(9, D, x) == 0.0
    )


@given(limit=st.floats(1e-3, 2), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_clipping(limit, seed):
    D = net(seed=seed)
    before = [p.detach().clone() for p in D.parameters()]
    clip_weights(D, limit)
    for p, b in zip(D.parameters(), before):
        assert torch.equal(p, b.clamp(-limit, limit)) and p.requires_grad
