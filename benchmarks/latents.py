"""The stored measurements of 32_latents, on the shipped generator.

    python benchmarks/latents.py influence [pairs]
        # data/results/latents_influence.json: which layers decide which attributes
    python benchmarks/latents.py length [paths]
        # data/results/latents_path_length.json: perceptual path length

The first also reads unseen real heads at the generator's size, so that it says how far the reading network can be
trusted there. The second uses SqueezeNet, too, if its weights are there (ANIMEGAN_WEIGHTS).
"""

import json
import sys
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from animegan_nb import toon_net
from animegan_nb import toon
from animegan_nb.core import shipped
from animegan_nb.latents import (
    HEAD_READINGS,
    Influence,
    influence,
    layer_groups,
    perceptual_path_length,
    read_heads,
    trimmed_mean,
)
from animegan_nb.metrics import FeatureDistance, extractors, file_sha256
from animegan_nb.stylegan import pretrained_stylegan

OUT = Path(__file__).resolve().parents[1] / 'data' / 'results'


def about(command):
    "What a stored number depends on."
    return dict(
        command=command,
        generator_sha256=file_sha256(shipped('pretrained/stylegan_toon_32.safetensors'))[:16],
        network_sha256=file_sha256(shipped('pretrained/toon_net.safetensors'))[:16],
    )


def pooled(found):
    "Several seeds as one: mean shares, and intervals that hold those of every seed's mean and the bootstrap's."
    share, low, high = (torch.stack([getattr(f, k) for f in found]) for k in ('share', 'low', 'high'))
    half = ((high - low) / 2).mean(0) / len(found) ** 0.5  # NaN stays: one seed that cannot see an attribute is enough
    middle = share.mean(0)
    return Influence(
        found[0].groups,
        found[0].names,
        middle,
        torch.minimum(middle - half, share.amin(0)).clamp_min(0),
        torch.maximum(middle + half, share.amax(0)),
        torch.stack([f.total for f in found]).mean(0),
        torch.stack([f.floor for f in found]).mean(0),
        sum(f.pairs for f in found),
    )


def trust(net, n=250):
    """Accuracy of the categories and correlation of the quantities on unseen real heads, brought to 32 px;
    and the most frequent value's share."""
    rows = toon.ToonHeads(n, 64, seed=5).batch(range(n))
    readings = read_heads(net, F.avg_pool2d(rows['image'].float().div(127.5).sub(1), 2))
    truth = {**toon.decode(rows['identity']), 'yaw': rows['yaw'], 'pitch': rows['pitch']}
    accuracy, chance = {}, {}
    for name in HEAD_READINGS:
        if name in toon.CATEGORIES:
            accuracy[name] = (readings[name].argmax(1) == truth[name]).float().mean().item()
            chance[name] = truth[name].bincount().max().item() / n
        else:
            accuracy[name] = torch.corrcoef(torch.stack([readings[name], truth[name].float()]))[0, 1].item()
            chance[name] = 0.0
    return {k: round(v, 4) for k, v in accuracy.items()}, {k: round(v, 4) for k, v in chance.items()}


def run_influence(pairs=500):
    (generator, _), net = pretrained_stylegan(), toon_net.toon_network()
    read = partial(read_heads, net)
    groups = layer_groups(generator.config.size)
    layers = {f'w{i + 1}': (i,) for i in range(generator.config.num_ws)}
    both = [influence(generator, read, {**groups, **layers}, pairs=pairs, seed=seed) for seed in (1, 2, 3)]
    cut = lambda f, rows: Influence(
        tuple(f.groups[i] for i in rows), f.names, f.share[rows], f.low[rows], f.high[rows], f.total, f.floor, f.pairs
    )
    accuracy, chance = trust(net)
    whole = pooled(both)
    result = dict(
        about(f'python benchmarks/latents.py influence {pairs}'),
        what='share of each attribute that a group of layers decides',
        seeds=[1, 2, 3],
        pairs_a_seed=pairs,
        interval='mean of three seeds; wide enough for the 95 % bootstrap interval of the mean and for every seed',
        groups=cut(whole, [0, 1, 2]).to_dict(),
        layers=cut(whole, list(range(3, 3 + len(layers)))).to_dict(),
        seeds_share=[f.to_dict()['share'][:3] for f in both],
        accuracy_32=accuracy,
        chance=chance,
        accuracy_on='250 unseen heads of seed 5, averaged down to 32 px; correlation for quantities',
    )
    (OUT / 'latents_influence.json').write_text(json.dumps(result, indent=1) + '\n')
    print(json.dumps(result['groups'], indent=1), accuracy)


def distances():
    yield 'toon', FeatureDistance(toon_net.toon_network().maps)
    try:
        squeeze = extractors['squeezenet']().eval()
    except FileNotFoundError:
        return print('SqueezeNet is left out: its weights are not here')

    def maps(images):
        x = ((F.interpolate(images, (64, 64), mode='bilinear', antialias=True) + 1) / 2 - squeeze.mean) / squeeze.std
        out = []
        for i, layer in enumerate(squeeze.net.features):
            x = layer(x)
            if i in (1, 4, 7, 12):
                out.append(x)
        return out

    yield 'squeezenet', FeatureDistance(maps)


def run_length(paths=1000):
    generator, _ = pretrained_stylegan()
    lengths = {}
    for name, distance in distances():
        for space in 'zw':
            for where in ('full', 'end'):
                values = [
                    perceptual_path_length(generator, distance, paths, space, where, seed=seed) for seed in (1, 2, 3)
                ]
                means = torch.tensor([trimmed_mean(v) for v in values])
                whole = torch.cat(values)
                lengths[f'{name}, {space}, {where}'] = dict(
                    value=round(trimmed_mean(whole), 3),
                    half_interval=round(float(1.96 * whole.std() / len(whole) ** 0.5), 3),
                    seeds=[round(float(m), 3) for m in means],
                )
                print(name, space, where, lengths[f'{name}, {space}, {where}'], flush=True)
    result = dict(
        about(f'python benchmarks/latents.py length {paths}'),
        what='perceptual path length, 1 % trimmed at both ends, epsilon 1e-4, constant noise',
        seeds=[1, 2, 3],
        paths_a_seed=paths,
        lengths=lengths,
    )
    (OUT / 'latents_path_length.json').write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    torch.set_num_threads(1)
    what, *count = sys.argv[1:]
    {'influence': run_influence, 'length': run_length}[what](*map(int, count))
