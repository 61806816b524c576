"Independent solutions of the exercises of 02_data."

import random

import torch


def bytes_to_floats(b):
    return torch.linspace(-1, 1, 256)[b.long()]


def pad_square(image, value=1.0):
    "Two concatenations, as one does it by hand."
    channels, h, w = image.shape

    def strip(height, width):
        return torch.ones(channels, height, width) * value

    if w < h:
        extra = h - w
        return torch.cat([strip(h, extra // 2), image, strip(h, extra - extra // 2)], dim=2)
    extra = w - h
    return torch.cat([strip(extra // 2, w), image, strip(extra - extra // 2, w)], dim=1)


def epoch_order(n, seed, epoch):
    numbers = list(range(n))
    random.Random(f'{seed}/{epoch}').shuffle(numbers)
    return torch.tensor(numbers)


SOLUTIONS = {'data.bytes_to_floats': bytes_to_floats, 'data.pad_square': pad_square, 'data.epoch_order': epoch_order}
