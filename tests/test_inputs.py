"What users give: paths, texts, settings and images of every kind. Each is used as it is meant, or is one sentence."

import argparse
import dataclasses
import io
import json
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from hypothesis import HealthCheck, example, given, settings, strategies as st
from PIL import Image, ImageCms
from safetensors.torch import save as dump_tensors

from animegan_nb import cli, core
from animegan_nb import data as D
from animegan_nb.training import models, network_config, Stage, TrainingConfig

SOME = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def sentence(error) -> str:
    "The message of an error, if it is one line that ends."
    text = str(error.value.args[0] if hasattr(error, 'value') else error)
    assert text and '\n' not in text and len(text) < 900, text
    return text


# ---- paths ----

words = st.text(st.characters(blacklist_characters='\0', blacklist_categories=('Cs',)), min_size=1, max_size=20)


@given(words)
@example('~')
@example('~/faces')
@example("it's")
@example('./~')
@example('a b/../c')
@example(' ')
@SOME
def test_a_path_is_absolute_and_stays_what_it_is(word):
    try:
        path = core.absolute_path(word, 'folder')
    except ValueError as error:
        assert not word.strip() or word.startswith('~')
        assert word.startswith('~') or 'names nothing' in sentence(error)
        return
    assert path.is_absolute() and core.absolute_path(path) == path
    if not word.startswith('~'):
        assert path == Path.cwd() / word


def test_the_home_folder_is_meant_by_its_sign(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    assert core.absolute_path('~/faces') == tmp_path / 'faces'
    for empty in ('', ' ', '\t', 'a\0b'):
        with pytest.raises(ValueError, match='names nothing'):
            core.absolute_path(empty)


COMMANDS = {
    'data check': ('data', 'check', 'PATH'),
    'data clean': ('data', 'clean', 'PATH', '--out', 'PATH'),
    'train': ('train', 'dcgan-tiny', '--data', 'PATH', '--out', 'PATH'),
    'resume': ('resume', 'PATH', '--data', 'PATH'),
    'sample': ('sample', 'PATH', '--out', 'PATH'),
    'evaluate': ('evaluate', 'PATH', '--data', 'PATH'),
    'tour': ('tour', '--data', 'PATH', '--out', 'PATH'),
}


@pytest.mark.parametrize('command', COMMANDS)
@pytest.mark.parametrize('word', ['~/x', "it's", 'toonfaces', './toon', 'toon:', 'toon:x', 'TOON', 'x/~', 'ünï'])
def test_every_command_treats_a_path_alike(command, word, monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.chdir(tmp_path)
    (tmp_path / word).mkdir(parents=True, exist_ok=True)
    args = cli.parser().parse_args([word if w == 'PATH' else w for w in COMMANDS[command]])
    cli.expand_paths(args)
    meant = str(tmp_path / 'home' / 'x' if word == '~/x' else tmp_path / word)
    for name in ('out', 'run', 'folder', 'data'):
        assert getattr(args, name, None) in (None, meant), name


@pytest.mark.parametrize('command', COMMANDS)
def test_an_empty_path_is_refused_by_every_command(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = [i for i, w in enumerate(COMMANDS[command]) if w == 'PATH']
    for empty in places:
        line = ['' if i == empty else 'x' if w == 'PATH' else w for i, w in enumerate(COMMANDS[command])]
        assert cli.main(line) == 1
        said = capsys.readouterr().err
        assert 'names nothing' in said and said.count('\n') == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize('word, drawn', [('toon', True), ('toon:12', True), ('toon:', False), ('toon:1x', False)])
def test_only_two_words_are_no_folder(word, drawn):
    assert cli.is_drawn(word) == drawn
    args = argparse.Namespace(data='toon:12')
    cli.expand_paths(args)
    assert args.data == 'toon:12'


@pytest.mark.parametrize('word', ['toon:0', 'toon:99999999', 'toon:x', 'toon:'])
def test_a_number_of_heads_that_cannot_be(word, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(['train', 'dcgan-tiny', '--data', word, '--out', 'x']) == 1
    assert 'number of heads' in capsys.readouterr().err


def test_an_unwritable_cache_is_one_sentence(monkeypatch, tmp_path):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('ANIMEGAN_CACHE', str(tmp_path / 'file' / 'cache'))
    with pytest.raises(OSError, match='set the environment variable ANIMEGAN_CACHE') as error:
        core.cache_dir()
    assert 'Errno' not in sentence(error)
    monkeypatch.setenv('ANIMEGAN_CACHE', str(tmp_path / 'there'))
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    with pytest.raises(PermissionError, match='ANIMEGAN_CACHE'):
        core.cache_dir()


@pytest.mark.parametrize('name', ['EACCES', 'ENOSPC', 'EROFS', 'ENOTDIR', 'ENAMETOOLONG', 'EIO'])
def test_an_error_of_the_system_has_a_cure(name):
    import errno

    number = getattr(errno, name)
    text = cli.error_sentence(OSError(number, os.strerror(number), '/some/file'))
    assert '/some/file' in text and 'Errno' not in text and text.endswith('.')


def test_any_error_is_one_sentence():
    for error in (TypeError('a\nb'), AttributeError(), IndexError('x'), AssertionError('y'), KeyError('z'), KeyError()):
        assert sentence(cli.error_sentence(error))
    assert 'memory' in cli.error_sentence(MemoryError())
    assert 'memory' in cli.error_sentence(RuntimeError('CUDA out of memory. Tried\nto allocate'))


# ---- texts ----

ENCODINGS = ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32', 'utf-16-le', 'utf-16-be']


@given(
    st.text(st.characters(blacklist_categories=('Cs',), blacklist_characters='\r\0\ufeff')), st.sampled_from(ENCODINGS)
)
@SOME
def test_a_text_is_read_in_the_encodings_of_editors(tmp_path_factory, text, encoding):
    path = tmp_path_factory.mktemp('text') / 'a.toml'
    path.write_bytes(f'model = "{text}"'.encode(encoding))
    assert core.read_text(path) == f'model = "{text}"'


@given(st.binary(max_size=40))
@example('source = "Größe"'.encode('cp1252'))
@SOME
def test_other_bytes_are_a_text_or_one_sentence(tmp_path_factory, content):
    path = tmp_path_factory.mktemp('text') / 'a.toml'
    path.write_bytes(content)
    try:
        assert isinstance(core.read_text(path), str)
    except ValueError as error:
        assert 'save it as UTF-8' in sentence(error)
    try:
        cli.recipe_from_toml(content.decode('latin-1'))
    except (ValueError, KeyError) as error:
        assert sentence(error)


@pytest.mark.parametrize('encoding', ['ascii', 'cp1252', 'cp437'])
def test_printing_never_fails_and_a_printed_recipe_is_read(encoding, monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, 'stdout', console)
    with pytest.raises(UnicodeEncodeError):
        console.write('\u03bb')  # as it is in the source of this recipe
    assert cli.main(['presets', 'wgan-gp-liu-128']) == 0
    console.flush()
    printed = console.buffer.getvalue().decode(encoding)
    assert '\\u03bb' in printed and cli.recipe_from_toml(printed) == cli.find_recipe('wgan-gp-liu-128')


@pytest.mark.parametrize('module', ['animegan_nb', 'animegan_nb.cli'])
def test_every_way_to_start_the_command_line(module):
    for words, code in ((['train', '--help'], 0), (['no-such-command'], 2)):
        result = subprocess.run([sys.executable, '-m', module, *words], capture_output=True, text=True, timeout=600)
        assert result.returncode == code and 'usage: animegan' in result.stdout + result.stderr


# ---- settings ----

PLAIN = {int: 3, float: 0.5, bool: True, str: 'x'}
WRONG = {
    'int': ['3', 3.0, True, [3], {'a': 1}, float('nan')],
    'float': ['3', True, [0.5], float('inf'), float('nan')],
    'bool': ['yes', 1, 0.0],
    'str': [3, True, ['x']],
    'tuple': ['text', 3, {'a': 1}],
}


def fields_of(kind):
    "Name and kind of each field of a dataclass that has a plain type."
    for field in dataclasses.fields(kind):
        hint = str(field.type).replace(' ', '').removesuffix('|None')
        kind_of = 'tuple' if hint.startswith('tuple') else hint
        if kind_of in WRONG:
            yield field.name, kind_of


CASES = [
    *(('training', TrainingConfig, *field) for field in fields_of(TrainingConfig)),
    *(('stages', Stage, *field) for field in fields_of(Stage)),
    *((name, models[name][0], *field) for name in sorted(models) for field in fields_of(models[name][0])),
]


@pytest.mark.parametrize('table, kind, name, plain', CASES, ids=lambda value: str(value).split('.')[-1][:20])
def test_a_setting_of_another_type_is_one_sentence_with_its_name(table, kind, name, plain):
    for value in WRONG[plain]:
        recipe = {'model': table if table in models else 'dcgan', 'steps': 2}
        recipe |= {'network': {name: value}} if table in models else {}
        recipe |= {'training': {name: value}} if table == 'training' else {}
        recipe |= {'stages': [{name: value}]} if table == 'stages' else {}
        with pytest.raises(ValueError, match=rf'\b{name}\b') as error:
            cli.recipe_from_toml(tomli_w.dumps(recipe))
        sentence(error)
        if table in models:  # the same table in a checkpoint
            with pytest.raises(ValueError, match=rf'\b{name}\b'):
                network_config(table, {name: value})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(models)), st.data())
@settings(SOME, max_examples=40)
def test_any_value_of_any_setting_is_used_or_refused(model, data):
    name = data.draw(st.sampled_from([f.name for f in dataclasses.fields(models[model][0])]))
    try:
        network_config(model, {name: data.draw(json_values)})
    except (ValueError, KeyError) as error:
        sentence(error)


@given(json_values, st.sampled_from(['model', 'steps', 'source', 'augment', 'network', 'training', 'stages', 'other']))
@settings(SOME, max_examples=40)
def test_any_value_of_a_recipe_is_used_or_refused(value, name):
    try:
        text = tomli_w.dumps({'model': 'dcgan'} | {name: value})
    except (TypeError, AttributeError):  # TOML has no null
        return
    try:
        cli.recipe_from_toml(text)
    except (ValueError, KeyError) as error:
        sentence(error)


@pytest.mark.parametrize(
    'wrong, words',
    [
        (dict(batch_size='16'), 'batch_size is a whole number'),
        (dict(batch_size=10**20), 'batch_size must lie between'),
        (dict(generator_lr='2e-4'), 'generator_lr is a finite number'),
        (dict(generator_betas=(0.5,)), 'generator_betas is a list of 2'),
        (dict(seed=2**70), '64 bits'),
        (dict(warmup_steps=-1), 'warmup_steps'),
        (dict(mirror=1), 'mirror is true or false'),
    ],
)
def test_numbers_of_a_training_have_their_types(wrong, words):
    with pytest.raises(ValueError, match=words):
        TrainingConfig(**wrong)


def test_a_recipe_may_write_whole_numbers_for_numbers():
    recipe = cli.recipe_from_toml('model = "dcgan"\n[training]\ngenerator_lr = 1\ngenerator_betas = [0, 0.5]')
    assert recipe.training.generator_lr == 1 and recipe.training.generator_betas == (0, 0.5)


# ---- images ----


@pytest.mark.parametrize('dtype', [torch.int64, torch.int16, torch.bool, torch.complex64, torch.int8])
def test_no_integers_become_white(dtype):
    for convert in (core.to_uint8, lambda x: core.check_images(x[None])):
        with pytest.raises(ValueError, match='Images are float'):
            convert(torch.ones(3, 2, 2).to(dtype))


@pytest.mark.parametrize(
    'value, word', [(float('nan'), 'NaN'), (float('inf'), 'infinity'), (-float('inf'), 'infinity')]
)
def test_what_is_not_finite_is_no_image(value, word):
    for images in (torch.full((1, 3, 2, 2), value), torch.zeros(1, 3, 2, 2).index_fill(3, torch.tensor(1), value)):
        for convert in (core.to_uint8, core.check_images):
            with pytest.raises(core.NotFinite, match=word):
                convert(images)


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(rows: np.ndarray, bits: int, colour: int, *more, size=None):
    "A PNG of packed rows; `more` chunks stand before the pixels."
    h, w = size or rows.shape[:2]
    packed = b''.join(b'\0' + row for row in pack_rows(rows, bits))
    header = struct.pack('>IIBBBBB', w, h, bits, colour, 0, 0, 0)
    parts = [(b'IHDR', header), *more, (b'IDAT', zlib.compress(packed)), (b'IEND', b'')]
    return io.BytesIO(b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*part) for part in parts))


def pack_rows(rows, bits):
    for row in rows.reshape(len(rows), -1):
        if bits == 16:
            yield row.astype('>u2').tobytes()
        elif bits == 8:
            yield row.astype(np.uint8).tobytes()
        else:
            each = (row[:, None] >> np.arange(bits)[::-1]) & 1
            yield np.packbits(each.astype(np.uint8)).tobytes()


@given(st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([0, 2]), st.integers(0, 2**32 - 1), st.booleans())
@example(1, 0, 0, True)
@example(1, 0, 1, True)
@SOME
def test_the_transparent_colour_of_a_png(bits, colour, seed, there):
    if colour == 2 and bits < 8:
        return
    g = np.random.default_rng(seed)
    shape = (5, 6, 3) if colour == 2 else (5, 6)
    values = g.integers(0, 2**bits, shape)
    values[:2, :3] = key = g.integers(0, 2**bits, shape[2:])
    if bits == 16 and colour == 2:  # of such images only the upper bytes can be told apart
        values, key = values // 256 * 256, key // 256 * 256
    clear = struct.pack(f'>{max(1, key.size)}H', *np.atleast_1d(key)) if there else None
    image = D.open_image(png(values, bits, colour, *([(b'tRNS', clear)] if there else [])), (255, 0, 0))
    levels = np.round(values * (255 / (2**bits - 1))) if not (bits == 16 and colour == 2) else values // 256
    expected = np.broadcast_to(levels[..., None] if colour == 0 else levels, (5, 6, 3)).copy()
    if there:
        same = (values == key).all(-1) if colour == 2 else values == key
        expected[same] = (255, 0, 0)
    assert np.abs(np.asarray(image, int) - expected).max() <= (1 if bits == 16 else 0)


TEXTS = {
    'one of 3 MB': [(b'zTXt', b'a\0\0' + zlib.compress(b'x' * 3_000_000))],
    'international': [(b'iTXt', b'a\0\1\0\0\0' + zlib.compress(b'x' * 3_000_000))],
    'very many': [(b'zTXt', b'a\0\0' + zlib.compress(b'x' * 1_000_000))] * 70,
    'a profile of 3 MB': [(b'iCCP', b'a\0\0' + zlib.compress(b'x' * 3_000_000))],
    'a profile that is none': [(b'iCCP', b'a\0\0' + zlib.compress(b'no profile'))],
    'broken': [(b'zTXt', b'a\0\0broken'), (b'tEXt', b''), (b'iTXt', b'\0')],
}


@pytest.mark.parametrize('name', TEXTS)
def test_what_a_png_says_beside_its_pixels_does_not_matter(name):
    values = np.random.default_rng(0).integers(0, 256, (9, 7, 3))
    assert (np.asarray(D.open_image(png(values, 8, 2, *TEXTS[name]))) == values).all()


def profile(primaries, gamma=2.2, space=b'RGB '):
    "An ICC profile (version 2) with these columns of XYZ and one curve."
    fixed = lambda *values: b''.join(struct.pack('>i', round(v * 65536)) for v in values)
    xyz = lambda values: b'XYZ \0\0\0\0' + fixed(*values)
    curve = b'curv\0\0\0\0' + struct.pack('>IH', 1, round(gamma * 256)) + b'\0\0'
    white = (0.9642, 1.0, 0.8249)
    text = b'desc\0\0\0\0' + struct.pack('>I', 2) + b'x\0' + b'\0' * 78
    tags = [(b'desc', text), (b'wtpt', xyz(white))]
    if space == b'RGB ':
        tags += [(name, xyz(column)) for name, column in zip((b'rXYZ', b'gXYZ', b'bXYZ'), primaries)]
        tags += [(name, curve) for name in (b'rTRC', b'gTRC', b'bTRC')]
    else:
        tags += [(b'kTRC', curve)]
    body, table = b'', struct.pack('>I', len(tags))
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags:
        content += b'\0' * (-len(content) % 4)
        table += name + struct.pack('>II', start + len(body), len(content))
        body += content
    size = start + len(body)
    header = struct.pack('>I4sI4s4s4s', size, b'\0\0\0\0', 0x02100000, b'mntr', space, b'XYZ ')
    header += struct.pack('>6H4s', 2020, 1, 1, 0, 0, 0, b'acsp') + b'\0' * 28 + fixed(*white)
    return header.ljust(128, b'\0') + table + body


SRGB = [(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)]
OF_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file


def test_colours_are_those_that_a_profile_means():
    plain = Image.new('RGB', (8, 8), (200, 80, 60))
    exchanged = profile([SRGB[2], SRGB[1], SRGB[0]])
    for kind, options in (('PNG', {}), ('TIFF', {}), ('WEBP', {'lossless': True}), ('JPEG', {'quality': 95})):
        seen = D.open_image(saved(plain, kind, icc_profile=exchanged, **options)).getpixel((4, 4))
        assert np.abs(np.subtract(seen, (60, 80, 200))).max() <= 4, kind
        same = D.open_image(saved(plain, kind, icc_profile=OF_SRGB, **options)).getpixel((4, 4))
        assert np.abs(np.subtract(same, (200, 80, 60))).max() <= (2 if kind == 'JPEG' else 0), kind
        for bad in (b'no profile', exchanged[:200], exchanged[:-60], b'\0' * 500):
            D.open_image(saved(plain, kind, icc_profile=bad, **options))
    linear = D.open_image(saved(plain, 'PNG', icc_profile=profile(SRGB, 1.0))).getpixel((0, 0))
    assert np.abs(np.subtract(linear, (229, 152, 133))).max() <= 2


def test_profiles_and_transparency_together():
    sheet = Image.new('RGBA', (8, 8), (200, 80, 60, 0))
    sheet.paste((200, 80, 60, 255), (4, 0, 8, 8))
    exchanged = profile([SRGB[2], SRGB[1], SRGB[0]])
    seen = D.open_image(saved(sheet, 'PNG', icc_profile=exchanged))
    assert seen.getpixel((0, 0)) == (255, 255, 255)
    assert np.abs(np.subtract(seen.getpixel((6, 0)), (60, 80, 200))).max() <= 4
    palette = Image.new('RGB', (8, 8), (200, 80, 60)).quantize(4)
    seen = D.open_image(saved(palette, 'PNG', icc_profile=exchanged)).getpixel((0, 0))
    assert np.abs(np.subtract(seen, (60, 80, 200))).max() <= 4
    grey = Image.new('L', (8, 8), 128)
    bright = D.open_image(saved(grey, 'PNG', icc_profile=profile([], 1.0, b'GRAY'))).getpixel((0, 0))
    assert 180 < bright[0] < 195 and len(set(bright)) == 1
    assert D.open_image(saved(grey, 'PNG', icc_profile=exchanged)).getpixel((0, 0))[0] in range(124, 133)
    colour = Image.new('RGB', (8, 8), (200, 80, 60))
    assert D.open_image(saved(colour, 'PNG', icc_profile=profile([], 1.0, b'GRAY'))).getpixel((0, 0)) == (200, 80, 60)


LIES = {
    'PNG': png(np.zeros((4, 4, 4), int), 8, 6, size=(8000, 8000)).getvalue(),
    'BMP': b'BM' + struct.pack('<IHHIIiiHHIIiiII', 54, 0, 0, 54, 40, 8000, 8000, 1, 24, 0, 0, 0, 0, 0, 0),
    'GIF': b'GIF89a'
    + struct.pack('<HHBBB', 8000, 8000, 0, 0, 0)
    + b'\x2c'
    + struct.pack('<HHHHB', 0, 0, 8000, 8000, 0)
    + b'\x02\x00;',
    'PPM': b'P6 8000 8000 255\n' + b'\0' * 40,
    'JPEG': saved(Image.new('RGB', (16, 16)), 'JPEG')
    .getvalue()
    .replace(struct.pack('>HH', 16, 16), struct.pack('>HH', 8000, 8000), 1),
}


@pytest.mark.parametrize('kind', LIES)
def test_a_header_that_lies_costs_no_memory(kind, monkeypatch):
    monkeypatch.setattr(Image.Image, 'load', lambda self: pytest.fail('it was decoded'))
    with pytest.raises(ValueError, match='cannot hold so many'):
        D.open_image(io.BytesIO(LIES[kind]))


@pytest.mark.parametrize(
    'kind, options', [('PNG', {}), ('GIF', {}), ('JPEG', {'quality': 20}), ('BMP', {}), ('WEBP', {})]
)
@pytest.mark.parametrize('mode', ['1', 'L', 'RGB'])
def test_blank_images_are_not_taken_for_lies(kind, options, mode):
    if kind in ('JPEG', 'WEBP') and mode == '1':
        return
    image = Image.new(mode, (2500, 2500))
    assert D.open_image(saved(image, kind, **options)).size == (2500, 2500)


def jpeg(image, **options):
    return saved(image, 'JPEG', quality=80, **options).getvalue()


def claiming(data, height, progressive=False):
    "A JPEG whose header claims another height."
    place = data.index(b'\xff\xc2' if progressive else b'\xff\xc0') + 5
    return data[:place] + struct.pack('>H', height) + data[place + 2 :]


PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8))
HALF_GREY = PICTURE.copy()
HALF_GREY.paste((128, 128, 128), (0, 40, 80, 64))
OF_JPEG = [{}, {'progressive': True}, {'restart_marker_rows': 1}, {'restart_marker_blocks': 3}, {'subsampling': 0}]


@pytest.mark.parametrize('options', OF_JPEG)
@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
def test_a_jpeg_that_holds_fewer_rows_than_it_claims_is_no_image(options, mode):
    data = jpeg(PICTURE.convert(mode), **options)
    progressive = 'progressive' in options
    assert D.open_image(io.BytesIO(data)).size == (80, 64)
    # the last refinement of a progressive CMYK may be of another colour than the filled rows
    for height in (80, 128, 3000) if not (progressive and mode == 'CMYK') else ():
        with pytest.raises(ValueError, match='pixels end before'):
            D.open_image(io.BytesIO(claiming(data, height, progressive)))


@pytest.mark.parametrize('options', OF_JPEG)
@pytest.mark.parametrize('image', [HALF_GREY, Image.new('RGB', (50, 30), (128, 128, 128)), Image.new('L', (9, 9), 255)])
def test_a_jpeg_with_an_even_corner_is_whole(image, options):
    assert D.open_image(io.BytesIO(jpeg(image, **options))).size == image.size


def test_a_download_that_was_cut_and_closed_is_no_image():
    data = jpeg(PICTURE)
    with pytest.raises(ValueError, match='pixels end before'):
        D.open_image(io.BytesIO(data[: len(data) * 2 // 3] + b'\xff\xd9'))


@pytest.mark.parametrize('height', [65, 128, 8000])
def test_a_tiff_that_holds_fewer_rows_than_it_claims_is_no_image(height):
    data = bytearray(saved(PICTURE, 'TIFF').getvalue())
    start = struct.unpack('<I', data[4:8])[0] + 2
    entries = range(start, start + 12 * struct.unpack('<H', data[start - 2 : start])[0], 12)
    place = next(k for k in entries if struct.unpack('<H', data[k : k + 2])[0] == 257)
    data[place + 2 : place + 12] = struct.pack('<HII', 4, 1, height)
    with pytest.raises((ValueError, OSError)):
        D.open_image(io.BytesIO(bytes(data)))


def test_threads_decode_no_more_than_one_large_image_at_a_time():
    from concurrent.futures import ThreadPoolExecutor

    limit, now, most = D._PixelLimit(100), [0], [0]

    def work(pixels):
        with limit(pixels):
            now[0] += pixels
            most[0] = max(most[0], now[0])
            now[0] -= pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [60, 50, 40, 100, 1, 99, 5000] * 20))
    assert most[0] <= 5000 and limit.free == 100


@pytest.mark.parametrize(
    'content, words',
    [
        (b'<!DOCTYPE html><html><body>404</body></html>', 'a web page'),
        (b'PK\x03\x04' + b'\0' * 40, 'an archive'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:0', 'git-lfs'),
        (b'\0\0\0 ftypavif' + b'\0' * 30, 'AVIF'),
    ],
)
def test_another_file_under_the_name_of_an_image_is_named(tmp_path, content, words):
    (tmp_path / 'a.jpg').write_bytes(content)
    (tmp_path / 'b').write_bytes(content)
    saved(Image.new('RGB', (9, 9)), 'PNG')
    Image.new('RGB', (9, 9)).save(tmp_path / 'good.png')
    reasons = {d.file: d.reason for d in D.ImageFolder(tmp_path, 8, cache=tmp_path / '.c').report.dropped}
    if words != 'AVIF':
        assert words in reasons['a.jpg'] and words in reasons['b']
    else:
        assert reasons.keys() == {'a.jpg', 'b'}


@pytest.mark.skipif('AVIF' not in D._formats(), reason='this Pillow reads no AVIF')
def test_avif_is_read(tmp_path):
    Image.new('RGB', (32, 32), (200, 80, 60)).save(tmp_path / 'a.avif')
    os.rename(tmp_path / 'a.avif', tmp_path / 'no_ending')
    Image.new('RGB', (32, 32), (200, 80, 60)).save(tmp_path / 'b.avif')
    ds = D.ImageFolder(tmp_path, 16, cache=tmp_path / '.c')
    assert ds.files == ['b.avif', 'no_ending']
    assert np.abs(ds.batch([0])['image'][0, :, 8, 8].numpy().astype(int) - (200, 80, 60)).max() < 6


def test_an_archive_as_data_says_so(tmp_path):
    (tmp_path / 'faces.zip').write_bytes(b'PK\x03\x04')
    with pytest.raises(FileNotFoundError, match='an archive of that name.*unpacked'):
        D.ImageFolder(tmp_path / 'faces.zip')


def test_links_to_what_holds_the_folder_are_left_out(tmp_path):
    (tmp_path / 'set' / 'sub').mkdir(parents=True)
    (tmp_path / 'elsewhere').mkdir()
    for place in ('.', 'set', 'set/sub', 'elsewhere'):
        Image.new('RGB', (9, 9)).save(tmp_path / place / 'a.png')
    (tmp_path / 'set' / 'up').symlink_to('..', target_is_directory=True)
    (tmp_path / 'set' / 'sub' / 'root').symlink_to('/', target_is_directory=True)
    (tmp_path / 'set' / 'other').symlink_to(tmp_path / 'elsewhere', target_is_directory=True)
    found, dropped = D.list_images(tmp_path / 'set')
    assert list(found) == ['a.png', 'other/a.png', 'sub/a.png']
    assert {d.file: d.reason for d in dropped} == {
        'up': 'it links to a folder that holds this one',
        'sub/root': 'it links to a folder that holds this one',
    }


def test_pillow_warns_nobody(tmp_path, recwarn):
    Image.new('P', (9, 9)).save(tmp_path / 'a.gif')
    tiff = saved(Image.new('RGB', (9, 9)), 'TIFF').getvalue()
    (tmp_path / 'b.tif').write_bytes(tiff[:-20])
    D.ImageFolder(tmp_path, 8, cache=tmp_path / '.c')
    assert not [w for w in recwarn if 'PIL' in str(w.filename)]


# ---- stored images and weights ----


@given(st.sampled_from(['manifest.json', 'image.npy']), st.data())
@settings(SOME, max_examples=20)
def test_a_damaged_cache_is_made_again(tmp_path_factory, file, data):
    root = tmp_path_factory.mktemp('set')
    for i in range(3):
        Image.new('RGB', (9, 9), (i, 0, 0)).save(root / f'{i}.png')
    store = D.ImageFolder(root, 8, cache=root / '.c').store.path
    if file == 'manifest.json':
        manifest = json.loads((store / file).read_text())
        place = data.draw(
            st.sampled_from([manifest, manifest['meta'], manifest['fields'], manifest['fields']['image']])
        )
        name = data.draw(st.sampled_from(sorted(place)))
        place[name] = data.draw(json_values)
        (store / file).write_text(json.dumps(manifest))
    else:
        content = bytearray((store / file).read_bytes())
        for _ in range(3):
            content[data.draw(st.integers(0, 127))] = data.draw(st.integers(0, 255))
        (store / file).write_bytes(bytes(content))
    again = D.ImageFolder(root, 8, cache=root / '.c')
    assert again.batch([0, 1, 2])['image'].shape == (3, 3, 8, 8)
    assert [type(d) for d in again.report.dropped] == [] and len(again.files) == 3


@pytest.mark.parametrize(
    'content, words',
    [
        (b'<html>', 'a web page'),
        (b'PK\x03\x04', 'an archive'),
        (b'', 'damaged'),
        (b'\x80\x02}', 'a pickle'),
        (dump_tensors({'a': torch.ones(30)})[:-10], 'damaged'),
        (b'version https://git-lfs', 'git-lfs'),
    ],
)
def test_weights_that_are_none_are_named(tmp_path, content, words):
    (tmp_path / 'a.safetensors').write_bytes(content)
    with pytest.raises(ValueError, match=words) as error:
        core.read_weights(tmp_path / 'a.safetensors')
    assert 'download it again' in sentence(error)
    with pytest.raises(OSError, match='cannot be read') as error:
        core.read_weights(tmp_path / 'none.safetensors')
    assert 'Errno' not in sentence(error)


@pytest.mark.parametrize('name', ['cuda:77', 'tpu', '', 'cpu:x', 'foo:0'])
def test_a_device_that_is_not_there(name):
    with pytest.raises(ValueError, match='no device'):
        core.find_device(name)


def test_no_warning_of_ours_hides_behind_a_filter():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        core.check_types(TrainingConfig, {'batch_size': 3}, 'x')


# ---- numbers that no training can have ----


@pytest.mark.parametrize('name, value', [('n_critic', 10**15), ('n_critic', 0), ('accumulate', 10**12)])
def test_a_step_that_would_never_end_is_refused(name, value):
    with pytest.raises(ValueError, match=f'{name} must lie between 1 and') as error:
        TrainingConfig(**{name: value})
    sentence(error)


@pytest.mark.parametrize('name, value', [('latent', 0), ('base', 0), ('channels', -8), ('r1_gamma', -1.0)])
def test_a_number_too_small_for_any_network_is_refused(name, value):
    with pytest.raises(ValueError, match=f"The model 'dcgan': {name} is at least [01], not {value}") as error:
        network_config('dcgan', {name: value})
    sentence(error)
