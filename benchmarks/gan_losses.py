"""What our losses and penalties cost: a WGAN-GP critic step against a minimal hand-written one, lazy against eager R1,
R1 in the forward pass of the loss against a pass of its own, in float32 and bfloat16, with the memory of a step; how
exact R1 is in bfloat16; and a DCGAN's whole training step with channels-last memory and with bfloat16.

    OMP_NUM_THREADS=1 python benchmarks/gan_losses.py [--device cuda] [--size 64] [--batch 32] [--repeats 15]
        [--channels 128] [--r1 0] [--only formats|one_pass|precision]

Both versions take turns in the same process, and the ratio is that of the medians; its spread is the middle half of the
ratios of neighbouring turns. They compute the same numbers, which is checked first; for bfloat16 the error is printed.
"""

import argparse, statistics, time
import torch
import torch.nn.functional as F
from torch import nn
from animegan_nb import dcgan
from animegan_nb.data import ImageSet
from animegan_nb.dcgan import DCGANConfig, DCGANPair
from animegan_nb.losses import discriminator_loss
from animegan_nb.conditional import tagged_heads
from animegan_nb.penalties import Lazy, gradient_penalty, r1_of_logits, r1_penalty
from animegan_nb.stylegan import STYLEGAN_CPU_32, StyleGANPair
from animegan_nb.training import PeakMemory, Trainer, TrainingConfig


def critic(size, device, width=32):
    "A DCGAN-like critic with LayerNorm for images of `size` pixels, to logits [batch]."
    torch.manual_seed(0)
    layers, channels = [], 3
    while size > 4:
        layers += [nn.Conv2d(channels, width, 4, 2, 1), nn.GroupNorm(1, width), nn.LeakyReLU(0.2)]
        channels, width, size = width, min(2 * width, 256), size // 2
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, 4), nn.Flatten(0)).to(device)


def minimal_step(D, optimiser, real, fake, generator):
    "The shortest correct WGAN-GP critic step, as one would write it by hand."
    e = torch.rand(len(real), 1, 1, 1, generator=generator, device=real.device)
    x = (e * real + (1 - e) * fake).requires_grad_(True)
    (g,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    loss = D(fake).mean() - D(real).mean() + 10 * (g.flatten(1).norm(dim=1) - 1).square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss


def our_step(D, optimiser, real, fake, generator):
    loss = discriminator_loss(D(real), D(fake), 'wasserstein') + gradient_penalty(D, real, fake, 10.0, generator)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss


def seconds(function, device, count):
    "Seconds for one call, over `count` calls."
    if device != 'cpu':
        torch.cuda.synchronize()
    clock = time.process_time if device == 'cpu' and torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    for i in range(count):
        function(i)
    if device != 'cpu':
        torch.cuda.synchronize()
    return (clock() - start) / count


def compare(name, ours, theirs, device, count, repeats, bound=None):
    """Interleaved timing of two functions of a step number;
    prints the ratio of medians and the middle half of the pairs."""
    for f in (ours, theirs):
        seconds(f, device, 2)
    a, b = [], []
    for i in range(repeats):
        for f, times in ((ours, a), (theirs, b)) if i % 2 else ((theirs, b), (ours, a)):
            times.append(seconds(f, device, count))
    pairs = sorted(x / y for x, y in zip(a, b))
    low, _, high = statistics.quantiles(pairs, n=4)
    ratio = statistics.median(a) / statistics.median(b)
    goal = f'   (at most {bound})' if bound else ''
    print(
        f'{name:58s} {1000 * statistics.median(a):8.2f} ms / {1000 * statistics.median(b):8.2f} ms = {ratio:.3f},'
        f' middle half of pairs {low:.3f} to {high:.3f}{goal}'
    )
    return ratio


# precision, and the size in pixels from which the networks put their channels last
FORMATS = {
    'plain float32': ('no', 10**9),
    'channels-last': ('no', 0),
    'bfloat16': ('bf16', 10**9),
    'channels-last and bfloat16': ('bf16', 0),
}


def dcgan_formats(a):
    """A training step of the same DCGAN in four formats:
    ratios, and how far the first losses and gradients are from plain float32."""
    images = ImageSet(
        {
            'image': (
                torch.randint(
                    0, 256, (256, 3, a.size, a.size), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
                ).numpy()
            )
        }
    )
    trainers, first = {}, {}

    def step(name):
        dcgan.CHANNELS_LAST_FROM = FORMATS[name][1]
        return trainers[name].train_step()

    for name, (precision, _) in FORMATS.items():
        torch.manual_seed(0)
        pair = DCGANPair(DCGANConfig(a.size, channels=a.channels, r1_gamma=a.r1))
        trainers[name] = Trainer(
            pair, images, TrainingConfig(batch_size=a.batch, mixed_precision=precision), device=a.device
        )
        record = step(name)
        first[name] = [
            record[k] for k in ('discriminator_loss', 'generator_loss', 'discriminator_gradient', 'generator_gradient')
        ]
    plain = first['plain float32']
    for name, values in first.items():
        print(
            f'{name:28s} losses and gradient norms of the first step differ from plain float32 by at most'
            f' {max(abs(v / p - 1) for v, p in zip(values, plain)):.1e}'
        )
    for name in list(FORMATS)[1:]:
        compare(
            f'DCGAN step, R1 {a.r1:g}: {name} / plain',
            lambda i, name=name: step(name),
            lambda i: step('plain float32'),
            a.device,
            max(1, a.count // 2),
            a.repeats,
        )


def megabytes(function):
    with PeakMemory() as peak:
        function()
    return peak.most / 2**20


class TwoPasses(DCGANPair):
    "R1 with a forward pass of its own, in float32 whatever surrounds it: as it was before."

    def discriminator_step(self, batch, draws):
        real = batch['image']
        with torch.no_grad():
            fake = self.generator(self.latents(len(real), draws))
        logs = dict(real_logits=self.discriminator(real), fake_logits=self.discriminator(fake), fake_images=fake)
        logs['penalty'] = r1_penalty(self.discriminator, real, self.config.r1_gamma)
        return logs | {'loss': self.loss.discriminator(logs['real_logits'], logs['fake_logits']) + logs['penalty']}


def one_pass(a):
    "A DCGAN's step and its discriminator's half, with R1 in two passes, in one, and in one in bfloat16."
    heads, first = tagged_heads(a.size), {}
    ways = {
        'two passes': (TwoPasses, 'no'),
        'one pass': (DCGANPair, 'no'),
        'two passes, bfloat16': (TwoPasses, 'bf16'),
        'one pass, bfloat16': (DCGANPair, 'bf16'),
    }
    trainers = {}
    for name, (pair, precision) in ways.items():
        torch.manual_seed(0)
        config = TrainingConfig(batch_size=a.batch, mixed_precision=precision)
        network = DCGANConfig(a.size, channels=a.channels, r1_gamma=a.r1 or 1.0)
        trainers[name] = Trainer(pair(network), heads, config, device=a.device)
        first[name] = trainers[name].train_step()
        print(f'{name:24s} peak memory of a step {megabytes(trainers[name].train_step):6.0f} MB')
    for key in ('discriminator_loss', 'discriminator_gradient', 'penalty'):
        two, one = first['two passes'][key], first['one pass'][key]
        assert abs(one / two - 1) < 1e-4, (key, two, one)
    for name in list(ways)[1:]:
        for half in ('discriminator', 'step'):
            run = lambda t, half=half: t.train_step() if half == 'step' else t.update('discriminator')
            compare(
                f'DCGAN {half}: two passes in float32 / {name}',
                lambda i, run=run: run(trainers['two passes']),
                lambda i, run=run, name=name: run(trainers[name]),
                a.device,
                1,
                a.repeats,
            )


def precision(a):
    "The error that bfloat16 makes in the gradient of R1 and of the loss, during two trainings."
    heads = tagged_heads(32)

    def gradient(D, real, r1, enabled):
        real = real.detach().requires_grad_()
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            logits = D(real)
        loss = r1_of_logits(logits, real, 1.0) if r1 else F.softplus(-logits.float()).mean()
        found = torch.autograd.grad(loss, list(D.parameters()), allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    dcgan_pair = DCGANPair(DCGANConfig(32, channels=96, r1_gamma=1.0))
    for name, pair, training, every in (
        ('DCGAN', dcgan_pair, TrainingConfig(batch_size=32, generator_lr=5e-4, discriminator_lr=5e-4), 60),
        ('StyleGAN2', StyleGANPair(STYLEGAN_CPU_32.network), STYLEGAN_CPU_32.training, 50),
    ):
        trainer = Trainer(pair, heads, training, device='cpu')
        for _ in range(3):
            trainer.fit(every, progress=False)
            real, error = trainer.next_batch()['image'], {}
            for part, r1 in (('loss', False), ('R1', True)):
                exact, rounded = (gradient(pair.discriminator, real, r1, enabled) for enabled in (False, True))
                error[part] = ((rounded - exact).norm() / exact.norm()).item()
            print(f'{name}, step {trainer.step}: ' + ', '.join(f'{k} {100 * v:.2g} %' for k, v in error.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, default in (
        ('--device', 'cpu'),
        ('--size', 64),
        ('--batch', 32),
        ('--repeats', 15),
        ('--count', 4),
        ('--channels', 128),
        ('--r1', 0.0),
        ('--only', ''),
    ):
        parser.add_argument(flag, default=default, type=type(default))
    a = parser.parse_args()
    if a.only:
        return {'formats': dcgan_formats, 'one_pass': one_pass, 'precision': precision}[a.only](a)
    real, fake = (torch.rand(a.batch, 3, a.size, a.size, device=a.device) * 2 - 1 for _ in range(2))
    draw = lambda: torch.Generator(a.device).manual_seed(1)
    state = {}
    for name, step in (('ours', our_step), ('minimal', minimal_step)):
        D = critic(a.size, a.device)
        state[name] = D, torch.optim.Adam(D.parameters(), 1e-4, betas=(0.0, 0.9)), draw(), step
    first = [step(D, optimiser, real, fake, draw()).item() for D, optimiser, _, step in state.values()]
    assert abs(first[0] - first[1]) < 1e-4 * max(1, abs(first[0])), f'the two steps disagree: {first}'
    print(
        f'{a.device}, {torch.get_num_threads()} threads, batch {a.batch}, {a.size} pixels; both steps have loss'
        f' {first[0]:.5f}'
    )

    def run(name):
        D, optimiser, generator, step = state[name]
        return lambda i: step(D, optimiser, real, fake, generator)

    compare('WGAN-GP critic step: ours / minimal', run('ours'), run('minimal'), a.device, a.count, a.repeats, 1.05)

    D = critic(a.size, a.device)
    optimiser = torch.optim.Adam(D.parameters(), 1e-4, betas=(0.0, 0.99))

    def r1_step(every):
        lazy = Lazy(r1_penalty, every or 1)

        def step(i):
            loss = discriminator_loss(D(real), D(fake)) + (lazy(i, D, real, 1.0) if every else 0.0)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        return step

    # a lazy step costs something only every 16th time, so it is timed over 16
    compare('R1 discriminator step: every 16th / every', r1_step(16), r1_step(1), a.device, 16, max(3, a.repeats // 3))
    compare(
        'R1 discriminator step: every 16th / no penalty', r1_step(16), r1_step(0), a.device, 16, max(3, a.repeats // 3)
    )
    dcgan_formats(a)


if __name__ == '__main__':
    main()
