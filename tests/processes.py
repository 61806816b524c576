"What the tests of several processes train, by one process or by two: every registered model, in double precision."

import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from animegan_nb.training import Stage, Trainer, TrainingConfig, build_pair

STEPS = 4
BATCH = 8  # of all processes together


class DoubleLoader:
    "Batches in double precision; each process gets its slice of the same batch."

    batch_size, position, rank, world = BATCH, 0, 0, 1

    def __init__(self, batch, n):
        self.make, self.batch_size = batch, n

    def __iter__(self):
        while True:
            whole = self.make(self.position, self.batch_size * self.world)
            rows = slice(self.rank * self.batch_size, (self.rank + 1) * self.batch_size)
            self.position += 1
            yield {name: tensor[rows] for name, tensor in whole.items()}


def pictures(size):
    def batch(k, n):
        g = torch.Generator().manual_seed(100 + k)
        noise = torch.rand(n, 3, size, size, generator=g, dtype=torch.float64) * 2 - 1
        return {'image': noise * torch.linspace(0.2, 1, n)[:, None, None, None]}  # a slice is not like the whole

    return batch


def labelled(size, groups):
    def batch(k, n):
        g = torch.Generator().manual_seed(200 + k)
        labels = [torch.randint(0, m, (n,), generator=g) for m in groups]
        return pictures(size)(k, n) | {'labels': torch.stack(labels, 1)}

    return batch


def networks():
    "name → (model, its smallest network that has everything in it, batches, other numbers of the training)."
    from animegan_nb.conditional import CONDITIONAL_TINY, choices
    from animegan_nb.conditional_style import ConditionalStyleConfig
    from animegan_nb.dcgan import DCGANConfig
    from animegan_nb.mimic3d import Mimic3DConfig, two_stages
    from animegan_nb.modern import ModernConfig
    from animegan_nb.pigan import RenderSettings
    from animegan_nb.pigan_training import PiganConfig
    from animegan_nb.siren import FieldConfig
    from animegan_nb.stylegan import StyleGANConfig
    from animegan_nb.transfer import frozen_names, TransferConfig
    from animegan_nb.triplane import PlaneView
    from animegan_nb.wgan import WGANConfig

    small = dict(z_dim=8, w_dim=8, mapping_layers=2, channel_base=64, channel_max=8)
    style = StyleGANConfig(16, r1_gamma=1.0, r1_every=2, path_every=2, mixing=0.9, group_size=4, **small)
    grow = replace(style, architecture='stylegan1', path_weight=0.0)
    tuned = TransferConfig(**vars(style))
    tune = (Stage(3, frozen=frozen_names(tuned, tune=2, freeze_d=1)),)
    field = FieldConfig(hidden=16, layers=2, z_dim=6, mapping_hidden=8)
    view = RenderSettings(samples=4, fine=4, background=1.0)
    pigan = PiganConfig(
        8, field, view, channel_base=64, channel_max=16, noise=5.0, noise_steps=10, group_size=4, top_k_floor=0.5
    )
    tags = CONDITIONAL_TINY.network
    values = [len(choices(group)) for group in tags.tags]
    plain = dict(mixing=0.0, path_weight=0.0, noise=False, discriminator='dcgan', r1_every=2)
    tagged = ConditionalStyleConfig(16, tags=tags.tags, **small, **plain)
    modern = ModernConfig(16, channels=8, latent=6, projected=4, head_channels=4, penalty_every=2)
    stages = (Stage(2, size=8), Stage(3, size=16, fade=2))
    planes = dict(size=16, raw=8, planes=8, channels=4, z_dim=6, w_dim=8, channel_base=64, channel_max=8, features=4)
    planes |= dict(hidden=8, super_maps=8, critic_base=64, critic_max=8, patch=8, view=PlaneView(samples=4, fine=4))
    told = dict(generator_posed=True, swap_end=0.5, swap_images=10, noise=True, r1_every=2, smooth_every=2)
    mimic = Mimic3DConfig(**planes, **told, posed=False, imitation='l1')
    return {
        'dcgan': ('dcgan', DCGANConfig(16, channels=8, r1_gamma=1.0), pictures(16), {}),
        'wgan-gp': ('wgan', WGANConfig(16, channels=8), pictures(16), dict(n_critic=2)),
        'wgan': (
            'wgan',
            WGANConfig(16, channels=8, clip=0.05, penalty=0.0, norm='batch'),
            pictures(16),
            dict(optimizer='rmsprop'),
        ),
        'conditional': ('conditional', tags, labelled(tags.size, values), {}),
        'conditional StyleGAN': ('conditional-stylegan', tagged, labelled(16, values), {}),
        'modern': ('modern', modern, pictures(16), {}),
        'stylegan': ('stylegan', style, pictures(16), {}),
        'stylegan, growing': ('stylegan', grow, pictures(16), dict(stages=stages)),
        'transfer': ('transfer', tuned, pictures(16), dict(stages=tune)),
        'pigan': ('pigan', pigan, pictures(8), {}),
        'mimic3d': ('mimic3d', mimic, pictures(16), dict(stages=two_stages(mimic, 2, 3))),
        'pigan, shared': ('pigan', replace(pigan, share_fakes=True, r1_every=2), pictures(8), {}),
    }


def train(name, world=1, accumulate=1):
    "The trainer after some steps."
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    try:
        model, network, batch, numbers = networks()[name]
        numbers = dict(numbers)
        stages = numbers.pop('stages', ())
        torch.manual_seed(0)
        pair = build_pair(model, network)
        n = BATCH // world
        config = TrainingConfig(n, 1e-3, 1e-3, (0.5, 0.99), (0.5, 0.99), ema_half_life=20, clip_gradient=1.0, **numbers)
        trainer = Trainer(pair, DoubleLoader(batch, n), config, [], 'cpu', stages=stages)
        return trainer.fit(STEPS, progress=False)
    finally:
        torch.set_default_dtype(torch.float32)


def result(trainer):
    "All weights and buffers, the average, Adam's memory and the last record."
    optimizers = {
        f'{role}.{k}.{key}': torch.as_tensor(value)
        for role, o in trainer.optimizers.items()
        for k, state in o.state_dict()['state'].items()
        for key, value in state.items()
    }
    average = {f'average.{k}': v for k, v in trainer.average.state_dict().items()}
    return {**trainer.pair.state_dict(), **average, **optimizers}


if __name__ == '__main__':
    out = Path(sys.argv[1])
    for name in sys.argv[2:]:
        trainer = train(name, world=2)
        torch.save(result(trainer), out / f'{name}.{trainer.engine.process_index}.pt')
        trainer.engine.wait_for_everyone()
