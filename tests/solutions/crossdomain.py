"Solutions to the exercises of 43_crossdomain, written from the task alone."

import numpy as np
import torch
from scipy.linalg import sqrtm


def styles(first, second, blocks, shared=1):
    made = second.clone()
    for layer in range(made.shape[1]):
        if layer < 2 * blocks - shared:
            made[:, layer] = first[:, layer]
    return made


def colours(images, like):
    wanted = np.moveaxis(like.double().numpy(), 1, -1).reshape(-1, 3)
    root = sqrtm(np.cov(wanted.T, bias=True) + 1e-5 * np.eye(3)).real
    made = []
    for image in images.double().numpy():
        pixels = np.moveaxis(image, 0, -1).reshape(-1, 3)
        own = sqrtm(np.cov(pixels.T, bias=True) + 1e-5 * np.eye(3)).real
        moved = (pixels - pixels.mean(0)) @ np.linalg.inv(own) @ root + wanted.mean(0)
        made.append(moved.T.reshape(image.shape))
    return torch.tensor(np.stack(made), dtype=images.dtype)


SOLUTIONS = {'crossdomain.join_styles': styles, 'crossdomain.match_colours': colours}
