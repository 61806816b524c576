"""How fast heads are drawn, and what part of the time is the distance function: python benchmarks/toon.py [--heads 24]

Ratios are against the naive tracer of the same run: no cones, no compaction, every ray walking for as many steps.
"""
import argparse
import time

import torch

from animegan_nb import toon
from animegan_nb.core import rng


def timed(work):
    start = time.perf_counter(); out = work()
    return time.perf_counter() - start, out


def naive_trace(scene, cam2world, fov, size, steps=64):
    "All rays walk all steps."
    place = torch.arange(size, dtype=torch.float32)
    origins, ways, cosine = toon.pixel_rays(cam2world, fov, place[:, None].expand(-1, size), place[None].expand(size, -1), size)
    centre, radius = scene.bounds()
    reach = (cam2world[:, :3, 3].T - centre).norm(dim=0)[:, None]
    t = (reach - radius[:, None]).expand(-1, size*size).clone()
    for _ in range(steps): t = t + scene.distance(origins + t*ways).clamp_min(0)
    return torch.where(t < reach + radius[:, None], t, torch.inf), origins, ways, cosine


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--heads', type=int, default=24)
    args = parser.parse_args()
    people = toon.sample_identity(args.heads, rng(0)); cameras = toon.sample_camera(args.heads, rng(1))
    views, fov = cameras['cam2world'], cameras['fov']
    inside = [0.]
    distance = toon.HeadScene.distance

    def counted(self, points):
        start = time.perf_counter(); out = distance(self, points); inside[0] += time.perf_counter() - start
        return out

    toon.HeadScene.distance = counted
    for size, count in ((64, args.heads), (256, max(2, args.heads//8))):
        draw = lambda: toon.render(people[:count], views[:count], fov[:count], size, geometry=False)
        toon.render(people[:1], views[:1], fov[:1], size, geometry=False)                    # warm up
        inside[0] = 0.; seconds, _ = timed(draw); share = inside[0]/seconds
        rich, _ = timed(lambda: toon.render(people[:count], views[:count], fov[:count], size))
        print(f'{size:4d} px, 2×2 samples, {torch.get_num_threads()} thread(s): {count/seconds:6.2f} heads/s; distance function {share:.0%} of the time; '
              f'with exact geometry {rich/seconds:.2f}× the time')
    few = min(4, args.heads)
    scene = toon.HeadScene(people[:few])
    fast, a = timed(lambda: toon.trace(scene, views[:few], fov[:few], 128))
    slow, b = timed(lambda: naive_trace(scene, views[:few], fov[:few], 128))
    both = a[0].isfinite() & b[0].isfinite()
    print(f'tracing 128×128 rays: naive/cones+compaction = {slow/fast:.1f}×, same hits {float((a[0].isfinite() == b[0].isfinite()).float().mean()):.2%}, '
          f'median difference {float((a[0] - b[0])[both].abs().median()):.1e} world units')


if __name__ == '__main__': main()
