"Solutions to the exercises of 55_pigan, written from the task alone."

import torch
import torch.nn.functional as F


def towards_the_mean(condition, mean, psi):
    return type(condition)(
        mean.frequencies + psi * (condition.frequencies - mean.frequencies),
        mean.phases + psi * (condition.phases - mean.phases),
    )


def in_pieces(draw, loss, knobs, seeds):
    def piece(k):
        return draw(knobs, k, torch.Generator().manual_seed(seeds[k]))

    with torch.no_grad():
        values = [piece(k) for k in range(len(seeds))]
    leaves = [v.clone().requires_grad_(True) for v in values]
    loss(torch.cat(leaves)).backward()
    total = torch.zeros_like(knobs)
    for k, leaf in enumerate(leaves):
        (gradient,) = torch.autograd.grad((piece(k) * leaf.grad).sum(), knobs)
        total += gradient
    return total


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


SOLUTIONS = {'pigan.truncate': towards_the_mean, 'pigan.deferred_gradient': in_pieces, 'geometry.reproject': looked_up}
