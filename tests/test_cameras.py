"Cameras: laws by hypothesis, the published pi-GAN cameras, bad input."

import math
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from animegan_nb import cameras, surfaces
from animegan_nb.cameras import (
    PRIORS,
    PosePrior,
    distance_to_depth,
    depth_to_distance,
    from_official_angles,
    pose,
    pose_angles,
    project,
    rays,
)

angle = st.floats(-3, 3)
steep = st.floats(-1.5, 1.5)


@settings(max_examples=40, deadline=None)
@given(angle, steep, st.floats(0.1, 10))
def test_a_pose_is_rigid_and_can_be_read_back(yaw, pitch, radius):
    cam = pose(yaw, pitch, radius)
    rotation = cam[0, :3, :3]
    assert torch.allclose(rotation.T @ rotation, torch.eye(3), atol=1e-5) and torch.allclose(
        torch.linalg.det(rotation), torch.tensor(1.0), atol=1e-5
    )
    back = pose_angles(cam)
    assert (
        math.isclose(back.yaw, yaw, abs_tol=1e-4)
        and math.isclose(back.pitch, pitch, abs_tol=5e-3)
        and math.isclose(back.radius, radius, rel_tol=1e-4)
    )


@settings(max_examples=30, deadline=None)
@given(angle, steep, st.floats(5, 120), st.integers(1, 7), st.integers(1, 7), st.sampled_from(['centers', 'border']))
def test_projection_inverts_ray_casting(yaw, pitch, fov, height, width, grid):
    cam = pose(yaw, pitch, 2.0)
    o, d = rays(cam, fov, (height, width), grid)
    pixels, depth = project(o + 1.7 * d, cam, fov, (height, width), grid)
    there = torch.cartesian_prod(torch.arange(float(height)), torch.arange(float(width)))
    if grid == 'border' and 1 in (height, width):
        pixels = torch.where(torch.tensor([height, width]) == 1, there, pixels[0])[None]
    assert torch.allclose(pixels[0], there, atol=2e-3)
    assert torch.allclose(depth, distance_to_depth(torch.full_like(depth, 1.7), d, cam), atol=1e-5)
    assert torch.allclose(depth_to_distance(depth, d, cam), torch.full_like(depth, 1.7), atol=1e-5)


def test_a_point_behind_the_camera_has_no_pixel():
    pixels, depth = project(torch.tensor([[[0.0, 0.0, 5.0]]]), pose(0.0, radius=1.0), 40.0, 8)
    assert torch.isnan(pixels).all() and depth < 0


def test_a_batch_of_fields_of_view():
    cams = pose(torch.tensor([0.0, 0.4]))
    both = rays(cams, torch.tensor([12.0, 40.0]), 4)
    for i, fov in enumerate((12.0, 40.0)):
        assert torch.allclose(both.directions[i], rays(cams[i : i + 1], fov, 4).directions[0])


def test_a_target_moves_the_sphere():
    cam = pose(0.3, 0.2, 2.0, target=(1.0, 2.0, 3.0))
    assert torch.allclose(cam[0, :3, 3] - 2 * cam[0, :3, 2], torch.tensor([1.0, 2.0, 3.0]), atol=1e-6)
    assert torch.allclose(pose_angles(cam, (1.0, 2.0, 3.0)).radius, torch.tensor([2.0]))


@pytest.mark.parametrize('name', list(PRIORS))
def test_priors_repeat_and_stay_in_range(name):
    prior = PRIORS[name]
    a, b = (prior.sample(4000, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    if prior.kind != 'gaussian':
        assert (a[0] - prior.mean_yaw).abs().max() <= prior.yaw + 1e-5 and (
            a[1] - prior.mean_pitch
        ).abs().max() <= prior.pitch + 1e-3
    else:
        assert abs(a[0].std() - prior.yaw) < 0.02 and abs(a[1].std() - prior.pitch) < 0.01


def test_frustum_corners_project_to_the_corners_of_the_image():
    cam = pose(0.5, -0.2, 3.0)
    corners = cameras.frustum(cam, 30.0, 1.0, 2.0)
    pixels, depth = project(corners, cam, 30.0, 10)
    assert torch.allclose(depth[0], torch.tensor([1.0] * 4 + [2.0] * 4), atol=1e-5)
    expected = torch.tensor([[-0.5, -0.5], [-0.5, 9.5], [9.5, 9.5], [9.5, -0.5]]).repeat(2, 1)
    assert torch.allclose(pixels[0], expected, atol=1e-3)


@pytest.mark.parametrize(
    'call, word',
    [
        (lambda: pose(0.0, radius=0.0), 'radius'),
        (lambda: rays(torch.eye(4), 12.0, 4), 'cam2world'),
        (lambda: rays(pose(0.0), 0.0, 4), 'field of view'),
        (lambda: rays(pose(0.0), 200.0, 4), 'field of view'),
        (lambda: rays(pose(0.0), 12.0, 0), 'pixel'),
        (lambda: rays(pose(0.0), 12.0, 4, 'middle'), 'pixel grid'),
        (lambda: rays(pose(0.0), torch.tensor([1.0, 2.0, 3.0]), 4), 'fields of view'),
        (lambda: PosePrior('cone', 1, 1), 'pose prior'),
        (lambda: PosePrior('uniform', -1, 1), 'negative'),
        (lambda: cameras.frustum(pose(0.0), 12.0, 2.0, 1.0), 'near'),
        (lambda: cameras.turntable(0), 'frame'),
    ],
)
def test_bad_input_is_one_sentence(call, word):
    with pytest.raises(ValueError) as error:
        call()
    assert word in str(error.value) and '\n' not in str(error.value)


@pytest.mark.real
def test_the_published_cameras(reference_dir):
    with np.load(reference_dir / 'pigan_reference.npz') as file:
        ref = {k: torch.from_numpy(file[k]) for k in file if k.startswith('camera/')}
    yaw, pitch = from_official_angles(ref['camera/yaw'][:, 0], ref['camera/pitch'][:, 0])
    cams = pose(yaw, pitch)
    assert torch.allclose(cams, ref['camera/cam2world'], atol=1e-5) and torch.allclose(
        cams[:, :3, 3], ref['camera/origin'], atol=1e-5
    )
    local = cameras.pixel_directions(12.0, 8, 'border')
    assert torch.allclose(local, ref['camera/rays_8x8_fov12_dirs'], atol=1e-5)
    t = torch.linspace(0.88, 1.12, 12)
    assert torch.allclose(local[:, :, None] * t[:, None], ref['camera/rays_8x8_fov12_points'], atol=1e-5)


def test_scenes_are_seen_along_the_same_rays():
    cam, fov = pose(torch.tensor([0.0, 0.4, -2.0]), torch.tensor([0.0, 0.3, -0.5]), 1.5), torch.tensor([9.0, 12.0, 40])
    origins, directions, cosine = surfaces.scene_rays(cam, fov, 10)
    same = rays(cam, fov, 10)
    assert torch.equal(directions.permute(1, 2, 0), same.directions)
    assert torch.equal(origins.permute(1, 2, 0).expand(3, 100, 3), same.origins)
    assert torch.allclose(cosine, cameras.ray_cosine(same.directions, cam), atol=1e-6)
    _, blocks, _ = surfaces.scene_rays(cam, fov, 10, stride=5)  # through the middle of 5 × 5 pixels
    assert torch.allclose(blocks, directions.view(3, 3, 10, 10)[:, :, 2::5, 2::5].flatten(2), atol=1e-6)


def test_one_direction_and_many_targets():
    many = cameras.pose(0.3, 0.1, 2.0, target=torch.arange(12.0).view(4, 3))
    each = torch.cat([cameras.pose(0.3, 0.1, 2.0, target=t) for t in torch.arange(12.0).view(4, 3)])
    assert many.shape == (4, 4, 4) and torch.equal(many, each)
