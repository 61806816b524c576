"Independent solutions of the exercises of 05_surfaces, written from the task alone."

import torch


def smooth_union(d1, d2, k):
    mix = torch.clamp(0.5 + 0.5 * (d2 - d1) / k, 0, 1)  # Quilez's other form of the same polynomial
    return d2 * (1 - mix) + d1 * mix - k * mix * (1 - mix)


def normals(distance, points):
    columns = torch.func.vmap(torch.func.grad(lambda p: distance(p[None])[0]))(points)
    return columns / columns.norm(dim=1, keepdim=True)


def outline(labels, depth):
    big = torch.nn.functional.pad(labels.float()[None, None], (1, 1, 1, 1), value=float('nan'))[0, 0]
    far = torch.nn.functional.pad(depth[None, None].float(), (1, 1, 1, 1), value=-1e9)[0, 0]
    h, w = labels.shape
    ink = torch.zeros(h, w, dtype=torch.bool)
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        other, there = big[dy : dy + h, dx : dx + w], far[dy : dy + h, dx : dx + w]
        ink |= ~other.isnan() & (other != labels) & (there >= depth)
    return ink


SOLUTIONS = {'surfaces.smooth_union': smooth_union, 'surfaces.normals': normals, 'surfaces.outline': outline}
