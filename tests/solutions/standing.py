"Independent solutions of the standing-figures chapter's exercises."

from collections import deque

import numpy as np


def reachable(free):
    "A queue of pixels, starting from a frame around the image."
    h, w = free.shape
    seen, queue = np.zeros((h, w), bool), deque()

    def visit(y, x):
        if 0 <= y < h and 0 <= x < w and free[y, x] and not seen[y, x]:
            seen[y, x] = True
            queue.append((y, x))

    for y in range(h):
        visit(y, 0)
        visit(y, w - 1)
    for x in range(w):
        visit(0, x)
        visit(h - 1, x)
    while queue:
        y, x = queue.popleft()
        visit(y - 1, x)
        visit(y + 1, x)
        visit(y, x - 1)
        visit(y, x + 1)
    return seen


def border_contact(mask):
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return {'top': 0.0, 'bottom': 0.0, 'left': 0.0, 'right': 0.0}
    height, width = int(np.ptp(ys)) + 1, int(np.ptp(xs)) + 1
    h, w = mask.shape
    return {
        'top': (ys == 0).sum() / width,
        'bottom': (ys == h - 1).sum() / width,
        'left': (xs == 0).sum() / height,
        'right': (xs == w - 1).sum() / height,
    }


def iteration_cost(g, d, r1_every=16, path_every=0):
    discriminator_step = g + 2 * (d + 2 * d)  # one drawn without gradients, two judged, forward and back
    generator_step = (g + d) + d + 2 * g  # forward, back to the image, back to weights and features
    total = discriminator_step + generator_step + 2 * 3 * d / r1_every
    if path_every:
        total += 2 * 3 * g / 2 / path_every  # half a batch
    return total


SOLUTIONS = {
    'standing.reachable': reachable,
    'standing.border_contact': border_contact,
    'standing.iteration_cost': iteration_cost,
}
