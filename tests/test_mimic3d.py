"""3D-aware convolutions and both branches: equal to the published layers, equivariant where ours are, and honest about
who learns from whom."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_mimic3d import SMALL

from animegan_nb import convert
from animegan_nb.callbacks import Checkpoints
from animegan_nb.cameras import pose, PRIORS, rays
from animegan_nb.core import rng
from animegan_nb.data import ImageSet
from animegan_nb.geometry import view_consistency
from animegan_nb.mimic3d import (
    aware,
    AwareSynthesis,
    crop,
    draw_batch,
    draw_offsets,
    imitation_loss,
    MIMIC3D_CPU,
    MIMIC3D_FFHQ,
    Mimic3DPair,
    mimic_views,
    MimicGenerator,
    MimicSource,
    on_ellipsoid,
    PlaneLayer,
    PlaneToFeatures,
    pretrained_mimic3d,
    render_patches,
    two_stages,
)
from animegan_nb.orbit import OrbitViewer, render_checked
from animegan_nb.stylegan import StyleGANConfig
from animegan_nb.training import Draws, fit_stages, load_run, recipes, Stage, Trainer, TrainingConfig
from animegan_nb.triplane import PlaneDecoder, PlaneView, PlaneVolume, render_plane_views

TRAINING = TrainingConfig(4, 1e-3, 1e-3, ema_half_life=20)
VARIANTS = {
    'direct': dict(imitation='', super_resolution=False, mixing='none'),
    'super-resolution': dict(imitation='', mixing='none'),
    'imitation': dict(mixing='none'),
    'published order': dict(mixing='published', official=True),
    'order by role': dict(),
    'toon features': dict(imitation='toon'),
    'features of the discriminator': dict(imitation='discriminator'),
    'told the camera, noise, blur': dict(generator_posed=True, noise=True, blur=300.0, blur_images=20),
    'no cameras, no patches': dict(posed=False, patch_weight=0.0),
}


@pytest.fixture(scope='module')
def published(reference_dir):
    with np.load(reference_dir / 'mimic3d_reference.npz', allow_pickle=False) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


def close(a, b, limit=1e-4):
    return a.shape == b.shape and (a - b).abs().max() <= limit


def layer_of(layer, values, name):
    "A layer with the published weights."
    names = {'noise_strength': 'noise.strength', 'noise_const': 'noise.constant'}
    own = {k.removeprefix(f'param/{name}.'): v for k, v in values.items() if k.startswith(f'param/{name}.')}
    layer.load_state_dict({names.get(k, k): v for k, v in own.items() if k != 'resample_filter'})
    return layer.requires_grad_(False)


def pictures(n=24, size=16):
    source = rng(0)
    image = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=source)
    return ImageSet({'image': image.numpy(), 'cam2world': pose(*PRIORS['celeba'].sample(n, source)).numpy()})


def pair_of(**changes):
    torch.manual_seed(0)
    return Mimic3DPair(replace(SMALL, **changes))


def trainer_of(config, stages, callbacks=()):
    torch.manual_seed(0)
    recipe = {'model': 'mimic3d', 'network': asdict(config)}
    return Trainer(Mimic3DPair(config), pictures(), TRAINING, callbacks, 'cpu', recipe, stages)


# ---- the published values


def test_reference_aware(published):
    assert torch.equal(aware(published['aware3d/x']), published['aware3d/y'])


@pytest.mark.parametrize(('order', 'name'), [('published', 'absolute_slots_out'), ('role', 'role_order_out')])
def test_reference_orders(published, order, name):
    x, kernel = published['cyclic/x'].flatten(0, 1), published['cyclic/kernel']
    assert close(F.conv2d(aware(x, order), kernel, padding=1).unflatten(0, (2, 3)), published[f'cyclic/{name}'])


def test_reference_layers(published):
    x, w = published['aware3d/x'], published['layer/w']
    layer = layer_of(PlaneLayer(4, 4, 6, 5, False, 'published'), published, 'layer')
    assert close(layer.affine(w), published['layer/styles'])
    assert close(layer(x, w, 'none'), published['layer/out_noise_none'])
    assert close(layer(x, w, 'constant'), published['layer/out_noise_const'])
    doubling = layer_of(PlaneLayer(4, 4, 6, 10, True, 'published'), published, 'layer_up2')
    assert close(doubling(x, w, 'none'), published['layer_up2/out_noise_none'])


def test_reference_to_rgb(published):
    x, w = published['aware3d/x'], published['layer/w']
    official, ours = (PlaneToFeatures(4, 4, 6, 'published', o) for o in (True, False))
    assert close(layer_of(official, published, 'torgb')(x, w), published['torgb/out'])
    bias = published['param/torgb.bias'][:, None, None]
    smaller = layer_of(ours, published, 'torgb')(x, w) - bias
    assert close(smaller * 3**0.5, published['torgb/out'] - bias)


@pytest.mark.parametrize('prefix', ['', 'synthesis.', 'backbone.synthesis.'])
def test_reference_synthesis(published, prefix):
    own = {k.removeprefix('param/synthesis.'): v for k, v in published.items() if k.startswith('param/synthesis.')}
    network = convert.load_mimic3d_synthesis({prefix + k: v for k, v in own.items()})
    with torch.no_grad():
        planes = network(published['synthesis/ws'])
    assert close(planes.coarse[:, :, ::4], published['synthesis/coarse_planes'])
    assert close(planes.detail[:, :, ::8], published['synthesis/detail_planes'])


def test_weights_that_are_no_mimic3d(published):
    own = {k.removeprefix('param/synthesis.'): v for k, v in published.items() if k.startswith('param/synthesis.')}
    for broken, words in (
        ({k: v for k, v in own.items() if not k.startswith('b3d')}, 'synthesis network of a Mimic3D'),
        (own | {'b8.conv0.weight': torch.zeros(3, 3)}, 'do not fit'),
        ({'G_ema': own}, 'take one'),
    ):
        with pytest.raises(ValueError, match=words):
            convert.load_mimic3d_synthesis(broken)


# ---- 3D-aware convolution


@pytest.mark.parametrize('order', ['published', 'role'])
@pytest.mark.parametrize(('plane', 'axes'), enumerate([(0, 1), (1, 2), (2, 0)]))
def test_a_bump_is_a_bar_along_the_axis_that_its_plane_lacks(order, plane, axes):
    n, kernel = 12, torch.rand(1, 3, 3, 3, generator=rng(3)) + 0.1
    place = {axes[0]: 3, axes[1]: 8}  # the bump's coordinates on its two axes
    x = torch.zeros(3, 1, n, n)
    x[plane, 0, place[axes[1]], place[axes[0]]] = 1
    change = F.conv2d(aware(x, order), kernel, padding=1)[:, 0] != 0
    near = lambda axis: (torch.arange(n) - place[axis]).abs() <= 1 if axis in place else torch.ones(n, dtype=torch.bool)
    for k, (column, row) in enumerate(((0, 1), (1, 2), (2, 0))):
        assert torch.equal(change[k], near(row)[:, None] & near(column)[None])


@pytest.mark.parametrize('order', ['published', 'role'])
def test_renaming_the_axes(order):
    "x → y → z → x: by role the operation commutes with it exactly."
    x, kernel = torch.randn(2, 3, 4, 9, 9, generator=rng(0)), torch.randn(4, 12, 3, 3, generator=rng(1))
    f = lambda x: F.conv2d(aware(x.flatten(0, 1), order), kernel, padding=1).unflatten(0, (2, 3))
    error = (f(x.roll(1, 1)) - f(x).roll(1, 1)).abs().max()
    assert error == 0 if order == 'role' else error > 1


def test_a_whole_network_by_role_is_equivariant():
    "If the backbone's planes and the styles of the planes are renamed, the result is."
    torch.manual_seed(0)
    layer = PlaneLayer(4, 4, 6, 9, False, 'role').requires_grad_(False)
    affine = layer.affine
    for name in ('weight', 'bias'):  # the same style for each plane
        own = getattr(affine, name)
        own.copy_(own.unflatten(0, (3, -1))[:1].expand_as(own.unflatten(0, (3, -1))).flatten(0, 1))
    x, w = torch.randn(2, 3, 4, 9, 9), torch.randn(2, 6)
    f = lambda x: layer(x.flatten(0, 1), w, 'none').unflatten(0, (2, 3))
    assert torch.allclose(f(x.roll(1, 1)), f(x).roll(1, 1), atol=1e-5)


def test_constant_noise_is_shared_by_planes_and_random_noise_is_not():
    layer = PlaneLayer(4, 4, 6, 8, False, '').requires_grad_(False)
    layer.noise.strength.fill_(1.0)
    x, w = torch.zeros(3, 4, 8, 8), torch.randn(1, 6)
    constant, random = layer(x, w, 'constant'), layer(x, w, 'random')
    assert torch.equal(constant[0], constant[1]) and not torch.equal(random[0], random[1])


def test_the_gain_of_to_rgb():
    "Drawn from the same weights, the published planes grow from block to block."
    config = StyleGANConfig(32, z_dim=32, w_dim=32, channel_base=256, channel_max=16, channels=48)
    for seed in range(3):
        size = {}
        for official in (True, False):
            torch.manual_seed(seed)
            network = AwareSynthesis(config, 'published', official=official)
            with torch.no_grad():
                size[official] = network(torch.randn(4, config.num_ws, 32)).coarse.square().mean().sqrt()
        assert size[True] > 2.5 * size[False]


# ---- branches and imitation


def test_patches_lie_on_the_grid_of_the_whole_image():
    pair = pair_of()
    pair.steps['generator'] = 1
    pair.grow(16)
    G = pair.generator.requires_grad_(False)
    w, cams = G.w(torch.randn(3, 8)), pose(torch.tensor([0.1, -0.2, 0.3]))
    volume = G.volumes(w)[-1]
    whole = render_plane_views(volume, cams, 16, G.view)['features'][:, :3]
    places = torch.tensor([[0, 0], [8, 8], [3, 5]])
    patches = render_patches(volume, cams, places, 8, 16, G.view)
    assert torch.allclose(patches, crop(whole, places, 8), atol=1e-5)
    with torch.autocast('cpu', torch.bfloat16):
        half = render_patches(volume, cams, places, 8, 16, G.view)
    assert torch.allclose(half, patches, atol=1e-5)  # places are not rounded
    for image, (row, column), patch in zip(whole, places.tolist(), crop(whole, places, 8)):
        assert torch.equal(patch, image[:, row : row + 8, column : column + 8])


def test_patches_of_one_scene_from_several_cameras():
    torch.manual_seed(0)
    several = PlaneVolume((torch.randn(1, 3, 4, 8, 8).expand(2, -1, -1, -1, -1),), PlaneDecoder(4, 16, 5))
    one = replace(several, planes=tuple(p[:1] for p in several.planes))
    cams, places, view = pose(torch.tensor([0.1, -0.2])), torch.tensor([[0, 8], [3, 5]]), PlaneView(30.0, 5, 4)
    a, b = (render_patches(volume, cams, places, 8, 16, view) for volume in (one, several))
    assert a.shape == (2, 3, 8, 8) and torch.allclose(a, b, atol=1e-5)
    with pytest.raises(ValueError, match=r'offsets \[2, 2\]'):
        render_patches(one, cams, places[:1], 8, 16, view)


def test_offsets_reach_the_borders():
    found = draw_offsets(2000, 8, 16, Draws(0))
    assert found.shape == (2000, 2) and found.min() == 0 and found.max() == 8


@pytest.mark.parametrize('name', ['imitation', 'order by role', 'toon features', 'features of the discriminator'])
def test_who_learns_from_imitation(name):
    "The super-resolution not at all; detail planes, backbone and decoder do."
    pair = pair_of(**VARIANTS[name])
    pair.steps['generator'] = 1
    pair.grow(16)
    fakes = draw_batch(pair, 4, 0, Draws(0))
    features = pair.discriminator.patch_features if name.startswith('features of') else pair.features
    loss = imitation_loss(fakes.patches, fakes.targets, features)
    weights = {k: p for k, p in pair.generator.named_parameters() if p.requires_grad}
    slopes = dict(zip(weights, torch.autograd.grad(loss, list(weights.values()), allow_unused=True)))
    size = lambda start: sum(float(g.abs().sum()) for k, g in slopes.items() if k.startswith(start) and g is not None)
    assert size('super_resolution') == 0
    assert min(size('synthesis.detail'), size('synthesis.blocks'), size('decoder'), size('mapping')) > 0


@pytest.mark.parametrize('features', [None, lambda x: [x, F.avg_pool2d(x, 2)]])
def test_imitation_of_itself_costs_nothing(features):
    x = torch.rand(2, 3, 8, 8) + 0.1
    assert imitation_loss(x, x.clone(), features) < 1e-12
    target = torch.rand(2, 3, 8, 8, requires_grad=True)
    loss = imitation_loss(x.requires_grad_(True), target, features)
    loss.backward()
    assert loss > 0 and target.grad is None and x.grad.any()


def test_the_direct_branch_is_consistent_and_the_other_one_need_not_be():
    "A fresh network: two close views, looked up in each other."
    torch.manual_seed(1)
    config = replace(SMALL, size=32, raw=16, patch=16, planes=16, view=PlaneView(12.0, 24, 24, background=1.0))
    G = MimicGenerator(config).requires_grad_(False)
    for p in G.super_resolution.parameters():
        p.mul_(2)
    z, cams = torch.randn(1, 8), pose(torch.tensor([0.0, 0.3]))
    gap = {}
    for direct in (True, False):
        views = [
            {k: v[i : i + 1] for k, v in G.render_views(z, cams, direct=direct).items()}
            | {'opacity': torch.ones(1, 1, 32, 32)}
            for i in (0, 1)
        ]
        gap[direct] = view_consistency(*views, 12.0, depth_tolerance=0.05)[0]
    assert gap[True] > gap[False] + 3


# ---- training


@pytest.mark.parametrize('name', VARIANTS)
def test_a_training_goes_through_its_stages(name):
    config = replace(SMALL, **VARIANTS[name])
    stages = two_stages(config, 2, 3) if config.imitation else ()
    t = trainer_of(config, stages).fit(5, progress=False)
    assert t.pair.grown == (16, 1.0) and t.sample(2).shape == (2, 3, 16, 16)
    assert all(p.isfinite().all() for p in t.pair.parameters())
    moved = trainer_of(config, stages).pair.state_dict()
    names = [k for k, p in t.pair.named_parameters() if p.requires_grad and not k.startswith('features')]
    still = [k for k in names if torch.equal(moved[k], t.pair.state_dict()[k])]
    assert not [k for k in still if 'noise' not in k], still


def test_the_first_stage_leaves_the_detail_alone():
    stages = two_stages(SMALL, 3, 3)
    before = trainer_of(SMALL, stages)
    start = {k: v.clone() for k, v in before.pair.state_dict().items()}
    before.fit(3, progress=False)
    still = [k for k, v in before.pair.state_dict().items() if torch.equal(v, start[k])]
    assert any(k.startswith('generator.synthesis.detail') for k in still)
    assert any(k.startswith('discriminator.patch') for k in still)
    assert not any(k.startswith('generator.synthesis.blocks') and k.endswith('weight') for k in still)
    assert 'imitation' not in before.logs
    assert 'imitation' in before.fit(1, progress=False).logs


def test_a_fade_brings_imitation_in_slowly():
    pair = pair_of(patch_weight=0.0, smoothness=0.0)
    pair.steps['generator'] = 1
    batch = {'image': torch.rand(4, 3, 16, 16), 'cam2world': pose(torch.zeros(4))}
    losses = []
    for alpha in (0.0, 0.5, 1.0):
        pair.grow(16, alpha)
        found = pair.generator_step(batch, Draws(0))
        losses.append((found['loss'] - found['imitation'] * alpha).item())
    assert np.allclose(losses, losses[0], atol=1e-5)


def test_a_run_that_was_cut_off_in_its_second_stage_goes_on(tmp_path):
    stages, config = two_stages(SMALL, 2, 4), SMALL
    make = lambda folder: [Checkpoints(tmp_path / folder, 1)]
    recipe = {'model': 'mimic3d', 'network': asdict(config)}
    run = lambda folder, until: fit_stages(
        pair_of(), pictures(), stages, tmp_path / folder, TRAINING, make(folder), 'cpu', recipe, until, progress=False
    )
    whole = run('whole', 6)
    run('cut', 3)
    again = run('cut', 6)
    assert again.step == 6
    for (name, a), b in zip(whole.pair.state_dict().items(), again.pair.state_dict().values()):
        assert torch.equal(a, b), name
    pair, generator, _ = load_run(tmp_path / 'cut')
    assert pair.grown == (16, 1.0) and generator.direct


def test_presets():
    assert recipes['mimic3d-cpu'] is MIMIC3D_CPU and recipes['mimic3d-ffhq-512'] is MIMIC3D_FFHQ
    images = sum(stage.images for stage in MIMIC3D_FFHQ.stages)
    assert MIMIC3D_FFHQ.steps == images / 32
    assert sum(stage.steps for stage in MIMIC3D_CPU.stages) == MIMIC3D_CPU.steps


def test_blur_follows_accumulated_batches():
    pair = pair_of()
    pair.check_training(replace(TRAINING, accumulate=3))
    pair.steps['generator'] = 5
    assert pair.images('generator', 4, Draws(0)) == 60


# ---- a generator that is used


def test_saved_and_loaded(tmp_path):
    G = MimicGenerator(SMALL).eval()
    G.grow(16)
    again = MimicGenerator.from_pretrained(G.save_pretrained(tmp_path / 'head'))
    z, cams = torch.randn(2, 8), pose(torch.tensor([0.1, 0.2]))
    with torch.no_grad():
        assert again.direct and torch.equal(G(z, cams), again(z, cams))


def test_truncation_and_views():
    G = MimicGenerator(SMALL).eval().requires_grad_(False)
    z, cams = torch.randn(2, 8), pose(torch.tensor([0.1, -0.3]))
    same = G.render(z, cams[:1].expand(2, -1, -1), psi=0.0)
    assert torch.allclose(same[0], same[1], atol=1e-6)
    for direct, size in ((True, 24), (False, None)):
        seen = G.render_views(z[:1], cams, size, direct=direct)
        side = size or 16
        assert seen['image'].shape == (2, 3, side, side) and seen['depth'].shape == (2, 1, side, side)
        assert 0 <= seen['opacity'].min() and seen['opacity'].max() <= 1.001


def test_a_w_for_each_layer():
    G = MimicGenerator(SMALL).eval().requires_grad_(False)
    w = G.w(torch.randn(2, 8))
    each = w[:, None].repeat(1, G.synthesis.num_ws, 1)
    for a, b in zip(G.volumes(w), G.volumes(each), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.planes, b.planes))
    each[:, 0] += 1
    assert not torch.equal(G.volumes(w)[0].planes[0], G.volumes(each)[0].planes[0])


@pytest.mark.parametrize('direct', [True, False])
def test_a_head_in_the_viewer(direct):
    G = MimicGenerator(SMALL).eval().requires_grad_(False)
    source = MimicSource(G, 3, psi=0.5, direct=direct)
    cams = pose(torch.tensor([0.2, -0.4]))
    drawn = render_checked(source, cams, 16, 12.0)
    z = torch.randn(1, 8, generator=rng(3))
    seen = mimic_views(G, z, cams, direct=direct, psi=0.5)
    assert torch.equal(drawn['colour'], seen['image']) and torch.equal(drawn['depth'], seen['depth'])
    assert not torch.equal(render_checked(source, cams, 16, 12.0, ψ=1.0)['colour'], drawn['colour'])
    assert render_checked(source, cams, 12, 8.0)['normals'].shape == (2, 3, 12, 12)
    assert OrbitViewer(source, sizes=(8, 16)).film(2, swing=0.3).shape == (2, 3, 16, 16)
    assert torch.equal(MimicSource(G, np.int64(3)).z, z)
    with pytest.raises(ValueError, match='one code'):
        MimicSource(G, torch.zeros(2, 8))
    with pytest.raises(ValueError, match='no slider'):
        source.render(cams, 16, 12.0, axis=1.0)


def test_an_ellipsoid_is_met_where_it_is():
    cams, axes = pose(torch.tensor([0.0, 0.5])), (0.08, 0.1, 0.09)
    view = dict(image=torch.zeros(2, 3, 33, 33), cam2world=cams)
    found = on_ellipsoid(view, 12.0, axes)
    lines = rays(cams, 12.0, 33)
    points = lines.origins + found['distance'].flatten(1)[..., None] * lines.directions
    level = (points / torch.tensor(axes)).square().sum(-1)
    nearest = (lines.origins / torch.tensor(axes)).square().sum(-1)
    assert (level > 1 - 1e-4).all() and (level < nearest).all()
    hit = (level - 1).abs() < 1e-4
    assert 0.5 < hit.float().mean() < 0.75  # the others miss it
    assert torch.isclose(found['depth'][0, 0, 16, 16], torch.tensor(1 - 0.09), atol=1e-4)  # in front
    assert torch.equal(found['image'], view['image'])


def test_the_shipped_network():
    G, facts = pretrained_mimic3d()
    assert G.direct and facts['network']['mixing'] == 'role' and facts['stages'][1]['size'] == 64
    assert sum(x.numel() for x in G.state_dict().values()) * 2 < 8e6
    with torch.no_grad():
        seen = G.render_views(torch.randn(4, G.z_dim, generator=rng(0)), pose(torch.zeros(4)))
    assert seen['image'].std() > 0.2 and (seen['opacity'][..., 28:36, 28:36] > 0.9).float().mean() > 0.9
    assert (seen['opacity'][..., :4, :4] < 0.5).float().mean() > 0.5  # white beside the heads


# ---- bad input


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(size=20), 'power of two'),
        (dict(planes=12), 'power of two of texels'),
        (dict(raw=16), 'below size'),
        (dict(patch=32), 'larger than the image'),
        (dict(patch=7), 'patch is a power of two'),
        (dict(mixing='cyclic'), 'mixing is one of'),
        (dict(imitation='vgg'), 'imitation is one of'),
        (dict(super_resolution=False), 'needs super_resolution'),
        (dict(imitation='discriminator', patch_weight=0.0), 'needs a patch discriminator'),
        (dict(features=2), 'three features'),
        (dict(box=0.0), 'positive side'),
        (dict(raw=4), 'from 8 on'),
        (dict(channels=0), 'need a channel'),
        (dict(radius=0.05), 'stand in the box'),
        (dict(patch_weight=-1.0), 'patch_weight must be 0 or more'),
        (dict(swap_end=2.0), 'a probability'),
        (dict(prior='mars'), 'no pose prior'),
        (dict(r1_every=0), '1 or more'),
        (dict(z_dim=0, hidden=0), 'z_dim and hidden must be 1 or more'),
        (dict(blur_images=0), 'blur_images must be'),
        (dict(swap_images=0), 'swap_images must be'),
        (dict(group_size=0), 'group_size must be'),
        (dict(mapping_layers=0), 'mapping_layers must be'),
        (dict(gain=-1.0), 'positive gain'),
        (dict(r1_gamma=float('nan'), blur=-1.0), 'r1_gamma and blur must be 0 or more'),
    ],
)
def test_bad_numbers(changes, words):
    with pytest.raises(ValueError, match=words) as error:
        replace(SMALL, **changes)
    assert str(error.value).count('\n') == 0


def test_bad_planes_and_patches():
    for call, words in (
        (lambda: aware(torch.zeros(4, 2, 5, 5)), r'\[3·batch, c, r, r\]'),
        (lambda: aware(torch.zeros(3, 2, 5, 4)), r'\[3·batch, c, r, r\]'),
        (lambda: aware(torch.zeros(3, 5, 5)), r'\[3·batch, c, r, r\]'),
        (lambda: aware(torch.zeros(3, 2, 5, 5), 'name'), "'published' or 'role'"),
        (lambda: crop(torch.zeros(1, 3, 8, 8), torch.zeros(1, 2).long(), 9), '1 to 8 px, not 9'),
        (lambda: crop(torch.zeros(1, 3, 8, 8), torch.zeros(1, 2).long(), 0), '1 to 8 px, not 0'),
        (lambda: crop(torch.zeros(1, 3, 8, 8), torch.tensor([[0, 5]]), 4), 'begin at 0 to 4'),
        (lambda: crop(torch.zeros(1, 3, 8, 8), torch.tensor([[-1, 0]]), 4), 'begin at 0 to 4'),
        (lambda: crop(torch.zeros(1, 3, 4, 8), torch.zeros(1, 2).long(), 4), 'square images'),
        (lambda: crop(torch.zeros(3, 3, 8, 8), torch.zeros(1, 2).long(), 4), r'offsets \[3, 2\]'),
        (lambda: crop(torch.zeros(1, 3, 8, 8), torch.zeros(1, 2), 4), 'torch.float32'),
        (lambda: imitation_loss(torch.zeros(2, 3, 8, 8), torch.zeros(1, 3, 8, 8)), 'one shape'),
        (lambda: imitation_loss(torch.zeros(0, 3, 8, 8), torch.zeros(0, 3, 8, 8)), 'batch is empty'),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_codes_and_cameras_that_do_not_belong_together():
    G = pair_of().generator.eval().requires_grad_(False)
    z, cams = torch.randn(3, 8), pose(torch.tensor([0.1, -0.2]))
    for call in (G.render, G.render_views):
        with pytest.raises(ValueError, match='3 codes and 2 cameras'):
            call(z, cams)
        one, each = (call(x, cams) for x in (z[:1], z[:1].expand(2, -1)))
        for a, b in [(one, each)] if call == G.render else zip(one.values(), each.values()):
            assert torch.allclose(a, b, atol=1e-5)
    for call in (G.render, G.render_views):
        with pytest.raises(ValueError, match='nothing to render'):
            call(z[:0], cams[:0])
    plain = MimicGenerator(replace(SMALL, imitation='', super_resolution=False, mixing='none')).eval()
    with pytest.raises(ValueError, match='no 2D branch'):
        plain.render(z[:2], cams, direct=False)


def test_a_second_stage_needs_a_first_one():
    with pytest.raises(ValueError, match='begin with a stage of size=8'):
        trainer_of(SMALL, (Stage(3, size=16),)).fit(1, progress=False)
    with pytest.raises(ValueError, match='grow'):
        trainer_of(SMALL, (Stage(3, size=12),))


def test_real_images_without_cameras():
    images = ImageSet({'image': pictures().arrays['image']})
    with pytest.raises(ValueError, match='posed=False'):
        Trainer(pair_of(), images, TRAINING, [], 'cpu').fit(1, progress=False)
