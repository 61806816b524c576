"""Table 4.2 of Liu's thesis in small: WGAN-GP and three StyleGANs on the same toon figures, shown equally many images.

The same line resumes a training:

    python benchmarks/standing.py train --size 64 --images 20000 --seeds 2 --runs runs/standing_64

Write data/results/standing_64.*:

    python benchmarks/standing.py score --size 64 --images 20000 --seeds 2 --runs runs/standing_64

The cleaning steps on toon figures and real sprites:

    python benchmarks/standing.py data

For longer, on 1,500 figures; resumes:

    python benchmarks/standing.py long --minutes 35 --runs runs/standing_64 --start runs/native

The network that reads figures; then what the generators vary, and by which layers:

    python benchmarks/standing.py reader
    python benchmarks/standing.py variety --runs runs/standing_64

What trivial "generators" score, and what the reader says of real figures that are only unclear:

    python benchmarks/standing.py controls

`train` keeps checkpoints, a log, the sheet of 200 samples at each quarter of the training and the processor time of
every sitting; it stops after --minutes of wall time. `score` writes JSON and one sheet for each variant.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from latents import pooled
from safetensors.torch import save_file
from stylegan_faces import NETWORK, TRAINING
from train_stylegan_toon import begin_with, sittings, thinned

from animegan_nb.augment import Augmentation
from animegan_nb.core import grid, rng, seed_everything, to_float, to_uint8
from animegan_nb.data import ImageSet
from animegan_nb.cleaning import blank, clean, close_pairs, exact_duplicates, groups, perceptual_hash, tiny
from animegan_nb.dcgan import CollapseAlarm, distinct, thumbnails
from animegan_nb.latents import influence, layer_groups, reading_distance
from animegan_nb.metrics import evaluate, extract
from animegan_nb.standing import (
    FIGURE_READINGS,
    FigureReader,
    border_contact,
    figure_mask,
    figure_reader,
    figure_truth,
    read_figures,
    small_growth,
    small_variants,
)
from animegan_nb.stylegan import count_parameters
from animegan_nb.figures import ToonFigures
from animegan_nb.training import Callback, Trainer, build_pair, checkpoints, load_run
from animegan_nb.wgan import WGANConfig
from animegan_nb.callbacks import Checkpoints, Clock, JSONLog, Samples, read_log

ROOT = Path(__file__).resolve().parents[1]
DRAWN = 200  # samples kept at every quarter of a training


def variants(args, seed=0):
    "The four networks of the table."
    return small_variants(args.size, seed, wgan=WGANConfig(args.size, channels=64))


def figures(args):
    "The toon figures, averaged down to the size of the experiment and rounded to bytes."
    drawn = ToonFigures(args.figures, 64, args.data_seed, supersample=args.supersample)
    return drawn.only('image').resized(args.size)


class Quarters(Callback):
    "Samples at the quarters of a training, and of a growing one in the middle of its last fade."

    order = 8

    def __init__(self, run, until):
        self.run, self.until = Path(run), until

    def on_step(self, trainer, record):
        if trainer.step % max(1, self.until // 4) == 0:
            self.keep(trainer, trainer.step * 4 // self.until)
        growing = getattr(trainer.pair, 'grown', (0, 1.0))
        if growing[0] == trainer.pair.config.size and 0.3 <= growing[1] < 1 and not (self.run / 'faded.npz').exists():
            self.keep(trainer, 'faded', growing[1])

    def keep(self, trainer, name, alpha=1.0):
        np.savez_compressed(
            self.run / f'{name}.npz', image=to_uint8(trainer.sample(DRAWN, 1)).numpy(), step=trainer.step, alpha=alpha
        )


def train(args):
    "All runs one after another; those that are finished are passed over."
    data, deadline = figures(args), time.time() + 60 * args.minutes
    for seed in range(args.seeds):
        for key, variant in variants(args, seed).items():
            if args.only and key not in args.only or time.time() > deadline:
                continue
            run, steps = Path(args.runs) / f'{key}_{seed}', variant.steps(args.images)
            seed_everything(seed)
            clock = Clock()
            callbacks = [
                Checkpoints(run, max(25, steps // 8), keep=1),
                JSONLog(run / 'log.jsonl'),
                Quarters(run, steps),
                clock,
            ]
            trainer = Trainer(
                build_pair(variant.model, variant.network),
                data,
                variant.training,
                callbacks,
                'cpu',
                recipe={'model': variant.model, 'network': asdict(variant.network)},
                stages=small_growth(args.size, args.images) if key == 'a' else (),
            ).resume(run)
            if trainer.step >= steps:
                continue
            clock.minutes = (clock.seconds + deadline - time.time()) / 60
            trainer.fit(until=steps, progress=False)
            print(key, seed, trainer.step, f'{clock.processor_seconds:.0f} processor seconds', flush=True)


def stored(file):
    return torch.from_numpy(np.load(file)['image'])


def score(args):
    "Distances, floors, different images and processor times of all finished runs; sheets of what they drew."
    data, out = figures(args), ROOT / 'data' / 'results'
    held = torch.from_numpy(np.array(data.arrays['image']))
    real = {name: extract(ImageSet({'image': held.numpy()}), name) for name in args.extractors}
    points = thumbnails(to_float(held[:DRAWN]))
    width = torch.cdist(points, points).fill_diagonal_(float('inf')).min(1).values.median().item()
    of_real, rows, sheets, strips = distinct(to_float(held[:64]), width), [], {}, []
    for key, variant in variants(args).items():
        for seed in range(args.seeds):
            run = Path(args.runs) / f'{key}_{seed}'
            quarters = [q for q in '1234' if (run / f'{q}.npz').exists()]
            if not quarters:
                continue
            last, log = quarters[-1], read_log(run / 'log.jsonl')
            row = dict(
                variant=key,
                name=variant.name,
                seed=seed,
                steps=int(np.load(run / f'{last}.npz')['step']),
                finished=last == '4',
                images=args.images * int(last) // 4,
                processor_seconds=round(log[-1]['processor_seconds'], 1) if last == '4' else None,
            )
            pair = build_pair(variant.model, variant.network)
            row |= dict(
                generator_parameters=count_parameters(pair.generator),
                discriminator_parameters=count_parameters(pair.discriminator),
                network=asdict(variant.network),
                scores={},
                curve={},
            )
            for at in (*quarters, *(['faded'] if key == 'a' else [])):
                # (a) may not have grown up yet
                images = F.interpolate(stored(run / f'{at}.npz').float(), (args.size, args.size)).byte()
                for name in args.extractors if at == last else args.extractors[:1]:
                    found = evaluate(
                        to_float(images),
                        real[name],
                        name,
                        n=DRAWN,
                        seed=0,
                        replicates=20 if at == last else 2,
                        cuts=4 if at == last else 1,
                        engine='animegan_nb',
                    )
                    if at == last:
                        row['scores'][name] = found.to_dict()
                    row['curve'].setdefault(name, {})[at] = round(found['frechet'].value, 5)
            row['distinct'] = {
                at: round(distinct(to_float(stored(run / f'{at}.npz'))[:64], width) / of_real, 4) for at in quarters
            }
            if key in 'bc' and seed == 0:
                strips += [stored(run / f'{at}.npz')[:12] for at in quarters]
            rows.append(row)
            sheets.setdefault(key, []).append(stored(run / f'{last}.npz')[:12])
            print(key, seed, last, row['processor_seconds'], row['distinct'], row['curve'], flush=True)
    floor = distinct(to_float(held[64:128]), width) / of_real
    facts = dict(
        size=args.size,
        images=args.images,
        figures=len(held),
        supersample=args.supersample,
        rows=rows,
        distinct_width=width,
        distinct_of_real=of_real,
        distinct_floor=round(floor, 4),
        command=(
            f'python benchmarks/standing.py train --size {args.size} --images {args.images} --seeds {args.seeds}; …'
            ' score'
        ),
        training=asdict(variants(args)['b'].training),
        critic=asdict(variants(args)['wgan-gp'].training),
        machine='one thread of a shared two-core CPU',
        torch=torch.__version__,
    )
    (out / f'standing_{args.size}.json').write_text(json.dumps(facts, indent=1) + '\n')
    for key, parts in sheets.items():
        grid(torch.cat(parts), 12).save(out / f'standing_{args.size}_{key}.jpg', quality=88)
    grid(held[:24], 12).save(out / f'standing_{args.size}_real.jpg', quality=88)
    grid(torch.cat(strips), 12).save(out / f'standing_{args.size}_quarters.jpg', quality=88)


def many(args, n=1500, seed=1):
    "The figures that the long training and the reader learn from: other people than those of the table."
    return ToonFigures(n, 64, seed, supersample=args.supersample)


def long(args):
    """StyleGAN2 on 1,500 figures that begins with networks of many real faces (`--start`), because beginning with
    nothing collapses; as long as --minutes allow."""
    run = Path(args.runs) / 'long'
    run.mkdir(parents=True, exist_ok=True)
    seed_everything(args.seed)
    data = ImageSet({'image': many(args).arrays['image']})
    alarm = CollapseAlarm(to_float(data.batch(torch.arange(64))['image']), every=250, first=1000, patience=3)
    clock = Clock(args.minutes)
    callbacks = [
        Augmentation('diffaugment', target=0.6, kimg=60),
        alarm,
        Checkpoints(run, 500),
        JSONLog(run / 'log.jsonl'),
        Samples(500, 64, folder=run / 'samples'),
        clock,
    ]
    trainer = Trainer(
        build_pair('stylegan', asdict(NETWORK)),
        data,
        replace(TRAINING, seed=args.seed),
        callbacks,
        'cpu',
        recipe={'model': 'stylegan', 'network': asdict(NETWORK)},
    )
    if args.start and not checkpoints(run):
        begin_with(trainer, clock, args.start, run)
        callbacks[0].p = 0.0
    trainer.resume(run).fit(until=1_000_000, progress=False)


def spoiled(images, truth, source):
    """Training images as a generator might draw them: mirrored, moved, blurred, paler or darker, noisy;
    and their truth."""
    n = len(images)
    draw = lambda *s: torch.rand(*s, generator=source)
    flip = draw(n) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    truth = truth | {
        'pose': truth['pose'] ^ flip,
        'left_hand': torch.where(flip, truth['right_hand'], truth['left_hand']),
        'right_hand': torch.where(flip, truth['left_hand'], truth['right_hand']),
    }
    soft = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode='bilinear')
    images = torch.lerp(images, soft, draw(n, 1, 1, 1))
    wide, moves = F.pad(images, (2, 2, 2, 2), value=1.0), torch.randint(0, 5, (n, 2), generator=source).tolist()
    images = torch.stack([image[:, dy : dy + 64, dx : dx + 64] for image, (dx, dy) in zip(wide, moves)])
    for name in ('left_hand', 'right_hand'):
        truth[name] = truth[name] + (2 - torch.tensor([dy for _, dy in moves])) / 64
    return images * (0.9 + 0.2 * draw(n, 1, 1, 1)) + 0.1 * (draw(n, 1, 1, 1) - 0.5) + 0.04 * torch.randn(
        images.shape, generator=source
    ), truth


def reader(args, epochs=60, batch=50, rate=3e-3):
    "Train the reader on 1,500 figures, score it on 480 that it never saw, write both."
    rows = many(args).batch(range(1500))
    source = rng(args.seed)
    torch.manual_seed(args.seed)
    images, truth, net, cpu = to_float(rows['image']), figure_truth(rows), FigureReader(), time.process_time()
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, epochs * (len(images) // batch))
    for epoch in range(epochs):
        for part in torch.randperm(len(images), generator=source).split(batch):
            seen, wanted = spoiled(images[part], {k: v[part] for k, v in truth.items()}, source)
            out = net(seen)
            loss = sum(
                (
                    100 * F.smooth_l1_loss(out[k], wanted[k], beta=0.02)
                    if wanted[k].is_floating_point()
                    else F.cross_entropy(out[k], wanted[k])
                )
                for k in FIGURE_READINGS
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % 10 == 9:
            print(epoch + 1, round(loss.item(), 2), flush=True)
    name, out = 'standing_reader_64', ROOT / 'data' / 'pretrained'
    save_file(
        {
            k: v.half().contiguous() if v.is_floating_point() else v.contiguous()
            for k, v in net.eval().state_dict().items()
        },
        out / f'{name}.safetensors',
    )
    rows = ToonFigures(args.figures, 64, args.data_seed, supersample=args.supersample).batch(range(args.figures))
    (out / f'{name}.json').write_text('{}')
    net, _ = figure_reader(name)
    found, truth = read_figures(net, to_float(rows['image'])), figure_truth(rows)
    agree, chance = {}, {}
    for k in FIGURE_READINGS:
        category = not truth[k].is_floating_point()
        agree[k] = round(
            (
                (found[k].argmax(1) == truth[k]).float().mean().item()
                if category
                else torch.corrcoef(torch.stack([found[k], truth[k]]))[0, 1].item()
            ),
            4,
        )
        chance[k] = round(truth[k].bincount().max().item() / len(truth[k]), 4) if category else 0.0
    facts = dict(
        what='FigureReader, trained on 1,500 toon figures (seed 1)',
        command='python benchmarks/standing.py reader',
        epochs=epochs,
        batch=batch,
        rate=rate,
        seed=args.seed,
        processor_seconds=round(time.process_time() - cpu),
        scored_on=(
            f'{args.figures} figures of seed {args.data_seed}, none of them trained on: accuracy of a category,'
            ' correlation of a length'
        ),
        agreement=agree,
        chance=chance,
        torch=torch.__version__,
    )
    (out / f'{name}.json').write_text(json.dumps(facts, indent=1) + '\n')
    print(agree, chance)


@torch.no_grad()
def measure_variety(args):
    """How much two images differ in each reading, as a share of two real figures:
    for every training of the table and the long one; and the influence of layers on the long one."""
    (net, facts), groups = figure_reader(), layer_groups(64)
    read = partial(read_figures, net)

    def apart(images):
        said, half = read(to_float(images)), len(images) // 2
        return {k: reading_distance(v[:half], v[half : 2 * half]).mean().item() for k, v in said.items()}

    real, runs = apart(figures(args).batch(torch.arange(DRAWN))['image']), {}
    for key in variants(args):
        for seed in range(args.seeds):
            runs[f'{key}_{seed}'] = apart(stored(Path(args.runs) / f'{key}_{seed}' / '4.npz'))
    pair, generator, info = load_run(Path(args.runs) / 'long')
    drawn = to_uint8(pair.generate(generator, torch.randn(DRAWN, 64, generator=rng(1))).clamp(-1, 1))
    runs['long'] = apart(drawn)
    found = [influence(generator, read, groups, FIGURE_READINGS, pairs=args.pairs, seed=seed) for seed in (1, 2, 3)]
    start = json.loads((Path(args.runs) / 'long' / 'start.json').read_text())
    result = dict(
        command=f'python benchmarks/standing.py variety --pairs {args.pairs} --runs RUNS',
        pairs=DRAWN // 2,
        real=real,
        share={k: {n: v[n] / real[n] for n in v} for k, v in runs.items()},
        influence=dict(pairs_a_seed=args.pairs, seeds=[1, 2, 3], **pooled(found).to_dict()),
        long=dict(
            start=start['step'],
            step=info['step'],
            images=info['images'],
            processor_seconds=sittings(Path(args.runs) / 'long', '')[0]['processor_seconds'],
            log=thinned(read_log(Path(args.runs) / 'long' / 'log.jsonl'), 12),
        ),
        agreement=facts['agreement'],
        chance=facts['chance'],
        torch=torch.__version__,
    )
    (ROOT / 'data' / 'results' / 'standing_variety.json').write_text(json.dumps(result, indent=1) + '\n')
    grid(drawn[:24], 12).save(ROOT / 'data' / 'results' / 'standing_64_long.jpg', quality=88)
    print(json.dumps({'share': result['share'], 'influence': result['influence']}, indent=1))


def unclear(real, seed):
    "Real figures in [-1, 1] that nobody can see well: all of them are there, none is repeated."
    wide = lambda k: F.avg_pool2d(F.pad(real, (k // 2,) * 4, value=1.0), k, 1)
    noise = torch.randn(real.shape, generator=rng(seed))
    return {
        'blurred over 5 px': wide(5),
        'blurred over 9 px': wide(9),
        'averaged to 8×8 px': F.interpolate(F.avg_pool2d(real, real.shape[-1] // 8), real.shape[-2:], mode='bilinear'),
        **{f'noise of {s}': (real + s * noise).clamp(-1, 1) for s in (0.2, 0.3, 0.4)},
    }


@torch.no_grad()
def controls(args, single=24):
    """The scores of one real figure, again and again, of the mean image, and of real figures that are only unclear, at
    the counts of `score`; how much unclear figures vary in each reading, as a share of clear ones."""
    held = torch.from_numpy(np.array(figures(args).arrays['image']))
    net, _ = figure_reader()
    mean = to_float(held).mean(0, keepdim=True).expand(DRAWN, -1, -1, -1).contiguous()
    order = torch.randperm(len(held), generator=rng(0))
    others = to_float(held[order[DRAWN : 2 * DRAWN]])  # not those that `evaluate` compares with
    scores = {}
    for name in args.extractors:
        real = extract(ImageSet({'image': held.numpy()}), name)
        candidates = {
            'one figure': [real.rows(torch.full((DRAWN,), i)) for i in range(single)],
            'mean image': [extract(mean, name)],
            **{what: [extract(images, name)] for what, images in unclear(others, 0).items()},
        }
        for what, some in candidates.items():
            for one in some:
                found = evaluate(one, real, name, n=DRAWN, seed=0, replicates=2, cuts=1, engine='animegan_nb')
                for number in found.to_dict()['numbers'].values():
                    of = scores.setdefault(what, {}).setdefault(name, {}).setdefault(number['metric'], [])
                    of.append(float(f'{number["value"]:.5g}'))

    def apart(images):
        said, half = read_figures(net, images), len(images) // 2
        return {k: reading_distance(v[:half], v[half : 2 * half]).mean().item() for k, v in said.items()}

    clear = to_float(held[:DRAWN])
    real, varied = apart(clear), {}
    for seed in range(3):
        for what, images in unclear(clear, seed).items():
            varied.setdefault(what, []).append(apart(images))
    shares = {
        what: {k: round(float(np.mean([f[k] for f in found])) / real[k], 4) for k in real}
        for what, found in varied.items()
    }
    result = dict(
        command='python benchmarks/standing.py controls',
        figures=len(held),
        n=DRAWN,
        single=single,
        noise_seeds=[0, 1, 2],
        scores=scores,
        real=real,
        share=shares,
        torch=torch.__version__,
    )
    (ROOT / 'data' / 'results' / 'standing_controls.json').write_text(json.dumps(result, indent=1) + '\n')
    print(json.dumps(result, indent=1))


def contacts(masks):
    "The largest contact of each figure with a border, whole and cut off below 60 % of its height."
    whole, cut = [], []
    for mask in masks:
        rows = np.flatnonzero(mask.any(1))
        whole.append(max(border_contact(mask).values()))
        cut.append(max(border_contact(mask[: rows[0] + round(0.6 * len(rows))]).values()))
    return {'whole': sorted(round(float(v), 3) for v in whole), 'cut': sorted(round(float(v), 3) for v in cut)}


def measured(images, masks, hashes):
    "What the cleaning steps do to images [PIL on a plain colour] whose true masks are known."
    found = [figure_mask(p) for p in images]
    overlap = [(m & t).sum() / (m | t).sum() for m, t in zip(found, masks)]
    corner = lambda m: bool(m[-round(m.shape[0] * 20 / 500) :, -round(m.shape[1] * 100 / 500) :].any())
    return dict(
        n=len(images),
        overlap={
            'median': round(float(np.median(overlap)), 4),
            'least': round(float(min(overlap)), 4),
            'above .95': round(float(np.mean(np.array(overlap) > 0.95)), 4),
        },
        contact=contacts(masks),
        near={
            str(k): len(hashes) - len(set(groups(len(hashes), close_pairs(np.array(hashes, np.uint64), k)).tolist()))
            for k in range(1, 9)
        },
        in_the_corner=sum(map(corner, masks)),
    )


def data(args):
    "The cleaning steps on toon figures, and on the real sprites of ANIMEGAN_DATA laid on random plain colours."
    toons = ToonFigures(args.figures, 64, args.data_seed, supersample=args.supersample).arrays
    images = [Image.fromarray(p) for p in np.array(toons['image']).transpose(0, 2, 3, 1)]
    results = {'toon': measured(images, np.array(toons['coverage'])[:, 0] > 127, [perceptual_hash(p) for p in images])}
    folder = Path(os.environ.get('ANIMEGAN_DATA') or '.') / 'figures_64'
    if not folder.is_dir():
        sys.exit('The real sprites are not here: set ANIMEGAN_DATA to the folder that holds figures_64.')
    sprites = [Image.open(p).convert('RGBA') for p in sorted(folder.glob('*.png'))]
    tones = np.random.default_rng(0).integers(60, 256, (len(sprites), 3))
    flat = lambda p, tone: Image.alpha_composite(Image.new('RGBA', p.size, (*map(int, tone), 255)), p).convert('RGB')
    results['sprites'] = measured(
        [flat(*pair) for pair in zip(sprites, tones)],
        [np.asarray(p)[..., 3] > 127 for p in sprites],
        [perceptual_hash(flat(p, (255, 255, 255))) for p in sprites],
    )
    report = clean(folder, steps=(exact_duplicates, tiny, blank), progress=False)
    results['sprites']['dropped before looks'] = report.counts
    results['command'] = 'python benchmarks/standing.py data'
    (ROOT / 'data' / 'results' / 'standing_data.json').write_text(json.dumps(results) + '\n')
    print({k: {a: b for a, b in v.items() if a != 'contact'} for k, v in results.items() if k != 'command'})


COMMANDS = {
    'train': train,
    'score': score,
    'data': data,
    'long': long,
    'reader': reader,
    'variety': measure_variety,
    'controls': controls,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('what', choices=list(COMMANDS))
    add('--size', type=int, default=64)
    add('--images', type=int, default=20_000)
    add('--seeds', type=int, default=2)
    add('--seed', type=int, default=0)
    add('--figures', type=int, default=480)
    add('--data-seed', type=int, default=0)
    add('--supersample', type=int, default=1)
    add('--runs', default='runs/standing')
    add('--minutes', type=float, default=45)
    add('--pairs', type=int, default=60)
    add('--start', help='a run of stylegan_faces.py whose networks `long` begins with')
    add('--only', nargs='*', default=[])
    add('--extractors', nargs='*', default=['toon', 'squeezenet'] if os.environ.get('ANIMEGAN_WEIGHTS') else ['toon'])
    args = parser.parse_args()
    torch.set_num_threads(1)
    COMMANDS[args.what](args)


if __name__ == '__main__':
    sys.exit(main())
