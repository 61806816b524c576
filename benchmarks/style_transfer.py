"""The decoder of 44_style_transfer, trained; and every method of the chapter against the true anime rendering.

    python benchmarks/style_transfer.py train [steps]  # into data/pretrained/adain_toon_64; continues where it stopped
    python benchmarks/style_transfer.py tune  # the dial of each method, on four pairs that decide nothing
    python benchmarks/style_transfer.py compare  # data/results/style_transfer.json, with the dials found there
    python benchmarks/style_transfer.py time  # processor time of each method, as ratios to colour matching

`train` needs no real data: contents are the 3,000 ready anime heads and 3,000 heads in human style (drawn once into
the cache), styles the anime heads and 1,000 patterns. `compare` draws its own pairs of heads, of seeds that no
training saw.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from scipy.stats import t as student
from turns import in_turns, print_ratios

from animegan_nb import toon
from animegan_nb.core import read_json, rng, shipped, to_uint8, write_atomically
from animegan_nb.metrics import file_sha256, holm
from animegan_nb.perceptual import PerceptualLoss
from animegan_nb.style_transfer import fit_transfer, GatysConfig, StyleTransfer, stylise, textures
from animegan_nb.training import load_state, save_state

ROOT = Path(__file__).resolve().parents[1]
NAME, RUN = 'adain_toon_64', ROOT / 'runs' / 'style_transfer'
OUT = ROOT / 'data' / 'results' / 'style_transfer.json'
STEPS, BATCH, SEED, EVERY = 450, 4, 0, 50


def images_of(data) -> torch.Tensor:
    return data.batch(torch.arange(len(data)))['image']


def train(steps: int):
    "Train the decoder, saving every 50 steps; a run that was stopped goes on, bit for bit."
    heads = images_of(toon.ready_heads())
    contents = torch.cat([heads, images_of(toon.ToonHeads(n=3000, style='human'))])
    styles = torch.cat([heads, to_uint8(textures(1000, 64, rng(SEED)))])
    torch.manual_seed(SEED)
    network = StyleTransfer().train()
    network.decoder.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.decoder.parameters(), 1e-3)
    state = dict(step=0, losses=[], seconds=0.0)
    if (RUN / 'state.json').is_file():
        saved = load_state(RUN)
        network.load_state_dict(saved.pop('network'))
        optimizer.load_state_dict(saved.pop('optimizer'))
        state |= saved
    start = time.process_time()
    options = dict(optimizer=optimizer, first=state['step'], batch=BATCH, seed=SEED)
    for loss in fit_transfer(network, contents, styles, steps, **options):
        state['step'] += 1
        state['losses'].append(loss)
        if state['step'] % EVERY == 0 or state['step'] == steps:
            state['seconds'] += time.process_time() - start
            start = time.process_time()
            both = dict(network=network.state_dict(), optimizer=optimizer.state_dict())
            save_state(RUN, state | both, overwrite=True)
            print(f'{state["step"]} steps, loss {np.mean(state["losses"][-EVERY:]):.3f}', flush=True)
    write(network, state, steps)


def write(network: StyleTransfer, state: dict, steps: int):
    "The weights and their card."
    curve = [round(float(np.mean(part)), 4) for part in np.array_split(state['losses'], 24)]
    facts = dict(
        what='AdaIN style transfer at 64 px: a decoder of features of the toon network',
        command=f'python benchmarks/style_transfer.py train {steps}',
        **{'class': 'StyleTransfer'},
        network=network.network_facts(),
        steps=steps,
        batch=BATCH,
        seed=SEED,
        data='contents: 3,000 anime and 3,000 human-style toon heads; styles: 3,000 anime heads and 1,000 patterns',
        core_minutes=round(state['seconds'] / 60, 1),
        loss=curve,
    )
    weights = {name: x.contiguous().clone() for name, x in network.state_dict().items()}
    save_file(weights, ROOT / f'data/pretrained/{NAME}.safetensors')
    write_atomically(ROOT / f'data/pretrained/{NAME}.json', json.dumps(facts, indent=1) + '\n')


# a method is called with contents, styles and its dial
METHODS = {
    'colours': lambda c, s, dial: stylise(c, s, 'colours', dial),
    'CORAL': lambda c, s, dial: stylise(c, s, 'coral', dial),
    'Gatys on toon': lambda c, s, dial: stylise(c, s, 'gatys', config=gatys_on('toon', dial)),
    'Gatys on toon, colours kept': lambda c, s, dial: stylise(
        c, s, 'gatys', keep_colours=True, config=gatys_on('toon', dial)
    ),
    'Gatys on SqueezeNet': lambda c, s, dial: stylise(c, s, 'gatys', config=gatys_on('squeezenet', dial)),
    'AdaIN': lambda c, s, dial: stylise(c, s, 'adain', dial),
    'AdaIN, colours kept': lambda c, s, dial: stylise(c, s, 'adain', dial, keep_colours=True),
}
SHARES, WEIGHTS = (0.25, 0.5, 0.75, 1.0), (0.1, 1.0, 10.0, 100.0)
TUNED, HEADS, STYLES, GATYS_STEPS = 4, 8, 3, 25


def gatys_on(backbone: str, weight: float) -> GatysConfig:
    return GatysConfig(backbone=backbone, style_weight=weight, steps=GATYS_STEPS)


def drawn(seed: int, n: int, style: str) -> dict:
    rows = toon.toon_rows(seed, 0, n)
    return toon.render(rows['identity'], rows['cam2world'], rows['fov'], 64, style, geometry=False)


class Judge:
    "Three distances to the true anime rendering: pixels of the head, and features of two networks."

    def __init__(self, truth: dict):
        self.truth, self.mask = truth['image'], truth['mask']
        self.looks = {name: PerceptualLoss(name) for name in ('toon', 'squeezenet')}
        self.maps = {name: look.maps(self.truth) for name, look in self.looks.items()}

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> dict[str, np.ndarray]:
        error = ((images - self.truth) / 2).square() * self.mask
        found = {'pixels': (error.sum((1, 2, 3)) / (3 * self.mask.sum((1, 2, 3)))).sqrt()}
        found |= {name: look(images, self.maps[name]) for name, look in self.looks.items()}
        return {name: values.numpy().astype(float) for name, values in found.items()}


def kept(what: str, name: str, make) -> dict:
    "What `make` returns, from its file if it was computed before with the same settings and the same network."
    network = file_sha256(shipped(f'pretrained/{NAME}.safetensors'))[:8] if 'AdaIN' in name else ''
    sizes = (TUNED,) if what == 'tune' else (HEADS, STYLES)
    settings = '-'.join(map(str, (what, *sizes, GATYS_STEPS, network)))
    path = RUN.with_name('style_transfer_compare') / settings / f'{name.replace(" ", "-")}.json'
    if not path.is_file():
        write_atomically(path, json.dumps(make()))
    return read_json(path)


def tune() -> dict:
    "The dial of each method: the smallest distance, as a mean of the three ratios to the untouched image."
    people, styles = drawn(46, TUNED, 'human')['image'], drawn(47, TUNED, 'anime')['image']
    judge = Judge(drawn(46, TUNED, 'anime'))
    untouched = judge(people)

    def ratios(method, dials):
        judged = {dial: judge(method(people, styles, dial)) for dial in dials}
        change = lambda values: {k: round(float(v.mean() / untouched[k].mean()), 3) for k, v in values.items()}
        return {str(dial): change(values) for dial, values in judged.items()}

    found = {}
    for name, method in METHODS.items():
        dials = WEIGHTS if name.startswith('Gatys') else SHARES
        found[name] = kept('tune', name, lambda: ratios(method, dials))
        print(name, found[name], flush=True)
    best = {name: float(min(dials, key=lambda d: sum(dials[d].values()))) for name, dials in found.items()}
    return dict(what='ratios to the untouched image on heads that decide nothing', pairs=TUNED, found=found, best=best)


def against(values: np.ndarray, untouched: np.ndarray) -> tuple[float, float, float]:
    "Mean relative change of the distance over heads, half its 95 % interval, and p of a t test."
    change = (values.mean(0) - untouched) / untouched.mean()
    n, error = len(change), change.std(ddof=1) / len(change) ** 0.5
    mean = float(change.mean())
    if error == 0:
        return mean, 0.0, 1.0
    return mean, float(student.ppf(0.975, n - 1) * error), float(2 * student.sf(abs(mean) / error, n - 1))


def compare():
    tuned = tune()
    people, judge = drawn(44, HEADS, 'human')['image'], Judge(drawn(44, HEADS, 'anime'))
    styles = drawn(48, HEADS * STYLES, 'anime')['image'].split(HEADS)
    mean = images_of(toon.ready_heads()).float().mean(0, keepdim=True) / 127.5 - 1
    repeat = lambda c, s, dial: mean.expand(len(c), -1, -1, -1)
    ways = [('the mean anime head', repeat, None), ('the style image itself', lambda c, s, dial: s, None)]
    ways += [('the decoder alone, AdaIN with α = 0', METHODS['AdaIN'], 0.0)]
    ways += [(name, method, tuned['best'][name]) for name, method in METHODS.items()]
    full = [name for name, dial in tuned['best'].items() if not name.startswith('Gatys') and dial < 1]
    ways += [(f'{name}, all of it', METHODS[name], 1.0) for name in full]
    untouched, rows, chances = judge(people), [], {}
    for name, method, dial in ways:
        measured = lambda: [{k: v.tolist() for k, v in judge(method(people, s, dial)).items()} for s in styles]
        judged = kept('compare', f'{name} {dial}', measured)
        row = dict(method=name, dial=dial)
        for measure in untouched:
            values = np.array([j[measure] for j in judged])
            change, half, chances[name, measure] = against(values, untouched[measure])
            each = [round(float(v), 4) for v in values.mean(1)]
            row[measure] = dict(by_style=each, change=round(change, 3), half=round(half, 3))
        rows.append(row)
        print(row, flush=True)
    for (name, measure), p in zip(chances, holm(list(chances.values()))):
        row = next(r for r in rows if r['method'] == name)
        sign = 'nearer' if row[measure]['change'] < 0 else 'farther'
        row[measure] |= dict(p=float(f'{p:.3g}'), verdict=sign if p < 0.05 else 'undecided')
    facts = dict(
        command='python benchmarks/style_transfer.py compare',
        what='distance to the true anime rendering, relative to the untouched image in human style',
        heads=HEADS,
        styles=STYLES,
        gatys_steps=GATYS_STEPS,
        untouched={k: round(float(v.mean()), 4) for k, v in untouched.items()},
        comparisons=len(chances),
        tuning=tuned,
        rows=rows,
    )
    write_atomically(OUT, json.dumps(facts, indent=1, ensure_ascii=False) + '\n')


def timings(repeats: int = 3):
    "Processor time of one image of 64 px, in turns; ratios to colour matching."
    people, styles = drawn(46, 2, 'human')['image'], drawn(47, 2, 'anime')['image']
    ways = {name: partial(method, people, styles, 1.0) for name, method in METHODS.items()}
    print_ratios(in_turns(ways, repeats), len(people), 'colours', 'colours')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['train', 'tune', 'compare', 'time'])
    parser.add_argument('steps', nargs='?', type=int, default=STEPS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    {'train': lambda: train(args.steps), 'tune': tune, 'compare': compare, 'time': timings}[args.what]()


if __name__ == '__main__':
    main()
