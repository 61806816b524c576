"""Inversion of 41_inversion: how well, and how fast.

    python benchmarks/inversion.py measure [--n 8] [--steps 500]
        # data/results/inversion.json: PSNR of inversions of the 64-px generator's own samples, of held-out toon heads
        # and, if ANIMEGAN_DATA names the folder, of real faces
    python benchmarks/inversion.py speed [--steps 1000] [--n 8]
        # processor time of n images at 64 px in one batch, one at a time, and in a plain loop; nothing is written

`measure` writes after every row and goes on where it was interrupted. The plain loop does per image what public
projectors do: it evaluates the perceptual features of the target in every step and computes gradients of all weights.
All times are processor times of one thread, in turns, so that the machine's load falls on all of them alike.
"""

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from animegan_nb import toon
from animegan_nb.core import atomic_path, rng, to_float
from animegan_nb.data import ImageFolder
from animegan_nb.inversion import NEAREST, PROJECTOR, invert, latent_prior, learning_rate_ramp
from animegan_nb.metrics import file_sha256, psnr
from animegan_nb.core import shipped
from animegan_nb.perceptual import PerceptualLoss
from animegan_nb.stylegan import pretrained_stylegan

NAME = 'stylegan_toon_64'
RESULT = Path(__file__).resolve().parents[1] / 'data' / 'results' / 'inversion.json'
HELD_OUT = 1234  # the seed of toon heads that no network was trained on
SEARCHES = {'nearest': NEAREST, 'projector': PROJECTOR}
# set, space, search: in the order of their importance
ROWS = [
    ('own', 'w', 'nearest'),
    ('own', 'w+', 'nearest'),
    ('toon', 'w', 'nearest'),
    ('toon', 'w+', 'nearest'),
    ('people', 'w', 'nearest'),
    ('people', 'w+', 'nearest'),
    ('own', 'w', 'projector'),
    ('own', 'w+', 'projector'),
    ('own', 'z', 'nearest'),
    ('own', 'p', 'nearest'),
    ('toon', 'w', 'projector'),
    ('toon', 'w+', 'projector'),
]


def own_samples(generator, n):
    with torch.no_grad():
        return generator(torch.randn(n, generator.z_dim, generator=rng(7)))


def toon_heads(generator, n):
    heads = toon.ToonHeads(n, generator.config.size, seed=HELD_OUT).only('image')
    return to_float(heads.batch(torch.arange(n))['image'])


def people(generator, n):
    folder = Path(os.environ['ANIMEGAN_DATA']) / 'human_faces_89x109'
    faces = ImageFolder(folder, generator.config.size, progress=False)
    return to_float(faces.batch(torch.arange(0, len(faces), len(faces) // n)[:n])['image'])


SETS = {'own': own_samples, 'toon': toon_heads, 'people': people}


def known_rows(facts):
    "The rows of an earlier run with the same facts."
    if not RESULT.exists():
        return []
    old = json.loads(RESULT.read_text())
    return old['rows'] if {k: old.get(k) for k in facts} == facts else []


def write(result):
    with atomic_path(RESULT) as part:
        part.write_text(json.dumps(result, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')


def measure(n, steps):
    generator, _ = pretrained_stylegan(NAME)
    prior = latent_prior(generator)
    facts = dict(
        what=f'inversions by {NAME}, alpha 0.5 (toon network), seed 0',
        command=f'python benchmarks/inversion.py measure --n {n} --steps {steps}',
        generator=file_sha256(shipped(f'pretrained/{NAME}.safetensors'))[:16],
        steps=steps,
        n=n,
    )
    rows = known_rows(facts)
    done = {(r['set'], r['space'], r['search']) for r in rows}
    for name, space, search in ROWS:
        if (name, space, search) in done or (name == 'people' and 'ANIMEGAN_DATA' not in os.environ):
            continue
        target, began = SETS[name](generator, n), time.process_time()
        found = invert(generator, target, space, steps=steps, search=SEARCHES[search], progress=False)
        rows.append(
            dict(
                set=name,
                space=space,
                search=search,
                psnr=psnr(found.image.clamp(-1, 1), target.clamp(-1, 1)).tolist(),
                loss=found.losses[-1].tolist(),
                energy=prior.energy(found.ws).tolist(),
                median_loss=found.losses.median(1).values[:: max(1, steps // 100)].tolist(),
                seconds=time.process_time() - began,
            )
        )
        write(facts | dict(searches={k: asdict(v) for k, v in SEARCHES.items()}, rows=rows))
        print(name, space, search, 'median', round(float(np.median(rows[-1]['psnr'])), 1), 'dB', flush=True)


# ---- speed


def plain_loop(generator, target, steps, look):
    "One image in w as public projectors do it; w starts at the mean of 10,000."
    with torch.no_grad():
        w = generator.mapping.w(torch.randn(10_000, generator.z_dim, generator=rng(0)))
    mean, radius = w.mean(0), (w - w.mean(0)).square().sum(1).mean().sqrt()
    latent = mean[None].clone().requires_grad_(True)
    optimizer = torch.optim.Adam([latent], 0.1)
    for step in range(steps):
        optimizer.param_groups[0]['lr'] = 0.1 * learning_rate_ramp(step, steps)
        noise = torch.randn_like(latent) * radius * 0.05 * max(0, 1 - step / steps / 0.75) ** 2
        ws = (latent + noise)[:, None].expand(-1, generator.mapping.num_ws, -1)
        image = generator.synthesis(ws, 'constant')
        perceptual, squared = look(image, target).sum(), (image - target).square().mean()
        loss = 0.5 * perceptual + 0.5 * squared
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
    return latent.detach()


def speed(n, steps, turns=4):
    "Processor seconds per image and step of each way, taken in turns; their ratios."
    generator, _ = pretrained_stylegan(NAME)
    generator.requires_grad_(True).train()
    look, target = PerceptualLoss('toon'), own_samples(generator, n).detach()
    options = dict(perceptual=look, progress=False)
    ways = {
        'one batch': lambda k: invert(generator, target, 'w', steps=k, search=PROJECTOR, **options),
        'one at a time': lambda k: [
            invert(generator, t[None], 'w', steps=k, search=PROJECTOR, **options) for t in target
        ],
        'plain loop': lambda k: [plain_loop(generator, t[None], k, look) for t in target],
    }
    taken = {name: 0.0 for name in ways}
    for way in ways.values():
        way(1)
    for _ in range(turns):
        for name, way in ways.items():
            began = time.process_time()
            way(max(1, steps // turns))
            taken[name] += time.process_time() - began
    counted = turns * max(1, steps // turns)
    each = {name: s / n / counted for name, s in taken.items()}
    print(f'{counted} steps of {n} images, in {turns} turns')  # the start of a search costs more in a short one
    for name, seconds in each.items():
        print(f'{name:14} {1000 * seconds:7.2f} ms an image and step, {seconds / each["one batch"]:.2f} × one batch')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('mode', choices=['measure', 'speed'])
    parser.add_argument('--n', type=int, default=8)
    parser.add_argument('--steps', type=int)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.mode == 'measure':
        measure(args.n, args.steps or 500)
    else:
        speed(args.n, args.steps or 1000)
