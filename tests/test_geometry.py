"Measures of shape: the truth against boards, hollow faces and planted errors."

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny import ball

from animegan_nb import geometry
from animegan_nb.cameras import pose
from animegan_nb.core import rng


def test_view_consistency_knows_the_truth_from_a_board():
    a, b = ball(-0.2), ball(0.2)
    truth, share = geometry.view_consistency(a, b, 12.0)
    board, _ = geometry.view_consistency(geometry.billboard(a, 12.0), geometry.billboard(b, 12.0), 12.0)
    assert truth > board + 8 and 0.6 < share < 1
    wrong, lost = geometry.view_consistency(a, dict(b, depth=b['depth'] + 0.05, distance=b['distance'] + 0.05), 12.0)
    assert lost < share - 0.3  # a depth that disagrees is no longer the same point
    same, everything = geometry.view_consistency(a, a, 12.0)
    assert same > 60 and everything > 0.9


def test_relief_and_correlation():
    front, hollow = ball(0.0), ball(0.0)
    solid = front['opacity'] > 0.5
    hollow['depth'] = torch.where(solid, 2 - hollow['depth'], 1.12)
    reference = torch.where(solid, front['depth'], torch.inf)
    assert abs(geometry.depth_correlation(front['depth'], solid, reference).item() - 1) < 1e-4
    assert abs(geometry.depth_correlation(hollow['depth'], solid, reference).item() + 1) < 1e-4
    assert abs(geometry.relief(front['depth'], solid).item() - front['depth'][solid].std(correction=0).item()) < 1e-6
    assert geometry.relief(torch.ones_like(front['depth']), solid).item() == 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=9),
    st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=9),
)
def test_depth_distance_is_wassersteins(a, b):
    from scipy.stats import wasserstein_distance

    assert float(geometry.depth_distance(torch.tensor(a), torch.tensor(b))) == pytest.approx(
        wasserstein_distance(a, b), abs=1e-6
    )


def test_depths_need_a_solid_pixel():
    with pytest.raises(ValueError, match='at least one solid pixel'):
        geometry.depth_distance(torch.zeros(0), torch.ones(3))
    view = ball(0.0)
    with pytest.raises(ValueError, match='no solid pixel in common'):
        geometry.view_errors(view, dict(view, opacity=torch.zeros_like(view['opacity'])))


def test_errors_of_a_view_are_those_that_were_put_in():
    true = ball(0.0)
    n = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 48, 48)
    tilted = torch.tensor([0.5, 0.0, 0.75**0.5]).view(1, 3, 1, 1).expand(1, 3, 48, 48)
    found = geometry.view_errors(
        true | dict(image=true['image'] + 0.2, depth=true['depth'] + 0.01, normal=tilted), true | dict(normal=n)
    )
    assert found['psnr'] == pytest.approx(20, abs=1e-3) and found['depth'] == pytest.approx(0.01, abs=1e-6)
    assert found['normal'] == pytest.approx(30, abs=1e-3) and found['overlap'] == 1
    assert 'normal' not in geometry.view_errors(true, true)


def test_surface_errors_count_only_what_both_show():
    both = torch.zeros(1, 2, 2, dtype=torch.bool)
    both[0, 0, 0] = True
    depth, true_depth = torch.full((1, 2, 2), 9.0), torch.zeros(1, 2, 2)
    depth[0, 0, 0] = 0.25
    assert geometry.surface_errors(both, depth, true_depth) == {'depth': 0.25}
    up, side = torch.zeros(2, 1, 3, 2, 2).unbind()
    up[:, 1] = 1
    side[:, 0] = 1
    assert geometry.surface_errors(both, depth, true_depth, up, side)['normal'] == pytest.approx(90, abs=1e-3)


def test_a_pose_estimator_is_calibrated_angle_by_angle():
    angles = torch.randn(20, 2, generator=rng(0)) * 0.3
    images = angles[:, :, None, None].expand(-1, -1, 2, 2)
    crooked = lambda x: x[:, :, 0, 0] * torch.tensor([0.5, 1.2]) + torch.tensor([0.1, -0.3])
    estimator = geometry.PoseEstimator(crooked, images, angles)
    assert max(estimator.error(images, angles)) < 1e-4 and estimator.error(images, angles + 0.1)[0] == pytest.approx(
        math.degrees(0.1), rel=1e-3
    )
    with pytest.raises(ValueError, match='different yaw and different pitch'):
        geometry.PoseEstimator(crooked, images, torch.zeros(20, 2))
    with pytest.raises(ValueError, match='cannot be calibrated'):
        geometry.PoseEstimator(lambda x: torch.zeros(len(x), 2), images, angles)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 3.14), st.integers(0, 1000))
def test_rotation_angle_does_not_depend_on_the_axis(angle, seed):
    axis = torch.nn.functional.normalize(torch.randn(3, generator=rng(seed), dtype=torch.float64), dim=0)
    cross = torch.linalg.cross(axis.expand(3, 3), torch.eye(3, dtype=torch.float64)).mT
    start = torch.linalg.qr(torch.randn(3, 3, generator=rng(seed + 1), dtype=torch.float64)).Q
    assert float(geometry.rotation_angle(start, start @ torch.matrix_exp(angle * cross))) == pytest.approx(
        angle, abs=1e-6
    )


def test_views_without_a_common_point_do_not_agree():
    "An empty network has no consistency; it is not perfect."
    empty = dict(
        image=torch.ones(1, 3, 8, 8),
        depth=torch.ones(1, 1, 8, 8),
        distance=torch.ones(1, 1, 8, 8),
        opacity=torch.zeros(1, 1, 8, 8),
        cam2world=pose(torch.zeros(1)),
    )
    assert geometry.view_consistency(empty, empty, 12.0) == (0.0, 0.0)
