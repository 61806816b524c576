"""The loader against decoding each time, and the cleaning pipeline on real folders.

    python benchmarks/data.py                    # images/s, ratios, first and second opening
    python benchmarks/data.py --duplicates       # near copies: bands of the hashes against all pairs
    python benchmarks/data.py --real             # also cleans the folders below ANIMEGAN_DATA and stores the counts

With `--real` (or `--store`) the numbers go to data/results/data.json, which the chapter shows.
"""

import argparse, json, os, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from animegan_nb.core import default_device
from animegan_nb import cleaning
from animegan_nb.cleaning import FaceFinder, clean, survey, unusual_brightness
from animegan_nb.data import ImageFolder, Loader, list_images, open_image, resize, square_crop

FOLDERS = 'anime_faces_256', 'anime_faces_native', 'anime_faces_tagged_96', 'human_faces_89x109', 'figures_64'


def make_folder(folder: Path, n: int, side: int):
    "Smooth random JPEG images with a little noise, like photographs to a decoder."

    def one(i):
        g = np.random.default_rng(i)
        smooth = np.asarray(
            Image.fromarray(g.integers(0, 256, (12, 12, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        )
        noisy = (smooth + g.normal(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f'{i:06d}.jpg', quality=90)

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, range(n)))


class DecodeEachTime(Dataset):
    "What a tutorial does: open, crop, resize and flip in `__getitem__`."

    def __init__(self, folder, size):
        self.files, self.size = [Path(folder) / name for name in list_images(folder)[0]], size

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        image = resize(square_crop(open_image(self.files[i])), self.size)
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(127.5).sub(1)
        return x.flip(-1) if torch.rand(()) < 0.5 else x


def rate(batches, count: int, batch: int) -> float:
    "Images a second over `count` batches, after two to warm up; the last batch has arrived on the device."
    iterator = iter(batches)
    for _ in range(2):
        x = next(iterator)
    start = time.perf_counter()
    for _ in range(count):
        x = next(iterator)
    x = x['image'] if isinstance(x, dict) else x
    float(x[0, 0, 0, 0])  # waits for the device
    return count * batch / (time.perf_counter() - start)


def speed(n: int, side: int, size: int, batch: int) -> dict:
    device = default_device()
    with TemporaryDirectory() as place:
        folder = Path(place) / 'pictures'
        folder.mkdir()
        make_folder(folder, n, side)
        opened = []
        for _ in range(2):
            start = time.perf_counter()
            ds = ImageFolder(folder, size, cache=Path(place) / 'cache', progress=False)
            opened.append(time.perf_counter() - start)
        move = lambda loader: (x.to(device) for x in loader)
        plain = DecodeEachTime(folder, size)
        baseline, ours, workers, count = [], [], [], max(1, min(1000 // batch, n // batch - 2))
        for _ in range(3):  # taking turns, so that another load on the machine hits all of them
            baseline.append(rate(move(DataLoader(plain, batch, shuffle=True, drop_last=True)), count, batch))
            workers.append(
                rate(
                    move(
                        DataLoader(
                            plain, batch, shuffle=True, drop_last=True, num_workers=2, pin_memory=device.type == 'cuda'
                        )
                    ),
                    count,
                    batch,
                )
            )
            ours.append(rate(Loader(ds, batch, device=device), 200, batch))
    return dict(
        pictures=n,
        side=side,
        size=size,
        batch=batch,
        device=device.type,
        first_open_s=opened[0],
        second_open_s=opened[1],
        baseline_per_s=float(np.median(baseline)),
        two_workers_per_s=float(np.median(workers)),
        loader_per_s=float(np.median(ours)),
    )


def processor_seconds(function) -> tuple[float, object]:
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def duplicates(n: int, distance: int = 3, rounds: int = 3):
    "`close_pairs` against the comparison of all pairs, in turns; a tenth of the hashes are near copies of others."
    rng = np.random.default_rng(0)
    for count in (n // 20, n // 10, n // 4):
        hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
        hashes[-(count // 10) :] = hashes[: count // 10] ^ np.uint64(1 << 40 | 1)
        ratios = []
        for _ in range(rounds):
            bands, found = processor_seconds(lambda: cleaning.close_pairs(hashes, distance))
            whole, near = processor_seconds(lambda: list(cleaning._near(hashes, distance)))
            assert sorted(found.tolist()) == sorted([a, b] for first, second in near for a, b in zip(first, second))
            ratios.append(whole / bands)
        print(f'{count:7} hashes: {np.median(ratios):5.0f} times faster than all pairs, the same {len(found)} pairs')
    hashes = rng.integers(0, 2**64, n, dtype=np.uint64)
    seconds, _ = processor_seconds(lambda: cleaning.close_pairs(hashes, distance))
    print(f'{n:7} hashes: {seconds:.2f} s of processor time')


def real(root: Path) -> dict:
    finder, out = FaceFinder(), {}
    for name in FOLDERS:
        folder = root / name
        start = time.perf_counter()
        report = clean(folder)
        seconds = time.perf_counter() - start
        facts, _ = survey(folder, progress=False)
        faces = sum(len(finder(open_image(folder / f.file))) == 1 for f in facts) if name == 'anime_faces_256' else None
        out[name] = dict(
            pictures=len(report.kept) + len(report.dropped),
            kept=len(report.kept),
            dropped=report.counts,
            brightness=len(unusual_brightness(facts)),
            faces=faces,
            seconds=round(seconds, 2),
        )
        print(
            name, out[name], *[f'   {d.file} ({d.reason})' for d in report.dropped if d.step == 'near copy'], sep='\n'
        )
    return out


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pictures', type=int, default=10_000)
    parser.add_argument('--side', type=int, default=128)
    parser.add_argument('--size', type=int, default=64)
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--real', action='store_true')
    parser.add_argument('--store', action='store_true')
    parser.add_argument('--duplicates', action='store_true')
    args = parser.parse_args()
    if args.duplicates:
        raise SystemExit(duplicates(200_000))
    result = {
        'command': 'python benchmarks/data.py --real',
        'speed': speed(args.pictures, args.side, args.size, args.batch),
    }
    s = result['speed']
    print(
        f"{s['pictures']} JPEG files of {s['side']} px served at {s['size']} px in batches of {s['batch']} on"
        f" {s['device']}"
    )
    print(
        f"opening: first {s['first_open_s']:.2f} s, second {s['second_open_s']:.3f} s, ratio"
        f" {s['first_open_s'] / s['second_open_s']:.0f}"
    )
    print(
        f"decoding each time, one process: {s['baseline_per_s']:.0f}/s; two workers: {s['two_workers_per_s']:.0f}/s;"
        f" Loader: {s['loader_per_s']:.0f}/s"
    )
    print(
        f"ratio of Loader to one process {s['loader_per_s'] / s['baseline_per_s']:.1f}, to two workers"
        f" {s['loader_per_s'] / s['two_workers_per_s']:.1f}"
    )
    path = Path(__file__).resolve().parent.parent / 'data' / 'results' / 'data.json'
    if args.real:
        result['folders'] = real(Path(os.environ['ANIMEGAN_DATA']))
    elif path.exists():
        result['folders'] = json.loads(path.read_text()).get('folders', {})
    if args.real or args.store:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + '\n')
