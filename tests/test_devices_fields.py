"Fields, meshes, geometry and pi-GAN's rendering on a pretended GPU: one device, and no waiting in a step."

import pytest
import torch
import torch.nn.functional as F

from animegan_nb import fields, geometry, pigan
from animegan_nb.cameras import pose
from animegan_nb.core import rng
from animegan_nb.fields import Fit, FitConfig, bundle, make_field, measure_field, render_views
from animegan_nb.mesh import evaluate_field, extract_mesh, grid_points
from animegan_nb.pigan import PiganDiscriminator, PiganGenerator, RenderSettings
from animegan_nb.raymarch import RayInspector, march
from animegan_nb.siren import FieldConfig
from animegan_nb.training import Draws

TINY = FieldConfig(hidden=16, layers=2, z_dim=6, mapping_hidden=8)
VIEWS = [
    dict(),
    dict(fine=6),
    dict(fine=6, official=True),
    dict(fine=6, first_look='density', background='painted', directional=False),
]


def generator(**view):
    torch.manual_seed(0)
    return PiganGenerator(TINY, RenderSettings(**{'samples': 6, 'fine': 0, **view}), size=8).to('cuda')


def views(n=4, size=12):
    cams = pose(torch.linspace(-0.6, 0.6, n), 0.1)
    alpha = torch.zeros(n, 1, size, size)
    alpha[:, :, 4:8, 4:8] = 1.0
    depth = torch.where(alpha[:, 0] > 0, 1.0, torch.inf)
    normal = F.normalize(torch.ones(n, 3, size, size), dim=1)
    return fields.Views(torch.cat([0.5 * alpha.expand(-1, 3, -1, -1), alpha], 1), cams, 50.0, 0.3, depth, normal)


@pytest.mark.parametrize('where', ['cpu', 'cuda'])
@pytest.mark.parametrize('options', [dict(), dict(max_points=60), dict(memory=100_000)])
@pytest.mark.parametrize('view', VIEWS)
def test_a_render_with_its_gradient_stays_on_the_gpu_and_waits_for_nothing(gpu, view, options, where):
    G = generator(**view)
    z, cams = torch.randn(2, 6, device='cuda'), pose(torch.zeros(2, device='cuda'))
    gpu.clear()
    G.render(z, cams, rng=Draws(0, where), noise=1.0, alpha=True, **options).square().mean().backward()
    assert sum(gpu.syncs.values()) <= (3 if where == 'cpu' else 0), str(gpu)  # the numbers' way there
    assert G.field.density.weight.grad.device.type == 'cuda'
    G.render_views(z, cams, normal=True)
    G.render(z, cams, psi=0.5)
    with torch.autocast('cuda', torch.bfloat16):
        G.render(z, cams, rng=torch.Generator('cuda'), noise=1.0)
    gpu.check()


def test_a_discriminator_stays_on_the_gpu(gpu):
    D = PiganDiscriminator(16, condition_pose=True, latent_dim=6, group_size=2).to('cuda')
    x = torch.randn(2, 3, 16, 16, device='cuda')
    gpu.clear()
    out = D(x, pigan.camera_direction(pose(torch.zeros(2, device='cuda'))), heads=True)
    (out.logits.sum() + out.latent.sum()).backward()
    gpu.check()


@pytest.mark.parametrize('kind', ['siren', 'encoded', 'triplane'])
def test_a_scene_is_fitted_drawn_and_measured_where_its_field_is(gpu, kind):
    field = make_field(kind, 0.3).to('cuda')
    fit = Fit(field, views(), FitConfig(steps=2, rays=32, samples=4, fine=4, lr=1e-3)).run(progress=False)
    assert fit.step == 2 and fit.bundle.rgba.device.type == 'cuda' and fit.seconds > 0
    out = render_views(field, views().cam2world, views().fov, 8, 4, 4, with_normals=True)
    assert out['image'].device.type == out['normal'].device.type == 'cuda'
    scores = measure_field(field, views(), 4, 4)
    assert scores['psnr'] > 0
    gpu.check()


def test_views_move_as_a_whole_and_are_checked_where_they_are(gpu):
    moved = views().to('cuda')
    assert moved.rgba.device.type == moved.depth.device.type == moved.cam2world.device.type == 'cuda'
    assert bundle(moved).near.device.type == 'cuda' and len(moved[:2]) == 2
    gpu.check()


def test_a_mesh_of_a_field_on_a_gpu(gpu):
    class Ball(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.radius = torch.nn.Parameter(torch.tensor([0.5]))

        def forward(self, points, directions):
            return (points + 1) / 2, 200 * torch.sigmoid(50 * (self.radius - points.norm(dim=-1)))

    ball = Ball().to('cuda')
    assert extract_mesh(ball, resolution=16).is_watertight
    assert extract_mesh(ball.forward, resolution=16).is_watertight
    assert extract_mesh(lambda p, d: ball(p, d), resolution=16, device='cuda').is_watertight
    values = evaluate_field(lambda p: p.norm(dim=-1) * ball.radius, grid_points(4), device='cuda')
    assert values.device.type == 'cpu'
    gpu.check()


def test_geometry_on_a_gpu(gpu):
    G = generator(samples=8, background=1.0)
    z = torch.randn(3, 6, device='cuda')
    yaw = torch.tensor([-0.2, 0.0, 0.2], device='cuda')
    a, b = (G.render_views(z, pose(yaw + k), normal=True) for k in (0.0, 0.1))
    geometry.view_consistency(a, b, 12.0)
    geometry.flattened(a, 12.0, 0.5)
    shape = geometry.mean_shape(a['depth'], a['opacity'] > 0.01)
    geometry.depth_correlation(a['depth'], a['opacity'] > 0.01, shape.depth)
    geometry.depth_distance(a['depth'], b['depth'])
    geometry.view_errors({**a, 'opacity': a['opacity'] + 1}, {**b, 'opacity': b['opacity'] + 1})
    angles = torch.stack([torch.tensor([0.1, 0.2, 0.4]), torch.tensor([0.3, 0.1, 0.2])], 1)
    for known in (angles, angles.to('cuda')):  # angles are often known on the CPU
        estimator = geometry.PoseEstimator(lambda x: x.flatten(1)[:, :2], a['image'], known)
        estimator.error(a['image'], known)
        estimator.error(a['image'], angles)
    geometry.rotation_angle(pose(yaw), pose(yaw + 0.1))
    gpu.check()


def test_rays_are_looked_at_on_a_gpu(gpu):
    G = generator()
    condition = G.condition(torch.randn(1, 6, device='cuda'))
    lines = pigan.image_rays(pose(torch.zeros(1, device='cuda')), (6, 6), G.view)
    field = pigan.conditioned_field(G.field, condition)
    march(field, *lines, 0.88, 1.12, 6, 6, rng=rng(0), background=torch.ones(3))
    RayInspector(field, *lines, 0.88, 1.12, 6).still_image()
    gpu.check()
