"Solutions to the exercises of 44_style_transfer, written from the task alone."

import numpy as np
import torch
from scipy.linalg import sqrtm


def together(maps):
    return torch.einsum('bihw,bjhw->bij', maps, maps) / (maps.shape[2] * maps.shape[3])


def dressed(content, style):
    made = torch.empty_like(content)
    for b in range(len(content)):
        for c in range(content.shape[1]):
            own, other = content[b, c], style[b % len(style), c]
            standard = (own - own.mean()) / (own.var() + 1e-5).sqrt()
            made[b, c] = standard * (other.var() + 1e-5).sqrt() + other.mean()
    return made


def recoloured(content, style):
    made = []
    for image, other in zip(content.double().numpy(), style.double().numpy()):
        pixels, wanted = image.reshape(3, -1), other.reshape(3, -1)
        root, own = (sqrtm(np.cov(x) + 1e-6 * np.eye(3)).real for x in (wanted, pixels))
        moved = root @ np.linalg.inv(own) @ (pixels - pixels.mean(1, keepdims=True))
        made.append((moved + wanted.mean(1, keepdims=True)).reshape(image.shape))
    return torch.tensor(np.stack(made), dtype=content.dtype)


SOLUTIONS = {
    'style_transfer.gram': together,
    'style_transfer.match_statistics': dressed,
    'style_transfer.coral': recoloured,
}
