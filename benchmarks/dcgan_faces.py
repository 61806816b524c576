"""Store the result of a DCGAN trained on a folder of real faces: pictures it drew, numbers with their floor, and how they were made.

    animegan train dcgan-cpu --data DIR --out RUN
    python benchmarks/dcgan_faces.py --run RUN --data DIR --out data/results/dcgan_NAME

Writes OUT.jpg (samples), OUT_steps.jpg (the same latents over time) and OUT.json. Only pictures drawn by the generator are written.
"""
import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from animegan_nb import dcgan  # noqa: F401 (registers the model)
from animegan_nb.core import grid, to_uint8
from animegan_nb.data import ImageFolder
from animegan_nb.metrics import evaluate, extract
from animegan_nb.training import Draws, Trainer, TrainingConfig, build_pair, load_run


def over_time(samples: Path, steps: list[int], columns: int = 10) -> Image.Image:
    "One row of the same latents for each of the steps, cut out of the sample sheets of the run."
    rows = [np.asarray(Image.open(samples/f'step-{step:08d}.png'))[:64, :columns*66 - 2] for step in steps]
    gap = np.full((2, rows[0].shape[1], 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([part for row in rows for part in (row, gap)][:-1]))


def nearest_ratio(fake: torch.Tensor, real: torch.Tensor) -> float:
    "Median distance from a fake to its nearest real picture, over that from a real picture to its nearest other one."
    among = torch.cdist(real, real).fill_diagonal_(float('inf'))
    return (torch.cdist(fake, real).min(1).values.median()/among.min(1).values.median()).item()


def seconds_per_step(info: dict, faces, steps: int = 12) -> float:
    "Processor time of a step on one thread: what the clock would say on a machine that does nothing else."
    config = TrainingConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in info['config'].items()})
    trainer = Trainer(build_pair(info['model'], info['network']), faces, config, device='cpu').fit(2, progress=False)
    start = time.process_time(); trainer.fit(steps, progress=False)
    return (time.process_time() - start)/steps


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('run', 'data', 'out'): p.add_argument(f'--{name}', required=True)
    p.add_argument('--extractor', default='squeezenet'); p.add_argument('--seeds', type=int, default=3)
    a = p.parse_args()
    torch.set_num_threads(1)
    run, out = Path(a.run), Path(a.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    pair, generator, info = load_run(run)
    faces = ImageFolder(a.data, info['network']['size'])
    draw = lambda n, seed: torch.cat([pair.generate(generator, pair.latents(50, Draws(1000*seed + i))) for i in range(-(-n//50))])[:n]
    real = extract(faces, a.extractor)
    n = len(faces)//2
    with torch.no_grad(): results = [evaluate(draw(n, seed), real, a.extractor, n=n, seed=seed) for seed in range(a.seeds)]
    key = next(name for name in results[0].numbers if 'frechet' in name.lower() or name.startswith('FID'))
    values = [r[key].value for r in results]
    blur = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(faces.batch(torch.arange(len(faces)))['image'].float(), (1, 1, 1, 1), mode='replicate'), 3, 1)
    blurred = evaluate(blur.round().to(torch.uint8)[:n], real, a.extractor, n=n)[key].value
    with torch.no_grad(): drawn = draw(n, 0)
    shown = [s for s in (0, 500, 1000, 2000, info['step']) if (run/'samples'/f'step-{s:08d}.png').exists()]
    facts = {'name': Path(a.data).name, 'training_pictures': len(faces), 'step': info['step'], 'network': info['network'], 'training': info['config'],
             'minutes': round(info['step']*seconds_per_step(info, faces)/60, 1), 'metric': f'{key} distance on {a.extractor}', 'distance': float(np.mean(values)),
             'distance_spread': [float(min(values)), float(max(values))], 'floor': results[0][key].floor, 'blurred': blurred,
             'nearest_ratio': nearest_ratio(extract(drawn, a.extractor).features.float(), real.features.float()), 'steps_shown': shown,
             'protocol': f'{key} distance on {a.extractor} features: {n} drawn against {len(faces)} real, {a.seeds} sets of latents (mean; {min(values):.4g} to {max(values):.4g}); floor: halves of the real set',
             'evaluation': results[0].to_dict(),
             'command': f'animegan train dcgan-cpu --data {Path(a.data).name} --out RUN; python benchmarks/dcgan_faces.py --run RUN --data {Path(a.data).name} --out {out}'}
    grid(to_uint8(drawn[:30]), 10).save(out.with_suffix('.jpg'), quality=90)
    over_time(run/'samples', shown).save(out.with_name(out.name + '_steps.jpg'), quality=90)
    out.with_suffix('.json').write_text(json.dumps(facts, indent=1))
    print(json.dumps({k: v for k, v in facts.items() if k not in ('evaluation', 'network', 'training')}, indent=1))


if __name__ == '__main__': main()
