"""Table 4.2 of Liu's thesis in small: WGAN-GP and three StyleGANs on the same toon figures, shown equally many pictures.

    python benchmarks/standing.py train --size 64 --images 20000 --seeds 2 --runs runs/standing_64    # the same line resumes
    python benchmarks/standing.py score --size 64 --images 20000 --seeds 2 --runs runs/standing_64    # writes data/results/standing_64.*
    python benchmarks/standing.py collapse --size 64 --runs runs/standing_64                          # the gallery of collapses
    python benchmarks/standing.py data                                                                # the cleaning steps on toon figures and real sprites
    python benchmarks/standing.py export --size 64 --runs runs/standing_64 --variant b --seed 0       # a small generator to ship

`train` keeps checkpoints, a log, the sheet of 200 samples at each quarter of the training and the processor time of every
sitting; it stops after --minutes of wall time. `score` writes JSON and one sheet for each variant.
"""
import argparse
import json
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from animegan_nb.core import grid, seed_everything, to_float, to_uint8
from animegan_nb.data import PictureSet, blank, clean, close_pairs, exact_duplicates, groups, perceptual_hash, tiny
from animegan_nb.dcgan import CollapseAlarm, distinct, thumbnails
from animegan_nb.metrics import evaluate, extract
from animegan_nb.standing import border_contact, figure_mask, small_growth, small_variants
from animegan_nb.stylegan import Grow, count_parameters
from animegan_nb.toon import ToonFigures
from animegan_nb.training import Callback, Checkpoints, JSONLog, Trainer, build_pair, load_run

ROOT = Path(__file__).resolve().parents[1]
DRAWN = 200            # samples kept at every quarter of a training


def figures(args):
    "The toon figures, averaged down to the size of the experiment and rounded to bytes."
    pictures = torch.from_numpy(np.array(ToonFigures(args.figures, 64, args.data_seed, supersample=args.supersample).arrays['image'])).float()
    return PictureSet({'image': F.avg_pool2d(pictures, 64//args.size).round().byte().numpy()})


class Sitting(Callback):
    "Processor and wall seconds of every sitting, samples at the quarters, and a stop when the time is up."
    order = 8
    def __init__(self, run, until, deadline): self.run, self.until, self.deadline = Path(run), until, deadline

    def on_start(self, trainer):
        self.cpu, self.wall, self.first = time.process_time(), time.time(), trainer.step
        file = self.run/'sittings.json'
        self.before = [s for s in (json.loads(file.read_text()) if file.exists() else []) if s['last_step'] <= trainer.step]

    def on_step(self, trainer, record):
        if trainer.step % max(1, self.until//4) == 0: self.keep(trainer, trainer.step*4//self.until)
        growing = getattr(trainer.pair, 'grown', (0, 1.))
        if growing[0] == trainer.pair.config.size and .3 <= growing[1] < 1 and not (self.run/'faded.npz').exists(): self.keep(trainer, 'faded', growing[1])
        if time.time() > self.deadline: trainer.stopping.set()

    def keep(self, trainer, name, alpha=1.):
        np.savez_compressed(self.run/f'{name}.npz', image=to_uint8(trainer.sample(DRAWN, 1)).numpy(), step=trainer.step, alpha=alpha)

    def on_end(self, trainer):
        now = dict(first_step=self.first, last_step=trainer.step, processor_seconds=round(time.process_time() - self.cpu, 1), wall_seconds=round(time.time() - self.wall, 1))
        (self.run/'sittings.json').write_text(json.dumps([*self.before, now]))


def train(args):
    "All runs one after another; those that are finished are passed over."
    data, deadline = figures(args), time.time() + 60*args.minutes
    for seed in range(args.seeds):
        for key, variant in small_variants(args.size, seed).items():
            if args.only and key not in args.only or time.time() > deadline: continue
            run, steps = Path(args.runs)/f'{key}_{seed}', variant.steps(args.images)
            seed_everything(seed)
            callbacks = [Checkpoints(run, max(25, steps//8), keep=1), JSONLog(run/'log.jsonl'), Sitting(run, steps, deadline)]
            if key == 'a': callbacks.append(Grow(small_growth(args.size, args.images)))
            trainer = Trainer(build_pair(variant.model, variant.network), data, variant.training, callbacks, 'cpu',
                              recipe={'model': variant.model, 'network': asdict(variant.network)}).resume(run)
            if trainer.step >= steps: continue
            trainer.fit(until=steps, progress=False)
            print(key, seed, trainer.step, json.loads((run/'sittings.json').read_text())[-1], flush=True)


def stored(file): return torch.from_numpy(np.load(file)['image'])


def score(args):
    "Distances, floors, different pictures and processor times of all finished runs; sheets of what they drew."
    data, out = figures(args), ROOT/'data'/'results'
    held = torch.from_numpy(np.array(data.arrays['image']))
    real = {name: extract(PictureSet({'image': held.numpy()}), name) for name in args.extractors}
    points = thumbnails(to_float(held[:DRAWN])); width = torch.cdist(points, points).fill_diagonal_(float('inf')).min(1).values.median().item()
    of_real, rows, sheets = distinct(to_float(held[:64]), width), [], {}
    for key, variant in small_variants(args.size).items():
        for seed in range(args.seeds):
            run = Path(args.runs)/f'{key}_{seed}'
            quarters = [q for q in '1234' if (run/f'{q}.npz').exists()]
            if not quarters: continue
            sittings, last = json.loads((run/'sittings.json').read_text()) if (run/'sittings.json').exists() else [], quarters[-1]
            row = dict(variant=key, name=variant.name, seed=seed, steps=int(np.load(run/f'{last}.npz')['step']), finished=last == '4', images=args.images*int(last)//4,
                       processor_seconds=round(sum(s['processor_seconds'] for s in sittings), 1) if last == '4' else None)
            pair = build_pair(variant.model, variant.network)
            row |= dict(generator_parameters=count_parameters(pair.generator), discriminator_parameters=count_parameters(pair.discriminator), network=asdict(variant.network), scores={}, curve={})
            for at in (*quarters, *(['faded'] if key == 'a' else [])):
                pictures = F.interpolate(stored(run/f'{at}.npz').float(), (args.size, args.size)).byte()      # (a) may not have grown up yet
                for name in args.extractors if at == last else args.extractors[:1]:
                    found = evaluate(to_float(pictures), real[name], name, n=DRAWN, seed=0, replicates=20 if at == last else 2, cuts=4 if at == last else 1, engine='animegan_nb')
                    if at == last: row['scores'][name] = found.to_dict()
                    row['curve'].setdefault(name, {})[at] = round(found['frechet'].value, 5)
            row['distinct'] = round(distinct(to_float(stored(run/f'{last}.npz'))[:64], width)/of_real, 4)
            rows.append(row); sheets.setdefault(key, []).append(stored(run/f'{last}.npz')[:12])
            print(key, seed, last, row['processor_seconds'], row['distinct'], row['curve'], flush=True)
    floor = distinct(to_float(held[64:128]), width)/of_real
    facts = dict(size=args.size, images=args.images, figures=len(held), supersample=args.supersample, rows=rows, distinct_width=width, distinct_of_real=of_real, distinct_floor=round(floor, 4),
                 command=f'python benchmarks/standing.py train --size {args.size} --images {args.images} --seeds {args.seeds}; … score', training=asdict(small_variants(args.size)['b'].training),
                 critic=asdict(small_variants(args.size)['wgan-gp'].training), machine='one thread of a shared two-core CPU', torch=torch.__version__)
    (out/f'standing_{args.size}.json').write_text(json.dumps(facts, indent=1) + '\n')
    for key, parts in sheets.items(): grid(torch.cat(parts), 12).save(out/f'standing_{args.size}_{key}.jpg', quality=88)
    grid(held[:24], 12).save(out/f'standing_{args.size}_real.jpg', quality=88)


# way: changes to the network, changes to the training, extra generator steps, pictures (None: all)
WAYS = {'healthy': ({}, {}, 0, None), 'no R1, generator ten times faster': (dict(r1_gamma=0.), dict(generator_lr=.02), 0, None),
        'five generator steps for one': ({}, {}, 4, None), 'four training pictures': ({}, {}, 0, 4)}


class Extra(Callback):
    "So many more generator steps after each step."
    def __init__(self, extra): self.extra = extra
    def on_step(self, trainer, record):
        for _ in range(self.extra): trainer.update('generator')


def collapse(args):
    "StyleGAN (b) in health and in three bad ways, under the alarm of 12_dcgan; writes a sheet and what the alarm said."
    data, variant, out = figures(args), small_variants(args.size)['b'], ROOT/'data'/'results'
    real, runs, strips = to_float(data.batch(torch.arange(64))['image']), [], []
    for way, (network, training, extra, few) in WAYS.items():
        for seed in range(args.seeds):
            seed_everything(seed)
            pair = build_pair('stylegan', replace(variant.network, **network))
            alarm = CollapseAlarm(real, every=10, first=args.steps//2, patience=3)
            trainer = Trainer(pair, data.subset(range(few)) if few else data, replace(variant.training, seed=seed, **training) if not few else replace(variant.training, seed=seed, batch_size=4, mirror=False),
                              [alarm, Extra(extra)], 'cpu')
            cpu = time.process_time(); trouble = ''
            try: trainer.fit(args.steps, progress=False)
            except RuntimeError as error: trouble = str(error)
            runs.append(dict(way=way, seed=seed, steps=trainer.step, raised=alarm.raised, status=alarm.status, trouble=trouble, last=round(list(alarm.shares.values())[-1], 4), shares={k: round(v, 4) for k, v in alarm.shares.items()}, processor_seconds=round(time.process_time() - cpu, 1)))
            print({k: v for k, v in runs[-1].items() if k != 'shares'}, flush=True)
            if seed == 0: strips.append(to_uint8(trainer.sample(12, live=True)))
    grid(torch.cat(strips), 12).save(out/f'standing_{args.size}_collapse.jpg', quality=88)
    (out/f'standing_{args.size}_collapse.json').write_text(json.dumps(dict(size=args.size, ways=list(WAYS), runs=runs, least=alarm.least, first=alarm.first, patience=alarm.patience, every=alarm.every,
        command=f'python benchmarks/standing.py collapse --size {args.size} --seeds {args.seeds} --steps {args.steps}', torch=torch.__version__), indent=1) + '\n')


def export(args):
    "The averaged generator of one run in half precision, with what is known of it."
    run = Path(args.runs)/f'{args.variant}_{args.seed}'
    _, generator, info = load_run(run)
    name, out = f'standing_toon_{args.size}', ROOT/'data'/'pretrained'
    save_file({k: v.half().contiguous() if v.is_floating_point() else v.contiguous() for k, v in generator.state_dict().items()}, out/f'{name}.safetensors')
    sittings = json.loads((run/'sittings.json').read_text())
    facts = dict(what=f'StyleGAN ({args.variant}) at {args.size} px, averaged generator, trained on {args.figures} toon figures', network=info['network'], training=info['config'], images=info['images'], steps=info['step'],
                 seed=args.seed, command=f'python benchmarks/standing.py train --size {args.size} --images {args.images}; … export --variant {args.variant}', processor_seconds=sum(s['processor_seconds'] for s in sittings))
    (out/f'{name}.json').write_text(json.dumps(facts, indent=1) + '\n')


def contacts(masks):
    "The largest contact of each figure with a border, whole and cut off below 60 % of its height."
    whole, cut = [], []
    for mask in masks:
        rows = np.flatnonzero(mask.any(1))
        whole.append(max(border_contact(mask).values())); cut.append(max(border_contact(mask[:rows[0] + round(.6*len(rows))]).values()))
    return {'whole': sorted(round(float(v), 3) for v in whole), 'cut': sorted(round(float(v), 3) for v in cut)}


def measured(pictures, masks, hashes):
    "What the cleaning steps do to pictures [PIL on a plain colour] whose true masks are known."
    found = [figure_mask(p) for p in pictures]
    overlap = [(m & t).sum()/(m | t).sum() for m, t in zip(found, masks)]
    corner = lambda m: bool(m[-round(m.shape[0]*20/500):, -round(m.shape[1]*100/500):].any())
    return dict(n=len(pictures), overlap={'median': round(float(np.median(overlap)), 4), 'least': round(float(min(overlap)), 4), 'above .95': round(float(np.mean(np.array(overlap) > .95)), 4)},
                contact=contacts(masks), near={str(k): len(hashes) - len(set(groups(len(hashes), close_pairs(np.array(hashes, np.uint64), k)).tolist())) for k in range(1, 9)},
                in_the_corner=sum(map(corner, masks)))


def data(args):
    "The cleaning steps on toon figures, and on the real sprites of ANIMEGAN_DATA laid on random plain colours."
    toons = ToonFigures(args.figures, 64, args.data_seed, supersample=args.supersample).arrays
    pictures = [Image.fromarray(p) for p in np.array(toons['image']).transpose(0, 2, 3, 1)]
    results = {'toon': measured(pictures, np.array(toons['coverage'])[:, 0] > 127, [perceptual_hash(p) for p in pictures])}
    folder = Path(os.environ.get('ANIMEGAN_DATA') or '.')/'figures_64'
    if not folder.is_dir(): sys.exit('The real sprites are not here: set ANIMEGAN_DATA to the folder that holds figures_64.')
    sprites = [Image.open(p).convert('RGBA') for p in sorted(folder.glob('*.png'))]
    tones = np.random.default_rng(0).integers(60, 256, (len(sprites), 3))
    flat = lambda p, tone: Image.alpha_composite(Image.new('RGBA', p.size, (*map(int, tone), 255)), p).convert('RGB')
    results['sprites'] = measured([flat(*pair) for pair in zip(sprites, tones)], [np.asarray(p)[..., 3] > 127 for p in sprites], [perceptual_hash(flat(p, (255, 255, 255))) for p in sprites])
    report = clean(folder, steps=(exact_duplicates, tiny, blank), progress=False)
    results['sprites']['dropped before looks'] = report.counts
    results['command'] = 'python benchmarks/standing.py data'
    (ROOT/'data'/'results'/'standing_data.json').write_text(json.dumps(results) + '\n')
    print({k: {a: b for a, b in v.items() if a != 'contact'} for k, v in results.items() if k != 'command'})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('what', choices=['train', 'score', 'collapse', 'data', 'export'])
    add('--size', type=int, default=64); add('--images', type=int, default=20_000); add('--seeds', type=int, default=2); add('--seed', type=int, default=0)
    add('--figures', type=int, default=480); add('--data-seed', type=int, default=0); add('--supersample', type=int, default=1)
    add('--runs', default='runs/standing'); add('--minutes', type=float, default=45); add('--steps', type=int, default=200); add('--variant', default='b')
    add('--only', nargs='*', default=[]); add('--extractors', nargs='*', default=['toon', 'squeezenet'] if os.environ.get('ANIMEGAN_WEIGHTS') else ['toon'])
    args = parser.parse_args()
    torch.set_num_threads(1)
    {'train': train, 'score': score, 'collapse': collapse, 'data': data, 'export': export}[args.what](args)


if __name__ == '__main__': sys.exit(main())
