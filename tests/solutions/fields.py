"Solutions to the exercises of 54_fields, written from the task alone."

import math
import torch


def encode(x, L):
    parts = [x]
    for k in range(L):
        parts += [torch.sin(2**k * math.pi * x), torch.cos(2**k * math.pi * x)]
    return torch.cat(parts, -1)


def three_planes(planes, points):
    n, total = planes.shape[-1], 0.0
    for plane, (a, b) in zip(planes, ((0, 1), (1, 2), (2, 0))):
        column, row = ((points[:, k].clamp(-1, 1) + 1) / 2 * (n - 1) for k in (a, b))
        i, j = column.floor().clamp(max=n - 2).long(), row.floor().clamp(max=n - 2).long()
        u, v = column - i, row - j
        total = (
            total
            + plane[:, j, i] * (1 - u) * (1 - v)
            + plane[:, j, i + 1] * u * (1 - v)
            + plane[:, j + 1, i] * (1 - u) * v
            + plane[:, j + 1, i + 1] * u * v
        )
    return total.T


def paint(rgba, background=1.0, dim=1):
    alpha = rgba.narrow(dim, 3, 1)
    return rgba.narrow(dim, 0, 3) + (1 - alpha) * background


def both_ways(made, true):
    gaps = (made[:, None] - true[None]).square().sum(-1).sqrt()
    return gaps.min(1).values.mean(), gaps.min(0).values.mean()


SOLUTIONS = {
    'fields.encoding': encode,
    'fields.triplane': three_planes,
    'fields.over_background': paint,
    'fields.chamfer': both_ways,
}
