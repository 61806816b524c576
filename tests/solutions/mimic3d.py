"Solutions to the exercises of 61_mimic3d, written from the task alone."

import torch


def what_planes_receive(x):
    out = []
    for b in range(len(x) // 3):
        xy, yz, zx = x[3 * b : 3 * b + 3]
        for own, following, last in ((xy, yz, zx), (yz, zx, xy), (zx, xy, yz)):
            below = following.mean(1)[:, :, None].expand_as(own)  # over its rows; its columns are our rows
            beside = last.mean(2)[:, None].expand_as(own)  # over its columns; its rows are our columns
            out.append(torch.cat([own, below, beside]))
    return torch.stack(out)


def patches(images, offsets, patch):
    return torch.stack([x[:, r : r + patch, c : c + patch] for x, (r, c) in zip(images, offsets.tolist())])


def imitate(direct, target, features):
    unit = lambda m: m / m.norm(dim=1, keepdim=True).clamp(min=1e-12)
    with torch.no_grad():
        wanted = [unit(m) for m in features(target)]
    losses = [(unit(m) - t).pow(2).sum(1).mean() for m, t in zip(features(direct), wanted)]
    return torch.stack(losses).mean()


SOLUTIONS = {'mimic3d.aware': what_planes_receive, 'mimic3d.crop': patches, 'mimic3d.imitation_loss': imitate}
