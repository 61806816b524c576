"Independent solutions of the exercises of the chapter on modern GANs."

import torch


def paired_discriminator_loss(real, fake):
    margin = real - fake
    return torch.logaddexp(torch.zeros_like(margin), -margin).sum() / len(margin)


def append_deviation(maps):
    mean = sum(maps) / len(maps)
    variance = sum((m - mean) ** 2 for m in maps) / len(maps)
    number = (variance + 1e-9) ** 0.5
    plane = torch.ones_like(maps[:, :1]) * number.mean()
    return torch.hstack([maps, plane])


def head_penalty(judged, gamma):
    total, heads = 0, len(judged.points)
    for k in range(heads):
        (slope,) = torch.autograd.grad(judged.logits[:, k].sum(), judged.points[k], create_graph=True)
        total = total + (slope**2).sum() / len(slope)
    return gamma * total / 2 / heads


SOLUTIONS = {
    'modern.paired_discriminator_loss': paired_discriminator_loss,
    'modern.append_deviation': append_deviation,
    'modern.head_penalty': head_penalty,
}
