"Answers to the assignment on tri-planes: another style, and wrong versions with the laws that they break."

import numpy as np
import torch
import torch.nn.functional as F

AXES = ((0, 1), (1, 2), (2, 0))


def box_range(origins, directions, box):
    directions = torch.where(directions == 0, torch.full_like(directions, 1e-12), directions)
    walls = torch.stack([-box / 2 - origins, box / 2 - origins]) / directions
    first, last = walls.amin(0).amax(-1), walls.amax(0).amin(-1)
    hits = (last > first) & (last > 0)
    near = first.clamp(min=0) * hits
    return near, torch.where(hits, last, near)


def read_planes(planes, points, box, axes=AXES):
    "Bilinear by hand: the four texels around each place, and zero where there is none."
    b, _, c, n, _ = planes.shape
    out = []
    for k, (first, second) in enumerate(axes):
        column, row = ((points[..., axis] / box + 0.5) * n - 0.5 for axis in (first, second))
        total = 0
        for dc in (0, 1):
            for dr in (0, 1):
                at_c, at_r = column.floor() + dc, row.floor() + dr
                share = (1 - (column - at_c).abs()) * (1 - (row - at_r).abs())
                there = (at_c >= 0) & (at_c < n) & (at_r >= 0) & (at_r < n)
                index = (at_r.clamp(0, n - 1) * n + at_c.clamp(0, n - 1)).long()
                texels = planes[:, k].flatten(2).gather(2, index[:, None].expand(b, c, -1))
                total = total + texels.mT * (share * there)[..., None]
        out.append(total)
    return torch.stack(out, 1)


def march(features, raw, distances, background=0.0, gain=1.0):
    middle = lambda x: (x[..., 1:] + x[..., :-1]) / 2
    thick = gain * F.softplus(middle(raw) - 1) * distances.diff(dim=-1)
    through = torch.cumprod(torch.exp(-thick), -1)
    weights = torch.cat([torch.ones_like(through[..., :1]), through[..., :-1]], -1) * (1 - torch.exp(-thick))
    total = weights.sum(-1)
    colour = torch.einsum('...n,...nc->...c', weights, middle(features.mT).mT) + (1 - total)[..., None] * background
    mean = (weights * middle(distances)).sum(-1) / total.clamp(min=1e-6)
    return colour, torch.where(total > 1e-6, mean, distances[..., -1]), weights


def mixed_difference(f, a, b, i, j):
    a, b = np.array(a), np.array(b)

    def swapped(*axes):
        point = a.copy()
        point[:, axes] = b[:, axes]
        return f(torch.from_numpy(point))

    return swapped() - swapped(i) - swapped(j) + swapped(i, j)


SOLUTIONS = dict(box_range=box_range, read_planes=read_planes, march=march, mixed_difference=mixed_difference)

WALLS = 'straight from the front: where is the front wall, and where the back wall?'
DIAGONAL = 'from corner to corner: how long is the diagonal of the cube?'
ENTER, LEAVE = 'rays that hit enter through a wall', 'and leave through a wall'
INSIDE, OTHER = 'halfway between, they are inside', 'a cube of another side: look at the front wall again'
BESIDE = 'a ray that passes beside the cube has nothing between near and far'
BEHIND = 'and so has a ray with the cube behind its back'
START = 'a ray that starts inside: near is 0'
FINITE = 'rays that are parallel to a wall and miss get finite numbers'


def slabs(entry=lambda t: t.amax(-1), leave=lambda t: t.amin(-1), side=1.0, least=0.0, safe=True):
    "`box_range` with one part changed."

    def wrong(origins, directions, box):
        if safe:
            directions = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
        a, b = (-side * box / 2 - origins) / directions, (side * box / 2 - origins) / directions
        near, far = entry(torch.minimum(a, b)), leave(torch.maximum(a, b))
        near = near if least is None else near.clamp(min=least)
        return near, torch.maximum(near, far)

    return wrong


def missed_is_open(origins, directions, box):
    directions = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    a, b = (-box / 2 - origins) / directions, (box / 2 - origins) / directions
    return torch.minimum(a, b).amax(-1).clamp(min=0), torch.maximum(a, b).amin(-1)


def looked_up(axes=None, scale=2.0, **options):
    "`read_planes` with one part changed."

    def wrong(planes, points, box, given=AXES):
        out = []
        for k, pair in enumerate(axes or given):
            places = points[..., list(pair)] * scale / box
            how = dict(align_corners=False) | options
            out.append(F.grid_sample(planes[:, k], places[:, None], **how)[:, :, 0].mT)
        return torch.stack(out, 1)

    return wrong


def rows_first(planes, points, box, axes=AXES):
    return read_planes(planes, points, box, tuple(pair[::-1] for pair in axes))


def frozen(planes, points, box, axes=AXES):
    return read_planes(planes.detach(), points, box, axes).requires_grad_(True)


RAMPS = [f'ramps on plane {k} give back {pair[0]} and {pair[1]}' for k, pair in enumerate(('xy', 'yz', 'zx'))]
CORNER, BEYOND = 'a corner of the box has a quarter of its texel', 'beyond all three squares is zero'
ONLY_YZ = 'a point outside in x alone still reads yz'
PAIRS = 'with other axes every plane sees the first coordinate of its own pair'
LEARN = 'the planes can learn: there is a gradient for their texels'


def marched(average=True, shift=1.0, use_gain=True, behind=True, before=True):
    "`march` with one part changed."

    def wrong(features, raw, distances, background=0.0, gain=1.0):
        middle = lambda x: (x[..., 1:] + x[..., :-1]) / 2
        sigma = F.softplus(middle(raw) - shift) if average else middle(F.softplus(raw - shift))
        thick = (gain if use_gain else 1.0) * sigma * distances.diff(dim=-1)
        earlier = thick.cumsum(-1) - thick if before else thick.cumsum(-1)
        weights = torch.exp(-earlier) * (1 - torch.exp(-thick))
        total = weights.sum(-1)
        colour = (weights[..., None] * middle(features.mT).mT).sum(-2)
        colour = colour + ((1 - total)[..., None] * background if behind else 0)
        mean = (weights * middle(distances)).sum(-1) / total.clamp(min=1e-6)
        return colour, torch.where(total > 1e-6, mean, distances[..., -1]), weights

    return wrong


LEFT = 'what is left is exp(−Σσδ), with σ of the averaged values'
OVER = 'what is left shows the background'
COLOUR = 'an interval has the colour between its ends'
FOG = 'fog of raw density 1 and gain 5: the opacity is 1 - exp(-5 · softplus(0) · way)'
THIN, MIDDLE = 'the distance of thin fog lies in it', 'and the distance of its middle'
NOTHING = 'intervals of length 0 stop nothing'
CURTAIN = 'light that a curtain stops does not reach the wall'

PRODUCT = "of y · z, in y and z, it is (y - y') · (z - z')"
THIRD = "the third coordinate is that of a: of x · y · z it is x · (y - y') · (z - z')"
SINGLE = 'of a sum of functions of one coordinate it is zero'
ZERO = 'of functions of (x, y) and of (x, z) it is zero in y and z, for every channel'
KEPT = 'the points are as they were: do you write into a, or into a copy?'


def all_of_b(f, a, b, i, j):
    "Exchanges the third coordinate as well."
    k = 3 - i - j
    moved = a.clone()
    moved[:, k] = b[:, k]
    return mixed_difference(f, moved, b, i, j)


def without_the_last(f, a, b, i, j):
    one, other = a.clone(), a.clone()
    one[:, i], other[:, j] = b[:, i], b[:, j]
    return f(a) - f(one) - f(other) + f(b)


def in_place(f, a, b, i, j):
    start = f(a)
    old = a.clone()
    a[:, i] = b[:, i]
    first = f(a)
    a[:, j] = b[:, j]
    both = f(a)
    a[:, i] = old[:, i]
    return start - first - f(a) + both


def wrong_sign(f, a, b, i, j):
    both = a.clone()
    both[:, [i, j]] = b[:, [i, j]]
    return mixed_difference(f, a, b, i, j) - 2 * f(both)


WRONG = dict(
    box_range={
        'directions of length 1': (
            lambda origins, directions, box: box_range(origins, F.normalize(directions, dim=-1), box),
            ['a direction twice as long halves both numbers'],
        ),
        'the first entry': (
            slabs(entry=lambda t: t.amin(-1)),
            [WALLS, ENTER, INSIDE, OTHER, FINITE, 'a direction twice as long halves both numbers'],
        ),
        'the last exit': (
            slabs(leave=lambda t: t.amax(-1)),
            [WALLS, LEAVE, INSIDE, BESIDE, BEHIND, START, FINITE, 'a direction twice as long halves both numbers'],
        ),
        'the side taken for its half': (
            slabs(side=2.0),
            [WALLS, DIAGONAL, ENTER, LEAVE, OTHER, START, FINITE, 'a direction twice as long halves both numbers'],
        ),
        'looks backwards': (slabs(least=None), [BEHIND, START]),
        'a division by zero': (slabs(safe=False), [FINITE]),
        'far before near': (missed_is_open, [BESIDE, BEHIND, FINITE]),
    },
    read_planes={
        'the first plane for all': (
            lambda planes, points, box, axes=AXES: read_planes(planes[:, :1].expand_as(planes), points, box, axes),
            [
                'every plane of every head is read in its own place',
                'every point is looked up on the three planes of its own head, in their order',
            ],
        ),
        'the first head for all': (
            lambda planes, points, box, axes=AXES: read_planes(planes[:1].expand_as(planes), points, box, axes),
            [
                'every plane of every head is read in its own place',
                'every point is looked up on the three planes of its own head, in their order',
            ],
        ),
        'the doubled plane': (looked_up(((0, 1), (0, 2), (2, 0))), [RAMPS[1], ONLY_YZ, PAIRS]),
        'the axes ignored': (looked_up(AXES), [PAIRS]),
        'rows and columns exchanged': (rows_first, [*RAMPS, PAIRS]),
        'texels counted from their centres': (looked_up(align_corners=True), [*RAMPS, CORNER, PAIRS]),
        'the border goes on': (looked_up(padding_mode='border'), [CORNER, BEYOND, ONLY_YZ]),
        'the side taken for its half': (looked_up(scale=1.0), [*RAMPS, CORNER, BEYOND, ONLY_YZ, PAIRS]),
        'no gradient': (frozen, [LEARN]),
    },
    march={
        'one colour for all channels': (
            lambda features, *a, **k: march(features[..., :1].expand_as(features), *a, **k),
            ['rays in a batch of several axes, every channel with its own colour'],
        ),
        'activated before averaging': (marched(average=False), [LEFT, THIN, CURTAIN]),
        'without the shift': (marched(shift=0.0), [LEFT, FOG, CURTAIN]),
        'the gain forgotten': (marched(use_gain=False), [FOG]),
        'no background': (marched(behind=False), [OVER, NOTHING]),
        'the product includes the interval itself': (marched(before=False), [LEFT, COLOUR, MIDDLE, FOG, CURTAIN]),
    },
    mixed_difference={
        'the third coordinate too': (all_of_b, [THIRD]),
        'the last point is b': (without_the_last, [THIRD, SINGLE, ZERO]),
        'in place': (in_place, [KEPT]),
        'a sign': (wrong_sign, [PRODUCT, THIRD, SINGLE, ZERO]),
    },
)
