"""An attack on the folder loader: whatever lies in a folder, every file is served or reported, and none is fatal.

Tests run as root in some places, where no permission stops a read; unreadable files are therefore made by
folders in disguise, links to nothing, named pipes, and an `open` that refuses."""

import errno
import io
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from animegan_nb import cleaning
from animegan_nb import data as D
from animegan_nb.data import ImageFolder

pytestmark = pytest.mark.filterwarnings('ignore')  # Pillow warns about some of these files, as it should
ATTACK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def encoded(seed, kind, size=(20, 14)):
    g = np.random.default_rng(seed)
    image = Image.fromarray(g.integers(0, 256, (4, 4, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, kind, **({'quality': 90} if kind in ('JPEG', 'WEBP') else {}))
    return file.getvalue()


KINDS = {'JPEG': '.jpg', 'PNG': '.png', 'WEBP': '.webp', 'GIF': '.gif', 'BMP': '.bmp', 'TIFF': '.tif', 'PPM': '.ppm'}
GOOD = {(seed, kind): encoded(seed, kind) for seed in range(3) for kind in KINDS}


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def bomb_png(w, h):
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 8, 2, 0, 0, 0))
        + chunk(b'IDAT', zlib.compress(b''))
        + chunk(b'IEND', b'')
    )


def bomb_text():
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', struct.pack('>IIBBBBB', 2, 2, 8, 2, 0, 0, 0))
        + chunk(b'zTXt', b'a\0\0' + zlib.compress(b'x' * 50_000_000))
        + chunk(b'IEND', b'')
    )


def bomb_bmp(w, h):
    return b'BM' + struct.pack('<IHHIIiiHHIIiiII', 54, 0, 0, 54, 40, w, h, 1, 24, 0, 0, 0, 0, 0, 0)


def bomb_gif(w, h):
    return (
        b'GIF89a' + struct.pack('<HHBBB', w, h, 0, 0, 0) + b'\x2c' + struct.pack('<HHHHB', 0, 0, w, h, 0) + b'\x02\x00;'
    )


def bomb_tiff(w, h):
    tags = [
        (256, 4, 1, w),
        (257, 4, 1, h),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (278, 4, 1, h),
        (279, 4, 1, 10),
    ]
    return (
        b'II*\0'
        + struct.pack('<I', 8)
        + struct.pack('<H', len(tags))
        + b''.join(struct.pack('<HHII', *t) for t in tags)
        + b'\0' * 4
    )


def bytes_of(kind, seed, where):
    "Contents of one file, and whether it must be served (True), must be reported (False) or may be either (None)."
    form = list(KINDS)[seed % len(KINDS)]
    good = GOOD[seed % 3, form]
    if kind == 'good':
        return good, True
    if kind == 'truncated':
        return good[: where % len(good)], None  # some formats survive the loss of a last byte
    if kind == 'flipped':
        i = where % len(good)
        return good[:i] + bytes([good[i] ^ (1 << seed % 8)]) + good[i + 1 :], None
    if kind == 'garbage':
        return np.random.default_rng(where).bytes(where % 300 + 1), False
    if kind == 'empty':
        return b'', False
    if kind == 'text':
        return b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', False
    if kind == 'magic only':
        return good[:8], False
    return BOMBS[seed % len(BOMBS)], False


BOMBS = (
    bomb_png(60_000, 60_000),
    bomb_bmp(50_000, 50_000),
    bomb_gif(65_535, 65_535),
    bomb_tiff(100_000, 100_000),
    bomb_png(2**31 - 1, 2**31 - 1),
    bomb_text(),
)
SPECIAL = (
    'folder in disguise',
    'link to itself',
    'link to nothing',
    'link to the parent',
    'pipe',
    'hidden',
    'wrong ending',
    'no ending',
)
PLAIN = 'good', 'truncated', 'flipped', 'garbage', 'empty', 'text', 'magic only', 'bomb'
names = st.text(
    st.characters(blacklist_characters='/\0', blacklist_categories=('Cs',)), min_size=1, max_size=12
).filter(lambda n: n not in ('.', '..') and not n.startswith('.'))
odd_names = st.sampled_from(
    [
        'new\nline',
        'tab\t',
        '|pipe|',
        '`tick`',
        '..hidden?',
        ' space ',
        'ünï',
        '絵',
        '\u202eevil',
        '-rf',
        '$(x)',
        '<b>',
        'a' * 200,
        '\udcff\udc80',
        'con',
        '\x1b[31m',
    ]
)
entries = st.lists(
    st.tuples(
        st.sampled_from(PLAIN + SPECIAL),
        st.one_of(names, odd_names),
        st.integers(0, 200),
        st.integers(0, 5000),
        st.sampled_from(['', 'sub', 'sub/deep']),
    ),
    min_size=1,
    max_size=14,
)


def plant(root, attack):
    "Write an attack; {relative name: must it be served?}."
    expected = {}
    for number, (kind, name, seed, where, sub) in enumerate(attack):
        form = list(KINDS)[seed % len(KINDS)]
        name = f'{number}{name}'[: 220 // max(1, len(os.fsencode(name)) // len(name))] + {
            'wrong ending': '.webp',
            'no ending': '',
        }.get(kind, KINDS[form])
        folder = root / sub
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / (f'.{name}' if kind == 'hidden' else name)
        relative = os.path.relpath(path, root)
        if kind in PLAIN:
            content, verdict = bytes_of(kind, seed, where)
            path.write_bytes(content)
            expected[relative] = verdict
        elif kind == 'folder in disguise':
            path.mkdir()
            expected[relative] = False
        elif kind == 'link to itself':
            path.symlink_to(path.name)
            expected[relative] = False
        elif kind == 'link to nothing':
            path.symlink_to('nowhere')
            expected[relative] = False
        elif kind == 'link to the parent':
            path.symlink_to('.', target_is_directory=True)
            expected[relative] = False
        elif kind == 'pipe':
            os.mkfifo(path)
            expected[relative] = False
        elif kind == 'wrong ending':
            path.write_bytes(GOOD[seed % 3, 'PNG'])
            expected[relative] = True
        elif kind == 'no ending':
            path.write_bytes(GOOD[seed % 3, 'JPEG'])
            expected[relative] = True
        elif kind == 'hidden':
            path.write_bytes(GOOD[0, 'PNG'])
    return expected


@given(entries)
@example([(kind, 'x', seed, 77, '') for kind in PLAIN + SPECIAL for seed in range(7)])
@example([('bomb', 'x', seed, 0, '') for seed in range(12)])
@ATTACK
def test_every_file_is_served_or_reported(attack):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / 'p'
        root.mkdir()
        expected = plant(root, attack)
        try:
            ds = ImageFolder(root, 8, cache=Path(place) / 'c', progress=False)
        except ValueError as error:
            said = 'no image below', 'could be read', 'The only image file'
            assert True not in expected.values() and any(words in str(error) for words in said)
            return
        served, reported = set(ds.files), {d.file for d in ds.report.dropped}
        assert len(ds.files) == len(served) == len(ds) and not served & reported
        assert len(ds.report.dropped) == len(reported)
        for name, verdict in expected.items():
            assert (name in served) != (name in reported), name
            if verdict is not None:
                assert (name in served) == verdict, name
        assert served | reported == set(expected)  # and nothing else, hidden files in particular
        assert ds.batch(np.arange(len(ds)))['image'].shape == (len(ds), 3, 8, 8)
        again = ImageFolder(root, 8, cache=Path(place) / 'c', progress=False)
        assert again.files == ds.files and again.report.dropped == ds.report.dropped
        text = str(ds.report)
        text.encode('utf-8')
        assert all(d.reason and '\n' not in d.reason for d in ds.report.dropped)
        assert all(line.count('|') - line.count('\\|') == 4 for line in text.splitlines() if line.startswith('|'))


@given(entries)
@settings(ATTACK, max_examples=25)
def test_cleaning_survives_the_same_attack(attack):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / 'p'
        root.mkdir()
        expected = plant(root, attack)
        try:
            report = cleaning.clean(root, progress=False)
        except ValueError as error:
            assert 'no image below' in str(error)
            return
        assert sorted(report.kept + [d.file for d in report.dropped]) == sorted(expected)
        report.figure().png()


@given(
    kind=st.sampled_from(list(KINDS)),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 10_000),
)
@settings(ATTACK, max_examples=300)
def test_altered_bytes_give_an_image_or_a_reason(kind, edits, cut):
    raw = bytearray(GOOD[0, kind])
    for where, value in edits:
        raw[where % len(raw)] = value
    if cut < 5_000:
        raw = raw[: cut % len(raw)]
    options = dict(size=8, fit='crop', background=[255, 255, 255])
    row = D._row_or_reason(lambda name: D.open_image(io.BytesIO(bytes(raw))), 'x', options)
    assert isinstance(row, str) and row or row.shape == (3, 8, 8) and row.dtype == np.uint8


def test_bombs_are_refused_before_they_are_decoded(monkeypatch):
    def decode(self):
        raise AssertionError('a bomb was decoded')

    monkeypatch.setattr(Image.Image, 'load', decode)
    for content in (bomb_png(60_000, 60_000), bomb_bmp(50_000, 50_000), bomb_png(9_000, 9_000)):
        with pytest.raises((ValueError, Image.DecompressionBombError)):
            D.open_image(io.BytesIO(content))


@pytest.mark.parametrize(
    'error',
    [
        PermissionError(errno.EACCES, 'Permission denied'),
        OSError(errno.EIO, 'Input/output error'),
        MemoryError(),
        RecursionError('too deep'),
    ],
)
def test_files_that_cannot_be_read(tmp_path, monkeypatch, error):
    for i in range(4):
        (tmp_path / f'{i}.png').write_bytes(GOOD[0, 'PNG'])
    original = Image.open

    def refuse(file, *args, **kwargs):
        if str(file).endswith('2.png'):
            raise error
        return original(file, *args, **kwargs)

    monkeypatch.setattr(Image, 'open', refuse)
    ds = ImageFolder(tmp_path, 8, cache=tmp_path / '.c')
    assert (
        ds.files == ['0.png', '1.png', '3.png']
        and [d.file for d in ds.report.dropped] == ['2.png']
        and ds.report.dropped[0].reason
    )


def test_folders_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / 'locked').mkdir()
    (tmp_path / 'a.png').write_bytes(GOOD[0, 'PNG'])
    original = os.scandir

    def refuse(path):
        if str(path).endswith('locked'):
            raise PermissionError(errno.EACCES, 'Permission denied')
        return original(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    found, dropped = D.list_images(tmp_path)
    assert list(found) == ['a.png'] and dropped[0].file == 'locked' and 'Permission denied' in dropped[0].reason


def test_a_file_that_vanishes_between_listing_and_reading(tmp_path, monkeypatch):
    for i in range(3):
        (tmp_path / f'{i}.png').write_bytes(GOOD[0, 'PNG'])
    listed = D.list_images(tmp_path)
    (tmp_path / '1.png').unlink()
    monkeypatch.setattr(D, 'list_images', lambda folder: listed)
    ds = ImageFolder(tmp_path, 8, cache=tmp_path / '.c')
    assert ds.files == ['0.png', '2.png'] and 'No such file' in ds.report.dropped[0].reason


def test_deep_folders(tmp_path):
    path = tmp_path
    for _ in range(150):
        path = path / 'd'
    path.mkdir(parents=True)
    (path / 'a.png').write_bytes(GOOD[0, 'PNG'])
    assert len(ImageFolder(tmp_path, 8, cache=tmp_path / '.c')) == 1
