"The smallest pair and data that behave like the real ones; shared by the tests of the trainer."

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from animegan_nb.callbacks import read_log
from animegan_nb.cameras import distance_to_depth, pose, rays
from animegan_nb.data import ImageSet
from animegan_nb.training import ModelPair, Trainer, TrainingConfig

CONFIG = TrainingConfig(batch_size=8, ema_half_life=50)


def images(n=48, size=8, seed=0):
    return ImageSet(
        {
            'image': torch.randint(
                0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
            ).numpy()
        }
    )


def smooth(seed, size=(64, 64)):
    "An image of soft colours."
    g = np.random.default_rng(seed)
    return Image.fromarray(g.integers(0, 256, (6, 6, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)


def folder_of(path, n=12, size=(64, 64), ending='png'):
    "A folder that holds `n` of them."
    path.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        smooth(i, size).save(path / f'{i:03d}.{ending}')
    return path


class TinyPair(ModelPair):
    "Dense networks on 8×8 images, no batch statistics, so that processes can be compared."

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        super().__init__(
            nn.Sequential(
                nn.Linear(4, 32), nn.LeakyReLU(0.2), nn.Linear(32, 192), nn.Tanh(), nn.Unflatten(1, (3, 8, 8))
            ),
            nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1)),
        )

    def latents(self, n, draws):
        return draws.normal(n, 4)

    def discriminator_step(self, batch, draws):
        with torch.no_grad():
            fake = self.generator(self.latents(len(batch['image']), draws))
        real_logits, fake_logits = self.discriminator(batch['image'])[:, 0], self.discriminator(fake)[:, 0]
        return dict(
            loss=F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean(),
            real_logits=real_logits,
            fake_logits=fake_logits,
            fake_images=fake,
        )

    def generator_step(self, batch, draws):
        return dict(
            loss=F.softplus(-self.discriminator(self.generator(self.latents(len(batch['image']), draws)))[:, 0]).mean()
        )


def make(callbacks=(), config=CONFIG, pair=None):
    "A trainer of tiny networks."
    return Trainer(pair or TinyPair(), images(), config, callbacks, device='cpu')


def weights(trainer):
    return torch.cat([t.detach().flatten().double() for t in trainer.pair.state_dict().values()])


def untimed(log):
    "Its records without the numbers of the machine: seconds, speed and memory."
    of_the_machine = ('second', 'peak')
    return [
        {k: v for k, v in record.items() if not any(word in k for word in of_the_machine)} for record in read_log(log)
    ]


def ball(yaw, texture=6.0, size=48, radius=0.08, squash=1.0):
    "A textured ellipsoid, drawn exactly: the ground truth of the measures."
    cam = pose(torch.tensor([yaw]))
    o, d = rays(cam, 12.0, size)
    s = torch.tensor([1.0, 1.0, squash])
    a, b, c = ((d / s) ** 2).sum(-1), (o * d / s**2).sum(-1), ((o / s) ** 2).sum(-1) - radius**2
    root = b**2 - a * c
    t = torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / a, torch.inf)
    p = o + t.nan_to_num(posinf=1.0)[..., None] * d
    rgb = torch.where(
        (root > 0)[..., None], torch.stack([torch.sin(texture * 20 * p[..., k]) for k in range(3)], -1), 1.0
    )
    square = lambda x: x.mT.reshape(1, -1, size, size) if x.ndim == 3 else x.view(1, 1, size, size)
    t = t.nan_to_num(posinf=1.12)
    return dict(
        image=square(rgb),
        distance=square(t),
        depth=square(distance_to_depth(t, d, cam)),
        opacity=square((root > 0).float()),
        cam2world=cam,
    )
