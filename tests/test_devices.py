"""Trainings on a GPU, pretended where there is none: tensors meet on one device, generators fit, and a step waits for
the device at most once.

Drawing, measuring and viewing are in `test_devices_library.py`."""

import dataclasses
import warnings

import pytest
import torch
from tiny import images

from animegan_nb import augment, callbacks, dashboard, data, dcgan, pigan_training, stylegan, training, wgan
from animegan_nb.cameras import pose, PRIORS
from animegan_nb.conditional import ConditionalConfig
from animegan_nb.conditional_style import ConditionalStyleConfig
from animegan_nb.core import load_chapters, rng
from animegan_nb.data import ImageSet
from animegan_nb.dcgan import DCGANConfig
from animegan_nb.metrics import tracker
from animegan_nb.mimic3d import Mimic3DConfig, two_stages
from animegan_nb.modern import ModernConfig
from animegan_nb.pigan import RenderSettings
from animegan_nb.pigan_training import PiganConfig
from animegan_nb.siren import FieldConfig
from animegan_nb.stylegan import StyleGANConfig
from animegan_nb.training import build_pair, load_run, models, Stage, Trainer, TrainingConfig
from animegan_nb.transfer import frozen_names, TransferConfig
from animegan_nb.triplane import PlaneView
from animegan_nb.wgan import WGANConfig

TAGS = (('hair', 'black', 'pink', 'blue'), ('glasses', 'yes'))
NARROW = dict(z_dim=8, w_dim=8, mapping_layers=2, channel_base=64, channel_max=8, r1_every=2, path_every=2)
FIELD = FieldConfig(hidden=16, layers=2, z_dim=6, mapping_hidden=8)
VIEW = RenderSettings(samples=4, fine=4, background=1.0)
POSED = dict(condition_pose=True, pose_weight=1.0, latent_weight=0.5)
CONDITIONAL = dict(tags=TAGS, latent=5, base=8, channels=8, blocks=1, last_kernel=3, d_channels=6, d_blocks=1)
TAGGED = NARROW | dict(tags=TAGS, mixing=0.0, path_weight=0.0, noise=False, discriminator='dcgan')
MODERN = dict(channels=8, latent=6, projected=4, head_channels=4, penalty_every=2)
PLANES = dict(size=16, raw=8, planes=8, channels=4, z_dim=6, w_dim=8, channel_base=64, channel_max=8, features=4)
PLANES |= dict(hidden=8, super_maps=8, critic_base=64, critic_max=8, patch=8, view=PlaneView(samples=4, fine=4))
PLANES |= dict(r1_every=2, smooth_every=2)
NETWORKS = {
    'dcgan': ('dcgan', DCGANConfig(16, channels=8)),
    'dcgan with R1': ('dcgan', DCGANConfig(16, channels=8, r1_gamma=1.0)),
    'wgan with a penalty': ('wgan', WGANConfig(16, channels=8, base=4)),
    'wgan, clipped': ('wgan', WGANConfig(16, channels=8, base=4, clip=0.01, penalty=0.0, norm='batch')),
    'conditional': ('conditional', ConditionalConfig(16, **CONDITIONAL, penalty_every=2)),
    'conditional, as the data': (
        'conditional',
        ConditionalConfig(16, **CONDITIONAL, tag_loss='softmax', prior='data', penalty_every=2),
    ),
    'conditional StyleGAN': ('conditional-stylegan', ConditionalStyleConfig(16, **TAGGED)),
    'modern': ('modern', ModernConfig(16, **MODERN)),
    'modern, apart': ('modern', ModernConfig(16, **MODERN, paired=False, features='')),
    'stylegan2': ('stylegan', StyleGANConfig(8, **NARROW)),
    'stylegan1': ('stylegan', StyleGANConfig(8, 'stylegan1', **NARROW | dict(path_weight=0.0))),
    'pigan': ('pigan', PiganConfig(8, FIELD, VIEW, channel_base=64, channel_max=8)),
    'pigan with cameras': (
        'pigan',
        PiganConfig(8, FIELD, VIEW, channel_base=64, channel_max=8, **POSED, r1_every=2, top_k_floor=0.5),
    ),
    'transfer': ('transfer', TransferConfig(8, **NARROW)),
    'mimic3d': ('mimic3d', Mimic3DConfig(**PLANES, generator_posed=True, noise=True, blur=300.0)),
    'mimic3d, direct': ('mimic3d', Mimic3DConfig(**PLANES, imitation='', super_resolution=False)),
}
STAGES = {'mimic3d': two_stages(NETWORKS['mimic3d'][1], 2, 4)}
STAGES['transfer'] = (Stage(4, frozen=frozen_names(NETWORKS['transfer'][1], tune=1, freeze_d=1)),)


def pictures(size=16, n=24):
    "Noise with tags and cameras."
    source = rng(0)
    labels = torch.stack([torch.randint(0, 3, (n,), generator=source), torch.randint(0, 2, (n,), generator=source)], 1)
    cams = pose(*PRIORS['celeba'].sample(n, source))
    image = images(n, size).arrays['image']
    return ImageSet({'image': image, 'labels': labels.numpy(), 'cam2world': cams.numpy()})


def trainer_of(name, callbacks=(), device=None, **settings):
    model, network = NETWORKS[name]
    torch.manual_seed(0)
    config = TrainingConfig(**dict(batch_size=4, ema_half_life=20) | settings)
    recipe = {'model': model, 'network': dataclasses.asdict(network)}
    stages = STAGES.get(name, ())
    return Trainer(build_pair(model, network), pictures(network.size), config, callbacks, device, recipe, stages)


def test_every_model_is_here():
    load_chapters()
    assert {model for model, _ in NETWORKS.values()} == set(models)


@pytest.mark.parametrize('name', NETWORKS)
def test_a_training_runs_on_a_gpu(gpu, name):
    t = trainer_of(name, [augment.Augmentation('ada', p=0.5, every=2)])
    assert t.device.type == 'cuda'
    t.fit(4, progress=False)
    assert all(x.is_cuda for x in t.pair.parameters()) and all(x.is_cuda for x in t.average.parameters())
    assert t.sample(3).device.type == 'cpu' and t.sample(3, live=True).isfinite().all()
    gpu.check()


@pytest.mark.parametrize('precision', ['bf16', 'fp16'])
@pytest.mark.parametrize('name', ['dcgan with R1', 'modern', 'stylegan2', 'pigan'])
def test_mixed_precision_runs_on_a_gpu(gpu, name, precision):
    if precision == 'fp16' and not gpu.real:
        pytest.skip('float16 and its scaler need a real GPU')
    trainer_of(name, mixed_precision=precision).fit(2, progress=False)
    gpu.check()


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('policy', ['none', 'ada'])
def test_a_step_waits_for_the_device_at_most_once(gpu, name, policy):
    "Four steps: each kind of lazy penalty acts in one, and the controller of ADA adjusts p."
    if gpu.real:
        pytest.skip('counted where the GPU is pretended')
    callbacks = [] if policy == 'none' else [augment.Augmentation(policy, p=0.5, every=4)]
    t = trainer_of(name, callbacks)
    t.fit(2, progress=False)
    for _ in range(4):
        gpu.clear()
        t.fit(1, progress=False)
        assert sum(gpu.syncs.values()) <= 1, str(gpu)
    gpu.check()


# ---- what watches a training


def every_callback(folder, t_dir):
    "One of each kind, each acting in every step."
    return [
        callbacks.Samples(1, 4, folder=folder / 'samples'),
        callbacks.JSONLog(folder / 'log.jsonl'),
        callbacks.Clock(),
        callbacks.Evaluate(tracker(pictures(), 'pixels', n=12), 1),
        callbacks.TensorBoard(folder / 'board'),
        callbacks.Checkpoints(t_dir, 1),
        callbacks.Health(),
        dashboard.Monitor(4),
        dcgan.CollapseAlarm(torch.from_numpy(pictures().arrays['image']), every=1, n=8, first=0),
        wgan.CriticSchedule(),
        augment.Augmentation('diffaugment', p=0.5, target=None),
        pigan_training.SlowAverage(20),
    ]


def test_all_callbacks_run_on_a_gpu(gpu, tmp_path):
    pytest.importorskip('tensorboard')
    used = every_callback(tmp_path, tmp_path / 'run')
    t = trainer_of('dcgan', used).fit(2, progress=False)
    assert not next(c for c in used if isinstance(c, dashboard.Monitor)).problem
    assert dashboard.dashboard_figure(next(c for c in used if isinstance(c, dashboard.Monitor)), t)
    elsewhere = {training.Callback, training.EMA, pigan_training.ShapeWatch, dashboard.Monitor}  # other tests, bases
    known = {kind for kind in elsewhere | {type(c) for c in used}}
    chapters = (training, callbacks, dashboard, dcgan, wgan, augment, pigan_training, stylegan, data)
    mine = {k for m in chapters for k in vars(m).values() if isinstance(k, type) and issubclass(k, training.Callback)}
    assert mine <= known, f'not tried on a GPU: {sorted(k.__name__ for k in mine - known)}'
    gpu.check()


def test_a_watched_shape_on_a_gpu(gpu):
    watch = pigan_training.ShapeWatch(pigan_training.toon_shape(2, 8), every=1, n=2)
    trainer_of('pigan', [watch]).fit(1, progress=False)
    gpu.check()


def test_the_dashboard_steers_a_training_on_a_gpu(gpu, tmp_path):
    pytest.importorskip('anywidget')
    board = dashboard.TrainingDashboard(trainer_of('dcgan'), steps=3, n=4, run=tmp_path)
    board._repr_mimebundle_()
    board.trainer.fit_background(3).join()
    board._repr_mimebundle_()
    gpu.check()


def test_a_training_in_the_background_of_a_gpu(gpu):
    t = trainer_of('dcgan').fit_background(2).join()
    assert t.step == 2 and t.sample(2).shape == (2, 3, 16, 16)
    gpu.check()


# ---- checkpoints


@pytest.mark.parametrize('name', ['dcgan with R1', 'stylegan2', 'pigan'])
def test_a_training_on_a_gpu_resumes(gpu, tmp_path, name):
    make = lambda: trainer_of(name, [augment.Augmentation('ada', p=0.5), callbacks.Checkpoints(tmp_path, 2)])
    make().fit(2, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        t = make().resume(tmp_path).fit(until=3, progress=False)
    assert t.step == 3 and t.draws.generator.device.type == 'cuda'
    pair, generator, _ = load_run(tmp_path, 'cuda')
    assert next(generator.parameters()).is_cuda and next(pair.parameters()).is_cuda
    gpu.check()


@pytest.mark.parametrize(('here', 'there'), [('cpu', 'cuda'), ('cuda', 'cpu')])
def test_a_checkpoint_goes_on_with_another_kind_of_device(gpu, tmp_path, here, there):
    watching = lambda: [augment.Augmentation('ada', p=0.5), callbacks.Checkpoints(tmp_path, 2)]
    trainer_of('dcgan', watching(), here).fit(2, progress=False)
    t = trainer_of('dcgan', watching(), there)
    with pytest.warns(UserWarning, match='another kind of device') as said:
        t.resume(tmp_path)
    assert len(said) == 1 and t.fit(until=3, progress=False).step == 3
    gpu.check()
