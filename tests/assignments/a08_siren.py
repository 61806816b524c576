"Answers to the assignment on sines: another style, and wrong versions with the laws that they break."

from collections import namedtuple

import torch
from torch import nn

Condition = namedtuple('Condition', 'frequencies phases')


def sine_init(linear, omega=30.0, first=False):
    n = linear.in_features
    c = 1 / n if first else (6 / n) ** 0.5 / omega
    with torch.no_grad():
        linear.weight.uniform_(-c, c)
    return linear


def film(x, weight, bias, frequency, phase):
    heads = [torch.sin(f * nn.functional.linear(p, weight, bias) + q) for p, f, q in zip(x, frequency, phase)]
    return torch.stack(heads)


def truncate_condition(condition, mean, psi):
    return Condition(*(torch.lerp(m.expand_as(c), c, psi) for c, m in zip(condition, mean)))


def normals(density, points):
    with torch.enable_grad():
        x = points.detach().requires_grad_(True)
        slope = torch.autograd.grad(density(x).sum(), x)[0]
    length = (slope**2).sum(-1, keepdim=True).sqrt()
    return torch.where(length > 0, -slope / length, torch.zeros_like(slope)).detach()


SOLUTIONS = dict(sine_init=sine_init, film=film, truncate_condition=truncate_condition, normals=normals)


def init_with(bound):
    def wrong(linear, omega=30.0, first=False):
        c = bound(linear.in_features, omega, first)
        nn.init.uniform_(linear.weight, -c, c)
        return linear

    return wrong


def new_bias(linear, omega=30.0, first=False):
    nn.init.zeros_(linear.bias)
    return sine_init(linear, omega, first)


def outwards_in(density, points):
    return -normals(density, points)


def not_unit(density, points):
    with torch.enable_grad():
        x = points.detach().clone().requires_grad_(True)
        return -torch.autograd.grad(density(x).sum(), x)[0]


def naive_division(density, points):
    slope = not_unit(density, points)
    return slope / slope.norm(dim=-1, keepdim=True)


def new_weight(linear, omega=30.0, first=False):
    sine_init(linear, omega, first)
    linear.weight = torch.nn.Parameter(linear.weight.detach().clone())
    return linear


WRONG = dict(
    sine_init={
        'another weight': (new_weight, ['the weights are new and can still be trained']),
        'ω forgotten': (
            init_with(lambda n, w, first: 1 / n if first else (6 / n) ** 0.5),
            [
                'hidden weights fill ±√(6/n)/ω (ω = 30)',
                'hidden weights fill ±√(6/n)/ω (ω = 10)',
                'the weights are uniform',
                'the argument of every later sine has standard deviation 1 ± 0.15',
            ],
        ),
        'the first like the others': (
            init_with(lambda n, w, first: (6 / n) ** 0.5 / w),
            [
                'weights of the first layer fill ±1/n',
                'the argument of every later sine has standard deviation 1 ± 0.15',
            ],
        ),
        'the bias is changed as well': (new_bias, ['the bias is as it was']),
    },
    film={
        'the phase inside the product': (
            lambda x, w, b, f, p: torch.sin(f[:, None] * (x @ w.T + b + p[:, None])),
            [
                'a phase of 2π changes nothing, a phase of π the sign',
                'with γ = 0 only the phase is left',
                'doubling γ is doubling weight and bias',
                'its derivative is the same layer a quarter turn later',
            ],
        ),
        'the bias outside the product': (
            lambda x, w, b, f, p: torch.sin(f[:, None] * (x @ w.T) + b + p[:, None]),
            [
                'γ = 30, β = 0 is a SIREN layer',
                'with γ = 0 only the phase is left',
                'doubling γ is doubling weight and bias',
            ],
        ),
        'one condition for all heads': (
            lambda x, w, b, f, p: film(x, w, b, f[:1].expand_as(f), p[:1].expand_as(p)),
            ['with γ = 0 only the phase is left', 'its derivative is the same layer a quarter turn later'],
        ),
    },
    truncate_condition={
        'towards zero': (
            lambda c, mean, psi: Condition(psi * c[0], psi * c[1]),
            [
                'ψ = 0 is the mean, for every code',
                'the mean stays where it is',
                'ψ scales the way to the mean, of both',
            ],
        ),
        'the phases forgotten': (
            lambda c, mean, psi: Condition(truncate_condition(c, mean, psi)[0], c[1]),
            ['ψ = 0 is the mean, for every code', 'ψ scales the way to the mean, of both'],
        ),
    },
    normals={
        'into the head': (
            outwards_in,
            [
                'they point out of the ball, not into it',
                'of a wall behind z = 0 they point along +z',
                'of a wave they are those computed by hand',
                'it works where gradients are switched off',
            ],
        ),
        'of any length': (
            not_unit,
            [
                'they have length 1',
                'of a ball they lie on the line through its centre',
                'of a wall behind z = 0 they point along +z',
                'of a wave they are those computed by hand',
                'it works where gradients are switched off',
            ],
        ),
        'divided by zero': (naive_division, ['where nothing changes they are zero, not NaN']),
    },
)
