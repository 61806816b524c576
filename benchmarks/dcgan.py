"""The training engine against a plain PyTorch loop of the same networks, in the same run.

    python benchmarks/dcgan.py [--size 64 --channels 64 --batch 32 --rounds 15]

Prints milliseconds for a step of both and their ratio: the median of the ratios of interleaved rounds, with the
quartiles.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from animegan_nb.data import ImageSet
from animegan_nb.dcgan import DCGANConfig, DCGANPair
from animegan_nb.training import Trainer, TrainingConfig


def plain(config, images, batch):
    "The loop everyone writes: no checks, no log, no callbacks."
    pair = DCGANPair(config)
    g, d = (
        torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999), fused=True)
        for net in (pair.generator, pair.discriminator)
    )
    data = images.float() / 127.5 - 1

    def step():
        real = data[torch.randint(len(data), (batch,))]
        with torch.no_grad():
            fake = pair.generator(torch.randn(batch, config.latent))
        loss = F.softplus(-pair.discriminator(real)).mean() + F.softplus(pair.discriminator(fake)).mean()
        d.zero_grad()
        loss.backward()
        d.step()
        pair.discriminator.requires_grad_(False)
        loss = F.softplus(-pair.discriminator(pair.generator(torch.randn(batch, config.latent)))).mean()
        g.zero_grad()
        loss.backward()
        g.step()
        pair.discriminator.requires_grad_(True)

    return step


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (('size', 64), ('channels', 64), ('batch', 32), ('rounds', 15), ('steps', 4)):
        p.add_argument(f'--{name}', type=int, default=default)
    a = p.parse_args()
    torch.manual_seed(0)
    config = DCGANConfig(a.size, channels=a.channels)
    images = torch.randint(0, 256, (512, 3, a.size, a.size), dtype=torch.uint8)
    trainer = Trainer(DCGANPair(config), ImageSet({'image': images.numpy()}), TrainingConfig(batch_size=a.batch))
    naive = plain(config, images.to(trainer.device), a.batch)
    contenders = {
        'plain loop': lambda: [naive() for _ in range(a.steps)],
        'Trainer': lambda: [trainer.train_step() for _ in range(a.steps)],
    }
    for run in contenders.values():
        run()  # warm up
    times = {name: [] for name in contenders}
    for r in range(a.rounds):
        for name in list(contenders) if r % 2 else list(contenders)[::-1]:  # take turns, so that drift hits both
            start = time.perf_counter()
            contenders[name]()
            times[name].append((time.perf_counter() - start) / a.steps)
    ratios = sorted(t / b for t, b in zip(times['Trainer'], times['plain loop']))
    for name, t in times.items():
        print(f'{name:12} {1000 * statistics.median(t):8.1f} ms a step')
    q = statistics.quantiles(ratios, n=4)
    print(
        f'ratio Trainer / plain loop: median {q[1]:.3f} (quartiles {q[0]:.3f} to {q[2]:.3f}) over {a.rounds}'
        f' interleaved rounds of {a.steps} steps, {a.size} px, {a.channels} channels, batch {a.batch},'
        f' {torch.get_num_threads()} thread(s), {trainer.device}'
    )


if __name__ == '__main__':
    main()
