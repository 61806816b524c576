"Solutions to the exercises of 40_perceptual, written from the task alone."

import torch


def by_dot_products(a, b):
    dot = lambda x, y: torch.einsum('nchw,nchw->nhw', x, y)
    length = (dot(a, a) * dot(b, b)).clamp(min=1e-24).sqrt()
    both = (dot(a, a) > 0).to(a) + (dot(b, b) > 0).to(a)  # a place without features has no direction
    return (both - 2 * dot(a, b) / length).mean((1, 2))


def blend(perceptual, squared, alpha):
    return squared + alpha * (perceptual - squared)


SOLUTIONS = {'perceptual.layer_distance': by_dot_products, 'perceptual.mixed_loss': blend}
