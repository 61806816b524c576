"Independent solutions of the augmentation chapter's exercises."

import torch


def adjust_probability(p, sure, images, target=0.6, kimg=500):
    direction = (sure > target) - (sure < target)
    return sorted((0.0, p + direction * images / kimg / 1000, 0.9))[1]


def cut_out(images, rng=None, share=0.5):
    "One image after the other, with slices."
    result = []
    for image in images:
        mask, hole = torch.ones(image.shape[1:]), []
        for side in mask.shape:
            size = round(side * share)
            first = int(torch.randint(-(size // 2), side - size // 2 + 1, (), generator=rng))
            hole.append(slice(max(0, first), max(0, first + size)))
        mask[tuple(hole)] = 0
        result.append(image * mask)
    return torch.stack(result)


SOLUTIONS = {'augment.adjust_probability': adjust_probability, 'augment.cut_out': cut_out}
