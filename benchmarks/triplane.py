"""A tri-plane field, forward and backward, against a plain look-up and against a SIREN of equal width: ratios of
processor time in one run; and views a second of the direct branch of a shipped network, or of a fresh one of a preset.

    OMP_NUM_THREADS=1 python benchmarks/triplane.py [--points 24576] [--width 64] [--channels 8 32] [--repeats 7]
        [--preset mimic3d-cpu] [--network mimic3d_toon_64]

"plain" is the look-up as one would write it: `grid_sample` for each plane in turn, the mean of the three, and
`torch.nn.Linear` layers; it is checked to give the same numbers. "SIREN" is pi-GAN's field with as many units in each
of its eight layers as the decoder of the planes has. Processor time, calls interleaved, medians of pairs.
"""

import argparse
import statistics

import torch
import torch.nn.functional as F
from turns import in_turns

from animegan_nb.cameras import pose
from animegan_nb.core import rng, shipped_networks
from animegan_nb.mimic3d import MimicGenerator
from animegan_nb.siren import FieldConfig, PiganField
from animegan_nb.training import recipes
from animegan_nb.triplane import PlaneDecoder, PlaneVolume, render_plane_views


def plain(planes, points, decoder):
    "Three look-ups, their mean, two linear layers."
    found = 0
    for k, (a, b) in enumerate(((0, 1), (1, 2), (2, 0))):
        places = 2 * points[..., [a, b]][:, None]
        found = found + F.grid_sample(planes[:, k], places, align_corners=False)[:, :, 0].mT
    layers = [(layer.weight * layer.scale, layer.bias) for layer in (decoder.hidden, decoder.out)]
    x = F.linear(F.softplus(F.linear(found / 3, *layers[0])), *layers[1])
    return torch.sigmoid(x[..., 1:]) * 1.002 - 0.001, x[..., 0]


def report(title, calls, repeats):
    seconds = in_turns(calls, repeats, warm_up=1)
    base = next(iter(seconds.values()))
    print(f'\n{title}')
    for name, found in seconds.items():
        ratio = statistics.median(s / b for b, s in zip(base, found))
        print(f'  {name:10} {1000 * statistics.median(found):9.1f} ms   ×{ratio:.2f}')


def fields(points, width, channels, repeats):
    torch.manual_seed(0)
    planes = torch.randn(1, 3, channels, 64, 64, requires_grad=True)
    decoder = PlaneDecoder(channels, width, 3)
    siren = PiganField(FieldConfig(hidden=width, z_dim=16, mapping_hidden=32))
    condition = siren.condition(torch.randn(1, 16))
    x = torch.rand(1, points, 3, generator=rng(0)) - 0.5
    toward = F.normalize(torch.randn(1, points, 3, generator=rng(1)), dim=-1)
    volume = PlaneVolume((planes,), decoder)
    for a, b in zip(volume.raw(x), plain(planes, x, decoder)):
        assert torch.allclose(a, b, atol=1e-5), 'the two forms differ'
    forward = {
        'plain': lambda: plain(planes, x, decoder),
        'ours': lambda: volume.raw(x),
        'SIREN': lambda: siren(0.2 * x, condition, toward),
    }
    name = f'{points} points, {channels} channels, {width} units'
    with torch.no_grad():
        report(f'{name}: forward', forward, repeats)
    both = {
        k: lambda call=call: sum(y.sum() for y in call()).backward(retain_graph=True) for k, call in forward.items()
    }
    report(f'{name}: forward and backward', both, repeats)


def direct_branch(preset, network):
    "The shipped network of this name, or a fresh one of the preset where there is none; and what it is called."
    if network in shipped_networks():
        return MimicGenerator.from_pretrained(network).requires_grad_(False), network
    generator = MimicGenerator(recipes[preset].network).eval().requires_grad_(False)
    generator.grow(generator.config.size)
    return generator, f'{preset}, not trained'


def views(preset, network, repeats):
    "Views a second of the direct branch, one at a time, with the planes drawn for each and drawn once."
    generator, called = direct_branch(preset, network)
    config = generator.config
    z, cam = torch.randn(1, config.z_dim), pose(torch.tensor([0.3]))
    volume = generator.volumes(generator.w(z))[-1]
    calls = {
        'all': lambda: generator.render(z, cam),
        'planes kept': lambda: render_plane_views(volume, cam, config.size, config.view),
    }
    for name, found in in_turns(calls, repeats, warm_up=1).items():
        print(f'{called}, {config.size} px, {name}: {1 / statistics.median(found):.1f} views a second')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--points', type=int, default=24576)
    parser.add_argument('--width', type=int, default=64)
    parser.add_argument('--channels', type=int, nargs='+', default=[8, 32])
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--preset', default='mimic3d-cpu')
    parser.add_argument('--network', default='mimic3d_toon_64')
    args = parser.parse_args()
    torch.set_num_threads(1)
    for channels in args.channels:
        fields(args.points, args.width, channels, args.repeats)
    print()
    views(args.preset, args.network, args.repeats)


if __name__ == '__main__':
    main()
