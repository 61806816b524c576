"""Train the toon network that ships in data/pretrained: python benchmarks/train_toon_net.py [--epochs 30] [--resume]

Draws 7,000 heads (the 3,000 of the ready set and 4,000 of seed 1), trains on 6,500 of them, scores 500 unseen identities,
and writes toon_net.safetensors (half precision) and toon_net.json.
"""
import argparse
import json
import sys
import time
from pathlib import Path
import torch
from safetensors.torch import save_file
from animegan_nb import toon


def heads(seed, n):
    "uint8 pictures, identities and poses of the first n heads of a seed, over their pastel backgrounds."
    if seed == 0 and n == 3000:
        rows = toon.ready_heads().batch(range(n))
    else:
        rows = toon.ToonHeads(n, 64, seed=seed).batch(range(n))
    return rows['image'], rows['identity'], torch.stack([rows['yaw'], rows['pitch']], 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--epochs', type=int, default=30)
    parser.add_argument('--resume', action='store_true', help='go on from the weights that are stored')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', default=str(Path(__file__).resolve().parents[1]/'data'/'pretrained'))
    args = parser.parse_args()
    images, identity, pose = (torch.cat(p) for p in zip(heads(0, 3000), heads(1, 4000)))
    held = len(images) - 500
    start = time.time()
    net = toon.train_network(images[:held], identity[:held], pose[:held], epochs=args.epochs, seed=args.seed,
                             net=toon.toon_network() if args.resume else None)
    half = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in half.items()})       # score what is stored
    scores = toon.network_scores(net, images[held:], identity[held:], pose[held:])
    out = Path(args.out); out.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in half.items()}, out/'toon_net.safetensors')
    about = dict(command=f'python benchmarks/train_toon_net.py --epochs {args.epochs} --seed {args.seed}' + ' --resume'*args.resume, seed=args.seed, epochs=args.epochs, trained_on=held,
                 scored_on='500 unseen identities (seed 1, rows 3500 to 3999)', seconds=round(time.time() - start), **scores)
    (out/'toon_net.json').write_text(json.dumps(about, indent=1) + '\n')
    print(json.dumps(about, indent=1))


if __name__ == '__main__': sys.exit(main())
