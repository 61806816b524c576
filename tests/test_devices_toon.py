"""Drawing on a GPU, pretended where there is none: how often the host waits does not depend on how many heads, parts or
rays there are. That nothing meets on two devices is tested in `test_devices_library.py`."""

import pytest
import torch

from animegan_nb import cameras, figures, toon, toon_net
from animegan_nb.core import rng

CUDA = torch.device('cuda')


def waits_of(gpu, work, *args):
    "How often `work` waits, once the constants are on the device."
    work(*args)
    gpu.clear()
    work(*args)
    return sum(gpu.syncs.values())


def people(n, sampler=toon.sample_identity):
    return sampler(n, rng(0, CUDA)), cameras.pose(torch.linspace(-1, 1, n, device=CUDA))


@pytest.mark.parametrize('style', ['anime', 'human'])
def test_drawing_heads_waits_a_few_times(pretended_gpu, style):
    draw = lambda n, size: toon.render(*people(n), 12.0, size, style)
    few, many = (waits_of(pretended_gpu, draw, *case) for case in ((2, 12), (12, 20)))
    assert many < 60 and abs(many - few) < 12  # the rays of many heads walk a few steps longer
    pretended_gpu.check()


def test_drawing_figures_waits_a_few_times(pretended_gpu):
    draw = lambda n: figures.render_figure(*people(n, figures.sample_figure), 12.0, 12)
    assert waits_of(pretended_gpu, draw, 5) < 80
    pretended_gpu.check()


def test_cameras_and_rays_do_not_wait(pretended_gpu):
    yaw, fov = torch.zeros(3, device=CUDA), torch.full((3,), 12.0, device=CUDA)

    def views():
        cams = cameras.pose(yaw, 0.1, 1.2, (0.0, 0.1, 0.0))
        cameras.rays(cams, 12.0, 8)
        cameras.rays(cams, fov, 8)
        cameras.project(torch.zeros(3, 5, 3, device=CUDA), cams, fov, 8)
        cameras.pose_angles(cams)
        cameras.PRIORS['celeba'].sample(3, rng(0, CUDA))

    assert waits_of(pretended_gpu, views) == 0
    pretended_gpu.check()


def test_samples_are_where_the_generator_is(pretended_gpu):
    source = rng(1, CUDA)
    drawn = [toon.sample_identity(3, source), figures.sample_figure(3, source)]
    drawn += [*toon.sample_camera(3, source).values(), *cameras.PRIORS['carla'].sample(3, source)]
    assert all(values.is_cuda for values in drawn)
    pretended_gpu.check()


def test_training_the_network_waits_once_a_step(pretended_gpu):
    rows = toon.ready_heads('white').batch(range(12))
    pose = torch.stack([rows['yaw'], rows['pitch']], 1)
    twice = [torch.stack([x, x], 1).to(CUDA) for x in (rows['image'], rows['coverage'], pose)]
    images, coverage, angles = twice
    identity = rows['identity'].to(CUDA)
    train = lambda n: toon_net.train_network(images[:n], coverage[:n], identity[:n], angles[:n], epochs=1, batch=2)
    few, many = (waits_of(pretended_gpu, train, n) for n in (4, 12))
    assert many - few == 4  # four steps more
    pretended_gpu.check()
