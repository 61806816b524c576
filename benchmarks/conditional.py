"""Train, judge and store the conditional GAN of nbs/24_conditional. Only images drawn by the generator are written.

    python benchmarks/conditional.py train --data toon --out RUN [--seed 0] [--steps 3000] [--augment place]
    python benchmarks/conditional.py train --data DIR  --out RUN …          (a folder with labels.csv)
    python benchmarks/conditional.py score --runs RUN [RUN …] --out data/results/conditional_NAME [--sheet]
                                                            (also of `networks.py train conditional_toon_64`)
    python benchmarks/conditional.py ship --runs RUN --out data/pretrained/conditional_NAME
    python benchmarks/conditional.py apart [--data DIR] --out data/results/conditional_NAME
                       (adds to stored scores, without the training: what was read where a value was not asked for,
                        as the generator that ships draws; of a folder, which has none: how one of the tag networks
                        reads the images that it and the generator learned from, and held-out ones)
    python benchmarks/conditional.py speed
    python benchmarks/conditional.py control --tagged RUN --plain RUN --step N --out data/results/conditional_control
        (of `networks.py train conditional_toon_64_3000` and of `stylegan_toon_64_longer`, which learns no tags)
    python benchmarks/conditional.py heart [--ships RUN] [--few RUN] [--fast RUN] [--slow RUN] [--shifted RUN] \
        --step N --out data/results/conditional_heart
        (of `networks.py train conditional_toon_64`, 24,000 heads, whose directions learn at 0.3 of the rate; of
        `conditional_toon_64_3000` and `conditional_toon_64_fast`, 3,000 and 24,000 heads at the full rate; of
        `conditional_toon_64_slow`, at 0.1; and of `conditional_toon_64_shifted`, 3,000 heads that the discriminator
        sees shifted; runs that are not named stay as they were stored)
    python benchmarks/conditional.py same --fast RUN --ships RUN --slow RUN --step N \
        --out data/results/conditional_same
        (images only: the same requests and latents of the three)

A training saves itself every 250 steps and goes on where it was stopped.
"""

import argparse
import dataclasses
import json
import re
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from animegan_nb import conditional as C
from animegan_nb import toon
from animegan_nb.augment import Augmentation, cut_out, policies, shift
from animegan_nb.conditional_style import commonest_shares, head_angles, head_backgrounds, heads_of_values
from animegan_nb.conditional_style import request_variety, requested_heads, tag_share
from animegan_nb.core import grid, seed_everything, to_float, to_uint8
from animegan_nb.metrics import evaluate, extract
from animegan_nb.callbacks import Checkpoints, JSONLog, Samples, read_log
from animegan_nb.training import Draws, Trainer, build_pair, checkpoints, load_run

# DiffAugment without its colours
policies['place'] = lambda images, rng=None, strength=1.0: cut_out(shift(images, rng), rng)
HELD = 0.2  # of a folder's images, for the judge's ceiling


def open_data(name: str, size: int):
    "Training set, a function that makes the held-out set, and groups."
    if name == 'toon':
        return C.tagged_heads(size), lambda: C.tagged_heads(size, toon.ToonHeads(600, 64, seed=11)), C.TOON_TAGS
    folder = C.TaggedFolder(name, size, C.FACE_TAGS, progress=False)
    data, held = folder.split(HELD, seed=0)
    return data, lambda: held, folder.groups


def train(a):
    recipe = C.CONDITIONAL_CPU
    changes = json.loads(a.network)
    data, _, groups = open_data(a.data, changes.get('size', recipe.network.size))
    network = dataclasses.replace(recipe.network, tags=groups, **changes)
    training = dataclasses.replace(recipe.training, seed=a.seed, **json.loads(a.training))
    seed_everything(a.seed)
    torch.manual_seed(a.seed)
    callbacks = [
        Checkpoints(a.out, 250, keep=20),
        JSONLog(Path(a.out) / 'log.jsonl'),
        Samples(500, 48, folder=Path(a.out) / 'samples'),
    ]
    if a.augment != 'none':
        callbacks.append(Augmentation(a.augment, p=1.0, target=None, seed=a.seed))
    facts = {
        'model': 'conditional',
        'network': dataclasses.asdict(network),
        'data': 'toon' if a.data == 'toon' else Path(a.data).name,
        'folder': a.data,
        'augment': a.augment,
        'pictures': len(data),
        'command': ' '.join(
            [
                'python benchmarks/conditional.py train',
                '--data',
                'toon' if a.data == 'toon' else Path(a.data).name,
                *(
                    f'--{k} {v!r}' if isinstance(v, str) and v[0] == '{' else f'--{k} {v}'
                    for k, v in (
                        ('seed', a.seed),
                        ('steps', a.steps),
                        ('augment', a.augment),
                        ('network', a.network),
                        ('training', a.training),
                    )
                    if v != '{}'
                ),
                '--out RUN',
            ]
        ),
    }
    if done := checkpoints(a.out):  # a second stage: both commands are remembered
        before = json.loads((done[-1] / 'state.json').read_text())['info']
        first = re.sub(r'--steps \d+', f"--steps {before['step']}", before['command'])
        if before['config'] != json.loads(json.dumps(dataclasses.asdict(training))):
            facts['command'] = f"{first}; {facts['command']}"
    trainer = Trainer(build_pair('conditional', network), data, training, callbacks, 'cpu', facts)
    trainer.resume(a.out).fit(until=a.steps, progress=False)


def readers(data, groups, name: str, networks: int = 3) -> dict:
    """The judges: for drawn heads the toon network, which never saw an image of this size;
    and some networks trained on the training images."""
    judges = {'toon network': [C.ToonTagClassifier(groups)]} if name == 'toon' else {}
    return {
        **judges,
        'tag networks': [C.train_tag_classifier(data, groups, 800, seed=100 + s) for s in range(networks)],
    }


def look(run: Path, step: int | None):
    "Pair, averaged generator and facts of a run, at its last checkpoint or at `step`."
    pair, generator, info = load_run(run if step is None else Path(run) / f'step-{step:08d}')
    command = 'python benchmarks/networks.py train conditional_toon_64 --run RUN'  # what this script trains says more
    return pair, generator, dict(data='toon', folder='toon', augment='none', command=command) | info


def score(a):
    """Granted wishes by every judge, for every run and set of latents, with the ceiling on held-out real images and
    the floor of chance."""
    pair, generator, info = look(a.runs[0], a.step)
    data, held, groups = open_data(info['folder'], info['network']['size'])
    held = held()
    judges, truth = readers(data, groups, info['data']), held.batch(range(len(held)))
    facts = {
        'name': info['data'],
        'pictures': len(data),
        'held': len(held),
        'drawn': a.n,
        'latent_seeds': list(range(a.seeds)),
        'groups': [list(g) for g in groups],
        'network': info['network'],
        'training': info['config'],
        'runs': [],
        'judges': {},
        'together': together(data, groups),
        'command': (
            f'{info["command"]}; python benchmarks/conditional.py score --runs RUN --out {a.out}'
            + (' --sheet' if a.sheet else '')
            + (f' --step {a.step}' if a.step else '')
        ),
        'protocol': (
            f'{a.n} images of each of {a.seeds} sets of latents, rounded to bytes, wishes drawn from the labels of'
            f' the training data; ceiling: the same judge on {len(held)} real images it never saw; chance: the share'
            ' that would agree if wishes and images were paired at random'
        ),
    }
    for name, j in judges.items():
        seen = C.read_tags(j, truth['image'])
        top, apart = C.tag_scores(truth['labels'], seen, groups), confusions(truth['labels'], seen, groups)
        facts['judges'][name] = {
            'networks': len(j),
            'groups': {
                k: {'ceiling': v['granted'], 'ceiling_values': v['values'], 'granted': [], 'chance': 0.0, 'values': {}}
                | {'real_confusion': apart[k], 'confusion': []}
                for k, v in top.items()
            },
        }
    for run in a.runs:
        pair, generator, info = look(run, a.step)
        sets = [C.requested_images(pair, generator, a.n, seed) for seed in range(a.seeds)]
        facts['runs'].append(
            {
                'seed': info['config']['seed'],
                'steps': info['step'],
                'augment': info['augment'],
                'command': info['command'],
                **distance(sets[0][0], data, a.extractor),
            }
        )
        for name, j in judges.items():
            add(facts['judges'][name]['groups'], sets, j, groups, len(a.runs))
    out = Path(a.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix('.json').write_text(json.dumps(facts, indent=1))
    if a.sheet:
        sheets(look(a.runs[0], a.step), facts, out)
    for name, j in facts['judges'].items():
        for k, g in j['groups'].items():
            print(
                f"{name:14} {k:12} granted {min(g['granted']):.3f} to {max(g['granted']):.3f}   ceiling"
                f" {g['ceiling']:.3f}   chance {g['chance']:.3f}"
            )
    print(json.dumps([{k: v for k, v in r.items() if k != 'command'} for r in facts['runs']]))


def add(into: dict, sets: list, judges: list, groups, runs: int):
    "Add the scores of one run: a share for each set of latents, and for each value all sets together."
    reads = [C.read_tags(judges, images) for images, _ in sets]
    for (_, asked), read in zip(sets, reads):
        for k, v in C.tag_scores(asked, read, groups).items():
            into[k]['granted'].append(v['granted'])
            into[k]['chance'] = round(into[k]['chance'] + v['chance'] / len(sets) / runs, 4)
    whole = C.tag_scores(torch.cat([asked for _, asked in sets]), torch.cat(reads), groups)
    apart = confusions(torch.cat([asked for _, asked in sets]), torch.cat(reads), groups)
    for k, v in whole.items():
        old = into[k]['confusion'] or [[0] * len(row) for row in apart[k]]
        into[k]['confusion'] = [[a + b for a, b in zip(*rows)] for rows in zip(old, apart[k])]
        for value, (share, n) in v['values'].items():
            before, m = into[k]['values'].get(value, (0.0, 0))
            into[k]['values'][value] = (round((before * m + share * n) / (m + n), 4), m + n)


def confusions(asked: torch.Tensor, read: torch.Tensor, groups) -> dict[str, list]:
    "Of each group: in row i and column k how many heads that should have value i were read as k."
    counts = {}
    for column, group in enumerate(groups):
        n = len(C.choices(group))
        both = n * asked[:, column] + read[:, column]
        counts[group[0]] = torch.bincount(both, minlength=n * n).reshape(n, n).tolist()
    return counts


def apart(a):
    """Add to stored scores what needs no training: for the generator that ships, `confusion` (what was read in images
    that were asked for each value) and `real_confusion`; for a folder, the shares that one tag network reads correctly
    in the images that it learned from, and in held-out ones."""
    out = Path(a.out).with_suffix('.json')
    facts = json.loads(out.read_text())
    data, held, groups = open_data(a.data, facts['network']['size'])
    assert [list(g) for g in groups] == facts['groups'], 'these scores belong to other tags'
    drawn = facts['name'] == 'toon'
    judges, truth = readers(data, groups, facts['name'], 3 if drawn else 1), held().batch(range(facts['held']))
    for name, j in judges.items():
        if drawn:
            again(facts, name, j, out.stem, truth)
            continue
        sets = dict(training=data.batch(range(len(data))), held_out=truth)
        shares = {kind: C.tag_scores(b['labels'], C.read_tags(j, b['image']), groups) for kind, b in sets.items()}
        facts['one_tag_network'] = {kind: {k: v['granted'] for k, v in found.items()} for kind, found in shares.items()}
    added = f'python benchmarks/conditional.py apart --data {Path(a.data).name} --out {a.out}'
    if added not in facts['command']:
        facts['command'] += f'; {added}'
    out.write_text(json.dumps(facts, indent=1))


def again(facts: dict, name: str, judges: list, ship: str, truth: dict):
    "Score the generator that ships, whose numbers are rounded to half precision; the shares must be those stored."
    generator, known, _ = C.pretrained_conditional(ship)
    pair, stored, groups = C.ConditionalPair(generator.config), facts['judges'][name]['groups'], generator.config.tags
    pair.remember(known)
    sets = [C.requested_images(pair, generator, facts['drawn'], seed) for seed in facts['latent_seeds']]
    found = {k: {'granted': [], 'chance': 0.0, 'values': {}, 'confusion': []} for k in stored}
    add(found, sets, judges, groups, 1)
    real = confusions(truth['labels'], C.read_tags(judges, truth['image']), groups)
    for k, v in found.items():
        print(name, k, 'stored', stored[k]['granted'], 'again', v['granted'])
        assert max(abs(x - y) for x, y in zip(stored[k]['granted'], v['granted'])) < 0.03, (name, k)
        stored[k] |= {'real_confusion': real[k], 'confusion': v['confusion']}


def distance(images, data, extractor: str) -> dict:
    """A Frechet distance to the training images with its floor, and how much nearer a drawn image is to them than
    they are to each other."""
    real, fake = extract(data, extractor), extract(images, extractor)
    n = min(len(data) // 2, len(images))
    result = evaluate(fake.rows(slice(n)), real, extractor, n=n)
    key = next(k for k in result.numbers if 'frechet' in k.lower())
    a, b = real.features.float(), fake.features.float()
    among = torch.cdist(a, a).fill_diagonal_(float('inf')).min(1).values.median()
    return {
        'metric': key,
        'counted': n,
        'distance': round(result[key].value, 3),
        'floor': round(result[key].floor, 3),
        'nearest_ratio': round(float(torch.cdist(b, a).min(1).values.median() / among), 3),
    }


def together(data, groups) -> list:
    "How often the values of the first two groups occur together in the training images."
    labels = data.batch(range(len(data)))['labels']
    table = torch.zeros(len(C.choices(groups[0])), len(C.choices(groups[1])), dtype=torch.long)
    table.index_put_((labels[:, 0], labels[:, 1]), torch.ones(len(labels), dtype=torch.long), accumulate=True)
    return table.tolist()


WISHES = {
    'toon': [
        dict(hair_colour='pink', eye_colour='green', hair_style='twin tails'),
        dict(hair_colour='silver', eye_colour='red', hair_style='long'),
        dict(hair_colour='black', eye_colour='blue', hair_style='bob', glasses='yes'),
        dict(hair_colour='orange', eye_colour='violet', hair_style='spiky'),
        dict(hair_colour='green', eye_colour='amber', hair_style='double bun'),
    ],
    'faces': [
        dict(hair='blonde', eyes='blue'),
        dict(hair='brown', eyes='brown'),
        dict(hair='pink', eyes='red'),
        dict(hair='aqua', eyes='aqua'),
        dict(hair='black', eyes='purple'),
    ],
}


@torch.no_grad()
def sheets(loaded, facts: dict, out: Path, columns: int = 12):
    "OUT.jpg: one wish a row, one latent a column."
    pair, generator, _ = loaded
    wishes = WISHES['toon' if facts['name'] == 'toon' else 'faces']
    maker = C.FaceMaker(generator, pair.known[: pair.remembered].long(), n=columns, seed=1)
    grid(torch.cat([maker.images(**wish) for wish in wishes]), columns).save(out.with_suffix('.jpg'), quality=92)
    facts['sheet'] = [
        ', '.join(w.values())
        if 'glasses' not in w
        else ', '.join([v for k, v in w.items() if k != 'glasses'] + ['glasses'])
        for w in wishes
    ]
    out.with_suffix('.json').write_text(json.dumps(facts, indent=1))


def ship(a):
    "The averaged generator in half precision with the labels it knows, and how it was made."
    pair, generator, info = look(a.runs[0], a.step)
    tensors = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in generator.state_dict().items()}
    tensors['known'] = pair.known[: pair.remembered].to(torch.uint8)
    out = Path(a.out)
    save_file(tensors, out.with_suffix('.safetensors'))
    log = [
        {k: round(v, 4) for k, v in r.items()}
        for r in read_log(Path(a.runs[0]) / 'log.jsonl')
        if r['step'] % 250 == 0 and r['step'] <= info['step']
    ]
    facts = {
        'what': (
            f"Generator of the conditional GAN at {info['network']['size']} px, averaged, half precision, trained on"
            f" {info['pictures']} images ({info['data']})"
        ),
        'network': info['network'],
        'training': info['config'],
        'images': info['images'],
        'steps': info['step'],
        'augment': info['augment'],
        'seed': info['config']['seed'],
        'command': info['command'] + f'; python benchmarks/conditional.py ship --runs RUN --out {a.out}',
        'log': log,
    }
    out.with_suffix('.json').write_text(json.dumps(facts, indent=1))
    print(out.with_suffix('.safetensors').stat().st_size, 'bytes')


def without_cards(measures: dict) -> dict:
    return {name: {k: v for k, v in entry.items() if k != 'card'} for name, entry in measures.items()}


def control(a):
    "What learning tags does to the images: two trainings that began alike, after as many steps, with and without tags."
    import networks

    found, drawn = dict(step=a.step, runs={}), []
    for name, run in (('conditional_toon_64_3000', a.tagged), ('stylegan_toon_64_longer', a.plain)):
        pair, generator, info = load_run(Path(run) / 'moments' / f'step-{a.step:08d}')
        generated = [networks.draw(pair, generator, a.n, seed) for seed in range(a.seeds)]
        measured = networks.measures(networks.JOBS['conditional_toon_64_3000'], generated, 64)
        command = f'python benchmarks/networks.py train {name} --run RUN'
        found['runs'][name] = dict(images=info['images'], command=command, measures=without_cards(measured))
        drawn.append(to_uint8(generated[0][:20]))
    out = Path(a.out)
    out.with_suffix('.json').write_text(json.dumps(found, indent=1) + '\n')
    grid(torch.cat(drawn), 10).save(out.with_suffix('.jpg'), quality=90)
    for name, run in found['runs'].items():
        print(name, json.dumps({k: {m: v[m] for m in networks.STORED} for k, v in run['measures'].items()}))


HEART = dict(
    ships='conditional_toon_64',
    few='conditional_toon_64_3000',
    fast='conditional_toon_64_fast',
    slow='conditional_toon_64_slow',
    shifted='conditional_toon_64_shifted',
)


def heart(a):
    """What a discriminator knows by heart, and what a request leaves open: at every checkpoint in RUN/moments of the
    trainings of HEART, the share of tags that the discriminator reads correctly in heads that all learned from, in
    heads that are added where there are many, and in new ones, its mean logit on them, the share of requests that the
    toon network says are granted, how varied the heads of one request are, for each colour of eyes the share of the
    commonest background, and for each mouth the mean angle; at one step also the distances. (Of the
    stored trainings one checkpoint in 2,000 or in 3,000 steps was kept.)"""
    import networks

    runs = {name: Path(getattr(a, word)) for word, name in HEART.items() if getattr(a, word)}
    for run in runs.values():
        if not (run / 'moments' / f'step-{a.step:08d}').is_dir():
            sys.exit(f'{run} keeps no checkpoint of step {a.step}: name one that every run keeps.')
    few = networks.JOBS[HEART['few']]
    data = networks.images(few, 64)
    again = C.tagged_heads(64, toon.ToonHeads(1000, 64, seed=0))  # the first of those that ship, which are compressed
    assert torch.equal(again.batch(range(1000))['labels'], data.batch(range(1000))['labels'])
    added = C.tagged_heads(64, toon.ToonHeads(3000, 64, seed=networks.JOBS[HEART['ships']].more[0]))
    sets = dict(training=again, added=added, new=networks.images(few, 64, True))
    heads = {kind: known.batch(range(1000)) for kind, known in sets.items()}
    out = Path(a.out).with_suffix('.json')
    before = json.loads(out.read_text())['runs'] if out.exists() else {}
    found = dict(heads=1000, drawn=a.n, runs={name: known for name, known in before.items() if name not in runs})
    for name, run in runs.items():
        rows = []
        for folder in sorted((run / 'moments').glob('step-*')):
            pair, generator, info = load_run(folder)
            row = dict(step=info['step'], images=info['images']) | moment(pair, generator, heads, a.n)
            if info['step'] == a.step:
                generated = [networks.draw(pair, generator, a.n, seed) for seed in range(a.seeds)]
                measured = networks.compared(generated, networks.all_images(data), None, few.extractors)
                row['measures'] = without_cards(measured)
            rows.append(row)
            print(name, json.dumps(row), flush=True)
        command = f'python benchmarks/networks.py train {name} --run RUN'
        trained = len(networks.training_images(networks.JOBS[name], 64))
        found['runs'][name] = dict(trained=trained, command=command, moments=rows)
    out.write_text(json.dumps(found, indent=1) + '\n')


@torch.no_grad()
def same(a):
    """OUT.jpg: the same requests and latents as three trainings of HEART draw them at one step; for each request a row
    of `fast`, one of `ships` and one of `slow`."""
    drawn = []
    pairs = [load_run(Path(run) / 'moments' / f'step-{a.step:08d}')[:2] for run in (a.fast, a.ships, a.slow)]
    row = pairs[0][0].known[:1].long().expand(a.n, -1)
    z = Draws(9).normal(a.n, pairs[0][1].z_dim)
    for wish in WISHES['toon'][:3]:
        labels = C.name_labels(row, C.TOON_TAGS, **(dict(glasses='no', mouth='smile') | wish))
        drawn += [to_uint8(requested_heads(generator, z, labels)) for _, generator in pairs]
    grid(torch.cat(drawn), a.n).save(Path(a.out).with_suffix('.jpg'), quality=92)


def moment(pair, generator, heads: dict, n: int) -> dict:
    "What the discriminator of a checkpoint reads in sets of heads, and what its generator draws on request."
    rounded = lambda numbers: {k: round(v, 4) for k, v in numbers.items()}
    shares = lambda asked, read: rounded({k: v['granted'] for k, v in C.tag_scores(asked, read, C.TOON_TAGS).items()})
    row = {}
    for kind, batch in heads.items():
        with torch.no_grad():
            answers = [pair.discriminator(part, tags=True) for part in to_float(batch['image']).split(100)]
        logits, tags = (torch.cat(part) for part in zip(*answers))
        read = shares(batch['labels'], C.read_labels(tags, C.TOON_TAGS))
        row[kind] = dict(logit=round(logits.mean().item(), 4)) | read
    images, asked = C.requested_images(pair, generator, n, 0)
    row['granted'] = shares(asked, C.read_tags([C.ToonTagClassifier(C.TOON_TAGS)], images))
    known = pair.known[: pair.remembered].long()
    varied = request_variety(generator, known) | dict(tag_share=tag_share(generator, known))
    z, labels = Draws(7).normal(800, generator.z_dim), C.sample_labels(known, 800, Draws(8))
    seen = head_backgrounds(requested_heads(generator, z, labels))
    by_eyes = commonest_shares(seen, labels[:, 1], len(C.choices(C.TOON_TAGS[1])))
    turned = [head_angles(x).mean().item() for x in heads_of_values(generator, known, 'mouth', glasses='no').values()]
    by_tags = dict(background_by_eyes=by_eyes, angle_by_mouth=turned)
    return row | dict(one_request=rounded(varied)) | {k: [round(x, 4) for x in v] for k, v in by_tags.items()}


def speed(a):
    """Processor time of a step of `conditional-cpu`, and what DRAGAN costs when it acts at every step, at every fourth,
    or never."""
    data, times = C.tagged_heads(32), {}
    for name, changes in {
        'no penalty': dict(penalty_weight=0.0),
        'every fourth step': {},
        'every step': dict(penalty_every=1),
    }.items():
        trainer = Trainer(
            C.ConditionalPair(dataclasses.replace(C.CONDITIONAL_CPU.network, **changes)),
            data,
            C.CONDITIONAL_CPU.training,
            device='cpu',
        ).fit(4, progress=False)
        start = time.process_time()
        trainer.fit(12, progress=False)
        times[name] = (time.process_time() - start) / 12
    for name, t in times.items():
        print(f'{name:20} {1000 * t:6.0f} ms a step   {t / times["no penalty"]:.2f}')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = p.add_subparsers(required=True)
    q = words.add_parser('train')
    q.set_defaults(run=train)
    q.add_argument('--data', default='toon')
    q.add_argument('--out', required=True)
    q.add_argument('--seed', type=int, default=0)
    q.add_argument('--steps', type=int, default=3000)
    q.add_argument('--augment', default='none', choices=['none', *policies])
    q.add_argument('--network', default='{}', help='changes to the network, JSON')
    q.add_argument('--training', default='{}', help='changes to the training, JSON')
    for name, function in (('score', score), ('ship', ship)):
        q = words.add_parser(name)
        q.set_defaults(run=function)
        q.add_argument('--runs', nargs='+', required=True)
        q.add_argument('--out', required=True)
        q.add_argument('--step', type=int)
        q.add_argument('--n', type=int, default=1000)
        q.add_argument('--seeds', type=int, default=3)
        q.add_argument('--extractor', default='squeezenet')
        q.add_argument('--sheet', action='store_true')
    q = words.add_parser('apart')
    q.set_defaults(run=apart)
    q.add_argument('--data', default='toon')
    q.add_argument('--out', required=True)
    words.add_parser('speed').set_defaults(run=speed)
    q = words.add_parser('same')
    q.set_defaults(run=same)
    for word in ('fast', 'ships', 'slow', 'out'):
        q.add_argument(f'--{word}', required=True)
    q.add_argument('--step', type=int, required=True)
    q.add_argument('--n', type=int, default=6)
    compared = (('control', control, ('tagged', 'plain')), ('heart', heart, tuple(HEART)))
    for name, function, runs in compared:
        q = words.add_parser(name)
        q.set_defaults(run=function)
        for word in (*runs, 'out'):
            q.add_argument(f'--{word}', required=word == 'out' or name == 'control')
        q.add_argument('--step', type=int, required=True)
        q.add_argument('--n', type=int, default=1500)
        q.add_argument('--seeds', type=int, default=3)
    a = p.parse_args()
    torch.set_num_threads(1)
    return a.run(a)


if __name__ == '__main__':
    sys.exit(main())
