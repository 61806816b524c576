"""The stored measurements of 32_latents, on the shipped generators of 64 px.

    python benchmarks/latents.py influence [pairs]
        # data/results/latents_influence.json: which layers decide which attributes
    python benchmarks/latents.py length [paths]
        # data/results/latents_path_length.json: perceptual path length

The first also reads unseen drawn heads of each style, so that it says how far the reading network can be trusted
there. The second uses SqueezeNet, too, if its weights are there (ANIMEGAN_WEIGHTS).
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
NETWORKS = {'anime': 'stylegan_toon_64', 'human': 'stylegan_toon_human_64'}  # a style, and who draws it
SEEDS = (1, 2, 3)


def about(command):
    "What a stored number depends on."
    return dict(
        command=command,
        generators=NETWORKS,
        generator_sha256={k: file_sha256(shipped(f'pretrained/{n}.safetensors'))[:16] for k, n in NETWORKS.items()},
        network_sha256=file_sha256(shipped('pretrained/toon_net.safetensors'))[:16],
        seeds=list(SEEDS),
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


def trust(net, style, n=250):
    """Accuracy of the categories and correlation of the quantities on unseen drawn heads of a style,
    and the share of the most frequent value."""
    rows = toon.ToonHeads(n, 64, seed=5, style=style).batch(range(n))
    readings = read_heads(net, rows['image'].float().div(127.5).sub(1))
    truth = {**toon.decode(rows['identity']), 'yaw': rows['yaw'], 'pitch': rows['pitch']}
    accuracy, chance = {}, {}
    for name in HEAD_READINGS:
        if name in toon.CATEGORIES:
            accuracy[name] = (readings[name].argmax(1) == truth[name]).float().mean().item()
            chance[name] = truth[name].bincount().max().item() / n
        else:
            accuracy[name] = torch.corrcoef(torch.stack([readings[name], truth[name].float()]))[0, 1].item()
            chance[name] = 0.0
    rounded = lambda table: {k: round(v, 4) for k, v in table.items()}
    return dict(accuracy=rounded(accuracy), chance=rounded(chance))


def rows_of(found, rows):
    "Some of the groups of an influence."
    share, low, high = (getattr(found, k)[rows] for k in ('share', 'low', 'high'))
    groups = tuple(found.groups[i] for i in rows)
    return Influence(groups, found.names, share, low, high, found.total, found.floor, found.pairs)


def influence_of(style, net, pairs):
    "What one generator's groups of layers and single layers decide, and how well its style is read."
    generator, _ = pretrained_stylegan(NETWORKS[style])
    groups = layer_groups(generator.config.size)
    layers = {f'w{i + 1}': (i,) for i in range(generator.config.num_ws)}
    parts, read = {**groups, **layers}, partial(read_heads, net)
    found = [influence(generator, read, parts, pairs=pairs, seed=seed) for seed in SEEDS]
    whole = pooled(found)
    return dict(
        groups=rows_of(whole, list(range(len(groups)))).to_dict(),
        layers=rows_of(whole, list(range(len(groups), len(parts)))).to_dict(),
        seeds_share=[f.to_dict()['share'][: len(groups)] for f in found],
        **trust(net, style),
    )


def run_influence(pairs=500):
    net = toon_net.toon_network()
    result = dict(
        about(f'python benchmarks/latents.py influence {pairs}'),
        what='share of each attribute that a group of layers decides',
        pairs_a_seed=pairs,
        interval='mean of three seeds; wide enough for the 95 % bootstrap interval of the mean and for every seed',
        accuracy_on='250 unseen drawn heads of seed 5 in the style, 64 px; correlation for quantities',
        **{style: influence_of(style, net, pairs) for style in NETWORKS},
    )
    (OUT / 'latents_influence.json').write_text(json.dumps(result, indent=1) + '\n')
    for style in NETWORKS:
        print(style, json.dumps(result[style]['groups']), result[style]['accuracy'])


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


def bootstrap(table, statistic, level, rounds=4000, seed=0):
    "The interval of a statistic of [n, k] rows (of [rounds, n, k] draws of them) at a level."
    source, out = torch.Generator().manual_seed(seed), []
    for _ in range(rounds // 100):
        out.append(statistic(table[torch.randint(len(table), (100, len(table)), generator=source)]))
    tail = (1 - level) / 2
    return torch.quantile(torch.cat(out), torch.tensor([tail, 1 - tail])).tolist()


def trimmed(draws, share=0.01):
    "`trimmed_mean` of every column of every draw: [rounds, n, k] to [rounds, k]."
    cut = int(draws.shape[1] * share)
    return draws.sort(1).values[:, cut : draws.shape[1] - cut].mean(1)


def length_of(generator, distance, where, paths, level):
    "The lengths of the same pairs of latents in z and in w, and their ratio, with bootstrap intervals over paths."
    measure = lambda space, seed: perceptual_path_length(generator, distance, paths, space, where, seed=seed)
    table = [torch.stack([measure(space, seed) for space in 'zw'], 1) for seed in SEEDS]
    whole, ratio = torch.cat(table), lambda m: m[..., 0] / m[..., 1]
    ends = {space: bootstrap(whole, lambda d, i=i: trimmed(d)[:, i], 0.95) for i, space in enumerate('zw')}
    digits = lambda values: [round(float(v), 3) for v in values]
    return dict(
        z=round(trimmed_mean(whole[:, 0]), 3),
        w=round(trimmed_mean(whole[:, 1]), 3),
        intervals={space: digits(interval) for space, interval in ends.items()},
        ratio=round(float(ratio(trimmed(whole[None]))), 3),
        ratio_interval=digits(bootstrap(whole, lambda d: ratio(trimmed(d)), level)),
        ratio_seeds=digits(ratio(trimmed(t[None]))[0] for t in table),
    )


def run_length(paths=1000):
    distance_of = dict(distances())
    cases = [(s, name, where) for s in NETWORKS for name in distance_of for where in ('full', 'end')]
    level, lengths = 1 - 0.05 / len(cases), {}
    for style, name, where in cases:
        generator, _ = pretrained_stylegan(NETWORKS[style])
        lengths[f'{style}, {name}, {where}'] = length_of(generator, distance_of[name], where, paths, level)
        print(style, name, where, lengths[f'{style}, {name}, {where}'], flush=True)
    result = dict(
        about(f'python benchmarks/latents.py length {paths}'),
        what='perceptual path length, 1 % trimmed at both ends, epsilon 1e-4, constant noise; same latents in z and w',
        paths_a_seed=paths,
        intervals=f'bootstrap over paths: 95 % for a length; 1 - 0.05/{len(cases)} for a ratio (all hold together)',
        ratio_level=round(level, 5),
        lengths=lengths,
    )
    (OUT / 'latents_path_length.json').write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    torch.set_num_threads(1)
    what, *count = sys.argv[1:]
    {'influence': run_influence, 'length': run_length}[what](*map(int, count))
