"Answers to the assignment on metrics: another style, and wrong versions with the laws that they break."

import numpy as np
import torch


def frechet(real, fake, factor=2.0, ddof=1, power=2):
    a, b = (np.asarray(x, np.float64) for x in (real, fake))
    s, t = (np.cov(x, rowvar=False, ddof=ddof).reshape(a.shape[1], -1) for x in (a, b))
    values, axes = np.linalg.eigh(s)
    root = (axes * np.sqrt(np.maximum(values, 0))) @ axes.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ t @ root), 0)).sum()
    shift = np.linalg.norm(a.mean(0) - b.mean(0)) ** power
    return torch.tensor(shift + np.trace(s) + np.trace(t) - factor * cross)


def precision_recall(real, fake, k=3, radius_of='centre', itself=0, inside=np.less_equal, nearest=False):
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    table = lambda x, y: np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))
    radii = lambda x: np.sort(table(x, x), 1)[:, k - itself]

    def share(points, centres):
        reach = radii(centres)[None] if radius_of == 'centre' else radii(points)[:, None]
        far = table(points, centres)
        asked = far == far.min(1, keepdims=True) if nearest else True
        return float((inside(far, reach) & asked).any(1).mean())

    return share(fake, real), share(real, fake)


def floor(features, distance, source):
    chosen = torch.randperm(len(features), generator=source).tolist()
    half = len(features) // 2
    a, b = (torch.stack([features[i] for i in part]) for part in (chosen[:half], chosen[half : half + half]))
    return distance(a, b).item()


def twin(features, n, source):
    x = torch.randn(n, features.shape[1], generator=source).double()
    x = (x - x.mean(0)).T
    own, wanted = (torch.linalg.cholesky(torch.cov(c)) for c in (x, features.double().T))
    return (wanted @ torch.linalg.inv(own) @ x).T + features.double().mean(0)


SOLUTIONS = dict(frechet=frechet, precision_recall=precision_recall, floor=floor, twin=twin)


def not_whitened(features, n, source):
    x = torch.randn(n, features.shape[1], generator=source).double()
    return x @ torch.linalg.cholesky(torch.cov(features.double().T)).T + features.double().mean(0)


def coordinate_by_coordinate(features, n, source):
    x = torch.randn(n, features.shape[1], generator=source).double()
    return (x - x.mean(0)) / x.std(0) * features.std(0) + features.mean(0)


def copies(features, n, source):
    x = features[torch.randint(len(features), (n,), generator=source)].double()
    x = (x - x.mean(0)).T
    own, wanted = (torch.linalg.cholesky(torch.cov(c)) for c in (x, features.double().T))
    return (wanted @ torch.linalg.inv(own) @ x).T + features.double().mean(0)


def not_mixed(features, distance, source):
    half = len(features) // 2
    return float(distance(features[:half], features[half : 2 * half]))


def drawn_twice(features, distance, source):
    half = len(features) // 2
    a, b = torch.randint(len(features), (2, half), generator=source)
    return float(distance(features[a], features[b]))


def one_half_drawn_twice(features, distance, source):
    half, order = len(features) // 2, torch.randperm(len(features), generator=source)
    rest = order[half:]
    again = rest[torch.randint(len(rest), (half,), generator=source)]
    return float(distance(features[order[:half]], features[again]))


def turned(features, distance, source):
    by = torch.randint(len(features), (), generator=source).item()
    return not_mixed(features.roll(by, 0), distance, source)


def every_second(features, distance, source):
    half = len(features) // 2
    a, b = (torch.randperm(half, generator=source) for _ in range(2))
    return float(distance(features[2 * a], features[2 * b + 1]))


def apart(a, b, values=False):
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    s, t = (np.cov(x, rowvar=False).reshape(x.shape[1], -1) for x in (a, b))
    if values:
        cross = np.sqrt(np.maximum(np.linalg.eigvalsh(s) * np.linalg.eigvalsh(t), 0)).sum()
    else:
        root = lambda m: (lambda v, q: (q * np.sqrt(np.maximum(v, 0))) @ q.T)(*np.linalg.eigh(m))
        cross = np.trace(root(s) @ root(t))
    shift = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return torch.tensor(shift + np.trace(s) + np.trace(t) - 2 * cross)


def in_single(a, b):
    s, t = (torch.cov(x.T) for x in (a, b))
    values, axes = torch.linalg.eigh(s)
    root = (axes * values.clamp(min=0).sqrt()) @ axes.T
    cross = torch.linalg.eigvalsh(root @ t @ root).clamp(min=0).sqrt().sum()
    return (a.mean(0) - b.mean(0)).square().sum() + s.trace() + t.trace() - 2 * cross


WRONG = dict(
    frechet={
        'the roots of the two covariances': (
            lambda a, b: apart(a, b),
            ['one set along an axis, the other along the diagonal: 1 + 2 − 2'],
        ),
        'the sorted eigenvalues': (
            lambda a, b: apart(a, b, values=True),
            ['one set along an axis, the other along the diagonal: 1 + 2 − 2'],
        ),
        'single precision inside': (in_single, ['single precision is enough for the caller, not for you']),
        'factor 2 forgotten': (
            lambda a, b: frechet(a, b, factor=1.0),
            [
                'the result is a scalar, and a set has the distance 0 to itself',
                'moved by 3 in each of four coordinates: 4 · 9',
                'along one line it is the squared difference of the standard deviations',
                'twice as large, with fewer images than coordinates: the sum of the variances',
                'one set along an axis, the other along the diagonal: 1 + 2 − 2',
            ],
        ),
        'n in the denominator': (
            lambda a, b: frechet(a, b, ddof=0),
            [
                'along one line it is the squared difference of the standard deviations',
                'twice as large, with fewer images than coordinates: the sum of the variances',
                'one set along an axis, the other along the diagonal: 1 + 2 − 2',
            ],
        ),
        'the shift not squared': (
            lambda a, b: frechet(a, b, power=1),
            ['moved by 3 in each of four coordinates: 4 · 9'],
        ),
    },
    precision_recall={
        'strictly inside': (
            lambda a, b, k=3: precision_recall(a, b, k, inside=np.less),
            ['a point on the surface of a ball lies in it'],
        ),
        'the nearest centre only': (
            lambda a, b, k=3: precision_recall(a, b, k, nearest=True),
            [
                'the ball that covers a point need not be that of the nearest centre',
                'any ball counts: 2.5 lies in that of 10, though 1 is nearer',
            ],
        ),
        'exchanged': (
            lambda a, b, k=3: precision_recall(b, a, k),
            [
                'copies of one dense point: all precise, little recalled',
                'k = 1: the ball reaches the nearest other point',
                'the radius belongs to the centre: 49 lies in the ball of 40, and 5 not in that of 3;'
                ' 40 and 50 lie in the ball of 49',
                'k = 2: the ball reaches the second nearest other point',
                'a point on the surface of a ball lies in it',
                'the ball that covers a point need not be that of the nearest centre',
                'any ball counts: 2.5 lies in that of 10, though 1 is nearer',
                'in the plane it is the straight distance that counts',
            ],
        ),
        'the point itself counts': (
            lambda a, b, k=3: precision_recall(a, b, k, itself=1),
            [
                'k = 1: the ball reaches the nearest other point',
                'the radius belongs to the centre: 49 lies in the ball of 40, and 5 not in that of 3;'
                ' 40 and 50 lie in the ball of 49',
                'k = 2: the ball reaches the second nearest other point',
                'a point on the surface of a ball lies in it',
                'the ball that covers a point need not be that of the nearest centre',
                'any ball counts: 2.5 lies in that of 10, though 1 is nearer',
                'in the plane it is the straight distance that counts',
            ],
        ),
        'the radius of the one that asks': (
            lambda a, b, k=3: precision_recall(a, b, k, radius_of='point'),
            [
                'copies of one dense point: all precise, little recalled',
                'k = 1: the ball reaches the nearest other point',
                'k = 2: the ball reaches the second nearest other point',
                'a point on the surface of a ball lies in it',
                'the ball that covers a point need not be that of the nearest centre',
                'any ball counts: 2.5 lies in that of 10, though 1 is nearer',
            ],
        ),
    },
    floor={
        'not mixed': (
            not_mixed,
            [
                'the halves are mixed: in neither of them are all rows neighbours',
                'another generator gives other halves, whatever their order',
            ],
        ),
        'drawn with replacement': (
            drawn_twice,
            ['two halves of equal size, and no row in both', 'no row occurs twice in one half'],
        ),
        'one half drawn with replacement': (one_half_drawn_twice, ['no row occurs twice in one half']),
        'turned around and cut': (turned, ['the halves are mixed: in neither of them are all rows neighbours']),
        'every second row': (every_second, ['another generator gives other halves, whatever their order']),
    },
    twin={
        'a generator of its own': (
            lambda features, n, source: twin(features, n, None),
            ['the same generator gives the same points'],
        ),
        'not whitened': (
            not_whitened,
            [
                'the mean is that of the data, exactly',
                'the variance of every coordinate is that of the data, exactly',
                'so is the whole covariance',
            ],
        ),
        'each coordinate alone': (coordinate_by_coordinate, ['so is the whole covariance']),
        'made of the data': (copies, ['each coordinate is distributed normally: look at the third and fourth moments']),
    },
)
