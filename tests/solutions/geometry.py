"Independent solutions of the exercises of 53_geometry."

import numpy as np
import torch
import torch.nn.functional as F


def depth_distance(a, b):
    "The area between the two distribution functions, from value to value."
    a, b = np.sort(np.asarray(a, np.float64).ravel()), np.sort(np.asarray(b, np.float64).ravel())
    values = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(x, values[:-1], side='right') / len(x) for x in (a, b)]
    return (np.abs(below[0] - below[1]) * np.diff(values)).sum()


def rotation_angle(a, b):
    "From the length of the difference: |A − B| = 2√2 sin(α/2) in the Frobenius norm."
    gap = (a[..., :3, :3] - b[..., :3, :3]).flatten(-2).norm(dim=-1)
    return 2 * (gap / 8**0.5).clamp(max=1).asin()


def looked_up(first, second, fov):
    "Everything by hand: rays, points, projection, and one bilinear and one nearest look."
    b, _, h, w = first['image'].shape
    f = 1 / torch.tan(torch.deg2rad(torch.tensor(fov / 2)))
    x, y = (2 * torch.arange(w) + 1) / w - 1, -((2 * torch.arange(h) + 1) / h - 1) * h / w
    local = torch.stack([x.expand(h, w), y[:, None].expand(h, w), -f.expand(h, w)], -1).view(-1, 3)
    local = local / local.norm(dim=-1, keepdim=True)
    a, c = first['cam2world'], second['cam2world']
    points = a[:, None, :3, 3] + first['distance'].view(b, -1, 1) * (local @ a[:, :3, :3].mT)
    there = torch.linalg.solve(c[:, :3, :3], (points - c[:, None, :3, 3]).mT).mT
    depth = -there[..., 2]
    u, v = f * there[..., 0] / depth, f * there[..., 1] / depth * w / h
    grid = torch.stack([u, -v], -1)[:, None]
    look = lambda x, mode: F.grid_sample(x, grid, mode=mode, padding_mode='border', align_corners=False)[:, :, 0]
    seen = (u.abs() < 1) & (v.abs() < 1) & (depth > 0)
    seen &= (look(second['depth'], 'nearest')[:, 0] - depth).abs() < 0.01
    seen &= (first['opacity'].flatten(1) > 0.9) & (look(second['opacity'], 'bilinear')[:, 0] > 0.9)
    return look(second['image'], 'bilinear'), seen


SOLUTIONS = {
    'geometry.depth_distance': depth_distance,
    'geometry.reproject': looked_up,
    'geometry.rotation_angle': rotation_angle,
}
