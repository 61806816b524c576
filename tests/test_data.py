"The data chapter: formats, store, data set, loader, public sets."

import errno
import gc
import io
import json
import os
import pickle
import random
import shutil
import signal
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from tiny import folder_of, smooth

from animegan_nb import data as D
from animegan_nb.data import ArrayStore, ImageFolder, ImageSet, Loader
from animegan_nb.toon import ready_heads

ON_TMP = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def numbered(n, size=8):
    "A set whose image i holds the value i on its left half and 255 - i on its right half."
    image = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, size, size), np.uint8)
    image[..., size // 2 :] = 255 - image[..., size // 2 :]
    return ImageSet({'image': image, 'number': np.arange(n)})


# ---------------------------------------------------------------- formats


def distance(a, b):
    return np.abs(np.asarray(a, float) - np.asarray(b, float)).mean()


@pytest.mark.parametrize(
    'ending, options, tolerance',
    [
        ('png', {}, 0),
        ('webp', {'lossless': True}, 0),
        ('bmp', {}, 0),
        ('tiff', {}, 0),
        ('ppm', {}, 0),
        ('jpg', {'quality': 95}, 3),
        ('webp', {'quality': 95}, 4),
    ],
)
def test_formats(tmp_path, ending, options, tolerance):
    image = smooth(1)
    image.save(tmp_path / f'a.{ending}', **options)
    assert distance(D.open_image(tmp_path / f'a.{ending}'), image) <= tolerance


def test_cmyk_jpeg(tmp_path):
    smooth(2).convert('CMYK').save(tmp_path / 'a.jpg', quality=98)
    opened = D.open_image(tmp_path / 'a.jpg')
    assert opened.mode == 'RGB' and distance(opened, smooth(2)) < 4


@pytest.mark.parametrize(
    'orientation, there',
    [
        (1, None),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
@pytest.mark.parametrize('ending', ['jpg', 'png', 'webp'])
def test_all_exif_orientations(tmp_path, orientation, there, ending):
    upright = smooth(3, (48, 64))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright.transpose(there) if there is not None else upright
    stored.save(tmp_path / f'a.{ending}', exif=exif, quality=98)
    opened = D.open_image(tmp_path / f'a.{ending}')
    assert opened.size == upright.size and distance(opened, upright) < 4


def test_a_broken_exif_header_asks_for_nothing(tmp_path):
    smooth(3).save(tmp_path / 'a.jpg', exif=b'Exif\0\0MM\0*\xff\xff\xff\xff', quality=95)
    assert D.open_image(tmp_path / 'a.jpg').size == (64, 64)


@pytest.mark.parametrize('background', [(255, 255, 255), (10, 200, 30)])
@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P'])
def test_transparency(tmp_path, mode, background):
    alpha = Image.fromarray(np.repeat(np.array([0, 255], np.uint8), 32)[None].repeat(64, 0))
    image = smooth(4).convert('L' if mode == 'LA' else 'RGB')
    image.putalpha(alpha)
    if mode == 'P':
        image = smooth(4).quantize(16)
        pixels = np.array(image)
        clear = int(pixels[0, 0])
        image.save(tmp_path / 'a.png', transparency=clear)
        where = pixels == clear
    else:
        image.save(tmp_path / 'a.png')
        where = np.asarray(alpha) == 0
    opened = np.asarray(D.open_image(tmp_path / 'a.png', background))
    assert (opened[where] == background).all()
    assert np.array_equal(opened[~where], np.asarray(image.convert('RGB'))[~where])


@given(
    alpha=st.integers(0, 255),
    colour=st.tuples(*[st.integers(0, 255)] * 3),
    background=st.tuples(*[st.integers(0, 255)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_alpha_is_the_over_equation(alpha, colour, background):
    file = io.BytesIO()
    Image.new('RGBA', (2, 2), (*colour, alpha)).save(file, 'PNG')
    got = np.asarray(D.open_image(io.BytesIO(file.getvalue()), background))[0, 0]
    expected = alpha / 255 * np.array(colour) + (1 - alpha / 255) * np.array(background)
    assert np.abs(got - expected).max() <= 1


@pytest.mark.parametrize('ending', ['png', 'tiff'])
def test_sixteen_bit_grey(tmp_path, ending):
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(grey * 257).save(tmp_path / f'a.{ending}')
    assert np.array_equal(np.asarray(D.open_image(tmp_path / f'a.{ending}'))[..., 0], grey)


def test_float_tiff(tmp_path):
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(tmp_path / 'a.tif')
    opened = np.asarray(D.open_image(tmp_path / 'a.tif'))
    assert opened.min() == 0 and opened.max() == 255


@pytest.mark.parametrize('ending', ['gif', 'webp', 'png'])
def test_first_frame_of_what_moves(tmp_path, ending):
    frames = [Image.new('RGB', (16, 16), colour) for colour in ('red', 'green', 'blue')]
    frames[0].save(
        tmp_path / f'a.{ending}',
        save_all=True,
        append_images=frames[1:],
        **({'lossless': True} if ending == 'webp' else {}),
    )
    assert (np.asarray(D.open_image(tmp_path / f'a.{ending}')) == (255, 0, 0)).all()


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'YCbCr', 'LAB'])
def test_other_modes(tmp_path, mode):
    if mode in ('1', 'L', 'P'):
        smooth(5).convert(mode).save(tmp_path / 'a.png')
        name = 'a.png'
    else:
        image = smooth(5).convert('YCbCr') if mode == 'YCbCr' else Image.merge('LAB', smooth(5).split())
        image.save(tmp_path / 'a.tif')
        name = 'a.tif'
    assert D.open_image(tmp_path / name).mode == 'RGB'


def test_no_ghostscript(tmp_path):
    (tmp_path / 'a.png').write_bytes(
        b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF'
    )
    with pytest.raises(Image.UnidentifiedImageError):
        D.open_image(tmp_path / 'a.png')


@given(w=st.integers(1, 40), h=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_squares(w, h):
    image = smooth(w * 41 + h, (w, h))
    padded = D.pad_square(image, (1, 2, 3))
    side = max(w, h)
    left, top = (side - w) // 2, (side - h) // 2
    assert padded.size == (side, side) and np.array_equal(padded.crop((left, top, left + w, top + h)), image)
    assert int((np.asarray(padded) == (1, 2, 3)).all(-1).sum()) >= side * side - w * h
    assert D.square_crop(image).size == (min(w, h),) * 2
    if w == h:
        assert np.array_equal(D.square_crop(image), image) and np.array_equal(padded, image)


def test_resize_keeps_a_constant_and_does_not_alias():
    assert len(D.resize(Image.new('RGB', (100, 100), (7, 80, 200)), 33).getcolors()) == 1
    # one pixel black, one white
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 32))).convert('RGB')
    assert np.abs(np.asarray(D.resize(stripes, 16), float)[:, 2:-2] - 127.5).max() < 8


# ---------------------------------------------------------------- the store

FIELDS = {'image': ((3, 4, 4), 'uint8'), 'yaw': ((), 'float32')}


def fill(path, n=10, value=1, meta=None):
    with ArrayStore.create(path, n, FIELDS, meta) as writer:
        writer.write(0, {'image': np.full((n, 3, 4, 4), value, np.uint8), 'yaw': torch.arange(n, dtype=torch.float32)})


@given(
    n=st.integers(1, 30),
    cuts=st.lists(st.integers(0, 30), max_size=4),
    dtype=st.sampled_from(['uint8', 'int64', 'float32', 'bool', 'float16']),
    shape=st.lists(st.integers(1, 4), max_size=3),
)
@ON_TMP
def test_what_is_written_is_read(tmp_path, n, cuts, dtype, shape):
    values = np.random.default_rng(n).integers(0, 2, (n, *shape)).astype(dtype)
    edges = sorted({0, n, *[c for c in cuts if c < n]})
    with ArrayStore.create(tmp_path / 's', n, {'x': (tuple(shape), dtype)}, {'n': n}) as writer:
        for a, b in list(zip(edges, edges[1:]))[::-1]:
            writer.write(a, {'x': values[a:b]})
    store = ArrayStore.open(tmp_path / 's', verify=True)
    assert (
        np.array_equal(store.arrays['x'], values)
        and store.arrays['x'].dtype == dtype
        and len(store) == n
        and store.meta == {'n': n}
    )
    assert isinstance(store.arrays['x'], np.memmap)
    assert np.array_equal(np.load(tmp_path / 's' / 'x.npy'), values)  # any NumPy reads it


def test_a_store_may_end_up_shorter(tmp_path):
    with ArrayStore.create(tmp_path / 's', 1000, FIELDS) as writer:
        writer.write(0, {'image': np.ones((3, 3, 4, 4), np.uint8), 'yaw': np.ones(3, np.float32)})
        writer.n = 3
    assert ArrayStore.open(tmp_path / 's', verify=True).arrays['image'].shape == (3, 3, 4, 4)


def test_an_exception_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), ArrayStore.create(tmp_path / 's', 10, FIELDS):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_store_is_not_replaced(tmp_path):
    (tmp_path / 'pictures').mkdir()
    (tmp_path / 'pictures' / 'a.png').write_bytes(b'mine')
    (tmp_path / 'file').write_text('mine')
    for name in ('pictures', 'file'):
        with pytest.raises(FileExistsError, match='no array store'):
            fill(tmp_path / name)
    assert (tmp_path / 'pictures' / 'a.png').read_bytes() == b'mine' and (tmp_path / 'file').read_text() == 'mine'
    assert len(list(tmp_path.iterdir())) == 2


def test_an_exception_leaves_the_older_store(tmp_path):
    fill(tmp_path / 's', value=5)
    with pytest.raises(OSError), ArrayStore.create(tmp_path / 's', 10, FIELDS) as writer:
        writer.write(0, {'image': np.zeros((10, 3, 4, 4), np.uint8)})
        raise OSError(errno.ENOSPC, 'No space left on device')
    assert (
        ArrayStore.open(tmp_path / 's', verify=True).arrays['image'][0, 0, 0, 0] == 5
        and len(list(tmp_path.iterdir())) == 1
    )


def test_replacing_keeps_open_stores_readable(tmp_path):
    fill(tmp_path / 's', value=5)
    old = ArrayStore.open(tmp_path / 's')
    fill(tmp_path / 's', value=6)
    assert (old.arrays['image'] == 5).all() and (ArrayStore.open(tmp_path / 's').arrays['image'] == 6).all()
    assert [p.name for p in tmp_path.iterdir()] == ['s']


@pytest.mark.parametrize('where', ['write', 'finish'])
def test_full_disk(tmp_path, monkeypatch, where):
    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(D.StoreWriter, where, full)
    with pytest.raises(OSError, match='No space'):
        fill(tmp_path / 's')
    assert list(tmp_path.iterdir()) == []


def in_a_child(work):
    "Run `work` in a forked process; its exit status."
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(9)
    return child


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_a_write_that_the_system_refuses(tmp_path):
    import resource

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # no file may grow beyond: as on a full disk
        try:
            with ArrayStore.create(tmp_path / 's', 10_000, FIELDS) as writer:
                for i in range(0, 10_000, 100):
                    writer.write(i, {'image': np.zeros((100, 3, 4, 4), np.uint8), 'yaw': np.zeros(100, np.float32)})
        except OSError:
            os._exit(7)

    assert os.waitstatus_to_exitcode(os.waitpid(in_a_child(work), 0)[1]) == 7
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_killed_at_twenty_moments(tmp_path):
    "After kill -9 the old store or a new one is there, whole; and the next writer sweeps the remains."
    fill(tmp_path / 's', n=2000, value=1)

    def work():
        for value in range(2, 250):
            fill(tmp_path / 's', n=2000, value=value)

    g = random.Random(0)
    for _ in range(20):
        child = in_a_child(work)
        time.sleep(g.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if (tmp_path / 's').exists():  # between two renames there may be none; never half of one
            images = ArrayStore.open(tmp_path / 's', verify=True).arrays['image']
            assert len(np.unique(images)) == 1 and len(images) == 2000
    fill(tmp_path / 's')
    assert [p.name for p in tmp_path.iterdir()] == ['s']


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_two_writers_at_once(tmp_path):
    def work():
        for _ in range(25):
            fill(tmp_path / 's', n=50, value=3)

    children = [in_a_child(work) for _ in range(3)]
    assert all(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 for child in children)
    assert (ArrayStore.open(tmp_path / 's', verify=True).arrays['image'] == 3).all() and [
        p.name for p in tmp_path.iterdir()
    ] == ['s']


@given(
    where=st.integers(0, 10**6),
    file=st.sampled_from(['image.npy', 'yaw.npy', 'manifest.json']),
    kind=st.sampled_from(['cut', 'flip', 'gone', 'longer']),
)
@ON_TMP
def test_every_damage_is_noticed(tmp_path, where, file, kind):
    shutil.rmtree(tmp_path / 's', ignore_errors=True)
    fill(tmp_path / 's')
    path = tmp_path / 's' / file
    raw = path.read_bytes()
    i = where % len(raw)
    if kind == 'gone':
        path.unlink()
    elif kind == 'cut':
        path.write_bytes(raw[:i])
    elif kind == 'longer':
        path.write_bytes(raw + b'}')
    else:
        path.write_bytes(raw[:i] + bytes([raw[i] ^ 1]) + raw[i + 1 :])
    try:
        store = ArrayStore.open(tmp_path / 's', verify=True)
    except (ValueError, FileNotFoundError) as error:
        assert 'store' in str(error) and '\n' not in str(error)
        assert not ArrayStore.valid(tmp_path / 's', {}, verify=True)
    else:
        # a letter of meta or format
        assert file == 'manifest.json' and kind == 'flip' and (store.arrays['image'] == 1).all()


def test_a_cut_array_is_noticed_without_verify(tmp_path):
    fill(tmp_path / 's')
    raw = (tmp_path / 's/image.npy').read_bytes()
    (tmp_path / 's/image.npy').write_bytes(raw[:-1])
    with pytest.raises(ValueError, match='damaged .image.npy has'):
        ArrayStore.open(tmp_path / 's')


def test_no_pickle_is_ever_loaded(tmp_path):
    fill(tmp_path / 's')
    np.save(tmp_path / 's/yaw.npy', np.array([print], dtype=object), allow_pickle=True)
    manifest = json.loads((tmp_path / 's/manifest.json').read_text())
    manifest['fields']['yaw']['bytes'] = (tmp_path / 's/yaw.npy').stat().st_size
    (tmp_path / 's/manifest.json').write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match='is no array'):
        ArrayStore.open(tmp_path / 's')


def test_valid_compares_only_the_keys_it_is_asked_for(tmp_path):
    fill(tmp_path / 's', meta={'a': 1, 'b': [2]})
    assert ArrayStore.valid(tmp_path / 's') and ArrayStore.valid(tmp_path / 's', {'b': [2]})
    assert (
        not ArrayStore.valid(tmp_path / 's', {'b': [3]})
        and not ArrayStore.valid(tmp_path / 's', {'c': None})
        and not ArrayStore.valid(tmp_path / 'no')
    )


def test_store_errors_are_sentences(tmp_path):
    with pytest.raises(FileNotFoundError, match='ArrayStore.create'):
        ArrayStore.open(tmp_path / 'none')
    with pytest.raises(ValueError, match='at least one row'), ArrayStore.create(tmp_path / 's', 0, FIELDS):
        pass
    for rows, match in (
        ({'depth': np.zeros(1)}, 'no field'),
        ({'yaw': np.zeros(1)}, 'takes rows float32'),
        ({'yaw': np.zeros(11, np.float32)}, 'do not fit'),
    ):
        with pytest.raises(ValueError, match=match), ArrayStore.create(tmp_path / 's', 10, FIELDS) as writer:
            writer.write(0, rows)


def test_rows_that_were_never_written_are_no_images(tmp_path):
    with pytest.raises(ValueError, match="'yaw' has 3 of 10 rows"):
        with ArrayStore.create(tmp_path / 's', 10, FIELDS) as writer:
            writer.write(0, {'image': np.zeros((10, 3, 4, 4), np.uint8), 'yaw': np.zeros(3, np.float32)})
    assert not list(tmp_path.iterdir())


def test_the_unfinished_store_of_another_machine_stays(tmp_path, monkeypatch):
    other = tmp_path / '.s.part-999999-0123abcd-ffff'
    mine = tmp_path / f'.s.part-999999-{D._machine()}-ffff'
    other.mkdir(), mine.mkdir()
    fill(tmp_path / 's')
    assert other.exists() and not mine.exists()


def test_a_file_that_the_disk_did_not_hand_over_is_read_again(tmp_path, monkeypatch):
    folder, real, failed = folder_of(tmp_path, 3), D.open_image, []

    def unlucky(file, *args):
        if Path(file).name == sorted(p.name for p in folder.iterdir())[0] and not failed:
            failed.append(file)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(file, *args)

    monkeypatch.setattr(D, 'open_image', unlucky)
    options = dict(progress=False, cache=tmp_path / 'cache')
    assert len(ImageFolder(folder, 8, **options)) == 2 and len(ImageFolder(folder, 8, **options)) == 3


def test_a_file_that_may_be_read_now_is_read(tmp_path, monkeypatch):
    "The time and the size of a file do not tell that its owner has given it free."
    folder, real, closed = folder_of(tmp_path, 3), D.open_image, [True]
    first = sorted(p.name for p in folder.iterdir())[0]

    def forbidden(file, *args):
        if Path(file).name == first and closed[0]:
            raise PermissionError(errno.EACCES, 'Permission denied')
        return real(file, *args)

    monkeypatch.setattr(D, 'open_image', forbidden)
    monkeypatch.setattr(D, '_opens', lambda file: not (file.name == first and closed[0]))
    options = dict(progress=False, cache=tmp_path / 'cache')
    assert [len(ImageFolder(folder, 8, **options)) for _ in range(2)] == [2, 2]
    closed[0] = False
    assert len(ImageFolder(folder, 8, **options)) == 3


@pytest.mark.parametrize('left', [[], ['Thumbs.db']])
def test_a_cache_without_its_manifest_is_made_again(tmp_path, left):
    folder, options = folder_of(tmp_path, 3), dict(progress=False, cache=tmp_path / 'cache')
    ImageFolder(folder, 8, **options)
    (store,) = (tmp_path / 'cache').iterdir()
    (store / 'manifest.json').unlink()
    for name in left:
        (store / name).write_text('')
    assert len(ImageFolder(folder, 8, **options)) == 3


def test_less_than_no_batch_ahead_is_refused():
    with pytest.raises(ValueError, match='0 or more batches ahead'):
        D.Loader(ImageSet({'image': np.zeros((4, 3, 4, 4), np.uint8)}), 2, prefetch=-1)


def test_images_of_pillow_in_a_data_set_follow_the_same_rules():
    clear = Image.new('RGBA', (4, 4), (0, 0, 0, 0))
    deep = Image.fromarray(np.full((4, 4), 257 * 100, np.uint16))
    assert (D.image_tensor(clear) == 255).all() and (D.image_tensor(deep) == 100).all()
    assert clear.getpixel((0, 0)) == (0, 0, 0, 0)


def test_two_epochs_share_no_seed():
    rows = [np.full((3, 4, 4), i, np.uint8) for i in range(40)]
    loader = lambda: torch.utils.data.DataLoader(rows, 40, shuffle=True, generator=torch.Generator())
    order = lambda seed, epoch: next(iter(D.Epochs(loader(), seed).epoch(epoch)))['image'][:, 0, 0, 0].tolist()
    orders = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len(set(map(tuple, orders))) == 9 and order(1, 2) == order(1, 2)


def test_a_pickled_store_maps_the_files_again(tmp_path):
    fill(tmp_path / 's', n=5000)
    blob = pickle.dumps(ArrayStore.open(tmp_path / 's'))
    assert len(blob) < 1000 and len(pickle.loads(blob)) == 5000


def test_any_size_opens_in_no_time(tmp_path):
    "40 GB, of which nothing is written: the file is a hole."
    with ArrayStore.create(tmp_path / 's', 4, {'image': ((3, 64, 64), 'uint8')}) as writer:
        writer.write(0, {'image': np.zeros((4, 3, 64, 64), np.uint8)})
    n = 3_000_000
    writer = D.StoreWriter(tmp_path / 's', n, {'image': ((3, 64, 64), 'uint8')}, {})
    size = writer.fields['image'].start + n * 3 * 64 * 64
    try:
        writer.fields['image'].file.truncate(size)
        writer.close()
    except OSError:
        pytest.skip('this file system holds no file of 40 GB')
    manifest = json.loads((tmp_path / 's/manifest.json').read_text())
    manifest['n'] = n
    manifest['fields']['image'].update(shape=[n, 3, 64, 64], bytes=size)
    (tmp_path / 's/manifest.json').write_text(json.dumps(manifest))
    start = time.perf_counter()
    store = ArrayStore.open(tmp_path / 's')
    assert time.perf_counter() - start < 2 and store.arrays['image'][-1].sum() == 0


# ---------------------------------------------------------------- folders


def test_folder(tmp_path):
    folder_of(tmp_path / 'p', 7, (40, 60))
    ds = ImageFolder(tmp_path / 'p', 32, cache=tmp_path / 'c')
    assert len(ds) == 7 and ds.size == 32 and ds.files == [f'{i:03d}.png' for i in range(7)] and ds.report.dropped == []
    item, batch = ds[3], ds.batch(np.array([3, 0]))
    assert (
        item['image'].shape == (3, 32, 32)
        and item['image'].dtype == torch.float32
        and batch['image'].dtype == torch.uint8
    )
    expected = np.asarray(D.resize(D.square_crop(smooth(3, (40, 60))), 32)).transpose(2, 0, 1)
    assert np.array_equal(batch['image'][0], expected) and torch.allclose(item['image'], batch['image'][0] / 127.5 - 1)
    assert isinstance(ds.arrays['image'], np.memmap) and ds.arrays['image'].dtype == np.uint8  # never floats
    assert len(list(ds)) == 7
    with pytest.raises(IndexError):
        ds[7]


def test_batches_do_not_write_into_the_store(tmp_path):
    ds = ImageFolder(folder_of(tmp_path / 'p', 3), 16, cache=tmp_path / 'c')
    ds.batch([0, 1])['image'].zero_()
    assert ds.batch([0, 1])['image'].sum() > 0


def count_decodes(monkeypatch):
    calls, original = [], D.open_image
    monkeypatch.setattr(D, 'open_image', lambda *a, **k: (calls.append(a), original(*a, **k))[1])
    return calls


def test_decoded_once_and_again_when_the_folder_changes(tmp_path, monkeypatch):
    folder, calls = folder_of(tmp_path / 'p', 5), count_decodes(monkeypatch)

    def opened(**options):
        calls.clear()
        ds = ImageFolder(folder, cache=tmp_path / 'c', **{'size': 16, **options})
        return len(ds), len(calls)

    assert opened() == (5, 5) and opened() == (5, 0)
    smooth(99).save(folder / 'new.png')
    assert opened() == (6, 6) and opened() == (6, 0)  # added
    (folder / 'new.png').unlink()
    assert opened() == (5, 5)  # removed
    smooth(98).save(folder / '000.png')
    os.utime(folder / '000.png', ns=(1, 1))
    assert opened() == (5, 5)  # changed
    os.rename(folder / '001.png', folder / 'zzz.png')
    assert opened() == (5, 5)  # renamed
    assert opened(size=8) == (5, 5) and opened(fit='pad') == (5, 5) and opened(background=(0, 0, 0)) == (5, 5)
    assert opened() == (5, 0)  # each option has its own store


def test_a_damaged_cache_is_made_again(tmp_path):
    folder = folder_of(tmp_path / 'p', 5)
    ds = ImageFolder(folder, 16, cache=tmp_path / 'c')
    before = ds.batch(np.arange(5))['image']
    file = ds.store.path / 'image.npy'
    raw = file.read_bytes()
    del ds
    file.write_bytes(raw[:-5])
    assert torch.equal(ImageFolder(folder, 16, cache=tmp_path / 'c').batch(np.arange(5))['image'], before)
    file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 255]))
    assert torch.equal(ImageFolder(folder, 16, cache=tmp_path / 'c', verify=True).batch(np.arange(5))['image'], before)


def test_padding_and_background(tmp_path):
    (tmp_path / 'p').mkdir()
    Image.new('RGBA', (10, 20), (255, 0, 0, 255)).save(tmp_path / 'p/a.png')
    image = ImageFolder(tmp_path / 'p', 20, fit='pad', background=(0, 0, 255), cache=tmp_path / 'c').batch([0])[
        'image'
    ][0]
    assert (image[:, :, 0] == torch.tensor([0, 0, 255])[:, None]).all() and (
        image[:, :, 10] == torch.tensor([255, 0, 0])[:, None]
    ).all()


def test_folder_errors_are_sentences(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken/a.png').write_bytes(b'no')
    (tmp_path / 'file').touch()
    for folder, kind, match in (
        (tmp_path / 'missing', FileNotFoundError, 'There is no folder'),
        (tmp_path / 'file', FileNotFoundError, 'There is no folder'),
        (tmp_path / 'empty', ValueError, 'no image below'),
        (tmp_path / 'broken', ValueError, 'The only image file, a.png, could not be read'),
    ):
        with pytest.raises(kind, match=match):
            ImageFolder(folder, cache=tmp_path / 'c')
    with pytest.raises(ValueError, match='crop'):
        ImageFolder(tmp_path, fit='stretch')
    with pytest.raises(ValueError, match='at least one pixel'):
        ImageFolder(tmp_path, size=0)
    assert not (tmp_path / 'c').exists() or list((tmp_path / 'c').iterdir()) == []


def test_linked_folders_are_followed_once(tmp_path):
    folder_of(tmp_path / 'elsewhere', 3)
    folder_of(tmp_path / 'p', 2)
    (tmp_path / 'p/a').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'p/b').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'p/up').symlink_to(tmp_path / 'p')
    found, dropped = D.list_images(tmp_path / 'p')
    assert len(found) == 5 and {d.file for d in dropped} == {'b', 'up'}


def test_split_and_subset():
    ds = numbered(50)
    train, held = ds.split(0.2, seed=3)
    again = ds.split(0.2, seed=3)
    numbers = lambda s: s.batch(np.arange(len(s)))['number'].tolist()
    assert (
        len(held) == 10
        and sorted(numbers(train) + numbers(held)) == list(range(50))
        and numbers(held) == numbers(again[1])
    )
    assert numbers(held) != numbers(ds.split(0.2, seed=4)[1])
    assert numbers(ds.subset([4, 2]).subset([1])) == [2] and numbers(ds.subset(np.arange(50) > 47)) == [48, 49]
    assert set(ds.only('image').batch([0])) == {'image'} and len(ds.only('image')) == 50
    for bad in (0, 1, -1, 2, 0.001):
        with pytest.raises(ValueError, match='fraction'):
            ds.split(bad)


def test_averaging_down():
    image = np.random.default_rng(0).integers(0, 256, (300, 3, 12, 12), np.uint8)
    whole = ImageSet({'image': image, 'number': np.arange(300)})
    small = whole.resized(4)
    blocks = image.reshape(300, 3, 4, 3, 4, 3).mean((3, 5), dtype=np.float64)
    assert small.size == 4 and small.arrays['image'].dtype == np.uint8
    assert np.abs(small.arrays['image'] - blocks).max() <= 0.5 + 1e-4  # rounded, never truncated
    assert (small.arrays['number'] == np.arange(300)).all() and (whole.arrays['image'] == image).all()
    some = whole.subset([7, 3]).resized(6)
    assert len(some) == 2 and some.batch([0, 1])['number'].tolist() == [7, 3]
    assert np.array_equal(some.arrays['image'], whole.resized(6).arrays['image'][[7, 3]])
    assert np.array_equal(whole.resized(12).arrays['image'], image)
    with pytest.raises(ValueError, match='averaged down'):
        whole.resized(24)


def test_averaging_down_takes_every_field_of_pixels_along():
    heads = ready_heads().subset(range(4))
    small = heads.resized(32).batch(range(4))
    assert small['image'].shape[-2:] == small['coverage'].shape[-2:] == (32, 32)
    whole = heads.batch(range(4))['coverage'].float().view(4, 1, 32, 2, 32, 2).mean((3, 5))
    assert (small['coverage'].float() - whole).abs().max() <= 0.5
    rows = {'image': np.zeros((2, 3, 8, 8), np.uint8), 'depth': np.ones((2, 1, 8, 8), np.float32)}
    assert ImageSet(rows).resized(4).arrays['depth'].shape == (2, 1, 4, 4)
    for wrong, word in (
        (rows | {'parts': np.ones((2, 1, 8, 8), np.int64)}, "'parts' has whole numbers"),
        (rows | {'image': -np.ones((2, 3, 8, 8), np.float32)}, 'bytes'),
    ):
        with pytest.raises(ValueError, match=word):
            ImageSet(wrong).resized(4)


def test_a_set_without_the_fields_for_drawing_is_a_plain_one():
    heads = ready_heads().subset([5, 6])
    assert type(heads.only('image', 'fov')) is ImageSet
    item = heads.only('image')[1]
    assert set(item) == {'image'} and torch.equal(item['image'], heads[1]['image'])
    assert type(heads.only(*heads.arrays)) is type(heads)
    with pytest.raises(TypeError, match=r'subset\(range\(0, 2\)\)'):
        heads[0:2]


@pytest.mark.parametrize(
    'arrays, word',
    [
        ({'number': np.arange(3)}, "field 'image'"),
        ({'image': np.zeros((5, 8, 8, 3), np.uint8)}, 'shape'),
        ({'image': np.zeros((3, 8, 8), np.uint8)}, 'shape'),
        ({'image': np.zeros((5, 3, 8, 8), np.int64)}, 'bytes'),
        ({'image': np.full((5, 3, 8, 8), 255.0)}, 'lie in'),
        ({'image': np.zeros((5, 3, 8, 8), np.uint8), 'number': np.arange(4)}, "'number' has 4 rows"),
    ],
)
def test_arrays_that_are_no_set_of_images(arrays, word):
    with pytest.raises(ValueError, match=word):
        ImageSet(arrays)


def test_sets_of_arrays_of_other_makes(recwarn):
    floats = np.linspace(-1, 1, 2 * 3 * 8 * 8, dtype=np.float32).reshape(2, 3, 8, 8)
    fixed = floats.copy()
    fixed.setflags(write=False)
    for images in (floats[..., ::-1], fixed, torch.from_numpy(floats)):
        assert torch.equal(
            ImageSet({'image': images}).batch([1])['image'], torch.as_tensor(np.asarray(images)[1:].copy())
        )
    assert not [str(w.message) for w in recwarn.list]
    bytes_of = ImageSet({'image': torch.zeros(2, 3, 8, 8, dtype=torch.uint8)})
    assert bytes_of.resized(np.int64(4)).size == 4


def test_rows_are_whole_numbers_or_a_mask():
    ds = numbered(5)
    mask = np.array([False, True, False, True, True])
    for rows in (mask, mask.tolist(), torch.from_numpy(mask), torch.tensor([1, 3, 4]), range(1, 5)):
        expected = list(range(1, 5)) if isinstance(rows, range) else [1, 3, 4]
        assert ds.batch(rows)['number'].tolist() == ds.subset(rows).batch(range(len(expected)))['number'].tolist()
        assert ds.batch(rows)['number'].tolist() == expected
    assert ds[-1]['number'] == ds[torch.tensor(4)]['number'] == 4 and len(list(ds)) == 5
    assert len(ds.batch([])['image']) == 0
    for wrong, error, word in (
        ([0.5], TypeError, 'whole numbers'),
        (mask[:3], ValueError, 'mask'),
        (slice(0, 3), TypeError, r'subset\(range\(0, 3\)\)'),
    ):
        for ask in (ds.batch, ds.subset):
            with pytest.raises(error, match=word):
                ask(wrong)
    with pytest.raises(TypeError, match=r'subset\(range\(0, 3\)\)'):
        ds[:3]


@pytest.mark.parametrize(
    'head, kind',
    [
        (b'\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'HEIC'),
        (b'\0\0\0\x18ftypmif1\0\0\0\0mif1heic', 'HEIC'),
        (b'\xff\x0a\xfa\x1f', 'JPEG XL'),
        (b'\0\0\0\x0cJXL \r\n\x87\n', 'JPEG XL'),
        (b'\0\0\0\x0cjP  \r\n\x87\n', 'JPEG 2000'),
    ],
)
def test_images_of_other_formats_are_called_by_their_name(tmp_path, head, kind):
    for name in ('a', 'b.jpg'):  # the second has the ending of an image
        (tmp_path / name).write_bytes(head + bytes(200))
    D.example_image(0).save(tmp_path / 'good.png')
    ds = ImageFolder(tmp_path, size=8, cache=tmp_path / 'cache')
    assert len(ds) == 1 and len(ds.report.dropped) == 2
    for dropped in ds.report.dropped:
        assert dropped.reason == f'it is an image file of the kind {kind}: save it as JPEG or PNG'


@pytest.mark.parametrize(
    'options, word',
    [
        ({'background': 'white'}, 'three whole numbers'),
        ({'background': (255, 255)}, 'three whole numbers'),
        ({'background': (0, 0, 256)}, 'three whole numbers'),
        ({'background': (1.0, 1.0, 1.0)}, 'three whole numbers'),
        ({'size': 32.0}, 'whole number of pixels'),
        ({'size': True}, 'whole number of pixels'),
    ],
)
def test_a_background_and_a_size_are_checked_before_any_file(tmp_path, options, word):
    D.example_image(0).save(tmp_path / 'good.png')
    with pytest.raises(ValueError, match=word):
        ImageFolder(tmp_path, cache=tmp_path / 'cache', **options)
    assert len(ImageFolder(tmp_path, size=np.int64(8), background=[0, 0, 0], cache=tmp_path / 'cache')) == 1


# ---------------------------------------------------------------- the loader


@given(n=st.integers(1, 40), batch=st.integers(1, 25), world=st.integers(1, 4), seed=st.integers(-5, 2**65))
@settings(max_examples=60, deadline=None)
def test_ranks_partition_the_stream_and_each_epoch_is_whole(n, batch, world, seed):
    ds = numbered(n)
    batches = -(-3 * n // (batch * world))
    loaders = [Loader(ds, batch, seed=seed, device='cpu', rank=r, world=world) for r in range(world)]
    stream = torch.cat([loader.rows(k)[0] for k in range(batches) for loader in loaders])
    coins = torch.cat([loader.rows(k)[1] for k in range(batches) for loader in loaders])
    for epoch in range(len(stream) // n):
        assert sorted(stream[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))
    alone = Loader(ds, batch * world, seed=seed, device='cpu')
    # k processes together = one process
    assert torch.equal(torch.cat([alone.rows(k)[0] for k in range(batches)]), stream)
    assert torch.equal(torch.cat([alone.rows(k)[1] for k in range(batches)]), coins)


@given(k=st.integers(0, 10**9), seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_a_batch_is_a_function_of_seed_and_number(k, seed):
    ds = numbered(13)
    a, b = Loader(ds, 5, seed=seed, device='cpu'), Loader(ds, 5, seed=seed, device='cpu')
    for other in (0, k + 1, 3):
        b.batch(other)
    torch.manual_seed(k % 1000)
    state = torch.get_rng_state()
    x, y = a.batch(k), b.batch(k)
    assert all(torch.equal(x[name], y[name]) for name in x) and torch.equal(state, torch.get_rng_state())


def test_resume_is_exact_wherever_it_stopped():
    ds = numbered(11)
    stream = iter(Loader(ds, 4, seed=1, device='cpu'))
    whole = [next(stream)['image'] for _ in range(30)]
    for stop in (0, 1, 2, 3, 7, 29):
        first = Loader(ds, 4, seed=1, device='cpu')
        seen = [batch['image'] for _, batch in zip(range(stop), first)]
        assert first.position in (stop, stop + 1)  # zip may have asked once more
        resumed = Loader(ds, 4, seed=1, device='cpu', prefetch=stop % 3)
        resumed.position = stop
        rest = iter(resumed)
        seen += [next(rest)['image'] for _ in range(30 - stop)]
        assert resumed.position == 30 and all(torch.equal(a, b) for a, b in zip(whole, seen))


def test_position_can_be_set_while_running():
    loader = Loader(numbered(11), 4, device='cpu')
    stream = iter(loader)
    next(stream)
    next(stream)
    loader.position = 20
    assert torch.equal(next(stream)['image'], loader.batch(20)['image']) and loader.position == 21


def test_mirroring():
    ds = numbered(40)
    loader = Loader(ds, 40, device='cpu')
    plain = Loader(ds, 40, device='cpu', mirror=False)
    counts = []
    for k in range(50):
        a, b = loader.batch(k), plain.batch(k)
        assert torch.equal(a['index'], b['index']) and torch.equal(a['number'], a['index']) and not b['mirrored'].any()
        assert torch.equal(a['image'][~a['mirrored']], b['image'][~a['mirrored']])
        assert torch.equal(a['image'][a['mirrored']], b['image'][a['mirrored']].flip(-1))
        counts.append(a['mirrored'].float().mean())
    assert abs(torch.stack(counts).mean() - 0.5) < 4 * 0.5 / 2000**0.5
    assert a['image'].dtype == torch.float32 and a['image'].min() >= -1 and a['image'].max() <= 1


def test_a_batch_larger_than_the_set():
    batch = Loader(numbered(3), 10, device='cpu').batch(0)
    assert batch['image'].shape[0] == 10 and sorted(batch['index'][:9].tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_broken_set_is_noticed_in_the_loop():
    class Broken:
        def __len__(self):
            return 5

        def batch(self, indices):
            raise RuntimeError('the disk is gone')

    with pytest.raises(RuntimeError, match='the disk is gone'):
        next(iter(Loader(Broken(), 2, device='cpu')))


def test_threads_end_with_the_loop():
    import threading

    others = set(threading.enumerate())
    mine = lambda: [t for t in threading.enumerate() if t.name.startswith('loader') and t not in others]
    stream = iter(Loader(numbered(5), 2, device='cpu'))
    next(stream)
    assert mine()
    del stream
    gc.collect()
    time.sleep(0.3)
    assert not mine()


def test_loader_errors_are_sentences():
    for options, match in (
        ({'batch_size': 0}, 'at least one image'),
        ({'batch_size': 1, 'rank': 2, 'world': 2}, 'Rank 2'),
        ({'batch_size': 1, 'world': 0}, 'Rank 0'),
    ):
        with pytest.raises(ValueError, match=match):
            Loader(numbered(3), device='cpu', **options)
    with pytest.raises(ValueError, match='empty'):
        Loader(numbered(3).subset([]), 1)
    with pytest.raises(ValueError, match='from 0'):
        Loader(numbered(3), 1, device='cpu').batch(-1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_the_gpu_sees_the_same_batches():
    ds = numbered(40)
    cpu, gpu = Loader(ds, 16, device='cpu'), Loader(ds, 16, device='cuda')
    for k, batch in zip(range(20), gpu):
        assert torch.equal(batch['image'].cpu(), cpu.batch(k)['image']) and batch['image'].is_cuda


# ---------------------------------------------------------------- downloads, without a network


class FakeTable:
    "What `datasets` returns: rows, typed columns, and images that may stay undecoded."

    def __init__(self, rows, decode=True):
        self.rows, self.decode = rows, decode

    column_names = ['imageA', 'imageB', 'image']

    def cast_column(self, column, feature):
        assert column in self.column_names
        return FakeTable(self.rows, feature.decode)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        assert not self.decode, 'images are to stay undecoded'
        return {name: {'bytes': self.rows[i], 'path': None} for name in self.column_names}


def fake_datasets(monkeypatch, rows=None, error=None):
    asked = []

    def load_dataset(repository, split):
        asked.append((repository, split))
        if error:
            raise error
        return FakeTable(rows)

    monkeypatch.setitem(
        sys.modules,
        'datasets',
        types.SimpleNamespace(
            load_dataset=load_dataset, Image=lambda decode=True: types.SimpleNamespace(decode=decode)
        ),
    )
    return asked


def png(image):
    file = io.BytesIO()
    image.save(file, 'PNG')
    return file.getvalue()


@pytest.mark.parametrize('name', list(D.PUBLIC))
def test_public_sets(tmp_path, monkeypatch, name):
    asked = fake_datasets(monkeypatch, [png(smooth(i)) for i in range(6)] + [b'broken'])
    ds = D.public_dataset(name, 16, cache=tmp_path)
    assert len(ds) == 6 and ds.size == 16 and ds.report.counts == {'broken': 1} and asked == [D.PUBLIC[name][:2]]
    assert np.array_equal(ds.batch([2])['image'][0], np.asarray(D.resize(smooth(2), 16)).transpose(2, 0, 1))
    monkeypatch.setitem(sys.modules, 'datasets', None)
    assert len(D.public_dataset(name, 16, cache=tmp_path)) == 6  # from the store: no package, no network
    fake_datasets(monkeypatch, [png(smooth(i)) for i in range(6)])
    assert len(D.public_dataset(name, 16, limit=2, cache=tmp_path)) == 2


def test_public_sets_offline(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='choose one of anime-faces'):
        D.public_dataset('mnist', cache=tmp_path)
    for wrong, words in (
        (dict(fit='stretch'), "'crop' or 'pad'"),
        (dict(size=0), 'one pixel'),
        (dict(limit=0), 'limit'),
    ):
        with pytest.raises(ValueError, match=words):
            D.public_dataset('celeba', **wrong, cache=tmp_path)
    monkeypatch.setitem(sys.modules, 'datasets', None)
    with pytest.raises(ImportError, match='pip install datasets'):
        D.public_dataset('celeba', cache=tmp_path)
    fake_datasets(monkeypatch, error=ConnectionError('Could not reach the hub'))
    with pytest.raises(ConnectionError, match='cannot be fetched .Could not reach the hub.: check the network'):
        D.public_dataset('celeba', cache=tmp_path)
    monkeypatch.setattr(FakeTable, 'column_names', ['picture'])
    fake_datasets(monkeypatch, [])
    with pytest.raises(ValueError, match='no column'):
        D.public_dataset('celeba', cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- real images


@pytest.mark.real
@pytest.mark.parametrize(
    'name, count',
    [
        ('anime_faces_native', 1500),
        ('anime_faces_256', 600),
        ('figures_64', 216),
        ('anime_faces_tagged_96', 800),
        ('human_faces_89x109', 1500),
    ],
)
def test_real_folders(tmp_path, data_dir, name, count):
    ds = ImageFolder(data_dir / name, 64, cache=tmp_path)
    assert len(ds) == count and all(d.step == 'format' for d in ds.report.dropped)
    image = ds.batch(np.arange(0, count, 7))['image']
    assert image.shape[1:] == (3, 64, 64) and 30 < image.float().std() < 120
    if name == 'figures_64':  # transparent pixels are white, opaque ones untouched
        for i in range(0, count, 7):
            alpha = np.asarray(Image.open(data_dir / name / ds.files[i]).convert('RGBA'))
            pixels = ds.batch([i])['image'][0].permute(1, 2, 0).numpy()
            assert (pixels[alpha[..., 3] == 0] == 255).all() and (
                pixels[alpha[..., 3] == 255] == alpha[alpha[..., 3] == 255][:, :3]
            ).all()
            assert (alpha[..., 3] == 0).any()


def test_a_set_that_seeds_pytorch_is_not_read_ahead():
    rows = D.RowSet([(torch.full((3, 4, 4), i / 10), i) for i in range(10)])
    assert Loader(rows, 5, device='cpu').prefetch == 0
    assert Loader(ImageSet({'image': np.zeros((10, 3, 4, 4), np.uint8)}), 5, device='cpu').prefetch == 2


def test_images_that_are_not_square_are_not_averaged_down():
    wide = ImageSet({'image': np.zeros((4, 3, 20, 100), np.uint8)})
    assert '4 images of 100×20' in repr(wide)
    with pytest.raises(ValueError, match='Only square images'):
        wide.resized(10)


def test_a_flipped_array_is_an_image():
    array = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    assert torch.equal(D.image_tensor(array[:, ::-1]), D.image_tensor(array[:, ::-1].copy()))
    with pytest.raises(ValueError, match='alpha channel'):
        D.image_tensor(torch.zeros(4, 5, 5))


def test_a_sound_and_a_drawing_of_lines_are_no_images(tmp_path):
    (tmp_path / 'song').write_bytes(b'RIFF\x10\x00\x00\x00WAVEfmt ')
    (tmp_path / 'draw').write_bytes(b'<?xml version="1.0"?><svg></svg>')
    found, dropped = D.list_images(tmp_path)
    assert not found and {d.file: d.step for d in dropped} == {'song': 'format', 'draw': 'format'}
    assert 'SVG' in next(d.reason for d in dropped if d.file == 'draw')
