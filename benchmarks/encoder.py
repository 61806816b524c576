"""The encoders of 34_encoder: trained, compared, shipped.

    python benchmarks/encoder.py compare [steps of the refining kinds] [of the plain ones]
        # data/results/encoder_compare.json
    python benchmarks/encoder.py ship
        # the best refined and plain seed into data/pretrained
    python benchmarks/encoder.py descent [steps]
        # data/results/encoder_descent.json: inversions from each start
    python benchmarks/encoder.py size
        # data/results/encoder_size.json: Liu's encoder at half and at twice its width, beside that of `compare`; the
        # narrow one with three times the steps; the nearest of 1,024 random heads
    python benchmarks/encoder.py reach [steps]
        # data/results/encoder_reach.json: how near the generator can come to images at all

Trained on the shipped generator's own images and, for the refining kinds, on the 3,000 ready heads; judged on 40
unseen toon heads (seed 5), on 40 generated images and, if ANIMEGAN_DATA names the folder, on 40 real anime faces.
`compare` keeps each trained network in runs/encoder, in a folder named after the generator and the numbers of steps, so
that it can be interrupted; `ship` and `descent` take them from there. Of the real faces only reconstructions are kept
(encoder_anime.png).
"""

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from latents import distances  # the neighbouring script: features of the toon network and of SqueezeNet
from safetensors.torch import load_file, save_file

from animegan_nb import toon_net
from animegan_nb import toon
from animegan_nb.core import grid, shipped
from animegan_nb.data import ImageFolder, ImageSet
from animegan_nb.encoder import Encoder, EncoderConfig, EncoderLoss, descend, explained, fit_plain, fit_refined
from animegan_nb.encoder import pretrained_encoder
from animegan_nb.latents import HEAD_READINGS, as_ws, draw, read_heads, sample_w
from animegan_nb.metrics import file_sha256
from animegan_nb.stylegan import pretrained_stylegan

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / 'runs' / 'encoder'
SEEDS = (0, 1, 2)
COUNT = 40  # images in a set
WIDTHS = (16, 64)  # of Liu's encoder, for `size`; that of `compare` is 32
LONGER = 3  # times the steps, for the narrow one
METHODS = {'thesis': EncoderConfig(kind='plain', width=32), 'three looks': EncoderConfig(passes=3)}
READ = [n for n in HEAD_READINGS if n in toon.CATEGORIES]


def generator_sha256():
    return file_sha256(shipped('pretrained/stylegan_toon_32.safetensors'))[:16]


def path_of(name, seed, steps):
    return RUNS / f'{generator_sha256()}-{steps[0]}-{steps[1]}' / f'{name.replace(" ", "-")}-{seed}.safetensors'


def small(heads: ImageSet, rows) -> torch.Tensor:
    "Some rows of a set at 32 px, uint8."
    return heads.subset(rows).only('image').resized(32).batch(range(len(rows)))['image']


def sets(generator):
    "Images to judge on, by name."
    found = {
        'toon': small(toon.ToonHeads(n=250, size=64, seed=5), range(COUNT)) / 127.5 - 1,
        'generated': draw(generator, sample_w(generator, COUNT, seed=999)),
    }
    if folder := os.environ.get('ANIMEGAN_DATA'):
        faces = ImageFolder(Path(folder) / 'anime_faces_256', 64, progress=False)
        found['anime'] = small(faces, range(0, 600, 15)[:COUNT]) / 127.5 - 1
    return found


@torch.no_grad()
def judge(ws, generator, net, distance, images, before):
    """Of the reconstructions from ws:
    pixel error, feature distances, and the share of categories that are read from them as from the originals."""
    drawn = draw(generator, ws)
    after = read_heads(net, drawn)
    same = {n: (before[n].argmax(1) == after[n].argmax(1)).float().mean().item() for n in READ}
    yaw = torch.corrcoef(torch.stack([before['yaw'], after['yaw']]))[0, 1].nan_to_num(0.0).item()
    apart = {
        name: torch.cat([d(a, b) for a, b in zip(drawn.split(50), images.split(50))]).mean().item()
        for name, d in distance.items()
    }
    return dict(
        pixels=(drawn - images).square().mean().item(),
        features=apart.pop('toon'),
        **apart,
        attributes=sum(same.values()) / len(same),
        yaw=yaw,
        **same,
    )


def train(name, config, seed, generator, distance, drawings, steps):
    "One encoder, from its file if it was trained before."
    path = path_of(name, seed, steps)
    torch.manual_seed(seed)
    encoder = Encoder(config)
    start = time.time()
    if path.exists():
        encoder.load_state_dict(load_file(path))
        return encoder.eval()
    if config.kind == 'plain':
        fit_plain(encoder.net, generator, steps[1], seed=seed)
    else:
        fit_refined(encoder, generator, drawings, distance['toon'], steps[0], seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(encoder.state_dict(), path)
    print(f'{name}, seed {seed}: {time.time() - start:.0f} s', flush=True)
    return encoder.eval()


def compare(refined=60, plain=200):
    (generator, _), net = pretrained_stylegan(), toon_net.toon_network()
    distance, drawings = dict(distances()), small(toon.ready_heads(), range(3000))
    tests, results, rebuilt = sets(generator), {}, {}
    w, before = sample_w(generator, COUNT, seed=999), {where: read_heads(net, x) for where, x in tests.items()}

    def note(name, where, ws):
        for k, v in judge(ws, generator, net, distance, tests[where], before[where]).items():
            results.setdefault(name, {}).setdefault(where, {}).setdefault(k, []).append(round(v, 5))
        if where == 'anime':
            rebuilt.setdefault(name, ws[:12])

    for where, images in tests.items():
        note('the mean', where, as_ws(generator, generator.mapping.w_avg.expand(len(images), -1)))
    for seed in SEEDS:
        for name, config in METHODS.items():
            encoder = train(name, config, seed, generator, distance, drawings, (refined, plain))
            with torch.no_grad():
                for where, images in tests.items():
                    found = encoder.passes(generator, images)
                    if config.kind == 'refined':
                        note('its first look', where, found[1])
                    note(name, where, found[-1])
                if config.kind == 'plain':
                    results[name].setdefault('explained', []).append(
                        round(explained(encoder.net(tests['generated']), w, generator.mapping.w_avg), 4)
                    )
    result = dict(
        command=f'python benchmarks/encoder.py compare {refined} {plain}',
        what='reconstruction by encoders: one number for each training seed',
        seeds=list(SEEDS),
        counts={k: len(v) for k, v in tests.items()},
        steps={'refining kinds': refined, 'thesis': plain},
        batch={'refining kinds': 16, 'thesis': 32},
        generator_sha256=generator_sha256(),
        network_sha256=file_sha256(shipped('pretrained/toon_net.safetensors'))[:16],
        anime=f'{COUNT} of the real faces of anime_faces_256, averaged down to 32 px',
        methods=results,
    )
    if rebuilt:
        rebuilt['descent from there'] = descend(
            generator, tests['anime'][:12], rebuilt['three looks'], 40, distance['toon']
        )[0]
        del rebuilt['its first look']
        grid(torch.cat([draw(generator, ws) for ws in rebuilt.values()]), 12, gap=0).save(
            ROOT / 'data' / 'results' / 'encoder_anime.png'
        )
        # pixel errors of the rows
        result['anime_rows'] = {
            k: round((draw(generator, ws) - tests['anime'][:12]).square().mean().item(), 3) for k, ws in rebuilt.items()
        }
    (ROOT / 'data' / 'results' / 'encoder_compare.json').write_text(json.dumps(result, indent=1) + '\n')
    for name, found in result['methods'].items():
        print(name, {w: {k: found[w][k] for k in ('pixels', 'features', 'attributes', 'yaw')} for w in tests})


def ship():
    stored = json.loads((ROOT / 'data' / 'results' / 'encoder_compare.json').read_text())
    for name, file in (('thesis', 'encoder_plain_toon_32'), ('three looks', 'encoder_refined_toon_32')):
        errors = stored['methods'][name]['toon']['features']
        seed = SEEDS[errors.index(min(errors))]
        state = load_file(path_of(name, seed, list(stored['steps'].values())))
        out = ROOT / 'data' / 'pretrained'
        save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, out / f'{file}.safetensors')
        facts = dict(
            what=f'encoder ({name}) for stylegan_toon_32',
            network=asdict(METHODS[name]),
            seed=seed,
            chosen=f'the best of seeds {list(SEEDS)} by feature distance on unseen toon heads',
            loss=asdict(EncoderLoss()) if name != 'thesis' else 'squared error of w',
            command=stored['command'] + ' && python benchmarks/encoder.py ship',
            steps=stored['steps'],
            batch=stored['batch'],
            generator_sha256=stored['generator_sha256'],
            scores={k: v for k, v in stored['methods'][name]['toon'].items()},
        )
        (out / f'{file}.json').write_text(json.dumps(facts, indent=1) + '\n')
        print(file, seed, (out / f'{file}.safetensors').stat().st_size)


@torch.no_grad()
def nearest(generator, images, count, seed):
    "For each image that of some random w whose drawing has the smallest squared error."
    w = sample_w(generator, count, seed=seed)
    drawn = torch.cat([draw(generator, part) for part in w.split(64)])
    apart = torch.cdist(images.flatten(1), drawn.flatten(1), compute_mode='donot_use_mm_for_euclid_dist')
    return w[apart.argmin(1)]


@torch.no_grad()
def shipped_answers(generator, images):
    "The answers of the two encoders that ship."
    plain = Encoder(METHODS['thesis'])
    plain.load_state_dict(
        {k: v.float() for k, v in load_file(shipped('pretrained/encoder_plain_toon_32.safetensors')).items()}
    )
    return {'thesis': plain(generator, images), 'three looks': pretrained_encoder()[0](generator, images)}


def untrained_starts(generator, images, distance, steps, fast=0.1):
    "Descents from the nearest of 256 random heads, and one from each start at a higher rate; the shipped encoders."
    falls = lambda ws, **options: [round(v, 5) for v in descend(generator, images, ws, steps, distance, **options)[1]]
    near = [as_ws(generator, nearest(generator, images, 256, seed)) for seed in SEEDS]
    starts = {'the mean': as_ws(generator, generator.mapping.w_avg.expand(len(images), -1))}
    starts |= shipped_answers(generator, images) | {'nearest': near[0]}
    return [falls(ws) for ws in near], dict(lr=fast, losses={name: falls(ws, lr=fast) for name, ws in starts.items()})


def descent(steps=30, heads=12):
    "Loss before each step of an inversion, from the mean and from each trained encoder's answer."
    stored = json.loads((ROOT / 'data' / 'results' / 'encoder_compare.json').read_text())
    (generator, _), distance = pretrained_stylegan(), dict(distances())['toon']
    images, losses = sets(generator)['toon'][:heads], {}
    starts = [('the mean', as_ws(generator, generator.mapping.w_avg.expand(heads, -1)))]
    for name in ('thesis', 'three looks'):
        for seed in SEEDS:
            encoder = train(name, METHODS[name], seed, generator, None, None, list(stored['steps'].values()))
            with torch.no_grad():
                starts.append((name, encoder(generator, images)))
    for name, ws in starts:
        losses.setdefault(name, []).append([round(v, 5) for v in descend(generator, images, ws, steps, distance)[1]])
    losses['nearest'], faster = untrained_starts(generator, images, distance, steps)
    result = dict(
        command=f'python benchmarks/encoder.py descent {steps}',
        what='loss before each step of Adam on ws, one run for each training seed of an encoder',
        seeds=list(SEEDS),
        heads=heads,
        generator_sha256=generator_sha256(),
        weights=asdict(EncoderLoss()),
        losses=losses,
        faster=faster,
    )
    (ROOT / 'data' / 'results' / 'encoder_descent.json').write_text(json.dumps(result, indent=1) + '\n')
    for name, runs in losses.items():
        print(name, [(run[0], run[len(run) // 2], run[-1]) for run in runs])


@torch.no_grad()
def errors(drawn, images, distance) -> dict:
    "Pixel error and feature distances of reconstructions, the mean over the images."
    apart = {name: d(drawn, images).mean().item() for name, d in distance.items()}
    return {k: round(v, 5) for k, v in dict(pixels=(drawn - images).square().mean().item(), **apart).items()}


def size_row(generator, distance, tests, w, width, steps, seed):
    "One training of Liu's encoder, and what it found."
    torch.manual_seed(seed)
    encoder, start = Encoder(EncoderConfig(kind='plain', width=width)), time.process_time()
    fit_plain(encoder.net, generator, steps, seed=seed)
    seconds = round(time.process_time() - start, 1)
    with torch.no_grad():
        share = explained(encoder.net(tests['generated']), w, generator.mapping.w_avg)
        found = {k: errors(draw(generator, encoder.net(x)), x, distance) for k, x in tests.items()}
    row = dict(width=width, seed=seed, parameters=sum(p.numel() for p in encoder.parameters()))
    row |= dict(explained=round(share, 4), **found, steps=steps, seconds=seconds)
    print(row, flush=True)
    return row


def size(steps=200):
    "Liu's encoder with other widths: the same steps, the same batches, judged on the same images."
    (generator, _), distance = pretrained_stylegan(), dict(distances())
    w, tests = sample_w(generator, COUNT, seed=999), sets(generator)
    tests.pop('anime', None)
    before = json.loads((ROOT / 'data' / 'results' / 'encoder_compare.json').read_text())
    assert before['steps']['thesis'] == steps and before['generator_sha256'] == generator_sha256()
    of = before['methods']['thesis']
    parameters = sum(p.numel() for p in Encoder(METHODS['thesis']).parameters())
    rows = [
        dict(width=METHODS['thesis'].width, seed=seed, parameters=parameters, explained=of['explained'][i])
        | {
            k: {'pixels': of[k]['pixels'][i], 'toon': of[k]['features'][i], 'squeezenet': of[k]['squeezenet'][i]}
            for k in tests
        }
        for i, seed in enumerate(SEEDS)
    ]
    row = lambda width, steps, seed: size_row(generator, distance, tests, w, width, steps, seed)
    rows += [row(width, steps, seed) for width in WIDTHS for seed in SEEDS]
    near = [draw(generator, nearest(generator, tests['toon'], 1024, seed)) for seed in SEEDS]
    result = dict(
        command='python benchmarks/encoder.py size',
        what="Liu's encoder of three widths, trained on generated images only; seconds are of one processor thread",
        steps=steps,
        batch=32,
        counts={k: len(v) for k, v in tests.items()},
        generator_sha256=generator_sha256(),
        rows=sorted(rows, key=lambda row: (row['width'], row['seed'])),
        longer=[row(WIDTHS[0], LONGER * steps, seed) for seed in SEEDS],
        nearest={'of': 1024, 'toon': [errors(drawn, tests['toon'], distance) for drawn in near]},
    )
    (ROOT / 'data' / 'results' / 'encoder_size.json').write_text(json.dumps(result, indent=1) + '\n')


def reach(steps=500, heads=16):
    "Descent on ws without a penalty, from the shipped plain encoder's answers: what remains is the generator's."
    (generator, _), distance = pretrained_stylegan(), dict(distances())
    tests = {k: x[:heads] for k, x in sets(generator).items() if k in ('generated', 'toon')}
    with torch.no_grad():
        ws = torch.cat([shipped_answers(generator, x)['thesis'] for x in tests.values()])
        mean = draw(generator, generator.mapping.w_avg[None]).expand(heads, -1, -1, -1)
    pictures, weights, done, curve = torch.cat(list(tests.values())), EncoderLoss(near=0.0), 0, []
    for until in sorted({0, 30, 100, 250, steps}):
        if until > done:
            ws, _ = descend(generator, pictures, ws, until - done, distance['toon'], weights=weights)
        parts = zip(tests.items(), draw(generator, ws).split(heads))
        curve.append(dict(steps=until, **{k: errors(drawn, x, distance) for (k, x), drawn in parts}))
        done = until
        print(curve[-1], flush=True)
    result = dict(
        command=f'python benchmarks/encoder.py reach {steps}',
        what="descent from Liu's encoder on every ws, pixels and toon features, without a penalty on ws",
        heads=heads,
        generator_sha256=generator_sha256(),
        weights=asdict(weights),
        mean={k: errors(mean, x, distance) for k, x in tests.items()},
        curve=curve,
    )
    (ROOT / 'data' / 'results' / 'encoder_reach.json').write_text(json.dumps(result, indent=1) + '\n')
    grid(torch.cat([*tests.values(), *draw(generator, ws).split(heads)]), heads, gap=0).save(
        ROOT / 'data' / 'results' / 'encoder_reach.png'
    )


if __name__ == '__main__':
    torch.set_num_threads(1)
    what, *numbers = sys.argv[1:]
    {'compare': compare, 'ship': ship, 'descent': descent, 'size': size, 'reach': reach}[what](*map(int, numbers))
