"""Measuring, drawing, inverting and viewing on a GPU, pretended where there is none: every journey of a reader whose
tensors live there. Trainings are in `test_devices.py`."""

import copy
import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from tiny import ball, images
from torch import nn

from animegan_nb import (
    augment,
    cameras,
    conditional,
    conditional_style,
    convert,
    encoder,
    fields,
    figures,
    geometry,
    latents,
    losses,
    mesh,
    metrics,
    orbit,
    penalties,
    pigan,
    pigan_anime,
    pigan_inversion,
    pigan_training,
    raymarch,
    siren,
    standing,
    stylegan,
    toon,
    toon_net,
    widgets,
)
from animegan_nb.core import Animation, grid, load_chapters, rng, show_images, to_float, to_uint8
from animegan_nb.pigan import PiganGenerator, RenderSettings
from animegan_nb.siren import FieldConfig
from animegan_nb.stylegan import StyleGANConfig, StyleGANGenerator
from animegan_nb.training import Draws

load_chapters()  # some register things while a chapter is imported: here, before the GPU is pretended
CUDA = torch.device('cuda')


def on_gpu(seed, *shape, low=-1.0):
    "Uniform numbers from `low` to 1."
    return low + (1 - low) * torch.rand(shape, generator=rng(seed, CUDA), device=CUDA)


def all_on_gpu(*values):
    for value in values:
        for tensor in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]:
            assert tensor.is_cuda, tensor.shape


def small_stylegan(size=16):
    torch.manual_seed(0)
    config = StyleGANConfig(size, z_dim=8, w_dim=8, mapping_layers=2, channel_base=128, channel_max=16)
    return StyleGANGenerator(config).to(CUDA).eval().requires_grad_(False)


def small_pigan(size=8):
    torch.manual_seed(0)
    config = FieldConfig(hidden=16, layers=2, z_dim=6, mapping_hidden=8)
    view = RenderSettings(samples=4, fine=4, background=1.0)
    return PiganGenerator(config, view, size).to(CUDA).eval().requires_grad_(False)


def blob(points, directions=None):
    "A soft ball: colour and density."
    near = (0.08 - points.norm(dim=-1)).mul(40).sigmoid()
    return torch.stack([near, 1 - near, near], -1), 60 * near


# ---- cameras, rays, marching


def test_cameras(gpu):
    yaw, pitch = on_gpu(0, 3), on_gpu(1, 3) * 0.5
    cam = cameras.pose(yaw, pitch, 1.1)
    all_on_gpu(cam, *cameras.pose_angles(cam), cameras.pose(yaw), cameras.frustum(cam, 12.0, 0.9, 1.1))
    lines = cameras.rays(cam, 12.0, 6)
    all_on_gpu(*lines, *cameras.rays(cam, on_gpu(2, 3, low=0.1) * 30, (4, 6)))
    distance = on_gpu(3, 3, 36, low=0.9)
    depth = cameras.distance_to_depth(distance, lines.directions, cam)
    all_on_gpu(
        depth, cameras.depth_to_distance(depth, lines.directions, cam), cameras.ray_cosine(lines.directions, cam)
    )
    points = lines.origins + distance[..., None] * lines.directions
    all_on_gpu(*cameras.project(points, cam, 12.0, 6), cameras.to_camera(points, cam))
    all_on_gpu(*cameras.from_official_angles(yaw, pitch))
    for prior in cameras.PRIORS.values():
        all_on_gpu(*prior.sample(4, rng(0, CUDA)))
    gpu.check()


def test_ray_marching(gpu):
    cam = cameras.pose(on_gpu(0, 2))
    lines = cameras.rays(cam, 12.0, 5)
    for options in (dict(fine=4), dict(fine=4, official=True), dict(background=1.0), dict(normalise=False)):
        seen = raymarch.march(blob, *lines, 0.88, 1.12, 6, rng=rng(0, CUDA), **options)
        all_on_gpu(seen.rgb, seen.distance, seen.weights, seen.opacity)
    seen = raymarch.march(blob, *lines, 0.88, 1.12, 6, background=torch.ones(3, device=CUDA))
    near, far = raymarch.bounds(lines.origins, 0.2)
    seen = raymarch.march(blob, *lines, near.amin(), far.amax(), 6, fine=4)
    distances = raymarch.sample_bins(0.88, 1.12, 6, 2, 25, rng(1, CUDA), device=CUDA)
    deltas = raymarch.intervals(distances, 0.88, 1.12)
    rgb, density = raymarch.query(blob, *lines, distances)
    all_on_gpu(raymarch.optical_depth(density, deltas, noise=0.1, rng=rng(0, CUDA)))
    weights = raymarch.composite(rgb, density, distances, near=0.88, far=1.12, last_back=True).weights
    all_on_gpu(raymarch.distortion(weights, distances, deltas, 0.88, 1.12), raymarch.transmittance(density * deltas))
    points = lines.origins + seen.distance[..., None] * lines.directions
    all_on_gpu(raymarch.normals(blob, points, lines.directions))
    gpu.check()


def test_the_ray_inspector(gpu):
    lines = cameras.rays(cameras.pose(torch.zeros(1, device=CUDA)), 12.0, 6)
    inspector = raymarch.RayInspector(blob, *lines, 0.88, 1.12, samples=6)
    assert inspector.still_image().size
    inspector._repr_mimebundle_()
    gpu.check()


# ---- fields


def test_fields_that_learn_one_scene(gpu, tmp_path):
    views = fields.toon_views(toon.sample_identity(1, rng(0))[0], 3, 12)
    for kind in ('siren', 'encoded', 'triplane'):
        field = fields.make_field(kind, views.side).to(CUDA)
        fit = fields.Fit(field, views, fields.FitConfig(steps=4, rays=16, samples=3, fine=3))
        fit.run(2)
        fields.save_fit(fit, tmp_path / kind)
        fields.resume_fit(fit, tmp_path / kind)
        drawn = fields.render_views(field, views.cam2world[:1], 12.0, 6, 4, 4, with_normals=True)
        all_on_gpu(drawn['image'], drawn['depth'])
        fields.save_field(field, tmp_path / f'{kind}.safetensors')
    assert fields.measure_field(field, views, 4, 4)
    gpu.check()


def test_meshes(gpu):
    field = fields.make_field('siren', 0.3).to(CUDA)
    mesh.extract_mesh(field.forward, 0.3, 12, chunk=500)
    assert fields.chamfer(on_gpu(0, 30, 3), on_gpu(1, 40, 3)).accuracy > 0
    gpu.check()


def test_sirens_that_learn_values(gpu):
    x = on_gpu(0, 40, 2)
    for net in (siren.Siren(2, 8, 2, 3), siren.ReluNet(2, 8, 2, 3, frequencies=3)):
        siren.fit_values(net.to(CUDA), x, x.sin().sum(1, keepdim=True).expand(-1, 3), 3)
    gpu.check()


def test_the_fields_of_a_pigan(gpu):
    g = small_pigan()
    z, points = on_gpu(0, 2, 6), on_gpu(1, 2, 30, 3) * 0.1
    directions = F.normalize(on_gpu(2, 2, 30, 3), dim=-1)
    folded = siren.fold(g.field, z)
    for method in ('auto', 'folded', 'mixed'):
        all_on_gpu(*siren.evaluate_folded(folded, points, directions, method))
    all_on_gpu(siren.folded_density(folded, points), *siren.chunked_field(folded, points, directions, chunk=7))
    siren.load_official_field(siren.official_field_state(g.field))
    gpu.check()


def test_pigan_draws(gpu):
    g = small_pigan()
    z, cam = on_gpu(0, 2, 6), cameras.pose(on_gpu(1, 2) * 0.3)
    all_on_gpu(g.render(g.condition(z), cam), g.render(g.condition(z), cam, rng=rng(0, CUDA), noise=0.1))
    all_on_gpu(g.render(g.condition(z), cam, alpha=True, max_points=64, rng=rng(0, CUDA)))
    views = g.render_views(z, cam, 10, samples=4, fine=4, normal=True)
    all_on_gpu(views)
    mean = g.mean_condition()
    all_on_gpu(*pigan.truncate_condition(g.condition(z), mean, 0.7))
    shape = pigan_training.toon_shape(2, 8)
    shape = shape._replace(depth=shape.depth.to(CUDA), solid=shape.solid.to(CUDA))
    assert pigan_training.alarms(g.render_views(z, cam, 8, samples=4, fine=4), shape)
    gpu.check()


# ---- drawn heads and figures


@pytest.mark.parametrize('style', ['anime', 'human'])
def test_drawn_heads(gpu, style):
    source = rng(0, CUDA)
    identity, camera = toon.sample_identity(1, source), toon.sample_camera(1, source)
    view = toon.render(identity, camera['cam2world'], camera['fov'], 8, style=style)
    all_on_gpu(*(v for v in view.values() if isinstance(v, torch.Tensor)))
    toon.render(identity, camera['cam2world'], toon.FOV, 8, style, 'white', geometry=False)
    assert toon.decode(identity)
    gpu.check()


@pytest.mark.parametrize('style', ['anime', 'human'])
def test_drawn_figures(gpu, style):
    identity = figures.sample_figure(1, rng(0, CUDA))
    view = figures.render_figure(identity, cameras.pose(on_gpu(0, 1)), 16.0, 8, style, supersample=1)
    all_on_gpu(*(v for v in view.values() if isinstance(v, torch.Tensor)))
    posed = figures.make_pose()[None].to(CUDA)
    figures.render_figure(identity, cameras.pose(on_gpu(0, 1)), 16.0, 8, style, pose=posed, supersample=1)
    assert figures.decode_figure(identity)
    gpu.check()


def test_drawn_sets_are_drawn_on_the_host(gpu):
    assert toon.ToonHeads(n=2, size=12).batch(range(2))['image'].shape == (2, 3, 12, 12)
    assert figures.ToonFigures(n=1, size=12).batch(range(1))['image'].device.type == 'cpu'
    assert toon.ready_heads().batch(range(2))['image'].dtype == torch.uint8
    gpu.check()


def test_the_head_explorer(gpu):
    assert widgets.HeadExplorer(size=8).still_image().size
    explorer = widgets.HeadExplorer(toon.sample_identity(1, rng(0))[0].to(CUDA), 8)
    assert explorer.still_image().size
    explorer._repr_mimebundle_()
    gpu.check()


def test_the_reader_of_heads(gpu):
    rows = toon.ready_heads('white').batch(range(8))
    net = copy.deepcopy(toon_net.toon_network()).to(CUDA)
    pictures, identity = rows['image'].to(CUDA), rows['identity'].to(CUDA)
    pose = torch.stack([rows['yaw'], rows['pitch']], 1).to(CUDA)
    assert toon_net.network_scores(net, pictures, identity, pose)
    assert toon_net.network_readings(net, pictures) and toon_net.descriptions(net, pictures)
    twice = [torch.stack([x, x], 1) for x in (pictures, rows['coverage'].to(CUDA), pose)]
    toon_net.train_network(twice[0], twice[1], identity, twice[2], epochs=1, batch=4)
    gpu.check()


# ---- measures


def test_features_and_distances(gpu):
    real, fake = on_gpu(0, 30, 5).double(), on_gpu(1, 40, 5).double()
    all_on_gpu(metrics.frechet_distance(real, fake), metrics.kernel_distance(real, fake))
    all_on_gpu(*metrics.precision_recall(real, fake), metrics.diversity(real, fake))
    all_on_gpu(
        *metrics.in_regions(real, fake),
        *metrics.density_coverage(real, fake),
        metrics.inception_score(fake),
        *metrics.moments(real),
    )
    mean, cov = metrics.moments(real)
    all_on_gpu(metrics.frechet_from_moments(mean, cov, *metrics.moments(fake)))
    x, y = on_gpu(2, 3, 3, 8, 8), on_gpu(3, 3, 3, 8, 8)
    all_on_gpu(metrics.psnr(x, y), metrics.psnr(x, y, mask=(x > 0).all(1, keepdim=True)), metrics.blur(x, 1.0))
    all_on_gpu(metrics.turn_hue(x, 0.5), metrics.mirror_half(x), metrics.one_kind(x, 0.5), metrics.repeat_few(x, 2))
    all_on_gpu(metrics.add_noise(x, 0.1), metrics.mirror_some(x, 0.5), metrics.keep_some(x, 0.5))
    all_on_gpu(metrics.FeatureDistance(lambda p: [p, F.avg_pool2d(p, 2)])(x, y))
    gpu.check()


def test_a_blur_makes_its_kernel_where_the_images_are(pretended_gpu):
    x = on_gpu(0, 2, 3, 8, 8)
    pretended_gpu.clear()
    all_on_gpu(metrics.blur(x, 1.0))
    assert not pretended_gpu.copies
    pretended_gpu.check()


@pytest.mark.parametrize('extractor', ['pixels', 'toon'])
def test_an_evaluation(gpu, extractor):
    data = images(20, 16)
    pictures = to_uint8(on_gpu(0, 20, 3, 16, 16))
    found = metrics.extract(pictures, extractor, device=CUDA)
    assert len(found.features) == 20
    result = metrics.evaluate(pictures, data, extractor, n=10, replicates=3, cuts=2, device=CUDA)
    assert result.numbers
    metrics.nearest_neighbours(pictures[:4], data, extractor)
    metrics.show_nearest(on_gpu(0, 2, 3, 16, 16), data, extractor)
    assert metrics.memorisation(pictures[:8], data, images(20, 16, 1), extractor) is not None
    gpu.check()


def test_geometry(gpu):
    views = [{k: v.to(CUDA) for k, v in ball(yaw, size=16).items()} for yaw in (-0.2, 0.0, 0.2)]
    left, front, right = views
    geometry.reproject(left, right, 12.0)
    assert geometry.view_consistency(left, right, 12.0)
    all_on_gpu(geometry.billboard(front, 12.0), geometry.flattened(front, 12.0, 0.5))
    solid = front['opacity'] > 0.5
    shape = geometry.mean_shape(torch.cat([v['depth'] for v in views]), torch.cat([v['opacity'] > 0.5 for v in views]))
    all_on_gpu(geometry.depth_correlation(front['depth'], solid, shape.depth), geometry.relief(front['depth'], solid))
    all_on_gpu(geometry.depth_distance(left['depth'], right['depth']))
    all_on_gpu(geometry.rotation_angle(left['cam2world'], right['cam2world']))
    estimator = geometry.PoseEstimator(lambda x: x.mean((2, 3))[:, :2], on_gpu(0, 12, 3, 8, 8), on_gpu(1, 12, 2) * 0.3)
    all_on_gpu(estimator(on_gpu(2, 4, 3, 8, 8)))
    gpu.check()


def test_losses_and_penalties(gpu):
    real, fake = on_gpu(0, 6), on_gpu(1, 6)
    for name in losses.losses:
        loss = losses.find_loss(name)
        all_on_gpu(loss.discriminator(real, fake), loss.generator(fake))
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 1), nn.Flatten(0)).to(CUDA)
    x, y = on_gpu(2, 6, 3, 4, 4), on_gpu(3, 6, 3, 4, 4)
    all_on_gpu(penalties.r1_penalty(net, x), penalties.r2_penalty(net, y))
    all_on_gpu(
        penalties.gradient_penalty(net, x, y, rng=rng(0, CUDA)), penalties.dragan_penalty(net, x, rng=rng(0, CUDA))
    )
    assert penalties.batch_leak(net, x) == 0
    gpu.check()


def test_augmentations(gpu):
    x = on_gpu(0, 4, 3, 12, 12)
    gpu.clear()
    for source in (rng(0, CUDA), Draws(0, CUDA), None):
        for policy in augment.policies.values():
            all_on_gpu(policy(x, source, 0.5))
        all_on_gpu(augment.random_geometry(3, 0.5, 12, source, CUDA), augment.random_colour(3, 0.5, source, CUDA))
    assert not gpu.syncs, str(gpu)
    gpu.check()


# ---- StyleGAN's latents


def test_latents(gpu):
    g, network = small_stylegan(), copy.deepcopy(toon_net.toon_network()).to(CUDA)
    w = latents.sample_w(g, 12)
    all_on_gpu(w, latents.draw(g, w[:2]), latents.mixing_grid(g, w[:2], w[2:4], range(2)), latents.travel(w[:3], 2))
    all_on_gpu(latents.slerp(w[0], w[1], 0.3), latents.poses(latents.as_ws(g, w[:3]), range(2)))
    all_on_gpu(latents.truncated_normal(4, 8, 0.7, rng(0, CUDA)))
    assert latents.receivers(g, range(2))
    readings = latents.read_heads(network, latents.draw(g, w))
    space = latents.principal_space(latents.sample_w(g, 40), 2)
    scores = latents.score(readings, 'hair_colour=blonde')
    direction = latents.attribute_direction(space, w, scores)
    kept = latents.attribute_direction(space, w, readings['yaw'], keep=[])
    all_on_gpu(direction, kept, latents.edit(latents.as_ws(g, w), direction, on_gpu(0, 12), range(2)))
    all_on_gpu(latents.edit_effects(g, network, w[:4], {'yaw': direction}))
    groups = latents.layer_groups(16)
    found = latents.influence(g, lambda x: latents.read_heads(network, x), groups, pairs=4)
    assert latents.Influence.from_dict(found.to_dict()).pairs == 4 and latents.influence_figure(found)
    speed = latents.perceptual_path_length(g, lambda a, b: (a - b).square().mean((1, 2, 3)), 4)
    all_on_gpu(speed, latents.perceptual_path_length(g, lambda a, b: (a - b).square().mean((1, 2, 3)), 4, 'z', 'end'))
    latents.trimmed_mean(speed)
    gpu.check()


def test_the_latent_explorer_and_the_mixer(gpu):
    g = small_stylegan()
    for explorer in (latents.LatentExplorer(g, {'a': on_gpu(0, 8)}), latents.StyleMixer(g)):
        explorer._repr_mimebundle_()
    gpu.check()


def test_the_encoder(gpu):
    g = small_stylegan(32)
    distance = lambda a, b: (a - b).square().mean((1, 2, 3))
    plain = encoder.ConvEncoder(8, 4).to(CUDA)
    assert len(encoder.fit_plain(plain, g, 2, batch=2)) == 2
    drawings = to_uint8(on_gpu(0, 6, 3, 32, 32)).cpu()
    for kind in ('plain', 'refined'):
        net = encoder.Encoder(encoder.EncoderConfig(kind, 8, 4, 32, passes=2)).to(CUDA)
        all_on_gpu(net(g, on_gpu(1, 2, 3, 32, 32)))
    for pictures in (drawings, drawings.to(CUDA)):
        assert len(encoder.fit_refined(net, g, pictures, distance, 2, batch=4)) == 2
    for source in (rng(0), rng(0, CUDA)):
        all_on_gpu(encoder.generated_batch(g, 3, source))
    start = net(g, on_gpu(1, 2, 3, 32, 32))
    all_on_gpu(encoder.descend(g, on_gpu(1, 2, 3, 32, 32), start, 2, distance)[0])
    gpu.check()


def test_stylegans_own_functions(gpu):
    g = small_stylegan()
    ws = g.mapping(on_gpu(0, 4, 8))
    all_on_gpu(stylegan.truncate(ws, g.mapping.w_avg), stylegan.mix_styles(ws, ws.flip(0), 2))
    all_on_gpu(stylegan.mix_styles(ws, ws.flip(0), torch.tensor([1, 2, 3, 1])))
    all_on_gpu(g(on_gpu(0, 2, 8)))
    again = convert.load_stylegan2_generator(convert.stylegan2_state(g))
    assert isinstance(again, StyleGANGenerator)
    field = small_pigan()
    convert.load_pigan_generator(convert.pigan_state(field))
    gpu.check()


# ---- conditional


def test_faces_on_request(gpu):
    generator, known, _ = conditional.pretrained_conditional()
    generator, known = generator.to(CUDA), known.to(CUDA)
    maker = conditional.FaceMaker(generator, known, n=2, columns=2)
    maker._repr_mimebundle_()
    all_on_gpu(maker.images(hair_colour='pink'))
    conditional.FaceMaker(generator, None, n=2, columns=2).still_image()
    pictures = to_uint8(on_gpu(0, 8, 3, 32, 32))
    reader = conditional.ToonTagClassifier().to(CUDA)
    read = conditional.read_tags(reader, pictures)
    assert conditional.tag_scores(read, read.roll(1, 0), reader.groups)
    pair = conditional.ConditionalPair(dataclasses.replace(generator.config, prior='uniform')).to(CUDA)
    images, requested = conditional.requested_images(pair, generator, 4)
    assert len(images) == len(requested) == 4
    gpu.check()


def test_faces_of_a_stylegan_on_request(gpu):
    generator, known, _ = conditional_style.pretrained_conditional_style()
    generator, known = generator.to(CUDA), known.to(CUDA)
    all_on_gpu(conditional.FaceMaker(generator, known, n=2).images(hair_colour='pink'))
    pair = conditional_style.ConditionalStylePair(dataclasses.replace(generator.config, prior='uniform')).to(CUDA)
    images, requested = conditional.requested_images(pair, generator, 4)
    assert len(images) == len(requested) == 4
    gpu.check()


def test_a_classifier_of_tags(gpu):
    data = conditional.tagged_heads(16)
    net = conditional.train_tag_classifier(data, conditional.TOON_TAGS, steps=2, batch_size=4)
    conditional.read_tags(net, to_uint8(on_gpu(0, 3, 3, 16, 16)))
    gpu.check()


# ---- worlds that are turned


def sources():
    generator = small_pigan()
    field = fields.make_field('siren', 0.3).to(CUDA)
    return {
        'pigan': lambda: orbit.PiganSource(generator, codes=200, axes=2),
        'field': lambda: orbit.FieldSource(field, samples=4, fine=4, normals_from='depth'),
        'a function': lambda: orbit.FieldSource(blob, samples=4, fine=4),
        'toon': lambda: orbit.ToonSource(toon.sample_identity(1, rng(0)).to(CUDA), resolution=16),
    }


@pytest.mark.parametrize('name', ['pigan', 'field', 'a function', 'toon'])
def test_the_orbit_viewer(gpu, name):
    viewer = orbit.OrbitViewer(sources()[name](), sizes=(6,), shown=16)
    answers = []
    for channel in orbit.CHANNELS:
        orbit.answer(viewer, viewer.request() | {'channel': channel}, lambda *a: answers.append(a))
    assert len(answers) == 4 and not any(problem for _, _, problem in answers), answers
    viewer.sheet(6)
    viewer.film(2, size=6)
    viewer._repr_mimebundle_()
    gpu.check()


# ---- the field of a head from one image


def test_an_inversion(gpu):
    g = small_pigan(16)
    pictures = on_gpu(0, 2, 3, 16, 16).clamp(-1, 1)
    config = pigan_inversion.InversionConfig(stages=((2, 2), (1, 2)))
    coverage = on_gpu(1, 2, 1, 16, 16, low=0.0)
    found = pigan_inversion.invert(g, pictures, config=config, coverage=coverage)
    all_on_gpu(*found.condition, found.yaw, found.pitch, found.history)
    pigan_inversion.invert(g, pictures, config=dataclasses.replace(config, space='z'), start=(found.yaw, found.pitch))
    all_on_gpu(*pigan_inversion.grid_start(g, pictures), *pigan_inversion.grid_start(g, pictures, on_gpu(2, 2, 6)))
    official = pigan_inversion.official_recipe(g, pictures, steps=2, pixels=20)
    all_on_gpu(*official.condition, official.cam2world)
    all_on_gpu(pigan_inversion.official_image(g, official.condition, official.cam2world))
    tuned = pigan_inversion.pivotal_tuning(g, pictures, found, steps=2)
    all_on_gpu(*tuned.parameters())
    slope = on_gpu(3, 2, 4, 4)
    all_on_gpu(pigan_inversion.pose_gradient(slope, found.yaw, found.pitch))
    gpu.check()


def test_the_judgement_of_an_inversion(gpu):
    g = small_pigan(16)
    heads = pigan_inversion.held_out_heads(1, n=2, others=1, size=16)
    condition, cams = g.condition(on_gpu(0, 2, 6)), heads.cam2world.to(CUDA)
    for own in (False, True):
        numbers = pigan_inversion.scores(g, condition, cams, heads, own)
        assert math.isfinite(numbers['novel'])
    gpu.check()


def test_the_conditions_of_the_poster(gpu):
    g = small_pigan(16)
    shape = pigan_training.toon_shape(2, 32)
    reference = pigan_anime.condition_images('plain', range(6))
    assert pigan_anime.condition_scores(g, reference, shape)
    gpu.check()


# ---- figures that stand


def test_the_reader_of_figures(gpu):
    net, _ = standing.figure_reader()
    readings = standing.read_figures(net.to(CUDA), on_gpu(0, 2, 3, 64, 64))
    all_on_gpu(readings)
    rows = figures.ToonFigures(n=2, size=16).batch(range(2))
    standing.figure_truth({k: v.to(CUDA) if isinstance(v, torch.Tensor) else v for k, v in rows.items()}, 16)
    gpu.check()


# ---- images


def test_images_are_shown_from_any_device(gpu, tmp_path):
    x = on_gpu(0, 4, 3, 8, 8)
    all_on_gpu(to_uint8(x), to_float(to_uint8(x)))
    grid(x)
    show_images(x)
    Animation(x).save(tmp_path / 'film.gif')
    widgets.enlarged(x)
    gpu.check()
