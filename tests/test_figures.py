"Standing figures: the skeleton's laws, exact geometry, the data set, bad input."

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from animegan_nb import cameras, grading, surfaces
from animegan_nb import figures
from animegan_nb import toon
from animegan_nb.core import rng
from animegan_nb.figures import JOINT, JOINTS, MIRROR, PARENTS, POSES


@pytest.fixture(scope='module', autouse=True)
def one_thread(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv('ANIMEGAN_CACHE', str(tmp_path_factory.mktemp('cache')))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    patch.undo()


def some_bones(seed=0, n=3):
    source = rng(seed)
    return figures.figure_bones(5 + 3 * torch.rand(n, generator=source), torch.rand(n, generator=source))


def camera(n, yaw=0.2, pitch=0.05):
    return cameras.pose(torch.full((n,), yaw), torch.full((n,), pitch)), torch.full((n,), toon.FOV)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_bones_keep_their_lengths_and_frames_are_rotations(seed):
    bones, pose = some_bones(seed), torch.randn(3, len(JOINTS), 3, generator=rng(seed + 1))
    places, frames = figures.forward_kinematics(bones, pose)
    lengths = (places[:, 1:] - places[:, list(PARENTS[1:])]).norm(dim=-1)
    assert torch.allclose(lengths, bones[:, 1:].norm(dim=-1), atol=1e-4)
    assert torch.allclose(frames @ frames.mT, torch.eye(3).expand_as(frames), atol=1e-4)
    assert torch.allclose(torch.linalg.det(frames), torch.ones(3, len(JOINTS)), atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), joint=st.sampled_from(range(len(JOINTS))))
def test_turning_a_joint_moves_only_what_hangs_below_it_and_rigidly(seed, joint):
    bones, pose = some_bones(seed, 1), torch.randn(1, len(JOINTS), 3, generator=rng(seed + 1))
    turned = pose.clone()
    turned[:, joint] += torch.tensor([0.4, -0.7, 0.3])
    before, after = figures.forward_kinematics(bones, pose)[0], figures.forward_kinematics(bones, turned)[0]
    below = [joint]
    for j, parent in enumerate(PARENTS):
        if parent in below:
            below.append(j)
    others = [j for j in range(len(JOINTS)) if j not in below]
    assert torch.allclose(before[:, others + [joint]], after[:, others + [joint]], atol=1e-5)
    spread = lambda places: (places[:, below, None] - places[:, None, below]).norm(dim=-1)
    assert torch.allclose(spread(before), spread(after), atol=1e-4)


@pytest.mark.parametrize('name', POSES)
def test_a_mirrored_pose_gives_mirrored_joints(name):
    bones = some_bones()
    pose = POSES[name].expand(3, -1, -1)
    places = figures.forward_kinematics(bones, pose)[0]
    mirror = figures.forward_kinematics(bones, figures.mirrored_pose(pose))[0]
    assert torch.allclose(mirror, places[:, list(MIRROR)] * torch.tensor([-1.0, 1.0, 1.0]), atol=1e-4)
    assert torch.allclose(figures.mirrored_pose(figures.mirrored_pose(pose)), pose)


def test_rotation_matrices_equal_the_matrix_exponential():
    v = torch.randn(50, 3, generator=rng(0), dtype=torch.float64)
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    skew = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))
    assert torch.allclose(figures.rotation_matrix(v.float()), torch.linalg.matrix_exp(skew).float(), atol=1e-5)
    assert torch.equal(figures.rotation_matrix(torch.zeros(3)), torch.eye(3))


@pytest.mark.parametrize('direction', [(1.0, 0, 0), (0, 1.0, 0), (0.3, -0.9, 0.5), (0, -1.0, 0), (-0.2, 0.4, -0.9)])
def test_aim_brings_a_hanging_bone_there(direction):
    direction = torch.tensor(direction)
    assert torch.allclose(
        figures.rotation_matrix(figures.aim(direction)) @ torch.tensor([0.0, -1, 0]),
        direction / direction.norm(),
        atol=1e-5,
    )


def test_poses_are_many_and_interpolation_meets_both_ends():
    assert len(POSES) >= 8
    a, b = POSES['relaxed'][None], POSES['waving'][None]
    assert torch.equal(figures.between_poses(a, b, torch.zeros(1)), a) and torch.allclose(
        figures.between_poses(a, b, torch.ones(1)), b, atol=1e-6
    )


def test_figures_stand_on_the_floor_and_are_as_many_heads_tall_as_they_say():
    drawn = figures.sample_figure(64, rng(1))
    scene = figures.FigureScene(drawn)
    heads = figures.decode_figure(drawn)['heads']
    assert float(heads.min()) >= 5 and float(heads.max()) <= 8
    ankles = scene.p['joints'][:, [JOINT['left ankle'], JOINT['right ankle']], 1]
    assert bool((ankles.amin(1) > 0).all()) and bool((ankles.amin(1) < 0.7).all())
    for chosen in (5.0, 6.5, 8.0):
        one = figures.FigureScene(figures.encode_figure(heads=chosen)[None])
        measured = float(one.p['joints'][0, JOINT['head'], 1] + 0.45 + 0.85) / figures.HEADS_TO_UNITS
        assert abs(measured - chosen) < 0.35


@pytest.mark.parametrize('seed', [0, 1])
def test_geometry_agrees_with_the_surface(seed):
    n, size = 3, 48
    drawn = figures.sample_figure(n, rng(seed))
    cams, fov = camera(n, yaw=0.5 + 2 * seed)
    out = figures.render_figure(drawn, cams, fov, size, supersample=1, outline=False)
    origins, ways, cosine = surfaces.scene_rays(cams, fov, size)
    scene = figures.FigureScene(drawn)
    for i in range(n):
        hit = out['depth'][i, 0].isfinite().flatten()
        assert 100 < int(hit.sum()) < size * size / 2
        t = out['distance'][i].flatten()[hit]
        assert torch.allclose(out['depth'][i].flatten()[hit], t * cosine[i if len(cosine) > 1 else 0][hit], atol=1e-5)
        points = origins[:, i : i + 1] + t * ways[:, i : i + 1, hit]
        one = scene[i : i + 1]
        assert float(one.distance(points).abs().max()) < 1e-3
        normal = out['normal'][i].flatten(1)[:, hit][:, None]
        assert torch.allclose(normal.norm(dim=0), torch.ones(()), atol=1e-3)
        h = 2e-4
        slope = torch.stack(
            [
                one.distance(points + h * e[:, None, None]) - one.distance(points - h * e[:, None, None])
                for e in torch.eye(3)
            ]
        )
        slope = torch.nn.functional.normalize(slope, dim=0)
        assert float(((slope * normal).sum(0) > 0.9).float().mean()) > 0.9  # creases are allowed to differ
        assert bool((out['parts'][i].flatten()[hit] > 0).all()) and bool((out['parts'][i].flatten()[~hit] == 0).all())


def test_the_distance_never_overshoots():
    "Sphere tracing needs a lower bound: a ball of that radius around a point holds no surface."
    drawn = figures.sample_figure(4, rng(3))
    scene = figures.FigureScene(drawn)
    source = rng(4)
    for i in range(4):
        one = scene[i : i + 1]
        points = (torch.rand(3, 1, 600, generator=source) - 0.5) * torch.tensor([0.12, 0.19, 0.1])[:, None, None]
        d = one.distance(points)
        way = torch.nn.functional.normalize(torch.randn(3, 1, 600, generator=source), dim=0)
        there = one.distance(points + way * d.clamp_min(0) * 0.9)
        outside = d > 1e-4
        assert float((there[outside] > -2e-4).float().mean()) > 0.995


def test_joints_lie_inside_and_project_to_their_pixels():
    n = 4
    drawn = figures.sample_figure(n, rng(5))
    cams, fov = camera(n)
    out = figures.render_figure(drawn, cams, fov, 64, geometry=False)
    scene = figures.FigureScene(drawn)
    solid = [j for j, name in enumerate(JOINTS) if not any(end in name for end in ('fingers', 'toe', 'crown'))]
    for i in range(n):
        assert bool((scene[i : i + 1].distance(out['joints'][i].T[:, None])[0, solid] < 0).all())
    column, row = out['joints_2d'][..., 0].round().long(), out['joints_2d'][..., 1].round().long()
    seen = out['alpha'][torch.arange(n)[:, None], 0, row.clamp(0, 63), column.clamp(0, 63)]
    assert bool((seen[:, solid] > 0.4).all())  # a joint inside a body lies inside its silhouette


def test_a_figure_does_not_depend_on_its_neighbours():
    "Figures are drawn several at a time; what one wears must not leak into another."
    drawn = torch.stack(
        [
            figures.encode_figure(costume=c, pose='relaxed', hair_style=h)
            for c, h in zip(figures.COSTUMES, toon.HAIR_STYLES * 2)
        ]
    )
    points = (torch.rand(3, 1, 400, generator=rng(0)) - 0.5) * torch.tensor([0.10, 0.19, 0.08])[:, None, None]
    scene = figures.FigureScene(drawn)
    together = scene.distance(points.expand(3, len(drawn), -1))
    alone = torch.stack([figures.FigureScene(drawn[i : i + 1]).distance(points)[0] for i in range(len(drawn))])
    assert torch.allclose(together, alone, atol=2e-6)


def test_a_mirrored_figure_has_mirrored_joints():
    plain = figures.encode_figure(pose='waving', mirrored='no')
    other = figures.encode_figure(pose='waving', mirrored='yes')
    a, b = (figures.FigureScene(f[None]).p['joints'] for f in (plain, other))
    assert torch.allclose(b, a[:, list(MIRROR)] * torch.tensor([-1.0, 1.0, 1.0]), atol=1e-4)


@pytest.mark.parametrize('costume', ['sailor suit', 'gown', 'long coat', 'hooded jacket'])
def test_every_costume_is_whole_from_all_sides(costume):
    "One connected silhouette, nothing floats, seen from two sides."
    figure = figures.encode_figure(costume=costume, pose='relaxed', hair_style='bob')[None].expand(2, -1)
    cams = cameras.pose(torch.tensor([0.3, math.pi]), torch.full((2,), 0.05))
    mask = (
        figures.render_figure(
            figure, cams, torch.full((2,), toon.FOV), 40, supersample=4, outline=False, geometry=False
        )['mask']
        > 0.1
    )
    for one in mask[:, 0]:
        reached = torch.zeros_like(one)
        reached.view(-1)[int(one.flatten().float().argmax())] = True
        for _ in range(200):
            grown = (torch.nn.functional.max_pool2d(reached[None, None].float(), 3, 1, 1)[0, 0] > 0) & one
            if bool((grown == reached).all()):
                break
            reached = grown
        assert int(reached.sum()) == int(one.sum()) > 60


def test_the_human_style_keeps_pose_and_camera():
    figure = figures.encode_figure(pose='akimbo')[None]
    cams, fov = camera(1)
    a, b = (figures.render_figure(figure, cams, fov, 32, style=style, geometry=False) for style in ('anime', 'human'))
    assert (
        torch.equal(a['pose'], b['pose'])
        and torch.equal(a['cam2world'], b['cam2world'])
        and not torch.equal(a['image'], b['image'])
    )
    anime, human = (
        figures.FigureScene(figures.encode_figure(heads=heads)[None], style)
        for heads, style in ((5.0, 'anime'), (5.0, 'human'))
    )
    tall = lambda scene: float(
        (scene.p['joints'][0, JOINT['head'], 1] + 0.45 + 0.85 * scene.p['head_scale'])
        / figures.HEADS_TO_UNITS
        / scene.p['head_scale']
    )
    assert tall(anime) < 5.4 and 6.9 < tall(human) < 7.9  # a person is seven to seven and a half heads tall


def test_the_data_set_is_the_same_twice_and_complete():
    ds = figures.ToonFigures(n=3, size=16, seed=5)
    again = figures.ToonFigures(n=3, size=16, seed=5)
    item = ds[1]
    assert len(ds) == 3 and ds.size == 16
    assert {
        'image',
        'alpha',
        'mask',
        'joints',
        'joints_2d',
        'attributes',
        'identity',
        'cam2world',
        'fov',
        'depth',
        'distance',
        'normal',
        'parts',
    } <= set(item)
    assert (
        item['image'].shape == (3, 16, 16)
        and item['image'].dtype == torch.float32
        and item['alpha'].shape == (1, 16, 16)
    )
    assert torch.equal(item['image'], again[1]['image']) and item['attributes']['pose'].ndim == 0
    batch = ds.batch(torch.tensor([2, 0]))
    assert (
        batch['image'].dtype == torch.uint8
        and batch['image'].shape == (2, 3, 16, 16)
        and batch['joints'].shape == (2, len(JOINTS), 3)
    )
    assert bool((item['image'][item['alpha'].expand(3, -1, -1) == 0] == 1).all())  # white behind
    longer = figures.figure_rows(5, 0, 300)['identity']
    assert torch.equal(longer[1], item['identity']) and torch.equal(
        figures.figure_rows(5, 257, 259)['identity'], longer[257:259]
    )


def test_figures_with_fewer_fields_have_batches_and_sizes():
    ds = figures.ToonFigures(n=3, size=16, seed=5)
    images = ds.only('image')
    assert set(images.batch(range(2))) == {'image'}
    assert torch.equal(images.batch([2])['image'], ds.batch([2])['image'])
    assert images.resized(8).batch([0])['image'].shape == (1, 3, 8, 8)
    small, drawn_small = ds.subset([2, 0]).resized(8), figures.ToonFigures(n=3, size=8, seed=5)
    assert torch.allclose(  # joints lie in the pixels of the smaller images
        small.batch([0, 1])['joints_2d'], drawn_small.batch([2, 0])['joints_2d'], atol=1e-4
    )


@pytest.mark.parametrize(
    'make',
    [
        lambda: figures.encode_figure(costume='toga'),
        lambda: figures.encode_figure(heads=12),
        lambda: figures.encode_figure(sleeves='long'),
        lambda: figures.encode_figure(pose=99),
        lambda: figures.ToonFigures(n=2, size=0),
        lambda: figures.ToonFigures(n=2, size=16.5),
        lambda: figures.ToonFigures(n=0, size=16),
        lambda: figures.ToonFigures(n=2, size=16, style='cubist'),
        lambda: figures.ToonFigures(n=2, size=16, camera='drone'),
        lambda: figures.FigureScene(torch.zeros(1, 3)),
        lambda: figures.FigureScene(figures.encode_figure()[None], pose=torch.zeros(1, 3)),
        lambda: figures.render_figure(figures.encode_figure()[None], *camera(1), size=-3),
    ],
)
def test_bad_input_is_answered_with_one_sentence(make):
    with pytest.raises(ValueError) as caught:
        make()
    assert 10 < len(str(caught.value)) < 600 and '\n' not in str(caught.value)


def test_a_figure_does_not_depend_on_its_company():
    "A small figure beside a tall one has the same ink lines as alone."
    people = torch.stack([figures.encode_figure(heads=h, costume='vest') for h in (5.0, 8.0)])
    views = cameras.pose([0.3, -0.3])
    together = figures.render_figure(people, views, 12.0, 48, geometry=False)['image']
    for i in range(2):
        alone = figures.render_figure(people[i : i + 1], views[i : i + 1], 12.0, 48, geometry=False)['image'][0]
        assert ((together[i] - alone).abs() * 127.5).max() < 1


def test_a_pose_names_its_joints():
    with pytest.raises(ValueError, match="no joint 'hips'"):
        figures.make_pose(hips=(1, 2, 3))
    with pytest.raises(ValueError, match='three angles'):
        figures.make_pose(head=5)
    with pytest.raises(ValueError, match='cannot point'):
        figures.make_pose(left_arm=((0, 0, 0), (0, -1, 0)))
    turned = figures.make_pose(head=(0, 90, 0)) - figures.make_pose()
    assert turned[JOINT['head']].tolist() == pytest.approx([0, math.pi / 2, 0])


def test_what_is_left_out_far_from_a_limb_costs_little_at_the_surface():
    "A sphere of limbs leaves out trousers that reach down the thighs: there the distance is too large by a little."
    scene = figures.FigureScene(figures.sample_figure(20, rng(6)))

    def over_all(points):
        parts = (figures._smallest(formulas(points), False)[0] for _, _, formulas in figures.bounded_parts(scene))
        return torch.stack(list(parts)).amin(0)

    spread = torch.tensor([1.0, 3.0, 0.5])[:, None, None]
    points = torch.randn(3, 20, 1500, generator=rng(1)) * spread + scene.joint('pelvis')
    for _ in range(30):  # to the surface
        p = points.requires_grad_(True)
        d = over_all(p)
        (g,) = torch.autograd.grad(d.sum(), p)
        points = (p - 0.7 * d * g / g.square().sum(0).clamp_min(1e-6)).detach()
    d = over_all(points)
    there = d.abs() < 2e-3
    assert there.float().mean() > 0.9
    assert (figures.nearest_part(scene, points) - d)[there].max() < 0.05


def test_float64_figures_are_drawn_as_float32_ones():
    people, pose = figures.encode_figure()[None], figures.POSES['shy'][None]
    single, double = (
        figures.render_figure(who, *camera(1), 16, pose=how, geometry=False)['image']
        for who, how in ((people, pose), (people.double(), pose.double()))
    )
    assert single.dtype == double.dtype == torch.float32 and torch.equal(single, double)


def test_the_oracle_takes_float64_and_numpy():
    check = grading.oracle('figures.kinematics')
    assert check(lambda bones, pose, parents: figures.forward_kinematics(bones.double(), pose.double(), parents)).passed
    assert check(lambda *question: [v.numpy() for v in figures.forward_kinematics(*question)]).passed
