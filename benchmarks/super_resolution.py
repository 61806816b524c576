"""How much CARN-M gains over interpolation on real faces, kernel by kernel, and what it costs.

    python benchmarks/super_resolution.py             milliseconds, as ratios within this run
    python benchmarks/super_resolution.py --write     the table of the chapter, into data/results

The table needs ANIMEGAN_DATA and ANIMEGAN_WEIGHTS. The images are the first ones of each folder; no network saw them.
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

from animegan_nb.core import to_float
from animegan_nb.metrics import psnr
from animegan_nb.super_resolution import CARN, CARN_FULL, CARN_MOBILE, KERNELS, load_carn, resample

OUT = Path(__file__).resolve().parents[1] / 'data' / 'results' / 'super_resolution.json'
# folder, images, scale, the side of the middle square (a multiple of the scale)
SETS = [('anime_faces_256', 60, 2, 256), ('anime_faces_256', 60, 4, 256), ('human_faces_89x109', 120, 2, 88)]


def pictures(folder: str, n: int, side: int) -> torch.Tensor:
    "The middle squares of the first n images, not resized."
    place = Path(os.environ.get('ANIMEGAN_DATA') or '.') / folder
    if not place.is_dir():
        sys.exit(f'There is no folder {folder} here: set ANIMEGAN_DATA to the folder that holds it.')
    files = sorted(p for p in place.rglob('*') if p.suffix.lower() in ('.jpg', '.png'))[:n]
    arrays = []
    for file in files:
        image = np.asarray(Image.open(file).convert('RGB'))
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        arrays.append(image[top : top + side, left : left + side])
    return to_float(torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2))


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
    parser.add_argument('--write', action='store_true', help='write the table into data/results')
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.write:
        timings()
        return
    facts = dict(command='python benchmarks/super_resolution.py --write', network='CARN-M, published', rows=table())
    OUT.write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
