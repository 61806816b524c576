"Answers to the assignment on inversion: another style, and wrong versions with the laws that they break."

import math

import torch
import torch.nn.functional as F


def psnr(a, b):
    return torch.stack([-10 * torch.log10(F.mse_loss(x, y).clamp(min=1e-10) / 4) for x, y in zip(a, b)])


def perceptual(maps_a, maps_b):
    terms = []
    for a, b in zip(maps_a, maps_b):
        gap = F.normalize(a.flatten(2), dim=1) - F.normalize(b.flatten(2), dim=1)
        terms.append(gap.square().sum(1).mean(1))
    return torch.stack(terms).sum(0)


def mixed_loss(image, target, distance, alpha):
    error = torch.stack([(x - y).pow(2).mean() for x, y in zip(image, target)])
    return alpha * distance(image, target) + (1 - alpha) * error


def invert(generate, loss, start, steps, rate):
    ws, first, second, history = start.clone(), 0, 0, []
    for step in range(1, steps + 1):
        ws = ws.detach().requires_grad_(True)
        losses = loss(generate(ws))
        (g,) = torch.autograd.grad(losses.sum(), ws)
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
        move = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        ws = ws - rate * move
        history.append(losses.detach())
    return ws.detach(), history


SOLUTIONS = dict(psnr=psnr, perceptual=perceptual, mixed_loss=mixed_loss, invert=invert)


def maps_with(normalise=True, over=1, total=False):
    def wrong(maps_a, maps_b):
        result = 0
        for a, b in zip(maps_a, maps_b):
            if normalise:
                a, b = F.normalize(a, dim=over), F.normalize(b, dim=over)
            gap = (a - b).square().sum(1)
            result = result + (gap.sum((1, 2)) if total else gap.mean((1, 2)))
        return result

    return wrong


def backwards(generate, loss, start, steps, rate):
    ws, history = start.clone().requires_grad_(True), []
    optimizer = torch.optim.Adam([ws], rate)
    for _ in range(steps):
        optimizer.zero_grad()
        losses = loss(generate(ws))
        losses.sum().backward()
        optimizer.step()
        history.append(losses.detach())
    return ws.detach(), history


def moves_the_start(generate, loss, start, steps, rate):
    ws, history = invert(generate, loss, start, steps, rate)
    start.copy_(ws)
    return ws, history


def in_the_graph(generate, loss, start, steps, rate):
    ws, history = start.clone().requires_grad_(True), []
    optimizer = torch.optim.Adam([ws], rate)
    for _ in range(steps):
        losses = loss(generate(ws))
        (ws.grad,) = torch.autograd.grad(losses.sum(), ws, retain_graph=True)
        optimizer.step()
        history.append(losses)
    return ws, history


def sum_of_differences(maps_a, maps_b):
    total = 0
    for a, b in zip(maps_a, maps_b):
        gap = F.normalize(a, dim=1) - F.normalize(b, dim=1)
        total = total + gap.abs().sum(1).mean((1, 2))
    return total


def two_minus_cosines(maps_a, maps_b):
    return sum((2 - 2 * F.cosine_similarity(a, b)).mean((1, 2)) for a, b in zip(maps_a, maps_b))


def no_search(generate, loss, start, steps, rate):
    return start.detach().clone(), [loss(generate(start)).detach()] * steps


def with_decay(generate, loss, start, steps, rate):
    ws, history = start.clone().requires_grad_(True), []
    optimizer = torch.optim.AdamW([ws], rate)
    for _ in range(steps):
        losses = loss(generate(ws))
        (ws.grad,) = torch.autograd.grad(losses.sum(), ws)
        optimizer.step()
        history.append(losses.detach())
    return ws.detach(), history


WRONG = dict(
    psnr={
        'the mean of the channels': (
            lambda a, b: (-10 * ((a - b).square().mean((2, 3)) / 4).log10()).mean(1),
            [
                'wrong in one channel of three: a third of the error',
                'over all channels and places at once: wrong in a sixth of the numbers',
            ],
        ),
        'a range of 1': (
            lambda a, b: psnr(a, b) - 20 * math.log10(2),
            [
                'black for white is 0 dB',
                'an error of a tenth of the range is 20 dB',
                'each image has its own',
                'it is the mean error that counts: wrong in one half is 3 dB better',
                'wrong in one channel of three: a third of the error',
                'over all channels and places at once: wrong in a sixth of the numbers',
            ],
        ),
        'one number for the batch': (
            lambda a, b: (-10 * ((a - b) / 2).square().mean().log10()).expand(len(a)),
            ['each image has its own'],
        ),
    },
    perceptual={
        'differences, not squares': (sum_of_differences, ['(3, 4) and (2, 0), everywhere: 0.4² + 0.8²']),
        'not normalised': (
            maps_with(normalise=False),
            [
                'maps ten times as large say the same',
                'vectors at right angles, everywhere: a distance of 2',
                'different at half of the places: half of it',
                'a large map counts no more than a small one',
                '(3, 4) and (2, 0), everywhere: 0.4² + 0.8²',
                'a vector of zeros stays zero: 0 away from itself, 1 from every other',
            ],
        ),
        'summed over the places': (
            maps_with(total=True),
            [
                'vectors at right angles, everywhere: a distance of 2',
                'different at half of the places: half of it',
                'a large map counts no more than a small one',
                '(3, 4) and (2, 0), everywhere: 0.4² + 0.8²',
                'a vector of zeros stays zero: 0 away from itself, 1 from every other',
            ],
        ),
        'one minus the cosine, twice': (
            two_minus_cosines,
            ['a vector of zeros stays zero: 0 away from itself, 1 from every other'],
        ),
        'normalised over the batch': (
            maps_with(over=0),
            [
                'the distance of an image does not depend on the others of the batch',
                '(3, 4) and (2, 0), everywhere: 0.4² + 0.8²',
            ],
        ),
    },
    mixed_loss={
        'one error for the batch': (
            lambda i, t, d, a: a * d(i, t) + (1 - a) * (i - t).square().mean(),
            ['the error, too, is that of each image alone'],
        ),
        'the weights exchanged': (
            lambda i, t, d, a: mixed_loss(i, t, d, 1 - a),
            [
                'with alpha 0 only the pixels count',
                'with alpha 1 only the distance counts',
                'between them it is a weighted mean, one for each image',
                'each image may have an alpha of its own',
                'the error, too, is that of each image alone',
            ],
        ),
        'the distance is cut off': (
            lambda i, t, d, a: mixed_loss(i, t, lambda x, y: d(x, y).detach(), a),
            ['the gradient reaches the image through both terms'],
        ),
        'the root of the error': (
            lambda i, t, d, a: a * d(i, t) + (1 - a) * (i - t).square().flatten(1).mean(1).sqrt(),
            [
                'with alpha 0 only the pixels count',
                'between them it is a weighted mean, one for each image',
                'each image may have an alpha of its own',
                'the error, too, is that of each image alone',
                'the gradient reaches the image through both terms',
            ],
        ),
    },
    invert={
        'no search': (
            no_search,
            [
                'there is a vector for each image, and it is not part of a graph',
                'where an exact answer exists it is found',
                'the last loss is far below the first',
                'the start is as it was',
                'the searches do not influence each other',
                'the weights of the generator collect no gradients',
                'one step of Adam is as long as the rate, in every number',
                'the history is not part of a graph',
                'on flat ground nothing moves',
            ],
        ),
        'with weight decay': (with_decay, ['on flat ground nothing moves']),
        'backward through everything': (backwards, ['the weights of the generator collect no gradients']),
        'the start is moved': (
            moves_the_start,
            [
                'the first entry is the loss of the start',
                'the start is as it was',
                'the searches do not influence each other',
                'one step of Adam is as long as the rate, in every number',
            ],
        ),
        'the graph is kept': (
            in_the_graph,
            ['there is a vector for each image, and it is not part of a graph', 'the history is not part of a graph'],
        ),
    },
)
