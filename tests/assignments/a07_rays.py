"Answers to the assignment on rays: another style, and wrong versions with the laws that they break."

import math

import numpy as np
import torch
import torch.nn.functional as F


def camera(yaw, pitch, radius):
    matrices = []
    for a, b in zip(yaw.tolist(), pitch.tolist()):
        turn = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
        tilt = np.array([[1, 0, 0], [0, math.cos(b), math.sin(b)], [0, -math.sin(b), math.cos(b)]])
        m = np.eye(4)
        m[:3, :3] = turn @ tilt
        m[:3, 3] = m[:3, :3] @ (0, 0, radius)
        matrices.append(m)
    return torch.tensor(np.stack(matrices), dtype=yaw.dtype)


def pixel_rays(cam2world, fov, size):
    p = ((2 * torch.arange(size) + 1) / size - 1) * math.tan(math.radians(fov) / 2)
    y, x = torch.meshgrid(-p, p, indexing='ij')
    local = torch.stack([x, y, -torch.ones_like(x)], -1).reshape(1, -1, 3)
    directions = local @ cam2world[:, :3, :3].mT
    directions = directions / directions.norm(dim=-1, keepdim=True)
    return cam2world[:, :3, 3].unsqueeze(1).repeat(1, size * size, 1), directions


def sample_bins(near, far, samples, batch, rays, rng=None):
    edges = torch.linspace(near, far, samples + 1)
    u = 0.5 if rng is None else torch.rand(batch, rays, samples, generator=rng)
    return (edges[:-1] + u * edges.diff()).expand(batch, rays, samples)


def composite(rgb, density, distances, far):
    ends = torch.cat([distances[..., 1:], torch.full_like(distances[..., :1], far)], -1)
    thickness = density * (ends - distances)
    before = torch.cat([torch.zeros_like(thickness[..., :1]), thickness.cumsum(-1)[..., :-1]], -1)
    weights = torch.exp(-before) * (1 - torch.exp(-thickness))
    distance = (weights * distances).sum(-1) / (weights.sum(-1) + 1e-9)
    return (weights[..., None] * rgb).sum(-2), distance, weights


def sample_pdf(edges, weights, samples, rng=None):
    shape = weights.shape[:-1]
    flat, borders = weights.reshape(-1, weights.shape[-1]).double().numpy(), edges.double().numpy()
    u = 0.5 if rng is None else torch.rand(len(flat), samples, generator=rng).double().numpy()
    u = (np.arange(samples) + u) / samples + np.zeros((len(flat), samples))
    out = []
    for row, levels in zip(flat, u):
        share = (row / row.sum() if row.sum() > 0 else row) + 1e-5
        cdf = np.concatenate([[0], np.cumsum(share / share.sum())])
        out.append(np.interp(levels, cdf, borders))
    return torch.tensor(np.stack(out), dtype=edges.dtype).reshape(*shape, samples)


SOLUTIONS = dict(
    camera=camera, pixel_rays=pixel_rays, sample_bins=sample_bins, composite=composite, sample_pdf=sample_pdf
)

FOG = 'fog of density 1.3, two units deep, has the opacity 1 - exp(-2.6)'
TWO = 'two intervals that stop half of the light each: look at both weights'
SHARES = 'no weight is negative, and together they stop at most everything'
WALL, PLACE = 'an opaque wall hides what is behind it', 'the wall is seen at its own distance'
LAST, FAINT = 'the last interval ends at far', 'thin fog is seen in the middle, not at the eye'
SIDE, HEIGHT = (
    'a quarter turn of yaw: look at the position of the second camera',
    'a positive pitch: how high does the third camera stand?',
)


def looks_along_z(yaw, pitch, radius):
    m = camera(yaw, pitch, radius)
    m[:, :3, 0] *= -1
    m[:, :3, 2] *= -1
    return m


def changed(inclusive=False, last=True, weigh=True, transmit=True):
    "`composite` with one part changed."

    def wrong(rgb, density, distances, far):
        ends = torch.cat([distances[..., 1:], torch.full_like(distances[..., :1], far)], -1)
        thickness = density * (ends - distances)
        if not last:
            thickness = torch.cat([thickness[..., :-1], torch.zeros_like(thickness[..., :1])], -1)
        before = thickness.cumsum(-1) - (0 if inclusive else thickness)
        w = (torch.exp(-before) if transmit else 1) * (1 - torch.exp(-thickness))
        total = w.sum(-1).clamp(min=1e-6) if weigh else 1
        return (w[..., None] * rgb).sum(-2), (w * distances).sum(-1) / total, w

    return wrong


def bin_borders(cam2world, fov, size):
    p = torch.linspace(-1, 1, size) * math.tan(math.radians(fov) / 2)
    y, x = torch.meshgrid(-p, p, indexing='ij')
    local = F.normalize(torch.stack([x, y, -torch.ones_like(x)], -1).reshape(1, -1, 3), dim=-1)
    directions = local @ cam2world[:, :3, :3].mT
    return cam2world[:, None, :3, 3].expand_as(directions), directions


def upside_down(cam2world, fov, size):
    origins, directions = pixel_rays(cam2world, fov, size)
    return origins, directions.reshape(-1, size, size, 3).flip(1).reshape(directions.shape)


HISTOGRAM = [
    'the samples follow the histogram (KS < 0.02 over all rays)',
    'stratified: on every single ray the gap is below 1.5/M',
    'deterministic without a generator',
]


CENTRE = 'how far to the right is the centre of the last pixel of a row of five?'
HALVES = 'two pixels a side and 90 degrees: the centres lie at ±½'


def not_turned(cam2world, fov, size):
    same = pixel_rays(torch.eye(4)[None], fov, size)[1]
    return pixel_rays(cam2world, fov, size)[0], same.expand(len(cam2world), -1, -1)


def middles(edges, weights, samples, rng=None):
    t = sample_pdf(edges, weights, samples, rng)
    k = torch.searchsorted(edges, t.contiguous()).clamp(1, len(edges) - 1)
    return (edges[k] + edges[k - 1]) / 2


def one_camera(near, far, samples, batch, rays, rng=None):
    return sample_bins(near, far, samples, 1, rays, rng).expand(batch, rays, samples)


WRONG = dict(
    camera={
        'yaw the other way': (lambda y, p, r: camera(-y, p, r), [SIDE]),
        'pitch the other way': (lambda y, p, r: camera(y, -p, r), [HEIGHT]),
        'looks along +z': (looks_along_z, ['the camera looks at the origin']),
    },
    pixel_rays={
        'borders for centres': (bin_borders, [CENTRE, HALVES]),
        'upside down': (upside_down, ['the first ray goes left and up', HALVES]),
        'the directions stay in the camera': (
            not_turned,
            ['the middle ray of the second camera: is its direction turned into the world?'],
        ),
    },
    sample_bins={
        'one ray for all cameras': (
            one_camera,
            ['the rays of two cameras have samples of their own', 'the rays of two cameras have places of their own'],
        ),
        'one random number a ray': (
            lambda near, far, n, b, r, rng=None: (
                sample_bins(near, far, n, b, r)
                if rng is None
                else sample_bins(near, far, n, b, r) + (torch.rand(b, r, 1, generator=rng) - 0.5) * (far - near) / n
            ),
            ['the bins of a ray are independent'],
        ),
        'always the middle': (
            lambda near, far, n, b, r, rng=None: sample_bins(near, far, n, b, r),
            [
                'with a generator the bins are filled evenly',
                'the bins of a ray are independent',
                'the rays of two cameras have samples of their own',
                'the rays of two cameras have places of their own',
                'a second call goes on with the generator',
            ],
        ),
    },
    composite={
        'one colour for all channels': (
            lambda rgb, density, distances, far: composite(rgb[..., :1].expand_as(rgb), density, distances, far),
            ['every channel has its own colour'],
        ),
        'the product includes the sample itself': (changed(inclusive=True), [FOG, TWO, WALL, PLACE, LAST]),
        'the last interval forgotten': (changed(last=False), [FOG, TWO, LAST]),
        'no transmittance': (changed(transmit=False), [FOG, TWO, SHARES, WALL, PLACE]),
        'the distance not divided': (changed(weigh=False), [FAINT]),
    },
    sample_pdf={
        'never at random': (
            lambda edges, weights, samples, rng=None: sample_pdf(edges, weights, samples),
            [
                'with a generator the places in the bins are random',
                'with a generator the places are random, on every ray',
                'and independent for every part of the interval',
            ],
        ),
        'the mean of the rays': (
            lambda edges, weights, samples, rng=None: sample_pdf(
                edges, weights.mean(tuple(range(weights.ndim - 1)), keepdim=True).expand_as(weights), samples, rng
            ),
            ['every ray follows its own weights', 'every ray follows its own weights, however small they are'],
        ),
        'the middles of the bins only': (
            middles,
            [
                *HISTOGRAM,
                'samples are spread inside a bin',
                'with a generator the places are random, on every ray',
                'and independent for every part of the interval',
                'with a generator the places in the bins are random',
                'with a generator the places are random, on every ray',
                'and independent for every part of the interval',
            ],
        ),
        'the weights ignored': (
            lambda e, w, n, rng=None: sample_pdf(e, torch.ones_like(w), n, rng),
            [
                *HISTOGRAM,
                'a bin without weight gets almost nothing',
                'every ray follows its own weights, however small they are',
                'a bin without weight gets almost nothing',
                'every ray follows its own weights',
                'every ray follows its own weights, however small they are',
            ],
        ),
    },
)
