"""How much CARN-M gains over interpolation on real faces, kernel by kernel, and what it costs.

    python benchmarks/super_resolution.py             milliseconds, as ratios within this run
    python benchmarks/super_resolution.py --write     the tables of the chapter, into data/results
    python benchmarks/super_resolution.py --native    only the table of faces in their own sizes
    python benchmarks/super_resolution.py --look small.png   the smallest of these faces, by LANCZOS and by CARN-M

The tables and the image need ANIMEGAN_DATA and ANIMEGAN_WEIGHTS. The images are the first ones of each folder, or all
that are large enough; CARN-M saw none of them. The image shows faces that belong to their studios, so keep it to
yourself.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import t as student
from turns import in_turns, print_ratios

from animegan_nb.core import atomic_path, show_images, to_float
from animegan_nb.metrics import psnr
from animegan_nb.super_resolution import CARN, CARN_FULL, CARN_MOBILE, KERNELS, load_carn, resample, to_size

OUT = Path(__file__).resolve().parents[1] / 'data' / 'results' / 'super_resolution.json'
# folder, images, scale, the side of the middle square (a multiple of the scale)
SETS = [('anime_faces_256', 60, 2, 256), ('anime_faces_256', 60, 4, 256), ('human_faces_89x109', 120, 2, 88)]
NATIVE, LEAST = 'anime_faces_native', 128  # faces in their own sizes; from so many pixels on they are halved


def files_of(folder: str) -> list[Path]:
    place = Path(os.environ.get('ANIMEGAN_DATA') or '.') / folder
    if not place.is_dir():
        sys.exit(f'There is no folder {folder} here: set ANIMEGAN_DATA to the folder that holds it.')
    return sorted(p for p in place.rglob('*') if p.suffix.lower() in ('.jpg', '.png'))


def middle(file: Path, side: int | None = None) -> torch.Tensor:  # [1, 3, side, side]
    "The middle square of an image, not resized; None: the largest with an even side."
    image = np.asarray(Image.open(file).convert('RGB'))
    side = side or min(image.shape[:2]) // 2 * 2
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = image[top : top + side, left : left + side]
    return to_float(torch.from_numpy(square.copy()).permute(2, 0, 1)[None])


def pictures(folder: str, n: int, side: int) -> torch.Tensor:
    "The middle squares of the first n images, not resized."
    return torch.cat([middle(file, side) for file in files_of(folder)[:n]])


def table() -> list[dict]:
    network, rows = load_carn(), []
    for folder, n, scale, side in SETS:
        truth = pictures(folder, n, side)
        for kernel in KERNELS:
            small = resample(truth, side // scale, kernel)
            with torch.no_grad():
                enlarged = torch.cat([network(part, scale).clamp(-1, 1) for part in small.split(10)])
            plain, ours = psnr(resample(small, side), truth), psnr(enlarged, truth)
            gain = (ours - plain).numpy()
            half = student.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / len(gain) ** 0.5
            row = dict(data=folder, images=len(truth), scale=scale, kernel=kernel)
            row |= dict(bicubic=round(plain.mean().item(), 2), carn=round(ours.mean().item(), 2))
            rows.append(row | dict(gain=[round(float(gain.mean()), 2), round(float(half), 2)]))
            print(rows[-1], flush=True)
    return rows


def median(values, resamples: int = 10_000) -> list[float]:
    "The median, and the ends of its 95 % interval by resampling the images."
    values = np.asarray(values)
    drawn = values[np.random.default_rng(0).integers(len(values), size=(resamples, len(values)))]
    return [round(float(v), 2) for v in (np.median(values), *np.quantile(np.median(drawn, 1), [0.025, 0.975]))]


@torch.no_grad()
def native() -> dict:
    "Faces in their own sizes: those that are large enough are halved and enlarged again."
    network = load_carn()
    sizes = {file: min(Image.open(file).size) for file in files_of(NATIVE)}
    truths = [middle(file) for file, size in sizes.items() if size >= LEAST]
    rows = []
    for kernel in ('box', 'bicubic', 'lanczos'):
        plain, ours = [], []
        for truth in truths:
            side = truth.shape[-1]
            small = resample(truth, side // 2, kernel)
            plain.append(psnr(resample(small, side), truth).item())
            ours.append(psnr(network(small, 2).clamp(-1, 1), truth).item())
        gain = np.subtract(ours, plain)
        row = dict(kernel=kernel, bicubic=median(plain), carn=median(ours), gain=median(gain))
        rows.append(row | dict(least=round(float(gain.min()), 2), worse=int((gain <= 0).sum())))
        print(rows[-1], flush=True)
    below = {str(limit): sum(size < limit for size in sizes.values()) for limit in (64, LEAST)}
    facts = dict(data=NATIVE, of=len(sizes), least=LEAST, images=len(truths), below=below, scale=2)
    return dict(command='python benchmarks/super_resolution.py --native') | facts | dict(rows=rows)


def look(file: Path, n: int = 6, size: int = 128):
    "The n smallest faces brought to one size, as an image."
    network = load_carn()
    faces = [middle(f) for f in sorted(files_of(NATIVE), key=lambda f: min(Image.open(f).size))[:n]]
    ways = [resample(f, size, 'lanczos') for f in faces], [to_size(network, f, size) for f in faces]
    show_images(torch.cat([*ways[0], *ways[1]]), columns=n, row_titles=['LANCZOS', 'CARN-M'], scale=1).image().save(
        file
    )


def timings(repeats: int = 5):
    "Processor time of one image of 64 px made 128 px, in turns; ratios to Pillow's LANCZOS."
    images = torch.rand(8, 3, 64, 64) * 2 - 1
    mobile, full = CARN(CARN_MOBILE).eval(), CARN(CARN_FULL).eval()
    ways = {
        "Pillow's LANCZOS": lambda: resample(images, 128, 'lanczos'),
        'CARN-M, eight at once': lambda: mobile(images),
        'CARN-M, one at a time': lambda: [mobile(image[None]) for image in images],
        'CARN, eight at once': lambda: full(images),
    }
    with torch.no_grad():
        seconds = in_turns(ways, repeats)
    print_ratios(seconds, len(images), "Pillow's LANCZOS", 'LANCZOS')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--write', action='store_true', help='write the tables into data/results')
    parser.add_argument('--native', action='store_true', help='write only the table of faces in their own sizes')
    parser.add_argument('--look', type=Path, help='write an image of the smallest faces, for your own eyes')
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.look:
        look(args.look)
    if not (args.write or args.native):
        return None if args.look else timings()
    facts = json.loads(OUT.read_text(encoding='utf-8'))
    if args.write:
        facts = dict(command='python benchmarks/super_resolution.py --write', network='CARN-M, published', rows=table())
    with atomic_path(OUT) as part:
        part.write_text(json.dumps(facts | dict(native=native()), indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
