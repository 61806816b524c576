"Independent solutions of the penalties chapter's exercises: one image at a time, with plain autograd."

import torch
from torch import nn


def slope_squared(discriminator, image):
    "‖∇D‖² of a single image, asked alone."
    image = image.detach()[None].requires_grad_(True)
    gradient = torch.autograd.grad(discriminator(image)[0], image, create_graph=True)[0]
    return (gradient * gradient).sum()


def root(value):
    return torch.where(value > 0, value.clamp(min=1e-30).sqrt(), 0 * value)


def gradient_penalty(discriminator, real, fake, weight=10.0):
    if isinstance(discriminator, nn.Module) and any('BatchNorm' in type(m).__name__ for m in discriminator.modules()):
        raise ValueError('The critic has BatchNorm.')
    if len(real) > 1000:  # one call for a large batch
        share = torch.rand(len(real), dtype=real.dtype).view(-1, *[1] * (real.ndim - 1))
        points = torch.lerp(fake.detach(), real.detach(), share).requires_grad_(True)
        gradient = torch.autograd.grad(discriminator(points).sum(), points, create_graph=True)[0]
        return weight * (gradient.flatten(1).pow(2).sum(1).sqrt() - 1).pow(2).mean()
    shares = torch.linspace(0, 1, len(real), dtype=real.dtype)[torch.randperm(len(real))]
    points = torch.stack([e * r + (1 - e) * f for e, r, f in zip(shares, real.detach(), fake.detach())])
    discriminator(points)  # so that a critic that remembers sees the batch
    norms = torch.stack([root(slope_squared(discriminator, p)) for p in points])
    discriminator(points)
    return weight * ((norms - 1) ** 2).mean()


def r1_penalty(discriminator, real, gamma=10.0):
    points = real.detach().requires_grad_(True)
    score = discriminator(points)
    gradient = torch.autograd.grad(score, points, torch.ones_like(score), create_graph=True)[0]
    return gamma * gradient.pow(2).sum() / (2 * len(real))


def dragan_penalty(discriminator, real, weight=10.0, scale=0.5):
    noise = torch.empty_like(real).uniform_(0, 1) * real.std()
    points = torch.autograd.Variable(real + noise * scale, requires_grad=True)
    gradient = torch.autograd.grad(discriminator(points).sum(), points, create_graph=True)[0]
    norms = gradient.reshape(len(real), -1).pow(2).sum(1).add(1e-16).sqrt()
    return weight * norms.sub(1).pow(2).mean()


class Lazy:
    def __init__(self, penalty, every):
        self.penalty, self.every = penalty, every

    def __call__(self, step, *arguments):
        if step % self.every:
            return 0
        return self.penalty(*arguments) * self.every


def clip_weights(critic, limit):
    for parameter in critic.parameters():
        parameter.data = torch.minimum(torch.maximum(parameter.data, torch.tensor(-limit)), torch.tensor(limit))


SOLUTIONS = {
    'penalties.gradient_penalty': gradient_penalty,
    'penalties.r1_penalty': r1_penalty,
    'penalties.dragan_penalty': dragan_penalty,
    'penalties.lazy': Lazy,
    'penalties.clip_weights': clip_weights,
}
