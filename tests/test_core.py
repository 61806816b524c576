import copy
import io
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from animegan_nb import core


@given(st.integers(1, 20), st.integers(1, 12), st.integers(1, 12), st.integers(0, 4), st.sampled_from([1, 3]))
@settings(max_examples=40, deadline=None)
def test_a_grid_holds_every_image_untouched(n, h, w, gap, channels):
    p = torch.randint(0, 256, (n, channels, h, w), dtype=torch.uint8)
    columns = max(1, n // 2)
    sheet = torch.from_numpy(np.array(core.grid(p, columns, gap))).permute(2, 0, 1)
    for i in range(n):
        r, c = divmod(i, columns)
        assert torch.equal(
            sheet[:, r * (h + gap) : r * (h + gap) + h, c * (w + gap) : c * (w + gap) + w], p[i].expand(3, -1, -1)
        )


@given(st.floats(-5, 5))
def test_bytes_are_rounded_and_clipped(x):
    b = core.to_uint8(torch.tensor([x])).item()
    assert 0 <= b <= 255
    if -1 <= x <= 1:
        assert abs(core.to_float(torch.tensor([b], dtype=torch.uint8)).item() - x) <= 1 / 255 + 1e-6


def test_nan_images_are_refused():
    with pytest.raises(ValueError, match='NaN'):
        core.to_uint8(torch.tensor([float('nan')]))


@pytest.mark.parametrize(
    'bad', [torch.zeros(3, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(0, 3, 8, 8), np.zeros((1, 3, 8, 8)), None]
)
def test_wrong_images_get_one_sentence(bad):
    with pytest.raises(ValueError) as e:
        core.grid(bad)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize(
    'images, message',
    [
        (torch.zeros(1, 3, 2, 2, dtype=torch.int64), 'torch.int64'),
        (torch.zeros(1, 3, 2, 2, dtype=torch.int16), 'torch.int16'),
        (torch.zeros(1, 3, 2, 2, dtype=torch.bool), 'torch.bool'),
        (torch.zeros(1, 3, 2, 2, dtype=torch.complex64), 'torch.complex64'),
        (torch.tensor([0, 0, float('inf')]).view(1, 3, 1, 1), 'infinity'),
        (torch.tensor([0, 0, -float('inf')]).view(1, 3, 1, 1), 'infinity'),
        (torch.full((1, 3, 2, 2), 128.0), r'lie in \[-1, 1\]'),
    ],
)
def test_images_of_another_type_or_range_get_one_sentence(images, message):
    with pytest.raises(ValueError, match=message) as error:
        core.check_images(images)
    assert '\n' not in str(error.value)


def test_a_generator_may_overshoot_and_bytes_may_stay_where_they_are():
    overshot = torch.tensor([-2.5, 0, 0.5]).view(1, 3, 1, 1)
    for images in (overshot, overshot.half(), overshot.bfloat16(), overshot.double()):
        assert core.check_images(images).flatten().tolist() == [0, 128, 191]
    there = torch.zeros(1, 1, 2, 2, dtype=torch.uint8, device='meta')
    found = core.check_images(there, device=None)
    assert found.device.type == 'meta' and found.shape == (1, 3, 2, 2)


@pytest.mark.parametrize('known, seconds, fast', [(True, 0.5, True), (True, 2.0, False), (False, 0.5, False)])
def test_bfloat16_is_fast_where_a_processor_knows_it_and_gains_by_it(monkeypatch, known, seconds, fast):
    for name in ('_is_avx512_bf16_supported', '_is_amx_tile_supported'):
        monkeypatch.setattr(torch.cpu, name, lambda: known, raising=False)
    timed = {torch.bfloat16: seconds, torch.float32: 1.0}
    monkeypatch.setattr(core, '_convolution_seconds', timed.get)
    core.fast_bfloat16.cache_clear()
    try:
        assert core.fast_bfloat16() == core.fast_bfloat16('cpu') == fast
        assert not core.fast_bfloat16('mps')
    finally:
        core.fast_bfloat16.cache_clear()


def test_the_convolutions_that_are_timed_are_of_the_type_asked_for(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.nn.functional, 'conv2d', lambda x, w, padding: seen.append((x.dtype, w.dtype)))
    for dtype in (torch.bfloat16, torch.float32):
        assert core._convolution_seconds(dtype, turns=3) >= 0
    assert seen == [(torch.bfloat16,) * 2] * 3 + [(torch.float32,) * 2] * 3


def test_every_figure_fits(tmp_path):
    noise = torch.rand(64, 3, 64, 64) * 2 - 1  # the hardest image to compress
    fig = core.show_images(noise)
    mime, data = core.encode_image(fig.image())
    assert len(data) <= core.MAX_IMAGE_BYTES and mime in ('image/png', 'image/jpeg')
    Image.open(io.BytesIO(data)).verify()


def test_a_grid_that_is_too_large_keeps_its_squares():
    "With 256 colours rather than as a JPEG: within a square of a pixel nothing varies."
    source = torch.Generator().manual_seed(0)
    images = torch.rand(40, 3, 32, 32, generator=source) * 2 - 1
    picture = core.show_images(images, columns=8, scale=3).image()
    assert len(core._bytes(picture, 'PNG', optimize=True)) > core.MAX_IMAGE_BYTES
    mime, data = core.encode_image(picture)
    stored = np.asarray(Image.open(io.BytesIO(data)).convert('RGB')).astype(float)
    assert mime == 'image/png' and len(data) <= core.MAX_IMAGE_BYTES and stored.shape[:2] == picture.size[::-1]
    changes = np.abs(np.diff(stored, axis=1)).max((0, 2)) > 0  # between neighbouring columns, anywhere
    exact = np.abs(np.diff(np.asarray(picture).astype(float), axis=1)).max((0, 2)) > 0
    assert (changes <= exact).all()


def test_figures_work_in_threads():
    from concurrent.futures import ThreadPoolExecutor

    def draw(i):
        fig, ax = core.figure(width=2, height=1)
        ax.plot([0, i])
        return fig.png()

    with ThreadPoolExecutor(8) as pool:
        many = list(pool.map(draw, [1] * 24))
    assert len(set(many)) == 1


def test_animation_formats(tmp_path):
    moving = core.Animation(torch.rand(6, 3, 9, 11) * 2 - 1)
    for kind in ('gif', 'png', 'webp', 'mp4'):
        assert moving.save(tmp_path / f'a.{kind}').stat().st_size > 0
    with Image.open(tmp_path / 'a.png') as im:
        assert im.n_frames == 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.gif', 'a.mp4', 'a.png', 'a.webp']
    with pytest.raises(ValueError, match='.gif'):
        moving.save(tmp_path / 'a.avi')
    with pytest.raises(ValueError, match='fps'):
        core.Animation(torch.rand(2, 3, 4, 4), fps=0)


@pytest.mark.parametrize('fps, milliseconds', [(12, 80), (24, 40), (30, 30), (35, 30), (50, 20)])
def test_a_gif_counts_in_hundredths_of_a_second(tmp_path, fps, milliseconds):
    path = core.Animation(torch.rand(3, 3, 8, 8) * 2 - 1, fps=fps).save(tmp_path / 'a.gif')
    with Image.open(path) as im:
        assert im.info['duration'] == milliseconds


def test_a_gif_is_not_faster_than_programs_show_it(tmp_path):
    fast = core.Animation(torch.rand(3, 3, 8, 8) * 2 - 1, fps=60)
    with pytest.raises(ValueError, match='at most 50 frames a second of it, not 60: lower fps'):
        fast.save(tmp_path / 'a.gif')
    assert not any(tmp_path.iterdir()) and fast.save(tmp_path / 'a.png').exists()


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P', 'L', 'RGB'])
def test_a_transparent_image_comes_on_white(mode):
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 4), np.uint8)
    noise[:, :40, 3] = 0
    image = Image.fromarray(noise, 'RGBA').convert(mode)
    mime, data = core.encode_image(image, limit=3000)
    assert mime == 'image/jpeg' and len(data) <= 3000
    seen = np.asarray(core.without_transparency(image))
    assert seen.shape == (80, 80, 3) and ((seen[:, :40] == 255).all() or mode not in ('RGBA', 'LA'))


def test_animation_stays_below_its_limit():
    frames = torch.rand(16, 3, 64, 64) * 2 - 1
    for limit, kind in ((60_000, 'image/png'), (1000, 'image/jpeg')):  # the second holds one frame only
        mime, data = core._small_animation(core.Animation(frames, limit=limit))
        assert mime == kind and len(data) <= limit


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    import imageio.v2

    def full(path, *a, **k):
        open(path, 'wb').write(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(imageio.v2, 'mimwrite', full)
    with pytest.raises(OSError):
        core.Animation(torch.rand(2, 3, 4, 4)).save(tmp_path / 'a.mp4')
    assert list(tmp_path.iterdir()) == []


def test_budget_from_the_environment(monkeypatch):
    monkeypatch.setenv('ANIMEGAN_BUDGET', 'gpu')
    assert core.get_budget().name == 'gpu'
    monkeypatch.setenv('ANIMEGAN_BUDGET', 'big')
    with pytest.raises(ValueError, match='ANIMEGAN_BUDGET'):
        core.get_budget()


def test_seed_everything_repeats():
    def run():
        core.seed_everything(5)
        return torch.nn.Conv2d(3, 4, 3)(torch.randn(2, 3, 8, 8)).sum().item(), np.random.rand()  # noqa: NPY002

    assert run() == run()


def test_device_can_be_chosen(monkeypatch):
    monkeypatch.setenv('ANIMEGAN_DEVICE', 'cpu')
    assert core.default_device() == torch.device('cpu')


def test_a_name_is_taken_once():
    r = core.Registry('thing')
    r.register('a')(test_a_name_is_taken_once)
    with pytest.raises(ValueError, match='exists already'):
        r.register('a')(test_seed_everything_repeats)


def test_a_second_thread_waits_until_all_is_registered():
    def load():
        time.sleep(0.3)
        late['a'] = 1

    late = core.Registry('thing', load)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda name: late[name], 'aa')) == [1, 1]
    assert copy.deepcopy(core.Registry('thing')).kind == 'thing'


def test_unknown_shipped_file():
    with pytest.raises(FileNotFoundError, match='ships no file'):
        core.shipped('nothing.safetensors')


def test_import_is_light():
    "Importing the package costs less than a second on top of torch."

    code = (
        "import torch, time; t=time.perf_counter(); import animegan_nb, animegan_nb.core; print(time.perf_counter()-t);"
        " import sys; assert 'matplotlib.pyplot' not in sys.modules and 'IPython' not in sys.modules"
    )
    took = min(
        float(
            subprocess.run(
                [sys.executable, '-c', code], capture_output=True, text=True, check=True, env={**os.environ}
            ).stdout
        )
        for _ in range(2)
    )
    print(f'import animegan_nb.core adds {took:.2f} s to import torch')


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 7), st.integers(0, 3))
def test_tiles_undo_a_grid(n, columns, size, gap):
    p = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    assert torch.equal(core.tiles(core.grid(p, columns, gap), size, n, gap), p)


def test_a_sheet_of_other_images_is_refused():
    with pytest.raises(ValueError, match='does not hold images of 9×9'):
        core.tiles(Image.new('RGB', (40, 40)), 9)


def test_two_chapters_cannot_take_one_name():
    known = core.Registry('thing')
    chapter = lambda name, text: exec(text, {'__name__': f'animegan_nb.{name}', 'known': known})
    chapter('one', "known['a'] = 1")
    chapter('one', "known['a'] = 2")  # its own, again
    for text in ("known['a'] = 3", "known.update(a=3)"):
        with pytest.raises(ValueError, match='exists already, in animegan_nb.one: animegan_nb.two'):
            chapter('two', text)
    assert known['a'] == 2
    known['a'] = 4  # a program may
    assert known['a'] == 4


# a process of its own: in this one, earlier tests have left free memory of all sizes
PAGE_FAULTS = """
import resource
import torch
from animegan_nb import core

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.zeros(16 * 2**20)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

page_faults()
before = page_faults()
with core.freed_memory_kept():
    page_faults()
    kept = page_faults()
print(before, kept)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='an option of glibc')
def test_freed_memory_is_kept():
    said = subprocess.run([sys.executable, '-c', PAGE_FAULTS], capture_output=True, text=True, check=True).stdout
    before, kept = map(int, said.split())
    assert 10 * kept < before


def test_elsewhere_than_under_glibc_nothing_changes(monkeypatch):
    monkeypatch.setattr(core.ctypes, 'CDLL', lambda name: object())
    with pytest.raises(KeyError, match='passes'), core.freed_memory_kept():
        raise KeyError('what is raised inside passes')


@pytest.mark.parametrize('titles', [['WGAN-GP', ''], ['WWWWWWWWWW', 'i'], ['', '']])
def test_titles_of_rows_are_not_cut(titles):
    fig = core.show_images(torch.zeros(2, 3, 8, 8), columns=1, row_titles=titles, scale=2)
    FigureCanvasAgg(fig).draw()
    assert all(text.get_window_extent().x0 >= 0 for text in fig.axes[0].texts)


def test_a_folder_that_is_not_there_is_not_asked_of_the_hub(tmp_path):
    for name in ('./nonet', '~/nonet', tmp_path / 'none'):
        with pytest.raises(FileNotFoundError, match='There is no folder .*nonet|There is no folder .*none'):
            core.find_pretrained(name)


def test_settings_inside_an_optional_table():
    from dataclasses import make_dataclass

    inner = make_dataclass('Inner', [('w', int)])
    outer = make_dataclass('Outer', [('i', inner | None, None)])
    assert core.settings_from(outer, {'i': {'w': 3}}, 'It').i == inner(3)
    assert core.settings_from(outer, {}, 'It').i is None
    with pytest.raises(ValueError, match='It, i has no setting'):
        core.settings_from(outer, {'i': {'v': 3}}, 'It')
