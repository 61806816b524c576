"SIREN and the pi-GAN field: laws, equal forms, the published network, bad input."

import copy
import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from animegan_nb import siren
from animegan_nb.cameras import from_official_angles, pose, rays
from animegan_nb.raymarch import march
from animegan_nb.siren import (
    Condition,
    FieldConfig,
    PiganField,
    Siren,
    film,
    load_official_field,
    official_field_state,
    sine_init_,
)

SMALL = FieldConfig(hidden=20, layers=3, z_dim=8, mapping_hidden=16)


def field_and_points(config=SMALL, n=37, batch=2, seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    field = PiganField(config).to(dtype)
    g = torch.Generator().manual_seed(seed)
    points = ((torch.rand(batch, n, 3, generator=g) - 0.5) * config.box).to(dtype)
    return (
        field,
        points,
        torch.randn(batch, config.z_dim, generator=g).to(dtype),
        F.normalize(torch.randn(batch, n, 3, generator=g), dim=-1).to(dtype),
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.floats(1.0, 60.0), st.booleans())
def test_initial_weights_stay_in_their_bound(inputs, outputs, omega, first):
    w = sine_init_(torch.nn.Linear(inputs, outputs), omega, first).weight
    assert w.abs().max() <= (1 / inputs if first else math.sqrt(6 / inputs) / omega) + 1e-7


def test_the_statistics_are_flat_across_depth():
    torch.manual_seed(0)
    h, spread = torch.linspace(-1, 1, 1000)[:, None], []
    for i in range(10):
        argument = 30 * sine_init_(torch.nn.Linear(h.shape[1], 256, bias=False), 30.0, i == 0)(h)
        spread.append(argument.std().item())
        h = argument.sin()
    assert all(abs(s - 1) < 0.15 for s in spread[2:])


def test_siren_is_differentiable_twice():
    x = torch.rand(5, 2, requires_grad=True)
    (slope,) = torch.autograd.grad(Siren(2, 16, 2, 1)(x).sum(), x, create_graph=True)
    assert torch.autograd.grad(slope.sum(), x)[0].abs().max() > 0


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3), st.integers(1, 50), st.integers(1, 4), st.sampled_from([16, 33]), st.integers(1, 20))
def test_all_forms_agree(batch, n, layers, hidden, chunk):
    config = FieldConfig(hidden=hidden, layers=layers, z_dim=5, mapping_hidden=8)
    field, points, z, directions = field_and_points(config, n, batch)
    with torch.no_grad():
        rgb, density = field.straight(points, z, directions)
        scale = config.density_scale
        for a, b in (
            field(points, z, directions, 'folded'),
            siren.chunked_field(siren.fold(field, z), points, directions, chunk),
        ):
            assert torch.allclose(a, rgb, atol=1e-5) and torch.allclose(b / scale, density / scale, atol=1e-5)
        assert torch.allclose(field.density_only(points, z) / scale, density / scale, atol=1e-5)


def test_the_paper_size_agrees_to_five_digits():
    field, points, z, directions = field_and_points(siren.PIGAN_FIELD_OFFICIAL, 200)
    with torch.no_grad():
        a, b = field.straight(points, z, directions), field(points, z, directions, 'chunked')
    assert torch.allclose(a[0], b[0], atol=1e-5) and torch.allclose(a[1], b[1], atol=1e-5)


def gradients(field, points, z, directions, method):
    field.zero_grad()
    x, code = points.clone().requires_grad_(True), z.clone().requires_grad_(True)
    rgb, density = field(x, code, directions, method)
    (rgb.square().sum() + (density / 150).square().sum()).backward()
    return [x.grad, code.grad, *(p.grad.clone() for p in field.parameters())]


def test_all_forms_have_the_same_gradients():
    field, points, z, directions = field_and_points()
    exact = gradients(*[x.double() for x in field_and_points()], 'straight')
    for method in ('straight', 'folded', 'chunked'):
        for a, b in zip(gradients(field, points, z, directions, method), exact):
            assert torch.allclose(a.double(), b, rtol=2e-3, atol=2e-4 * float(b.abs().max()))


def test_the_chunked_form_also_passes_numerical_differentiation():
    field, points, z, directions = field_and_points(
        FieldConfig(hidden=5, layers=2, z_dim=3, mapping_hidden=4, frequency_shift=3.0, frequency_scale=1.0),
        n=5,
        dtype=torch.float64,
    )
    condition = field.condition(z)
    knobs = [c.detach().requires_grad_(True) for c in condition]
    run = lambda x, f, p: torch.cat(
        [
            siren.chunked_field(siren.fold(field, Condition(f, p)), x, directions, 2)[0],
            siren.chunked_field(siren.fold(field, Condition(f, p)), x, directions, 2)[1][..., None],
        ],
        -1,
    )
    assert torch.autograd.gradcheck(run, (points.requires_grad_(True), *knobs), atol=1e-6)


def test_the_field_falls_back_without_onednn(monkeypatch):
    field, points, z, directions = field_and_points()
    with torch.no_grad():
        a = field(points, z, directions)
        monkeypatch.setattr(siren, '_ONEDNN', None)
        b = field(points, z, directions)
    assert torch.allclose(a[0], b[0], atol=1e-5) and torch.allclose(a[1] / 150, b[1] / 150, atol=1e-5)


def test_density_does_not_see_the_direction_and_colour_does():
    field, points, z, directions = field_and_points()
    a, b = field(points, z, directions), field(points, z, -directions)
    assert torch.equal(a[1], b[1]) and not torch.equal(a[0], b[0])


def test_codes_do_not_see_each_other():
    field, points, z, directions = field_and_points(batch=3)
    together, alone = field(points, z, directions), field(points[1:2], z[1:2], directions[1:2])
    assert torch.allclose(together[0][1], alone[0][0], atol=1e-6)


def test_the_mixed_precision_rule():
    field, points, z, directions = field_and_points(siren.PIGAN_FIELD, 400)
    with torch.no_grad():
        rgb, density = field.straight(points, z, directions)
        a, b = field(points, z, directions, 'mixed')
    assert ((a - rgb).square().mean().sqrt() / rgb.std()) < 0.03 and (
        (b - density).square().mean().sqrt() / density.std()
    ) < 0.04


def test_a_start_is_neither_empty_nor_solid():
    opacities = []
    for seed in range(6):
        torch.manual_seed(seed)
        field = PiganField()
        with torch.no_grad():
            opacities.append(
                march(field.at(torch.randn(1, 256)), *rays(pose(0.0), 12.0, 6), 0.88, 1.12, 12).opacity.mean().item()
            )
    assert 0.25 < np.mean(opacities) < 0.7 and min(opacities) > 0.02


def test_official_names_make_a_round_trip():
    field, points, z, directions = field_and_points()
    state = official_field_state(field)
    twin = load_official_field({f'module.siren.{k}': v for k, v in state.items()})
    assert twin.config.hidden == 20 and twin.config.layers == 3 and twin.config.z_dim == 8
    assert all(torch.equal(a, official_field_state(twin)[k]) for k, a in state.items())


@pytest.fixture(scope='module')
def published(reference_dir):
    with np.load(reference_dir / 'pigan_reference.npz') as file:
        return {k: torch.from_numpy(file[k]) for k in file}


def official(published):
    return load_official_field({k.removeprefix('param/'): v for k, v in published.items() if k.startswith('param/')})


@pytest.mark.real
@pytest.mark.parametrize('method', ['straight', 'folded', 'chunked'])
def test_the_published_field(published, method):
    field = official(published)
    with torch.no_grad():
        condition = field.condition(published['siren/z'])
        rgb, density = field(published['siren/points'], condition, published['siren/directions'], method)
    assert torch.allclose(condition.frequencies.flatten(1), published['siren/frequencies'], atol=1e-4)
    assert torch.allclose(condition.phases.flatten(1), published['siren/phase_shifts'], atol=1e-4)
    assert torch.allclose(rgb, published['siren/rgb_sigma'][..., :3], atol=1e-4) and torch.allclose(
        density, published['siren/rgb_sigma'][..., 3], atol=1e-4, rtol=1e-4
    )


@pytest.mark.real
@pytest.mark.parametrize('view', [0, 1, 2])
@pytest.mark.parametrize('kind, fine', [('coarse', 0), ('hier', 12)])
def test_the_published_images(published, view, kind, fine):
    field = official(published)
    cam = pose(*from_official_angles(published['camera/yaw'][view], published['camera/pitch'][view]))
    with torch.no_grad():
        out = march(
            field.at(published['siren/z'][:1]), *rays(cam, 12.0, 16, 'border'), 0.88, 1.12, 12, fine, official=True
        )
    image = out.rgb.mT.reshape(1, 3, 16, 16) * 2 - 1
    assert torch.allclose(image, published[f'render/view{view}_{kind}_12steps_16px'], atol=1e-4)


FIELD, POINTS, Z, DIRECTIONS = field_and_points()


@pytest.mark.parametrize(
    'call, word',
    [
        (lambda: FIELD(POINTS, torch.zeros(2, 7), DIRECTIONS), 'latent code'),
        (lambda: FIELD(POINTS, (torch.zeros(2, 3, 20), torch.zeros(2, 4, 20)), DIRECTIONS), 'frequencies'),
        (lambda: FIELD(POINTS, (torch.zeros(2, 4, 20), torch.zeros(2, 4, 21)), DIRECTIONS), 'phases'),
        (lambda: FIELD(POINTS, (torch.zeros(2, 4, 20), torch.zeros(1, 4, 20)), DIRECTIONS), 'sets'),
        (lambda: FIELD(POINTS[0], Z, DIRECTIONS), 'Points'),
        (lambda: FIELD(POINTS[:1], Z, DIRECTIONS[:1]), 'Points'),
        (lambda: FIELD(POINTS, Z, DIRECTIONS[:, :3]), 'direction'),
        (lambda: FIELD(POINTS, Z, DIRECTIONS, 'quick'), 'evaluated'),
        (lambda: FIELD.density_only(POINTS, Z, 'quick'), 'evaluated'),
        (lambda: FIELD(POINTS[:0], Z[:0], DIRECTIONS[:0]), 'at least one'),
        (lambda: FIELD.density_only(POINTS[:0], Z[:0]), 'at least one'),
        (lambda: load_official_field({'x': torch.zeros(1)}), 'missing'),
        (
            lambda: load_official_field(
                {k: v for k, v in official_field_state(FIELD).items() if k != 'final_layer.bias'}
            ),
            'final_layer.bias',
        ),
        (
            lambda: film(torch.zeros(1, 2, 3), torch.zeros(4, 3), torch.zeros(4), torch.zeros(1, 5), torch.zeros(1, 5)),
            'Frequencies',
        ),
        (
            lambda: film(torch.zeros(2, 4, 3), torch.zeros(4, 3), torch.zeros(4), torch.zeros(4), torch.zeros(4)),
            'batch, 4',
        ),
        (
            lambda: film(torch.zeros(3, 5, 3), torch.zeros(4, 3), torch.zeros(4), torch.zeros(2, 4), torch.zeros(2, 4)),
            '2 sets of frequencies',
        ),
        (lambda: FIELD(POINTS, siren.fold(FIELD, Z), DIRECTIONS, 'straight'), 'a folded field holds neither'),
        (
            lambda: siren.evaluate_folded(siren.fold(FIELD, Z), POINTS, DIRECTIONS, 'straight'),
            "a field also 'straight'",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, word):
    with pytest.raises(ValueError) as error:
        call()
    assert word in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('method', ['auto', 'chunked', 'folded', 'mixed', 'straight'])
def test_numbers_of_another_kind_become_those_of_the_field(method):
    wanted = FIELD(POINTS, Z, DIRECTIONS, method)
    doubles = FIELD(POINTS.double(), Z.double(), DIRECTIONS.double(), method)
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(doubles, wanted))
    exact = copy.deepcopy(FIELD).double()
    found = exact(POINTS, Z, DIRECTIONS, method)
    rounded = method == 'mixed' and siren.half_pays(POINTS.device)
    for a, b in zip(wanted, found):
        error = (a.double() - b).square().mean().sqrt() / b.std()
        assert b.dtype == torch.float64 and error < (0.1 if rounded else 1e-3)


def test_a_folded_field_is_a_field_of_points():
    a, b = (FIELD.at(k)(POINTS, DIRECTIONS) for k in (Z, siren.fold(FIELD, Z)))
    assert all(torch.allclose(x, y, atol=1e-6) for x, y in zip(a, b))


@pytest.mark.parametrize('chunk', [None, 7, 100])
def test_what_is_kept_does_not_change_a_gradient(chunk):
    field, points, z, directions = field_and_points(FieldConfig(hidden=20, layers=3, z_dim=5, mapping_hidden=8), 40, 2)
    points.requires_grad_(True)

    def slopes(kept, times=1):
        out = sum(x.square().sum() for x in siren.chunked_field(siren.fold(field, z), points, directions, chunk, kept))
        for _ in range(times):
            found = torch.autograd.grad(out, [points, *field.parameters()], retain_graph=True, allow_unused=True)
        return found

    for a, b, c in zip(slopes(0), slopes(2**20), slopes(2**20, 2)):
        assert torch.equal(a, b) and torch.equal(a, c)


def test_little_memory_waits_for_the_backward_pass():
    field, points, z, directions = field_and_points(FieldConfig(hidden=32, layers=3, z_dim=5, mapping_hidden=8), 500, 1)
    held = {}

    def waiting(kept):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel() * 4) or x, lambda x: x):
            siren.chunked_field(siren.fold(field, z), points, directions, None, kept)
        return sum(sizes)

    held = {kept: waiting(kept) for kept in (0, 2**20)}
    assert held[2**20] - held[0] == 4 * 500 * 32 * 4  # one argument for each of four sines
    assert waiting(4 * 500 * 32 * 4 - 1) == held[0]


def test_the_sines_that_fit_are_kept_and_only_the_rest_is_computed_again(monkeypatch):
    field, points, z, directions = field_and_points(FieldConfig(hidden=32, layers=3, z_dim=5, mapping_hidden=8), 50, 3)
    each, run, runs = siren.point_bytes(3, 32), siren._run_chunk, []
    monkeypatch.setattr(siren, '_run_chunk', lambda *a: runs.append(a[3] is not None) or run(*a))

    def slopes(kept):
        runs.clear()
        out = siren.chunked_field(siren.fold(field, z), points, directions, 20, kept)
        forward = len(runs)
        found = torch.autograd.grad(sum(x.square().sum() for x in out), list(field.parameters()))
        return found, sum(runs[:forward]), len(runs) - forward

    nothing, most = slopes(0), slopes(110 * each)  # three images of chunks of 20, 20 and 10 points
    assert nothing[1:] == (0, 9) and most[1:] == (6, 3)
    assert all(torch.equal(a, b) for a, b in zip(nothing[0], most[0]))


def close_to_the_sine(found, expected):
    return (found.double() - expected).abs().max() < 2e-7


@pytest.mark.parametrize('compiled', [True, False])
def test_the_sine_and_its_slope(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(siren, 'sine_library', lambda: None)
    elif siren.sine_library() is None:
        pytest.skip('there is no C compiler here')
    x = torch.cat([torch.linspace(-400, 400, 200_001), 3e4 * torch.randn(999, generator=torch.Generator())])
    slope = torch.full_like(x, 2.0)
    assert close_to_the_sine(siren.sine(x), x.double().sin())
    assert close_to_the_sine(siren.sine_and_slope(x, slope), x.double().sin())
    assert close_to_the_sine(slope / 2, x.double().cos())
    y = x.clone()
    assert siren.sine(y, y) is y and close_to_the_sine(y, x.double().sin())
    far = torch.tensor([1e9, -3e30, torch.nan, torch.inf])
    found = siren.sine(far)
    assert (found[:2].abs() <= 1).all() and found[2:].isnan().all()


def test_without_a_compiler_the_field_is_the_same(monkeypatch):
    field, points, z, directions = field_and_points(FieldConfig(hidden=32, layers=3, z_dim=5, mapping_hidden=8), 300)
    with_c = gradients(field, points, z, directions, 'chunked')
    monkeypatch.setattr(siren, 'sine_library', lambda: None)
    for a, b in zip(with_c, gradients(field, points, z, directions, 'chunked')):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


@pytest.mark.parametrize('fault', ['no compiler', 'a compiler that fails', 'another processor'])
def test_the_sines_are_done_without_a_word_where_they_cannot_be_compiled(fault, monkeypatch, tmp_path):
    monkeypatch.setenv('ANIMEGAN_CACHE', str(tmp_path))
    if fault == 'another processor':
        monkeypatch.setattr(siren.platform, 'machine', lambda: 'riscv64')
    else:
        monkeypatch.setenv('CC', 'false' if fault == 'a compiler that fails' else 'no-such-compiler')
    assert siren.sine_library.__wrapped__() is None


@pytest.mark.parametrize('damage', ['cut', 'changed', 'empty'])
def test_a_damaged_file_of_the_sines_is_compiled_again(damage, monkeypatch, tmp_path):
    monkeypatch.setenv('ANIMEGAN_CACHE', str(tmp_path))
    if siren.sine_library.__wrapped__() is None:
        pytest.skip('there is no C compiler here')
    (path,) = (tmp_path / 'sines').iterdir()
    whole = path.read_bytes()
    bad = {'cut': whole[:8000], 'changed': whole[:4096] + bytes(4096) + whole[8192:], 'empty': b''}[damage]
    path.unlink()  # this process has loaded it
    path.write_bytes(bad)
    code = 'import torch; from animegan_nb import siren; print(siren.sine_library() and siren.sine(torch.ones(1)))'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and result.stdout.startswith('tensor([0.841'), result.stderr  # not a signal
    stored = [(file.stem, hashlib.sha256(file.read_bytes()).hexdigest()[:16]) for file in path.parent.iterdir()]
    assert any(stem.endswith(checksum) for stem, checksum in stored)


def test_kept_sines_need_no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv('ANIMEGAN_CACHE', str(tmp_path))
    if siren.sine_library.__wrapped__() is None:
        pytest.skip('there is no C compiler here')
    monkeypatch.setenv('CC', 'no-such-compiler')
    assert siren.sine_library.__wrapped__() is not None


@pytest.mark.parametrize('error', [PermissionError, RuntimeError])
def test_without_a_folder_for_the_sines_there_are_none(error, monkeypatch):
    def no_folder(*parts):
        raise error("Could not determine home directory.")

    monkeypatch.setattr(siren, 'cache_dir', no_folder)
    assert siren.sine_library.__wrapped__() is None


def test_tensors_of_other_shapes_do_not_reach_c():
    x = torch.randn(100_000)
    assert torch.equal(siren.sine(x[:4], torch.empty(0)), x[:4].sin())
    with pytest.raises(RuntimeError):
        siren.sine_and_slope(x, torch.ones(4))


def test_half_precision_has_good_gradients_and_makes_its_weights_once(monkeypatch):
    field, points, z, directions = field_and_points(siren.PIGAN_FIELD, 600, 1)
    if not siren.half_pays(torch.device('cpu')):  # then PyTorch rounds: oneDNN refuses on some processors
        monkeypatch.setattr(siren, '_ONEDNN', None)
    monkeypatch.setattr(siren, 'half_pays', lambda device: True)
    monkeypatch.setattr(siren, 'CHUNK', 128)
    casts, to = [], siren.rounded
    monkeypatch.setattr(siren, 'rounded', lambda folded: casts.append(1) or to(folded))
    exact, half = (gradients(field, points, z, directions, m) for m in ('chunked', 'mixed'))
    assert len(casts) == 1
    for a, b in zip(half, exact):
        assert a.dtype == torch.float32 and (a - b).norm() < 0.06 * b.norm()


def test_half_precision_rounds_only_where_the_processor_has_it(monkeypatch):
    field, points, z, directions = field_and_points(siren.PIGAN_FIELD, 50)
    monkeypatch.setattr(siren, 'half_pays', lambda device: False)
    with torch.no_grad():
        for a, b in zip(field(points, z, directions, 'mixed'), field(points, z, directions, 'chunked')):
            assert torch.equal(a, b)
        assert torch.equal(field.density_only(points, z, 'mixed'), field.density_only(points, z))


def test_a_gradient_inside_autocast_is_that_outside():
    field, points, z, directions = field_and_points()
    with torch.autocast('cpu', torch.bfloat16):
        inside = gradients(field, points, z.requires_grad_(False), directions, 'chunked')
    assert all(x.isfinite().all() for x in inside)


@pytest.mark.parametrize('method', ['auto', 'folded', 'straight'])
def test_autocast_does_not_round_the_arguments_of_the_sines(method):
    if not torch.amp.is_autocast_available('cpu'):
        pytest.skip('this PyTorch has no autocast on a CPU')
    field, points, z, directions = field_and_points()

    def evaluated():
        both = field(points, z, directions, method)
        return *field.condition(z), *both, field.density_only(points, z)

    with torch.no_grad():
        outside = evaluated()
        with torch.autocast('cpu', torch.bfloat16):
            inside = evaluated()
        for a, b in zip(inside, outside):
            assert a.dtype == b.dtype and (a - b).abs().max() < 1e-3 * b.std()
        with torch.autocast('cpu', torch.bfloat16):  # what other layers hand over there is rounded
            z, points, directions = (x.bfloat16() for x in (z, points, directions))
            assert all(x.dtype == torch.float32 and x.isfinite().all() for x in evaluated())
