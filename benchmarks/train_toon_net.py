"""Draw the heads, train the toon network and score it: python benchmarks/train_toon_net.py [--people 3000 1000 1000]
[--epochs 30] [--half]

Every person is drawn twice, from a camera of the prior 'celeba' and from one of 'uniform', over white; the sets are
kept in the cache, so a stopped run goes on. Trains on the first people of seeds 0, 1, 2, …, scores on people of seed
902 that nothing was chosen on (those of seed 901 were looked at), and writes toon_net.safetensors (half precision) and
toon_net.json. --ready only rewrites data/toon_heads_3000.npz, --score only scores the stored weights again.
"""

import argparse
import io
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from animegan_nb import toon_net
from animegan_nb import core
from animegan_nb import toon

DATA = Path(__file__).resolve().parents[1] / 'data'
CAMERAS = ('celeba', 'uniform')
FRESH, COUNT = 902, 500


def both_views(seed, n):
    """Two views of the first n people of a seed:
    images over white [n, 2, …], coverage, identity, pose [n, 2, 2], cameras."""
    rows = [toon.ToonHeads(n, 64, seed=seed, camera=camera, background='white').batch(range(n)) for camera in CAMERAS]
    assert torch.equal(rows[0]['identity'], rows[1]['identity'])
    pair = {k: torch.stack([r[k] for r in rows], 1) for k in ('image', 'coverage', 'cam2world', 'fov', 'yaw', 'pitch')}
    return dict(
        image=pair['image'],
        coverage=pair['coverage'],
        identity=rows[0]['identity'],
        pose=torch.stack([pair['yaw'], pair['pitch']], 2),
        cam2world=pair['cam2world'],
        fov=pair['fov'],
    )


def write_ready(path=DATA / 'toon_heads_3000.npz'):
    "The ready set: one sheet of 60 × 50 tiles (WebP over white, PNG for the coverage), and the rows."
    rows = toon.ToonHeads(3000, 64, seed=0, background='white').batch(range(3000))

    def sheet(images, **options):
        tiles = (
            images.reshape(60, 50, images.shape[1], 64, 64)
            .permute(0, 3, 1, 4, 2)
            .reshape(60 * 64, 50 * 64, -1)
            .squeeze(-1)
            .numpy()
        )
        out = io.BytesIO()
        Image.fromarray(tiles).save(out, **options)
        return np.frombuffer(out.getvalue(), np.uint8)

    np.savez(
        path,
        image=sheet(rows['image'], format='WEBP', quality=95, method=6),
        coverage=sheet(rows['coverage'], format='PNG', optimize=True),
        **{k: rows[k].numpy() for k in ('identity', 'cam2world', 'fov', 'yaw', 'pitch')},
    )
    print(f'{path.stat().st_size / 2**20:.2f} MB')


def score(net):
    "On people that were neither trained on nor looked at: the first view for the attributes, both for the embedding."
    fresh = both_views(FRESH, COUNT)
    backs = torch.randint(0, len(toon.BACKGROUNDS), (2, COUNT), generator=core.rng(5))
    views = [toon.backdrop(fresh['image'][:, v], fresh['coverage'][:, v], toon.BACKGROUNDS[backs[v]]) for v in (0, 1)]
    identity = fresh['identity'].clone()
    identity[:, toon.SLOT['background']] = backs[0].float()
    seen = toon_net.visible(identity, fresh['cam2world'][:, 0], fresh['fov'][:, 0])
    scores = toon_net.network_scores(net, views[0], identity, fresh['pose'][:, 0], seen)
    wide = toon_net.network_scores(net, views[1], fresh['identity'], fresh['pose'][:, 1])['median_error_degrees']
    told = [toon_net.descriptions(net, v) for v in views]
    return {
        **scores,
        'median_error_degrees_uniform': wide,
        'verification': {k: toon_net.verification(told[0][k], told[1][k]) for k in told[0]},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--people', type=int, nargs='+', default=[3000, 1000, 1000], help='people of seed 0, of seed 1, …'
    )
    parser.add_argument('--epochs', type=int, default=30)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--half', action='store_true', help='bfloat16 inside the network while it trains')
    parser.add_argument('--ready', action='store_true')
    parser.add_argument('--score', action='store_true')
    parser.add_argument('--out', default=str(DATA / 'pretrained'))
    args = parser.parse_args()
    if args.ready:
        return write_ready()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    file = out / 'toon_net.json'
    if args.score:
        return write(
            file, {k: v for k, v in json.loads(file.read_text()).items() if k in TRAINING}, toon_net.toon_network()
        )
    sets = [both_views(seed, n) for seed, n in enumerate(args.people) if n]
    images, coverage, identity, pose = (
        torch.cat([s[k] for s in sets]) for k in ('image', 'coverage', 'identity', 'pose')
    )
    start, used = time.time(), time.process_time()
    net = toon_net.train_network(images, coverage, identity, pose, epochs=args.epochs, seed=args.seed, half=args.half)
    half = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in half.items()})  # score what is stored
    save_file({k: v.contiguous() for k, v in half.items()}, out / 'toon_net.safetensors')
    command = (
        f'python benchmarks/train_toon_net.py --people {" ".join(map(str, args.people))} --epochs {args.epochs} --seed'
        f' {args.seed}' + ' --half' * args.half
    )
    write(
        file,
        dict(
            command=command,
            seed=args.seed,
            epochs=args.epochs,
            trained_on=2 * len(images),
            people=len(images),
            views='two of each person: cameras celeba and uniform, random backdrops',
            seconds=round(time.time() - start),
            processor_seconds=round(time.process_time() - used),
        ),
        net,
    )


TRAINING = ('command', 'seed', 'epochs', 'trained_on', 'people', 'views', 'seconds', 'processor_seconds')


def write(file, training, net):
    scored_on = (
        f'{COUNT} unseen identities (seed {FRESH}; not used to choose anything), camera celeba; verification between'
        ' the cameras celeba and uniform'
    )
    about = {**training, 'scored_on': scored_on, **score(net)}
    file.write_text(json.dumps(about, indent=1) + '\n')
    print(json.dumps(about, indent=1))


if __name__ == '__main__':
    sys.exit(main())
