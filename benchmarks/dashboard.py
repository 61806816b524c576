"""What watching costs: seconds a step with the dashboard open, divided by seconds a step of the bare trainer, in the
same run.

python benchmarks/dashboard.py            # 32-pixel images, a small convolutional pair, one thread
"""

import time

import torch
import torch.nn.functional as F
from torch import nn

from animegan_nb.core import rng, seed_everything
from animegan_nb.dashboard import Monitor, TrainingDashboard
from animegan_nb.training import ModelPair, Trainer, TrainingConfig


class Noise:
    def __init__(self, size, batch_size=32):
        self.size, self.batch_size, self.position, self.rank, self.world = size, batch_size, 0, 0, 1

    def __iter__(self):
        batch = {'image': torch.rand(self.batch_size, 3, self.size, self.size, generator=rng(0)) * 2 - 1}
        while True:
            yield batch


class Pair(ModelPair):
    def __init__(self, size, w=16):
        n = size // 8

        def up(i, o):
            return [nn.ConvTranspose2d(i, o, 4, 2, 1), nn.BatchNorm2d(o), nn.ReLU()]

        def down(i, o):
            return [nn.Conv2d(i, o, 4, 2, 1), nn.LeakyReLU(0.2)]

        super().__init__(
            nn.Sequential(
                nn.Linear(16, 4 * w * n * n),
                nn.Unflatten(1, (4 * w, n, n)),
                *up(4 * w, 2 * w),
                *up(2 * w, w),
                nn.ConvTranspose2d(w, 3, 4, 2, 1),
                nn.Tanh(),
            ),
            nn.Sequential(
                *down(3, w),
                *down(w, 2 * w),
                *down(2 * w, 4 * w),
                nn.Flatten(),
                nn.Linear(4 * w * n * n, 1),
                nn.Flatten(0),
            ),
        )

    def latents(self, n, draws):
        return draws.normal(n, 16)

    def discriminator_step(self, batch, draws):
        with torch.no_grad():
            fake = self.generator(self.latents(len(batch['image']), draws))
        real_logits, fake_logits = self.discriminator(batch['image']), self.discriminator(fake)
        return dict(
            loss=F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean(),
            real_logits=real_logits,
            fake_logits=fake_logits,
        )

    def generator_step(self, batch, draws):
        return dict(
            loss=F.softplus(-self.discriminator(self.generator(self.latents(len(batch['image']), draws)))).mean()
        )


def make(size):
    seed_everything(0)
    return Trainer(Pair(size), Noise(size), TrainingConfig(batch_size=32), device='cpu')


def bare(trainer, steps):
    trainer.fit_background(steps)
    trainer.join()


def main(size=32, steps=150, rounds=6):
    torch.set_num_threads(1)
    plain, watched, shown = make(size), make(size), make(size)
    watched.callbacks.append(Monitor())
    board = TrainingDashboard(shown, steps=10**9)
    ways = {'bare trainer': (plain, bare), 'with a Monitor': (watched, bare), 'with a dashboard': (shown, bare)}
    best = dict.fromkeys(ways, float('inf'))
    for k in range(rounds + 1):
        for name, (trainer, go) in ways.items():
            begin = time.perf_counter()
            go(trainer, steps)
            if k:
                best[name] = min(best[name], (time.perf_counter() - begin) / steps)
    for name, seconds in best.items():
        print(f'{name:18} {1000 * seconds:6.2f} ms a step, {seconds / best["bare trainer"]:.3f} of the bare trainer')
    begin = time.perf_counter()
    for _ in range(20):
        board.paint()
    print(f'one painting       {50 * (time.perf_counter() - begin):6.2f} ms')


if __name__ == '__main__':
    main()
