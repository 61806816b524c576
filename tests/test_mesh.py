"Meshes: balls to half a voxel, closed bodies, colours, files, bad input."

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings, strategies as st
from animegan_nb import mesh
from animegan_nb.mesh import automatic_level, extract_mesh, grid_points, save_mesh


@settings(max_examples=15, deadline=None)
@given(st.integers(16, 40), st.floats(0.25, 0.45), st.tuples(*[st.floats(-0.3, 0.3)] * 3), st.sampled_from([1, -1]))
def test_a_ball_is_watertight_and_within_half_a_voxel(resolution, radius, centre, sign):
    c = torch.tensor(centre)
    m = extract_mesh(lambda p: sign * (radius - (p - c).norm(dim=-1)), side=2.0, resolution=resolution)
    assert m.is_watertight and m.is_winding_consistent and m.volume > 0
    assert np.abs(np.linalg.norm(m.vertices - np.array(centre), axis=1) - radius).max() < 0.5 * 2 / (resolution - 1)
    assert abs(m.volume / (4 / 3 * np.pi * radius**3) - 1) < (2 / (resolution - 1) / radius) ** 2


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.floats(0.1, 5.0))
def test_grid_indices_are_whole_numbers(n, side):
    index = (grid_points(n, side) / side + 0.5) * (n - 1)
    k = torch.arange(n**3)
    expected = torch.stack([k // (n * n), k // n % n, k % n], -1).float()
    assert torch.allclose(index, expected, atol=1e-3)


def test_an_uneven_body_is_neither_flipped_nor_swapped():
    half = torch.tensor([0.2, 0.4, 0.6])
    m = extract_mesh(lambda p: -((p - torch.tensor([0.1, 0.0, -0.1])).abs() - half).amax(-1), resolution=50)
    assert np.allclose(m.bounds, [[-0.1, -0.4, -0.7], [0.3, 0.4, 0.5]], atol=0.03)


def test_a_body_cut_by_the_cube_is_closed():
    m = extract_mesh(lambda p: 0.8 - p.norm(dim=-1), side=1.2, resolution=24, level=0.0)
    assert m.is_watertight and abs(m.volume) > 1.0


@pytest.mark.parametrize('density, level', [(2e6, 1.7), (2000.0, 0.01)])
def test_empty_space_close_to_the_level_stays_empty(density, level):
    ball = extract_mesh(lambda p: density * (p.norm(dim=-1) < 0.5).float(), 2.0, 24, level, colours=False)
    assert ball.is_watertight and np.abs(ball.bounds).max() < 0.6 and 0.4 < ball.volume < 0.7


def above_floor(p):
    return torch.maximum(0.4 - p.norm(dim=-1), -0.6 - p[..., 1])


FLOORS = {  # four of the cube's corners are filled
    'field': lambda p, d: (torch.ones_like(p), 80 * (above_floor(p) > 0).float()),
    'density': lambda p: 80 * (above_floor(p) > 0).float(),
    'positive inside': above_floor,
    'negative inside': lambda p: -above_floor(p),
}


@pytest.mark.parametrize('name', FLOORS)
def test_a_floor_is_not_taken_for_the_outside(name):
    m = extract_mesh(FLOORS[name], side=2.0, resolution=32, colours=False)
    assert m.is_watertight and 1.7 < m.volume < 2.6  # 1.6 + 4/3 π 0.4³, closed outside of the cube


@pytest.mark.parametrize('level', [None, 20.0])
def test_a_room_is_solid_around_its_hollow(level):
    "A radiance field may fill all eight corners."
    field = lambda p, d: (torch.ones_like(p), 80 * (p.norm(dim=-1) > 0.6).float())
    m = extract_mesh(field, side=2.0, resolution=32, level=level, colours=False)
    assert m.is_watertight and 6.8 < m.volume < 9.7  # 8 − 4/3 π 0.6³


def test_a_function_of_points_may_be_high_outside_of_a_given_level():
    m = extract_mesh(lambda p: p.norm(dim=-1), level=0.5, resolution=32)
    assert m.is_watertight and np.abs(np.linalg.norm(m.vertices, axis=1) - 0.5).max() < 0.05


def test_a_field_gives_colours_and_is_looked_at_head_on():
    seen = []

    def field(points, directions):
        if len(seen) < 99:
            seen.append((points, directions))
        return (points + 1) / 2, 200 * torch.sigmoid(50 * (0.5 - points.norm(dim=-1)))

    m = extract_mesh(field, resolution=24)
    assert (
        m.is_watertight and np.abs(m.visual.vertex_colors[:, :3] / 255 - (np.asarray(m.vertices) + 1) / 2).max() < 0.01
    )
    points, directions = seen[-1]
    assert ((points * directions).sum(-1) < 0).all()


def test_a_constant_of_the_level_is_the_half_opacity():
    values = torch.linspace(0, 100, 50)
    assert np.isclose(1 - np.exp(-automatic_level(values, 2.0) * 2 / 32), 0.5)
    assert (
        automatic_level(torch.tensor([0.0, 1.0]), 2.0) == 0.5 and automatic_level(torch.tensor([-1.0, 3.0]), 2.0) == 0
    )


def test_the_pigan_field_gives_a_mesh():
    from animegan_nb.siren import PIGAN_FIELD_TOY, PiganField

    torch.manual_seed(0)
    field = PiganField(PIGAN_FIELD_TOY)
    m = extract_mesh(field.at(torch.randn(1, 64)), side=0.24, resolution=20)
    assert m.is_watertight and len(m.visual.vertex_colors) == len(m.vertices)


def test_a_module_is_a_field_as_well_as_its_forward():
    class Ball(torch.nn.Module):
        def forward(self, points, directions=None):
            return (points + 1) / 2, 200 * torch.sigmoid(50 * (0.5 - points.norm(dim=-1)))

    class Distance(torch.nn.Module):  # of points alone
        def forward(self, points):
            return 0.5 - points.norm(dim=-1)

    module, function = (extract_mesh(f, resolution=20) for f in (Ball(), Ball().forward))
    assert np.array_equal(module.vertices, function.vertices)
    assert np.array_equal(module.visual.vertex_colors, function.visual.vertex_colors)
    assert extract_mesh(Distance(), resolution=20).is_watertight


@pytest.mark.parametrize('kind', ['glb', 'ply', 'obj'])
def test_files_come_back(tmp_path, kind):
    m = extract_mesh(
        lambda p, directions: ((p + 1) / 2, 200 * torch.sigmoid(50 * (0.5 - p.norm(dim=-1)))), resolution=20
    )
    again = trimesh.load(save_mesh(m, tmp_path / f'ball.{kind}'), force='mesh')
    assert len(again.faces) == len(m.faces) and np.allclose(again.bounds, m.bounds, atol=1e-4)
    assert (
        np.abs(
            np.asarray(again.visual.vertex_colors, float).mean(0) - np.asarray(m.visual.vertex_colors, float).mean(0)
        ).max()
        < 2
    )
    assert [p.name for p in tmp_path.iterdir() if p.suffix == '.part'] == []


BALL = lambda p: 0.5 - p.norm(dim=-1)


@pytest.mark.parametrize(
    'call, word',
    [
        (lambda: extract_mesh(BALL, level=9.0), 'level'),
        (lambda: extract_mesh(lambda p: 0 * p[:, 0]), 'no surface'),
        (lambda: extract_mesh(BALL, resolution=1), 'grid'),
        (lambda: extract_mesh(BALL, side=-1.0), 'side'),
        (lambda: extract_mesh(lambda p: p[:, 0] * torch.nan), 'finite'),
        (lambda: extract_mesh(lambda p: p[:5, 0]), 'values'),
        (lambda: save_mesh(extract_mesh(BALL, resolution=8), 'a.stl'), '.glb'),
    ],
)
def test_bad_input_is_one_sentence(call, word):
    with pytest.raises(ValueError) as error:
        call()
    assert word in str(error.value) and '\n' not in str(error.value)


class Anything(torch.nn.Module):
    "A module that passes on whatever it is given."

    def __init__(self, function):
        super().__init__()
        self.function, self.weight = function, torch.nn.Parameter(torch.zeros(1))

    def forward(self, *args, **options):
        return self.function(*args, **options)


def test_a_module_of_any_arguments_is_asked_what_it_takes():
    ball = lambda points, directions: ((points + 1) / 2, 200 * torch.sigmoid(50 * (0.5 - points.norm(dim=-1))))
    coloured, plain = (extract_mesh(Anything(f), resolution=20) for f in (ball, BALL))
    assert coloured.is_watertight and plain.is_watertight
    seen = coloured.visual.vertex_colors[:, :3] / 255
    assert np.abs(seen - (np.asarray(coloured.vertices) + 1) / 2).max() < 0.01


def test_values_and_colours_are_asked_for_where_the_weights_are():
    asked = []

    def field(points, directions):
        asked.append((points.device.type, directions.device.type))
        return torch.zeros(*points.shape, device='cpu'), torch.zeros(points.shape[:-1], device='cpu')

    module = Anything(field).to('meta')
    values = mesh.evaluate_field(module, torch.zeros(3, 3))
    colours = mesh.surface_colours(module, torch.zeros(3, 3), torch.ones(3, 3))
    assert set(asked) == {('meta', 'meta')} and values.device == colours.device == torch.device('cpu')
    asked.clear()
    mesh.evaluate_field(lambda p, d: field(p, d), torch.zeros(3, 3), device='meta')
    assert set(asked) == {('meta', 'meta')}
