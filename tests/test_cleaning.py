"The cleaning chapter: hashes, steps, copies, watermarks, faces."

import hashlib
import io
import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from tiny import folder_of, smooth

from animegan_nb import cleaning, grading
from animegan_nb import data as D
from animegan_nb.cleaning import Facts, FaceFinder
from animegan_nb.data import FolderReport, ImageFolder


def facts(file='a', md5='m', width=64, height=64, brightness=0.5, contrast=0.2, phash=0):
    return Facts(file, md5, width, height, brightness, contrast, phash)


@given(a=st.integers(0, 2**64 - 1), b=st.integers(0, 2**64 - 1))
def test_hamming_counts_bits(a, b):
    assert int(cleaning.hamming(a, b)) == bin(a ^ b).count('1')


def test_hamming_without_numpy_2(monkeypatch):
    a = np.random.default_rng(0).integers(0, 2**64, 50, dtype=np.uint64)
    expected = cleaning.hamming(a[:, None], a[None])
    monkeypatch.delattr(np, 'bitwise_count', raising=False)
    assert np.array_equal(cleaning.hamming(a[:, None], a[None]), expected) and int(cleaning.hamming(3, 0)) == 2


@given(st.lists(st.integers(0, 63), min_size=0, max_size=40), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_close_pairs_and_groups(hashes, distance):
    got = {tuple(p) for p in cleaning.close_pairs(np.array(hashes, np.uint64), distance).tolist()}
    assert got == {
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if bin(hashes[i] ^ hashes[j]).count('1') < distance
    }
    labels = cleaning.groups(len(hashes), np.array(sorted(got)).reshape(-1, 2))
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if hashes:
        i, j = np.array(sorted(got)).reshape(-1, 2).T if got else ([], [])
        count, reference = connected_components(
            coo_array((np.ones(len(i)), (i, j)), shape=(len(hashes),) * 2), directed=False
        )
        assert len(set(labels.tolist())) == count and len(set(zip(labels.tolist(), reference.tolist()))) == count


def test_perceptual_hash_is_imagehash():
    import imagehash

    for seed in range(20):
        assert f'{cleaning.perceptual_hash(smooth(seed)):016x}' == str(imagehash.phash(smooth(seed)))


def test_md5_distance_is_an_avalanche():
    g, image, distances = np.random.default_rng(0), np.array(smooth(0)), []
    for _ in range(400):
        changed = image.copy()
        changed[tuple(g.integers(0, s) for s in changed.shape)] ^= 1
        words = [np.frombuffer(hashlib.md5(x.tobytes()).digest(), np.uint64) for x in (image, changed)]
        distances.append(cleaning.hamming(*words).sum())
    assert abs(np.mean(distances) - 64) < 1.5 and min(distances) > 30


def test_near_duplicates_keep_the_largest():
    dropped = cleaning.near_duplicates(
        [
            facts('small', phash=0b111),
            facts('large', width=100, phash=0b110),
            facts('other', phash=2**40 - 1),
            facts('x', phash=0b110),
        ]
    )
    assert {(d.file, d.like) for d in dropped} == {('small', 'large'), ('x', 'large')} and cleaning.near_duplicates(
        []
    ) == []


def test_duplicates_keep_the_shortest_name():
    dropped = cleaning.exact_duplicates([facts('a (copy).png'), facts('a.png'), facts('b.png', md5='n')])
    assert [(d.file, d.like) for d in dropped] == [('a (copy).png', 'a.png')]


def test_steps():
    several = [facts(f'{i}', md5=str(i), brightness=0.5 + i / 100) for i in range(9)] + [
        facts('dark', brightness=0.05),
        facts('tiny', width=8),
        facts('flat', contrast=0.0),
    ]
    assert (
        [d.file for d in cleaning.unusual_brightness(several)] == ['dark']
        and [d.file for d in cleaning.tiny(several)] == ['tiny']
        and [d.file for d in cleaning.blank(several)] == ['flat']
    )
    assert cleaning.brightness_figure(several).png()[:4] == b'\x89PNG'


def every_close_pair(hashes, distance):
    return np.argwhere(np.triu(cleaning.hamming(hashes[:, None], hashes[None]) < distance, 1)).tolist()


@given(seed=st.integers(0, 2**32), distance=st.integers(0, 65), flips=st.integers(0, 12))
@settings(max_examples=150, deadline=None)
def test_bands_find_what_comparing_all_pairs_finds(seed, distance, flips):
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, 60, dtype=np.uint64)
    hashes[40:] = hashes[rng.integers(0, 40, 20)]  # copies, with a few bits turned anywhere
    for _ in range(flips):
        hashes[40:] ^= np.uint64(1) << rng.integers(0, 64, 20, dtype=np.uint64)
    pairs = cleaning.close_pairs(hashes, distance)
    assert pairs.shape[1] == 2 and pairs.tolist() == every_close_pair(hashes, distance)


@pytest.mark.parametrize('distance', range(1, 13))
def test_the_bands_are_the_64_bits_and_differences_that_avoid_one_band_are_found(distance):
    bands = [int(band) for band in cleaning._bands(distance)]
    assert len(bands) == distance and sum(bands) == 2**64 - 1  # disjoint, and all bits
    lowest = [band & -band for band in bands]  # one bit of each band
    for spared in range(distance):  # the worst case of the pigeonhole: one difference in every band but one
        other = sum(bit for i, bit in enumerate(lowest) if i != spared)
        assert cleaning.close_pairs(np.array([0, other], np.uint64), distance).tolist() == [[0, 1]]
    assert len(cleaning.close_pairs(np.array([0, sum(lowest)], np.uint64), distance)) == 0


def test_few_of_all_pairs_are_compared(monkeypatch):
    n, compared, count = 100_000, [0], cleaning.hamming
    hashes = np.random.default_rng(0).integers(0, 2**64, n, dtype=np.uint64)
    hashes[77] = hashes[99_999] ^ np.uint64(5)

    def counted(a, b):
        compared[0] += max(np.size(a), np.size(b))
        return count(a, b)

    monkeypatch.setattr(cleaning, 'hamming', counted)
    assert cleaning.close_pairs(hashes).tolist() == [[77, 99_999]]
    assert compared[0] < n  # and not n²/2, five thousand million


def messy(tmp_path):
    folder = folder_of(tmp_path / 'p', 10)
    shutil.copy(folder / '000.png', folder / 'copy.png')
    smooth(1, (32, 32)).save(folder / 'half.png')
    smooth(50, (12, 12)).save(folder / 'tiny.png')
    (folder / 'bad.jpg').write_bytes(b'bad')
    (folder / 'notes.txt').write_text('hello')
    Image.new('RGB', (64, 64), 'white').save(folder / 'white.png')
    return folder


def test_clean_reports_everything_and_deletes_nothing(tmp_path):
    folder = messy(tmp_path)
    before = sorted(p.name for p in folder.iterdir())
    report = cleaning.clean(folder)
    assert report.kept == [f'{i:03d}.png' for i in range(10)] and sorted(p.name for p in folder.iterdir()) == before
    assert {d.file: d.step for d in report.dropped} == {
        'copy.png': 'exact copy',
        'half.png': 'near copy',
        'tiny.png': 'tiny',
        'bad.jpg': 'broken',
        'notes.txt': 'format',
        'white.png': 'blank',
    }
    assert (
        report.counts['broken'] == 1
        and '| tiny | tiny.png | 12×12 pixels |' in str(report)
        and '10 kept' in repr(report)
    )
    assert report._repr_markdown_() == str(report) and report.figure().png()[:4] == b'\x89PNG'
    assert FolderReport(folder, ['a'], []).figure().png()[:4] == b'\x89PNG' and 'dropped**' in str(
        FolderReport(folder, ['a'], [])
    )


def test_clean_into_a_new_folder(tmp_path):
    folder = messy(tmp_path)
    report = cleaning.clean(folder, into=tmp_path / 'out')
    assert all((tmp_path / 'out' / name).read_bytes() == (folder / name).read_bytes() for name in report.kept)
    assert len(ImageFolder(tmp_path / 'out', 16, cache=tmp_path / 'c')) == 10
    assert {d['file'] for d in json.loads((tmp_path / 'out/.report.json').read_text())} == {
        d.file for d in report.dropped
    }
    with pytest.raises(FileExistsError, match='exists already'):
        cleaning.clean(folder, into=tmp_path / 'out')
    with pytest.raises(ValueError, match='lies inside'):
        cleaning.clean(folder, into=folder / 'sub')


def test_changes_and_what_they_refuse(tmp_path):
    folder = folder_of(tmp_path / 'p', 4, (200, 90), 'jpg')
    smooth(9, (200, 15)).save(folder / 'flat.jpg')
    (folder / 'sub').mkdir()
    smooth(70, (150, 80)).save(folder / 'sub/a.png')
    smooth(71, (50, 80)).save(folder / 'narrow.png')
    report = cleaning.clean(
        folder,
        steps=(),
        into=tmp_path / 'out',
        changes=[cleaning.remove_corner, D.pad_square, lambda p: D.resize(p, 32)],
    )
    why = {d.file: d.reason for d in report.dropped}
    assert set(why) == {'flat.jpg', 'narrow.png'}
    assert 'only 15 pixels high' in why['flat.jpg'] and 'only 50 pixels wide' in why['narrow.png']
    assert sorted(str(p.relative_to(tmp_path / 'out')) for p in (tmp_path / 'out').rglob('*.png')) == [
        f'00{i}.jpg.png' for i in range(4)
    ] + ['sub/a.png']
    assert all(Image.open(p).size == (32, 32) for p in (tmp_path / 'out').rglob('*.png'))


def test_an_interrupted_copy_leaves_nothing(tmp_path):
    def stop(image):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cleaning.clean(folder_of(tmp_path / 'p', 3), into=tmp_path / 'out', changes=[stop])

    def refuse(image):
        raise ValueError('never')

    with pytest.raises(ValueError, match='No image'):
        cleaning.clean(tmp_path / 'p', into=tmp_path / 'out', changes=[refuse])
    assert sorted(p.name for p in tmp_path.iterdir()) == ['p']


@given(w=st.integers(101, 250), h=st.integers(21, 60))
@settings(max_examples=30, deadline=None)
def test_watermark(w, h):
    image = smooth(w + h, (w, h))
    filled = np.asarray(cleaning.remove_corner(image))
    left = w - 100
    assert (
        (filled[h - 20 :, left:] == 255).all()
        and np.array_equal(filled[: h - 20], np.asarray(image)[: h - 20])
        and np.array_equal(filled[:, :left], np.asarray(image)[:, :left])
    )
    assert np.array_equal(cleaning.remove_corner(image, how='crop'), np.asarray(image)[: h - 20])


def test_watermark_errors():
    with pytest.raises(ValueError, match="'fill' or 'crop'"):
        cleaning.remove_corner(smooth(0), how='melt')
    with pytest.raises(ValueError, match='only 64 pixels wide'):
        cleaning.remove_corner(smooth(0, (64, 64)))


@pytest.mark.parametrize('mode', ['L', 'P', 'LA', 'RGBA', '1'])
def test_watermark_in_every_mode(mode):
    image = Image.new(mode, (120, 30), 0 if mode in 'LP1' else None)
    filled = cleaning.remove_corner(image).convert('RGB')
    assert filled.getpixel((110, 20)) == (255, 255, 255)
    assert cleaning.remove_corner(Image.new('L', (120, 30), 90)).getpixel((0, 0)) == (90, 90, 90)


def test_a_crop_shows_the_background_through_what_is_transparent():
    face = Image.new('RGBA', (40, 40), (0, 0, 0, 0))
    face.paste((200, 30, 30, 255), (10, 10, 30, 30))
    crop = cleaning.crop_face(face, (10, 10, 20, 20), zoom=2, rise=0, background=(9, 8, 7))
    assert crop.getpixel((0, 0)) == (9, 8, 7) and crop.getpixel((20, 20)) == (200, 30, 30)


@given(x=st.integers(-20, 60), y=st.integers(-20, 60), side=st.integers(4, 50))
@settings(max_examples=40, deadline=None)
def test_the_face_lies_at_the_same_place_in_every_crop(x, y, side):
    sheet = Image.new('RGB', (80, 80), (9, 9, 9))
    sheet.paste((200, 50, 50), (x, y, x + side, y + side))
    crop = cleaning.crop_face(sheet, (x, y, side, side), zoom=2, rise=0, background=(9, 9, 9))
    assert crop.size == (2 * side, 2 * side)
    visible = sheet.crop((x, y, x + side, y + side)).getcolors()
    left = crop.width // 2 - side // 2
    assert sorted(
        c for _, c in crop.crop((left, left, left + side, left + side)).getcolors() if c == (200, 50, 50)
    ) == sorted(c for _, c in visible if c == (200, 50, 50))


# ---------------------------------------------------------------- faces, without a network


def test_no_cascade_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv('ANIMEGAN_WEIGHTS', raising=False)
    monkeypatch.setenv('ANIMEGAN_CACHE', str(tmp_path))
    with pytest.raises(FileNotFoundError, match='download_cascade'):
        cleaning.find_cascade()
    with pytest.raises(FileNotFoundError, match='download_cascade'):
        FaceFinder(tmp_path)


@pytest.mark.parametrize(
    'answer, error', [(OSError('no route to host'), ConnectionError), (b'<html>a login page</html>', ValueError)]
)
def test_a_failed_download_leaves_nothing(tmp_path, monkeypatch, answer, error):
    import urllib.request

    def urlopen(*args, **kwargs):
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer)

    monkeypatch.setattr(urllib.request, 'urlopen', urlopen)
    monkeypatch.setenv('ANIMEGAN_CACHE', str(tmp_path))
    with pytest.raises(error):
        cleaning.download_cascade()
    assert list((tmp_path / 'weights').iterdir()) == []


@pytest.mark.real
def test_a_good_download(tmp_path, monkeypatch, weights_dir):
    import urllib.request

    monkeypatch.setattr(urllib.request, 'urlopen', lambda *a, **k: open(weights_dir / cleaning.CASCADE, 'rb'))
    monkeypatch.setenv('ANIMEGAN_CACHE', str(tmp_path))
    assert cleaning.download_cascade().read_bytes() == (weights_dir / cleaning.CASCADE).read_bytes()
    monkeypatch.delenv('ANIMEGAN_WEIGHTS', raising=False)
    assert cleaning.find_cascade().parent == tmp_path / 'weights'


def test_opencv_5_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv2', types.SimpleNamespace(__version__='5.0.0'))
    with pytest.raises(ImportError, match='opencv-python-headless<5'):
        FaceFinder(tmp_path)


# ---------------------------------------------------------------- real images


@pytest.mark.real
def test_the_cascade_finds_591_of_600(data_dir, weights_dir):
    finder = FaceFinder(weights_dir)
    names = list(D.list_images(data_dir / 'anime_faces_256')[0])
    boxes = [finder(D.open_image(data_dir / 'anime_faces_256' / name)) for name in names]
    assert len(names) == 600 and sum(len(b) == 1 for b in boxes) == 591
    one = np.array([b[0] for b in boxes if len(b) == 1])
    centres = one[:, :2] + one[:, 2:] / 2
    assert (np.hypot(*(centres - (127.5, 129)).T) < 8).mean() > 0.9


@pytest.mark.real
def test_faces_that_were_scaled_and_shifted_are_found_where_they_are(data_dir, weights_dir):
    finder, off = FaceFinder(weights_dir), []
    for name in list(D.list_images(data_dir / 'anime_faces_256')[0])[:40]:
        image = D.open_image(data_dir / 'anime_faces_256' / name)
        sheet = Image.new('RGB', (420, 400), (230, 230, 230))
        sheet.paste(image.resize((200, 200)), (150, 120))
        truth = np.array([127.5, 129]) * 200 / 256 + (150, 120)
        for box in finder(sheet)[:1]:
            off.append(np.abs(box[:2] + box[2:] / 2 - truth).max() / box[2])
            assert finder.crop(sheet).size == (round(1.5 * box[2]),) * 2
    assert len(off) >= 30 and np.quantile(off, 0.9) < 0.1


def test_a_home_folder_of_that_name_is_read(tmp_path, monkeypatch):
    folder_of(tmp_path / '~', 1)
    monkeypatch.chdir(tmp_path)
    assert len(cleaning.clean('./~', progress=False).kept) == 1
    with pytest.raises(ValueError, match='new folder'):
        cleaning.clean('./~', into='', progress=False)


def test_a_face_detector_that_is_not_there_or_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='no face detector at .*nothing.xml'):
        cleaning.find_cascade(tmp_path / 'nothing.xml')
    (tmp_path / 'bad.xml').write_text('<a></a>')
    pytest.importorskip('cv2')
    with pytest.raises(ValueError, match='bad.xml.* is not a cascade'):
        FaceFinder(tmp_path / 'bad.xml')


def test_distances_of_hashes_can_be_subtracted():
    assert cleaning.hamming(np.uint64(0), np.uint64(1)) - cleaning.hamming(np.uint64(0), np.uint64(3)) == -1


def test_hashes_of_a_part_are_refused_and_of_the_whole_pass():
    pixels = lambda p, size=(8, 8): np.asarray(p.convert('L').resize(size), float)
    average = lambda p: pixels(p) > pixels(p).mean()
    steps = lambda p: np.diff(pixels(p, (9, 8)), axis=1) > 0
    top = lambda p: average(p.crop((0, 0, p.width, p.height // 8)))
    for candidate in (average, steps):
        assert grading.oracle('cleaning.perceptual_hash')(candidate).passed
    assert "any of the four" in str(grading.oracle('cleaning.perceptual_hash')(top))
