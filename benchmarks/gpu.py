"""What only a machine with a GPU can tell, in at most eight minutes: a table on the screen, and data/results/gpu.json.

    make gpu                                             # or: python benchmarks/gpu.py [--parts presets,drawing]
    python benchmarks/gpu.py --device cpu --quick        # every part, on the CPU, with the smallest networks

Parts, each in a process and with a time limit of its own, so that a failure or a lack of memory is a row of the table:

    preset NAME     steps of each paper preset, in its last and largest stage: milliseconds a step, images a second,
                    peak memory (the lazy penalties included) and how often a step waits for the GPU
    equal MODEL     losses and gradients of one step, on the GPU against the CPU, in float32 and float64: the largest
                    difference, relative to the value
    drawing         pi-GAN at 128 px, with 12 + 12 samples on a ray: images a second
    ratio MODEL     a step in float32, with TF32, in bf16, with channels last, compiled: times faster than float32
    tests           the tests of devices on the real GPU

Without a GPU the script says so and ends.
"""

import argparse
import contextlib
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import fields, replace
from pathlib import Path

import torch
from tqdm import tqdm

from animegan_nb.cameras import pose, PRIORS
from animegan_nb.conditional import choices
from animegan_nb.core import rng
from animegan_nb.data import ImageSet
from animegan_nb.pigan import PiganGenerator, RenderSettings
from animegan_nb.siren import FieldConfig
from animegan_nb.stylegan import StyleGANConfig
from animegan_nb.training import Draws, Recipe, recipes, stage_starts, Trainer

ROOT = Path(__file__).resolve().parents[1]
MINUTES = 8.0
PAPER = {
    'dcgan-radford-64', 'dcgan-liu-32', 'dcgan-liu-64', 'dcgan-liu-128', 'wgan-liu-128', 'wgan-gp-liu-128',
    'conditional-moe-128', 'stylegan-liu-a', 'stylegan-liu-b', 'stylegan-liu-c', 'pigan-poster', 'pigan-celeba',
    'pigan-cats', 'pigan-carla', 'mimic3d-ffhq-512', 'freezeg-wang',
}  # fmt: skip
QUICK = (
    'dcgan-tiny',
    'wgan-gp-tiny',
    'conditional-tiny',
    'conditional-cpu-64',
    'stylegan-tiny',
    'modern-live',
    'pigan-cpu',
    'mimic3d-cpu',
    'freezeg-cpu',
)  # one for each model
RATIOS = {'dcgan': 'dcgan-liu-128', 'stylegan': 'stylegan-liu-b', 'pigan': 'pigan-celeba'}
# settings that ratios compare, as changes of a TrainingConfig; the first is the measure
SETTINGS = {
    'float32': dict(tf32=False),
    'TF32': dict(tf32=True),
    'bf16': dict(mixed_precision='bf16', channels_last=False),
    'bf16, channels last': dict(mixed_precision='bf16', channels_last=True),
    'TF32, compiled': dict(tf32=True, compile=True),
}
TESTS = ('tests/test_devices.py', 'tests/test_devices_library.py')
LIMITS = {'preset': 60, 'equal': 60, 'drawing': 40, 'ratio': 110, 'tests': 240}  # seconds


# ---- the work of a part, in a process of its own


class HostDraws(Draws):
    "Random numbers of the CPU, moved to the device and its type: the same ones for all."

    def __init__(self, seed: int, device, dtype: torch.dtype):
        super().__init__(seed)
        self.target, self.dtype = torch.device(device), dtype

    def _draw(self, function, n, *shape):
        numbers = super()._draw(function, n, *shape).to(self.target)
        return numbers.to(self.dtype) if numbers.is_floating_point() else numbers


def quick_recipe(recipe: Recipe) -> Recipe:
    "Small enough for a test: a batch of four; a pi-GAN with a narrow field at 8 px, small planes."
    network = recipe.network
    if recipe.model == 'pigan':
        field = FieldConfig(hidden=16, layers=2, z_dim=8, mapping_hidden=8)
        view = replace(network.view, samples=2, fine=2)
        network = replace(network, size=8, field=field, view=view, channel_base=64, channel_max=16)
    if recipe.model == 'mimic3d':
        view = replace(network.view, samples=2, fine=2)
        widths = dict(channel_base=64, channel_max=8, critic_base=64, critic_max=8, super_maps=8)
        network = replace(network, size=16, raw=8, planes=8, patch=8, z_dim=8, w_dim=8, view=view, **widths)
    if recipe.model in ('transfer', 'conditional-stylegan'):
        network = replace(network, size=16, z_dim=8, w_dim=8, channel_base=64, channel_max=8)
    return replace(recipe, network=network, training=replace(recipe.training, batch_size=4, accumulate=1), stages=())


def without_start(recipe: Recipe) -> Recipe:
    "A fine-tuning from random weights: the trained ones that it begins with change neither its speed nor its memory."
    if recipe.model == 'conditional-stylegan':
        return replace(recipe, network=replace(recipe.network, start=''))
    if recipe.model != 'transfer':
        return recipe
    numbers = {field.name: getattr(recipe.network, field.name) for field in fields(StyleGANConfig)}
    return replace(recipe, model='stylegan', network=StyleGANConfig(**numbers))


def pictures(recipe: Recipe, n: int) -> ImageSet:
    "Noise with all that a model may ask for: labels, cameras, coverage."
    source, size = rng(0), recipe.network.size
    noise = lambda channels: torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=source)
    arrays = {'image': noise(3), 'coverage': noise(1), 'cam2world': pose(*PRIORS['celeba'].sample(n, source))}
    if groups := getattr(recipe.network, 'tags', None):
        labels = [torch.randint(0, len(choices(group)), (n,), generator=source) for group in groups]
        arrays['labels'] = torch.stack(labels, 1)
    return ImageSet({name: tensor.numpy() for name, tensor in arrays.items()})


def trainer_of(name: str, device: str, quick: bool, **changes) -> Trainer:
    "The trainer of a preset, at the beginning of its last stage, with noise as data."
    recipe = without_start(quick_recipe(recipes[name]) if quick else recipes[name])
    recipe = replace(recipe, training=replace(recipe.training, **changes))
    largest = max([recipe.training.batch_size, *(stage.batch_size or 0 for stage in recipe.stages)])
    trainer = recipe.trainer(pictures(recipe, 2 * largest), device=device)
    if recipe.stages:
        trainer.step = stage_starts(recipe.stages, recipe.training)[-2]
        trainer.pair.steps = dict.fromkeys(trainer.pair.steps, trainer.step)
    return trainer


def wait_for(device: torch.device):
    if device.type == 'cuda':
        torch.cuda.synchronize()


def peak_memory(device: torch.device) -> float:
    "GiB: on a GPU what was allocated there, else the largest that this process has been."
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024) / 2**30


@contextlib.contextmanager
def counted_waits(device: torch.device):
    "A list that gets a warning for each wait for the GPU."
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        if device.type == 'cuda':
            torch.cuda.set_sync_debug_mode('warn')
        try:
            yield found
        finally:
            if device.type == 'cuda':
                torch.cuda.set_sync_debug_mode('default')


def timed_steps(trainer: Trainer, seconds: float, most: int = 17) -> dict:
    """Milliseconds of a step, the mean of at most `most` after the first two, images a second and peak memory; the
    first step has all lazy penalties in it."""
    trainer.fit(2, progress=False)
    wait_for(trainer.device)
    begin, steps = time.perf_counter(), 0
    while steps < most and (steps == 0 or time.perf_counter() - begin < seconds):
        trainer.fit(1, progress=False)
        wait_for(trainer.device)
        steps += 1
    duration = (time.perf_counter() - begin) / steps
    speed = {'ms': 1000 * duration, 'images_per_second': trainer.images_per_step / duration}
    return speed | {'peak_gib': peak_memory(trainer.device), 'steps': steps}


def preset(name: str, device: str, quick: bool):
    trainer = trainer_of(name, device, quick)
    found = timed_steps(trainer, 0.5 if quick else 8.0, 3 if quick else 17)
    if trainer.device.type == 'cuda':
        with counted_waits(trainer.device) as waits:
            trainer.fit(1, progress=False)
        found['waits'] = sum('synchroniz' in str(wait.message) for wait in waits)
    yield {'what': f'{trainer.config.batch_size} × {trainer.config.accumulate} images', **found}


def losses_and_gradients(name: str, device: str, dtype: torch.dtype) -> dict[str, float]:
    "Of one step of each player, from the same weights, images and random numbers on every device."
    recipe = without_start(quick_recipe(recipes[name]))
    trainer = recipe.trainer(pictures(recipe, 8), device='cpu')
    batch = {k: v.to(device, dtype if v.is_floating_point() else None) for k, v in trainer.next_batch().items()}
    pair, found = trainer.pair.to(device, dtype), {}
    for role in ('discriminator', 'generator'):
        loss = getattr(pair, f'{role}_step')(batch, HostDraws(1, device, dtype))['loss']
        weights = [p for p in getattr(pair, role).parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        norm = torch.stack([g.norm() for g in gradients if g is not None]).norm()
        found |= {f'{role}_loss': loss.item(), f'{role}_gradient': norm.item()}
    return found


def equal(name: str, device: str, quick: bool):
    limits = {torch.float32: 1e-3, torch.float64: 1e-9}
    if recipes[name].model in ('pigan', 'mimic3d'):
        del limits[torch.float64]  # its cameras and rays are float32
    for dtype, limit in limits.items():
        here, there = (losses_and_gradients(name, where, dtype) for where in ('cpu', device))
        apart = {k: abs(here[k] - there[k]) / max(abs(here[k]), 1e-12) for k in here}
        worst = max(apart, key=apart.get)
        kind = str(dtype).removeprefix('torch.')
        verdict = 'equal' if apart[worst] <= limit else f'different: {worst}'
        yield {'what': kind, 'difference': apart[worst], 'note': verdict}


def drawing(_: str, device: str, quick: bool):
    field = FieldConfig(hidden=16, layers=2, z_dim=8, mapping_hidden=8) if quick else FieldConfig()
    size, n = (16, 1) if quick else (128, 4)
    generator = PiganGenerator(field, RenderSettings(), size).to(device).eval().requires_grad_(False)
    condition = generator.condition(torch.randn(n, field.z_dim, device=device))
    cams = pose(torch.linspace(-0.3, 0.3, n, device=device))
    for name, precision, half in (('float32', 'highest', False), ('TF32', 'high', False), ('bf16', 'high', True)):
        torch.set_float32_matmul_precision(precision)
        with torch.no_grad(), torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            draw = lambda: generator.render(condition, cams, max_points=2**21)
            draw()
            wait_for(torch.device(device))
            begin, times = time.perf_counter(), 0
            while times < 50 and time.perf_counter() - begin < (0.1 if quick else 4.0):
                draw()
                wait_for(torch.device(device))
                times += 1
        seconds = (time.perf_counter() - begin) / times / n
        speed = {'ms': 1000 * seconds, 'images_per_second': 1 / seconds}
        yield {'what': f'{name}, {size} px', **speed, 'peak_gib': peak_memory(torch.device(device))}


def ratio(name: str, device: str, quick: bool):
    base = None
    for setting, changes in SETTINGS.items():
        if quick and 'compiled' in setting:
            continue  # a compiler takes minutes on a CPU
        try:
            trainer = trainer_of(name, device, quick, **changes)
            found = timed_steps(trainer, 0.3 if quick else 4.0, 3 if quick else 17)
            base = base or found['ms']
            yield {'what': setting, **found, 'faster': base / found['ms']}
        except Exception as error:
            yield {'what': setting, 'note': sentence(error)}
        trainer = None
        if device != 'cpu':
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def tests(_: str, device: str, quick: bool):
    chosen = ['-k', 'every_model_is_here'] if quick else []
    command = [sys.executable, '-m', 'pytest', '-o', 'addopts=', '-rf', '-p', 'no:cacheprovider', *TESTS, *chosen]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = result.stdout.strip().splitlines()
    for line in lines:
        if line.startswith('FAILED'):
            yield {'what': 'failed', 'note': line.removeprefix('FAILED ')}
    yield {'what': 'all', 'note': lines[-1].strip('= ') if lines else f'pytest ended with {result.returncode}'}


def sentence(error: BaseException) -> str:
    "What to write into a row about an error."
    if isinstance(error, torch.OutOfMemoryError):
        return 'out of memory'
    text = (str(error).strip().splitlines() or [''])[0]
    return f'{type(error).__name__}: {text}'[:160]


def work(part: str, device: str, quick: bool):
    "One part: its rows as JSON lines on the standard output, as soon as they are known."
    kind, _, name = part.partition(' ')
    try:
        for row in globals()[kind](name, device, quick):
            print(json.dumps({'part': part, **row}), flush=True)
    except Exception as error:
        print(json.dumps({'part': part, 'note': sentence(error)}), flush=True)


# ---- all parts


def plan(kinds: list[str], quick: bool) -> list[str]:
    "The parts in the order of their value."
    presets = QUICK if quick else sorted(PAPER)
    ratios = QUICK[:1] if quick else RATIOS.values()
    parts = {
        'preset': [f'preset {name}' for name in presets],
        'equal': [f'equal {name}' for name in QUICK],
        'drawing': ['drawing'],
        'ratio': [f'ratio {name}' for name in ratios],
        'tests': ['tests'],
    }
    return [part for kind in kinds for part in parts[kind]]


def run_part(part: str, seconds: float, arguments: list[str]) -> list[dict]:
    "The rows of a part; if it does not end well, one more row that says so."
    command = [sys.executable, __file__, '--part', part, *arguments]
    note = ''
    with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as errors:
        try:
            code = subprocess.run(command, stdout=out, stderr=errors, timeout=seconds).returncode
        except subprocess.TimeoutExpired:
            code, note = 0, f'stopped after {seconds:.0f} s'
        out.seek(0)
        errors.seek(0)
        rows = [json.loads(line) for line in out if line.startswith('{')]
        if code:
            last = (errors.read().strip().splitlines() or [''])[-1]
            note = f'the process ended with {code}: {last}'[:160]
    return rows + [{'part': part, 'note': note}] * bool(note)


def run_all(parts: list[str], minutes: float, arguments: list[str]) -> list[dict]:
    "The rows of all parts for which there is time."
    end, rows = time.monotonic() + 60 * minutes, []
    for part in tqdm(parts, desc='GPU', unit='part'):
        left = end - time.monotonic()
        if left < 15:
            rows.append({'part': part, 'note': f'not run: the {minutes:g} minutes were over'})
            continue
        rows += run_part(part, min(left, LIMITS[part.split()[0]]), arguments)
    return rows


def table(rows: list[dict]) -> str:
    "The rows, in columns."
    columns = {
        'part': lambda r: r['part'],
        '': lambda r: r.get('what', ''),
        'ms': lambda r: f'{r["ms"]:.1f}' if 'ms' in r else '',
        'images/s': lambda r: f'{r["images_per_second"]:.1f}' if 'images_per_second' in r else '',
        'peak GiB': lambda r: f'{r["peak_gib"]:.2f}' if 'peak_gib' in r else '',
        'waits': lambda r: str(r.get('waits', '')),
        '× float32': lambda r: f'{r["faster"]:.2f}' if 'faster' in r else '',
        'difference': lambda r: f'{r["difference"]:.1e}' if 'difference' in r else '',
        'note': lambda r: r.get('note', ''),
    }
    cells = [list(columns)] + [[show(row) for show in columns.values()] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    right = {i for i, name in enumerate(columns) if name in ('ms', 'images/s', 'peak GiB', 'waits', '× float32')}
    place = lambda i, text: text.rjust(widths[i]) if i in right else text.ljust(widths[i])
    return '\n'.join('  '.join(place(i, text) for i, text in enumerate(line)).rstrip() for line in cells)


def machine(device: str) -> dict:
    "What the numbers were measured on."
    card = platform.processor() or platform.machine()
    if device != 'cpu':
        facts = torch.cuda.get_device_properties(device)
        card = f'{facts.name}, {facts.total_memory / 2**30:.0f} GiB'
    return {'device': card, 'torch': torch.__version__, 'python': platform.python_version()}


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--device', default='cuda', help='cuda, cuda:1, …, or cpu to try the script')
    p.add_argument('--quick', action='store_true', help='the smallest networks, a few steps')
    p.add_argument('--minutes', type=float, default=MINUTES, help='of all parts together')
    p.add_argument('--parts', default=','.join(LIMITS), help='some of: ' + ', '.join(LIMITS))
    p.add_argument('--out', type=Path, help='data/results/gpu.json, if the device is a GPU')
    p.add_argument('--part', help=argparse.SUPPRESS)
    a = p.parse_args()
    a.parts = [kind.strip().removesuffix('s') if kind.strip() != 'tests' else 'tests' for kind in a.parts.split(',')]
    if unknown := set(a.parts) - set(LIMITS):
        p.error(f'there is no part {sorted(unknown)[0]!r}: choose from {", ".join(LIMITS)}')
    return a


def main() -> int:
    a = arguments()
    if a.part:
        work(a.part, a.device, a.quick)
        return 0
    if a.device != 'cpu' and not torch.cuda.is_available():
        print('There is no CUDA device here: run this on a machine with a GPU, or try it with --device cpu --quick.')
        return 0
    begin = time.monotonic()
    options = ['--device', a.device] + ['--quick'] * a.quick
    rows = run_all(plan(a.parts, a.quick), a.minutes, options)
    print(table(rows))
    out = a.out or (ROOT / 'data' / 'results' / 'gpu.json' if a.device != 'cpu' else None)
    if out:
        facts = {'command': ' '.join(['python', 'benchmarks/gpu.py', *sys.argv[1:]]), **machine(a.device)}
        facts |= {'seconds': round(time.monotonic() - begin, 1), 'rows': rows}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(facts, indent=1) + '\n')
        print(f'\n{out} holds these rows.')
    return 0


if __name__ == '__main__':
    sys.exit(main())
