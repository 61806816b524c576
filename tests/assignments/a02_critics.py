"Answers to the assignment on critics: another style, and wrong versions with the laws that they break."

import torch
from torch import nn


def critic_losses(real_scores, fake_scores):
    return fake_scores.sum() / len(fake_scores) - real_scores.sum() / len(real_scores), fake_scores.neg().mean()


def clip_weights(critic, limit):
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-limit, limit)


def slopes(discriminator, x):
    (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return gradient.flatten(1)


def gradient_penalty(discriminator, real, fake, weight=10.0, mix=None, root=1e-12, graph=True, batch=False):
    if isinstance(discriminator, nn.Module):
        if any(type(m).__name__.startswith('BatchNorm') for m in discriminator.modules()):
            raise ValueError('BatchNorm')
    real, fake = real.detach(), fake.detach()
    e = torch.rand((len(real),) + (1,) * (real.ndim - 1), dtype=real.dtype)
    e = e if mix is None else mix(e)
    x = torch.lerp(fake, real, e).requires_grad_(True)
    gradient = slopes(discriminator, x) if graph else slopes(discriminator, x).detach().requires_grad_(True)
    squared = gradient.square().sum() if batch else gradient.square().sum(1)
    return weight * ((squared + root).sqrt() - 1).square().mean()


def r1_penalty(discriminator, real, gamma=10.0):
    x = real.detach().requires_grad_(True)
    return gamma / 2 * torch.linalg.vector_norm(slopes(discriminator, x), dim=1).square().mean()


def leak(discriminator, batch):
    x = [row[None].detach().clone().requires_grad_(True) for row in batch]
    gradients = torch.autograd.grad(discriminator(torch.cat(x))[0], x, allow_unused=True)
    power = [float((g**2).sum()) for g in gradients]
    return (sum(power[1:]) / sum(power)) ** 0.5 if sum(power) else 0.0


SOLUTIONS = dict(
    critic_losses=critic_losses,
    clip_weights=clip_weights,
    gradient_penalty=gradient_penalty,
    r1_penalty=r1_penalty,
    leak=leak,
)


def only_weights(critic, limit):
    for name, parameter in critic.named_parameters():
        if name.endswith('weight'):
            parameter.data.clamp_(-limit, limit)


def from_above(critic, limit):
    for parameter in critic.parameters():
        parameter.data.clamp_(max=limit)


def penalty(**change):
    return lambda discriminator, real, fake, weight=10.0: gradient_penalty(discriminator, real, fake, weight, **change)


def leak_of_the_sum(discriminator, batch):
    x = batch.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(discriminator(x).sum(), x)
    return float(slope[1:].norm() / slope.norm()) if slope.any() else 0.0


def leak_not_a_share(discriminator, batch):
    x = batch.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(discriminator(x)[0], x)
    return float(slope[1:].norm())


def leak_of_squares(discriminator, batch):
    return leak(discriminator, batch) ** 2


def linear_only(critic, limit):
    for part in critic:
        if isinstance(part, nn.Linear):
            for parameter in part.parameters():
                parameter.data.clamp_(-limit, limit)


def channels_only(discriminator, real, gamma=10.0):
    x = real.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return gamma / 2 * slope.square().sum(1).mean()


def refuses_every_norm(discriminator, real, fake, weight=10.0):
    if any('Norm' in type(m).__name__ for m in getattr(discriminator, 'modules', list)()):
        raise ValueError('a norm')
    return gradient_penalty(discriminator, real, fake, weight)


WRONG = dict(
    critic_losses={
        'the median': (
            lambda r, f: (f.median() - r.median(), -f.median()),
            ['three real scores of mean 3, two generated ones of mean 2: −1 and −2'],
        ),
        'signs turned': (
            lambda r, f: (r.mean() - f.mean(), f.mean()),
            [
                'real 2, fake −2 costs −4',
                'the generator raises its score: slope −1',
                'three real scores of mean 3, two generated ones of mean 2: −1 and −2',
            ],
        ),
        'a sum': (
            lambda r, f: (f.sum() - r.sum(), -f.sum()),
            [
                'a batch repeated twice costs the same (a mean, not a sum)',
                'real 2, fake −2 costs −4',
                'three real scores of mean 3, two generated ones of mean 2: −1 and −2',
            ],
        ),
    },
    clip_weights={
        'linear layers only': (
            linear_only,
            [
                'no parameter exceeds the limit',
                'the others stand at ±limit with their sign',
                'other layers, inside a part of the network, are clipped, too',
            ],
        ),
        'the biases forgotten': (
            only_weights,
            [
                'no parameter exceeds the limit',
                'the others stand at ±limit with their sign',
                'other layers, inside a part of the network, are clipped, too',
            ],
        ),
        'from above only': (
            from_above,
            ['no parameter exceeds the limit', 'the others stand at ±limit with their sign'],
        ),
    },
    gradient_penalty={
        'refuses every norm': (refuses_every_norm, ['LayerNorm is not']),
        'at the real examples only': (
            penalty(mix=torch.ones_like),
            ['quadratic critic, real 0, fake of norm 2: 1/3', 'every pair has its own ε'],
        ),
        'one share for the batch': (
            penalty(mix=lambda e: e[:1].expand_as(e)),
            ['quadratic critic, real 0, fake of norm 2: 1/3', 'every pair has its own ε'],
        ),
        'the norm of the whole batch': (
            penalty(batch=True),
            [
                'linear critic: λ(‖a‖ − 1)²',
                'linear critic: its gradient is 2λ(‖a‖ − 1)a/‖a‖',
                'images: the norm runs over all axes',
                'quadratic critic, real 0, fake of norm 2: 1/3',
            ],
        ),
        'nothing under the root': (penalty(root=0.0), ['a critic without slope: value 1, finite gradient']),
    },
    r1_penalty={
        'over the channels only': (
            channels_only,
            [
                'images: the norm is that of all pixels and channels together',
                'images: the squares are summed over all axes',
            ],
        ),
        'no half': (
            lambda d, x, gamma=10.0: 2 * r1_penalty(d, x, gamma),
            [
                'linear critic: γ/2 ‖a‖²',
                'linear critic: its gradient is γa',
                'quadratic critic: γ/2 E‖x‖², at the images themselves',
                'piecewise linear on a line: D′(x) = D(x)/x (Euler)',
                'the Dirac-GAN converges with γ = 1 and not with γ = 0',
                'images: the norm is that of all pixels and channels together',
                'images: the squares are summed over all axes',
            ],
        ),
        'not squared': (
            lambda d, x, gamma=10.0: (
                gamma / 2 * (slopes(d, x.detach().requires_grad_(True)).square().sum(1) + 1e-12).sqrt().mean()
            ),
            [
                'linear critic: γ/2 ‖a‖²',
                'linear critic: its gradient is γa',
                'quadratic critic: γ/2 E‖x‖², at the images themselves',
                'piecewise linear on a line: D′(x) = D(x)/x (Euler)',
                'the Dirac-GAN converges with γ = 1 and not with γ = 0',
                'images: the norm is that of all pixels and channels together',
                'images: the squares are summed over all axes',
            ],
        ),
    },
    leak={
        'of the sum of the scores': (
            leak_of_the_sum,
            [
                'no leak where every example is judged alone',
                'all of it, where the first score looks at the second example only',
                'slopes of 3 at its own example and 4 at another: a share of 4/5',
                'minus the mean of five examples: a share of 1/√5',
                'and not in evaluation mode',
                'it works with images',
            ],
        ),
        'not a share': (
            leak_not_a_share,
            [
                'all of it, where the first score looks at the second example only',
                'slopes of 3 at its own example and 4 at another: a share of 4/5',
                'minus the mean of five examples: a share of 1/√5',
            ],
        ),
        'a share of squares': (
            leak_of_squares,
            [
                'slopes of 3 at its own example and 4 at another: a share of 4/5',
                'minus the mean of five examples: a share of 1/√5',
            ],
        ),
    },
)
