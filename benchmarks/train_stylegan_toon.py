"""Train the toon StyleGAN that ships in data/pretrained, and write it.

    python benchmarks/train_stylegan_toon.py --minutes 65 --run runs/stylegan_toon
        # train; the same line again resumes
    python benchmarks/train_stylegan_toon.py --export --run runs/stylegan_toon
        # score and write the average

A StyleGAN2 at 32 px learns the 3,000 ready heads (averaged down from 64 px) with DiffAugment, whose probability follows
the discriminator's overfitting. Every training writes checkpoints, samples and a JSON log into its folder. The export
writes stylegan_toon_32.safetensors (half precision) and stylegan_toon_32.json with command, seed, counts, log and
scores.
"""

import argparse
import hashlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from animegan_nb import toon
from animegan_nb.augment import Augmentation
from animegan_nb.core import shipped
from animegan_nb.metrics import evaluate
from animegan_nb.stylegan import STYLEGAN_CPU_32, StyleGANPair, pretrained_stylegan
from animegan_nb.training import Callback, Trainer, checkpoints, load_run
from animegan_nb.callbacks import Checkpoints, Clock, JSONLog, Samples, read_log

OUT = Path(__file__).resolve().parents[1] / 'data' / 'pretrained'


def heads(size=32):
    "The 3,000 ready heads, averaged down to `size` and rounded to bytes."
    return toon.ready_heads().only('image').resized(size)


class Silent(Callback):
    """Keeps the strengths of all noise maps at 0:
    at 32 px there is no texture for them to draw, and they stand in for outlines."""

    order = -2  # before the averaged generator is updated

    def quiet(self, generator):
        for name, p in generator.named_parameters():
            if name.endswith('noise.strength'):
                p.data.zero_()

    def on_start(self, trainer):
        self.quiet(trainer.pair.generator)

    def on_step(self, trainer, record):
        self.on_start(trainer)
        record['noise'] = 0


def sittings(run, data):
    """What a training has cost, from its log: which steps, how long, on which data. (A list: older results have one
    entry for each time that it was started.)"""
    log = read_log(Path(run) / 'log.jsonl')
    return [
        dict(
            first_step=log[0]['step'] - 1,
            last_step=log[-1]['step'],
            processor_seconds=round(log[-1]['processor_seconds'], 1),
            wall_seconds=round(log[-1]['seconds'], 1),
            data=data,
        )
    ]


def begin_with(trainer, clock, start, run):
    "Begin with the networks of another run; what these had cost is kept in `start.json`."
    trainer.load(checkpoints(start)[-1])
    clock.load({})  # the clock starts anew
    (run / 'start.json').write_text(json.dumps({'step': trainer.step, 'sittings': sittings(start, Path(start).name)}))


def data_digest():
    return hashlib.sha256(shipped('toon_heads_3000.npz').read_bytes()).hexdigest()[:16]


def numbers(args):
    "Networks and training of the shipped generator."
    network = replace(STYLEGAN_CPU_32.network, channel_base=args.base, channel_max=args.most, r1_gamma=args.gamma)
    return network, replace(STYLEGAN_CPU_32.training, mirror=False, ema_half_life=10_000, seed=args.seed)


def train(args):
    network, training = numbers(args)
    torch.manual_seed(args.seed)
    run = Path(args.run)
    callbacks = [
        Augmentation('diffaugment', p=args.p, target=0.6, kimg=args.kimg),
        Checkpoints(run, args.every),
        JSONLog(run / 'log.jsonl'),
        *([Silent()] if args.silent else []),
        Samples(args.every, 64, folder=run / 'samples'),
        Clock(args.minutes),
    ]
    trainer = Trainer(
        StyleGANPair(network),
        heads(),
        training,
        callbacks,
        'cpu',
        recipe={'model': 'stylegan', 'network': asdict(network)},
    )
    trainer.resume(run).fit(until=args.steps, progress=False)


def thinned(log, rows=40):
    "A log in few rows: means over equal pieces."
    piece = max(1, len(log) // rows)
    names = [k for k in log[-1] if isinstance(log[-1][k], (int, float)) and k != 'health']
    return [
        {
            k: round(sum(r.get(k, 0) for r in log[i : i + piece]) / piece, 4)
            if k not in ('step', 'images')
            else log[i + piece - 1][k]
            for k in names
        }
        for i in range(0, len(log) - piece + 1, piece)
    ]


def export(args):
    "Write the averaged generator and what is known of it; the scores are those of the weights as stored."
    _, generator, info = load_run(args.run)
    name, log = 'stylegan_toon_32', read_log(Path(args.run) / 'log.jsonl')
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    if 'noise' in log[-1]:
        Silent().quiet(generator)  # the average still remembers some of it
    save_file(
        {
            k: v.half().contiguous() if v.is_floating_point() else v.contiguous()
            for k, v in generator.state_dict().items()
        },
        out / f'{name}.safetensors',
    )
    facts = dict(
        what=(
            'StyleGAN2 at 32 px, averaged generator, trained on 3,000 toon heads (toon.ready_heads, halved by'
            ' averaging, rounded to bytes)'
        ),
        network=info['network'],
        training=info['config'],
        images=info['images'],
        steps=info['step'],
        seed=args.seed,
        augmentation=f'DiffAugment, probability from {args.p} by r_t = 0.6, {args.kimg} kimg',
        command=f'python benchmarks/train_stylegan_toon.py {args.given}',
        noise_off_from=next((r['step'] for r in log if 'noise' in r), None),
        sittings=sittings(args.run, data_digest()),
        machine='one thread of a shared two-core CPU',
        log=thinned(log),
    )
    facts['seconds'] = sum(s['wall_seconds'] for s in facts['sittings'])
    (out / f'{name}.json').write_text(json.dumps(facts, indent=1) + '\n')
    if out == OUT:
        facts['scores'] = scores(args.seed)
    (out / f'{name}.json').write_text(json.dumps(facts, indent=1) + '\n')
    print(json.dumps(facts.get('scores'), indent=1))


@torch.no_grad()
def scores(seed, n=750):
    "Distances to the heads it learned from, in our own network's features."
    generator, _ = pretrained_stylegan()
    z = torch.randn(n, generator.config.z_dim, generator=torch.Generator().manual_seed(seed))
    fakes = torch.cat([generator(part) for part in z.split(100)])
    found = evaluate(fakes.clamp(-1, 1), heads().subset(range(2 * n)), 'toon', n=n, seed=seed, cuts=2, replicates=20)
    return {
        'training heads': {m: {k: round(v, 5) for k, v in vars(number).items()} for m, number in found.numbers.items()}
        | {'card': vars(found.card)}
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--run', default='runs/stylegan_toon', help='the folder of checkpoints, samples and the log')
    add('--minutes', type=float, default=65, help='of the training in all')
    add('--steps', type=int, default=1_000_000)
    add('--every', type=int, default=500)
    add('--base', type=int, default=1024)
    add('--most', type=int, default=64)
    add('--gamma', type=float, default=0.1)
    add('--p', type=float, default=0.0)
    add('--kimg', type=float, default=60)
    add('--seed', type=int, default=0)
    add('--silent', action='store_true', help='switch the noise maps off, from here on')
    add('--export', action='store_true')
    add('--out', default=str(OUT))
    add('--given', default='--minutes 65', help='the options of the training, for the record')
    args = parser.parse_args()
    torch.set_num_threads(1)
    (export if args.export else train)(args)


if __name__ == '__main__':
    sys.exit(main())
