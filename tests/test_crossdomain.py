"From a human face to an anime face: laws on tiny generators, photographs, the command, the widget, a GPU."

import base64
import copy
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from animegan_nb import crossdomain as cd, transfer
from animegan_nb.cli import main
from animegan_nb.core import rng
from animegan_nb.inversion import invert
from animegan_nb.stylegan import StyleGANConfig, StyleGANGenerator

CONFIG = StyleGANConfig(16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=64, channel_max=8, noise=False)
QUICK = dict(steps=2, progress=False)


def generators(tuned=2, config=CONFIG):
    "A generator, and one whose last blocks are others."
    torch.manual_seed(0)
    g = StyleGANGenerator(config).eval()
    g_fin = copy.deepcopy(g)
    for block in list(g_fin.synthesis.blocks.values())[len(config.resolutions) - tuned :]:
        for p in block.parameters():
            p.data += 0.3 * torch.randn(p.shape, generator=rng(1))
    return g, g_fin


def people(n=2, seed=3):
    return torch.rand(n, 3, 16, 16, generator=rng(seed)) * 2 - 1


def test_the_blocks_that_are_shared_are_counted_also_after_rounding():
    for tuned in (0, 1, 2, 3):
        g, g_fin = generators(tuned)
        assert cd.shared_blocks(g, g_fin) == 3 - tuned
        g_fin.half().float()  # as networks are shipped
        assert cd.shared_blocks(g, g_fin) == 3 - tuned
    g, g_fin = generators()
    for p in g_fin.mapping.parameters():
        p.data += 1
    assert cd.shared_blocks(g, g_fin) == 0


def test_every_preset_gives_what_its_words_say():
    g, g_fin = generators()
    x = people()
    run = lambda preset, **more: cd.animefy(x, g, g_fin, preset, seed=5, **QUICK, **more)
    draw = lambda h, ws: h.synthesis(ws, 'constant').detach()
    first = invert(g, x, 'z', 0.5, 2, 5, search=cd.THESIS, progress=False)
    second = invert(g_fin, x, 'z', 0.5, 2, 5, search=cd.THESIS, progress=False)
    assert torch.equal(run('freezeg').image, draw(g_fin, first.ws))
    assert torch.equal(run('direct').image, draw(g_fin, second.ws))
    assert torch.equal(run('dial', use=1).image, draw(transfer.graft(g, g_fin, 1), first.ws))
    joined = cd.join_styles(first.ws, second.ws, 1)
    assert torch.equal(run('joined').image, draw(g_fin, joined))
    between = draw(transfer.graft(g, g_fin, 1), first.ws)
    third = invert(g_fin, between, 'z', 0.5, 2, 5, search=cd.THESIS, progress=False)
    found = run('thesis')
    assert torch.equal(found.images['drawn by the graft'], between)
    assert torch.equal(found.image, draw(g_fin, third.ws)) and torch.equal(found.ws, third.ws)
    both = cd.join_styles(first.ws, third.ws, 1)
    assert torch.equal(run('both').image, draw(g_fin, both))
    assert run('likely').found['g'].space == 'p'


def test_the_ends_of_the_dial():
    g, g_fin = generators()
    for preset in ('dial', 'likely'):
        ends = [cd.animefy(people(), g, g_fin, preset, use=use, **QUICK) for use in (0, 2, 3)]
        assert torch.allclose(ends[0].image, ends[0].found['g'].image, atol=1e-5)
        assert torch.allclose(ends[1].image, ends[2].image, atol=1e-5)


def test_the_same_seed_gives_the_same_and_an_image_the_same_alone():
    g, g_fin = generators()
    g_fin.train()
    for preset in cd.PRESETS:
        a = cd.animefy(people(), g, g_fin, preset, seed=1, **QUICK)
        assert torch.equal(a.image, cd.animefy(people(), g, g_fin, preset, seed=1, **QUICK).image)
        alone = cd.animefy(people()[1:], g, g_fin, preset, seed=1, **QUICK)
        assert torch.allclose(alone.image, a.image[1:], atol=1e-3)
        assert list(a.images)[0] == 'person' and list(a.images)[-1] == 'anime' and a.energy.shape == (2,)
    assert g_fin.training and not g.training


def test_a_search_goes_on_where_it_ended():
    g, g_fin = generators()
    first = cd.animefy(people(), g, g_fin, 'thesis', **QUICK)
    more = cd.animefy(people(), g, g_fin, 'thesis', start=first, **QUICK)
    assert torch.allclose(more.found['g'].losses[0], first.found['g'].losses[-1], atol=1e-5)
    with pytest.raises(ValueError, match='another preset'):
        cd.animefy(people(), g, g_fin, 'thesis', start=cd.animefy(people(), g, g_fin, 'freezeg', **QUICK), **QUICK)
    with pytest.raises(ValueError, match='start holds latents of'):
        cd.animefy(people()[:1], g, g_fin, 'thesis', start=first, **QUICK)


def test_a_style_transfer_comes_first():
    g, g_fin = generators()
    done = cd.animefy(people(), g, g_fin, 'freezeg', stylise=lambda x: -x, **QUICK)
    plain = cd.animefy(-people(), g, g_fin, 'freezeg', **QUICK)
    assert torch.equal(done.image, plain.image) and torch.equal(done.images['stylised'], -people())


def test_the_first_architecture_joins_between_blocks():
    config = replace(CONFIG, architecture='stylegan1')
    g, g_fin = generators(2, config)
    done = cd.animefy(people(), g, g_fin, 'joined', **QUICK)
    one, two = done.found['g'].ws, done.found['g_fin'].ws
    assert torch.equal(done.ws[:, :2], one[:, :2]) and torch.equal(done.ws[:, 2:], two[:, 2:])


BROKEN = {
    'α': (dict(alpha=1.5), 'α lies between 0 and 1'),
    'not a number': (dict(alpha=float('nan')), 'α lies between 0 and 1'),
    'steps': (dict(steps=0), 'at least one step'),
    'space': (dict(space='v'), 'space'),
    'use': (dict(use=7), 'blocks from g_fin'),
    'second': (dict(second='face'), 'second is'),
    'join': (dict(join=True), 'join needs'),
    'a graft that nothing draws with': (dict(second='photo', use=1), 'leave use out'),
    'half a step': (dict(steps=2.5), 'steps is a whole number, not 2.5'),
    'a word for α': (dict(alpha='half'), "α lies between 0 and 1, not 'half'"),
    'the seed': (dict(seed='a'), "seed is a whole number, not 'a'"),
}


@pytest.mark.parametrize('name', BROKEN)
def test_a_wrong_number_is_named_in_one_sentence(name):
    changes, words = BROKEN[name]
    with pytest.raises(ValueError, match=words):
        cd.animefy(people(), *generators(), 'freezeg', **(dict(progress=False, steps=1) | changes))


def test_what_does_not_fit_is_named():
    g, g_fin = generators()
    with pytest.raises(TypeError, match='no .colour'):
        cd.animefy(people(), g, g_fin, colour=1)
    with pytest.raises(ValueError, match='no preset .best'):
        cd.animefy(people(), g, g_fin, 'best')
    with pytest.raises(ValueError, match='different numbers'):
        cd.animefy(people(), g, StyleGANGenerator(replace(CONFIG, size=32)))
    with pytest.raises(ValueError, match='share no block'):
        cd.animefy(people(), g, generators(3)[1], 'joined', **QUICK)
    with pytest.raises(ValueError, match='resize'):
        cd.animefy(people()[:, :, ::2, ::2], g, g_fin, **QUICK)
    with pytest.raises(ValueError, match='floats'):
        cd.animefy(people().byte(), g, g_fin, **QUICK)
    with pytest.raises(ValueError, match='joined if both'):
        cd.join_styles(torch.zeros(1, 4, 8), torch.zeros(1, 6, 8), 1)
    for preset in (None, 3, cd.Preset, dict(steps=2)):
        with pytest.raises(TypeError, match='a Preset or the name of one'):
            cd.animefy(people(), g, g_fin, preset)


@pytest.mark.parametrize('blocks, shared', [(-1, 1), (4, 1), (1.0, 1), (None, 0), (True, 0), (2, -1), (2, 2)])
def test_styles_are_joined_behind_a_number_of_blocks(blocks, shared):
    with pytest.raises(ValueError, match='0 to 3 here'):
        cd.join_styles(torch.zeros(1, 6, 8), torch.ones(1, 6, 8), blocks, shared)


def test_arguments_are_checked_before_a_face_is_looked_for(monkeypatch):
    monkeypatch.setattr(cd, 'find_face', lambda *_: pytest.fail('a face was looked for'))
    g, g_fin = generators()
    for changes, words in ((dict(seed='a'), 'seed'), (dict(use=9), 'blocks'), (dict(space='v'), 'space')):
        with pytest.raises(ValueError, match=words):
            cd.animefy(Image.new('RGB', (99, 99)), g, g_fin, **changes)


# ---- photographs


def boxes(*rows):
    return lambda photo: np.array(rows, dtype=int).reshape(-1, 4)


def test_photographs_without_one_clear_face_are_refused():
    photo = Image.new('RGB', (500, 400))
    with pytest.raises(ValueError, match='No face'):
        cd.find_face(photo, boxes())
    with pytest.raises(ValueError, match='2 faces'):
        cd.find_face(photo, boxes([10, 10, 90, 90], [300, 10, 80, 80]))
    with pytest.raises(ValueError, match='20×20 pixels is too small'):
        cd.find_face(Image.new('RGB', (20, 20)), boxes())
    only_larger = lambda photo: boxes(*[[30, 30, 45, 45]] * (photo.width > 200))(photo)
    with pytest.raises(ValueError, match='only 15 pixels wide'):
        cd.find_face(Image.new('RGB', (100, 100)), only_larger)
    wide = lambda photo: boxes(*[[30, 30, 87, 87]] * (photo.width > 200))(photo)
    with pytest.raises(ValueError, match='about 29 pixels wide shows only after the image is enlarged'):
        cd.find_face(Image.new('RGB', (100, 100)), wide)


def test_a_part_of_a_face_is_no_second_face():
    inside = boxes([100, 100, 90, 90], [120, 130, 40, 40])
    assert cd.find_face(Image.new('RGB', (400, 400)), inside).tolist() == [100, 100, 90, 90]


def test_the_face_lies_where_the_drawn_heads_have_theirs():
    photo = Image.new('RGB', (400, 400), 'white')
    photo.paste('black', (150, 160, 250, 260))
    face = cd.portrait(photo, 64, boxes([150, 160, 100, 100]))
    assert face.shape == (1, 3, 64, 64)
    dark = (face[0, 0] < 0).nonzero()
    assert abs(len(dark.unique()) - 64 / cd.ZOOM) <= 4
    centre = dark.float().mean(0)  # row, column
    assert abs(centre[1] - 31.5) < 1.5 and abs(centre[0] - 31.5 - 64 * cd.RISE / cd.ZOOM) < 1.5


def test_a_small_face_is_enlarged_and_any_mode_is_read():
    seen = []

    def enlarge(images, size):
        seen.append(images.shape)
        return torch.zeros(1, 3, size, size)

    small = boxes([30, 30, 22, 22])
    assert (cd.portrait(Image.new('L', (90, 90)), 64, small, enlarge) == 0).all() and seen[0][-1] < 64
    assert cd.portrait(Image.new('RGBA', (90, 90)), 64, small).shape == (1, 3, 64, 64)
    assert cd.portrait(Image.new('RGB', (9, 5)), 64, whole=True).shape == (1, 3, 64, 64)


def test_real_faces_are_found(data_dir):
    pytest.importorskip('cv2')
    files = sorted((data_dir / 'human_faces_89x109').glob('*.jpg'))[:12]
    found = 0
    for file in files:
        try:
            found += cd.portrait(Image.open(file)).shape == (1, 3, 64, 64)
        except ValueError:
            pass
    assert found >= 10
    with pytest.raises(ValueError, match='No face'):
        cd.portrait(Image.new('RGB', (200, 200), 'white'))
    pair = Image.new('RGB', (178, 109))
    for k in (0, 1):
        pair.paste(Image.open(files[2 + k]), (89 * k, 0))
    with pytest.raises(ValueError, match='2 faces'):
        cd.portrait(pair)


def test_matched_colours_are_those_of_numpy():
    images, like = people(3, 7), people(2, 8)
    moved = cd.match_colours(images, like).numpy()
    wanted = like.numpy().transpose(1, 0, 2, 3).reshape(3, -1)
    for image in moved.reshape(3, 3, -1):
        assert np.allclose(image.mean(1), wanted.mean(1), atol=1e-4)
        assert np.allclose(np.cov(image), np.cov(wanted), atol=2e-3)


@pytest.mark.parametrize('images, like', [(people()[:, :1], people()), (people(), people()[:, :1])])
def test_colours_need_three_channels(images, like):
    with pytest.raises(ValueError, match=r'Images are a tensor \[batch, 3, height, width\], not'):
        cd.match_colours(images, like)


# ---- the widget, the command, a GPU


def test_the_widget_reads_an_uploaded_photo(monkeypatch):
    viewer = cd.Animefier(*generators(), people(1), steps=2)
    plain = viewer.image()
    assert plain.height == 32 and plain.width > 90
    file = io.BytesIO()
    Image.new('RGB', (80, 80), 'red').save(file, 'PNG')
    photo = dict(name='a.png', data='data:image/png;base64,' + base64.b64encode(file.getvalue()).decode())
    with pytest.raises(ValueError, match='No face'):
        monkeypatch.setattr(cd, 'photo_finder', lambda: boxes())
        viewer.image(photo=photo)
    monkeypatch.setattr(cd, 'photo_finder', lambda: boxes([20, 20, 40, 40]))
    assert viewer.image('thesis', 0.2, 2, 1, photo).width > plain.width
    with pytest.raises(ValueError, match="'a.txt' is no image"):
        viewer.image(photo=dict(name='a.txt', data=''))
    pytest.importorskip('anywidget')
    widget = viewer.widget()
    widget.newest.wait()
    assert widget.result['image'].startswith('data:image/png') and not widget.result['problem']


@pytest.fixture
def shipped_pair(tmp_path):
    g, g_fin = generators()
    for name, network in dict(human=g, anime=g_fin).items():
        network.save_pretrained(tmp_path / name)
    return [f'--human={tmp_path / "human"}', f'--anime={tmp_path / "anime"}', '--steps=2', '--device=cpu']


def test_the_command_draws_the_same_face_twice(tmp_path, shipped_pair, capsys):
    photo = tmp_path / 'photo.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)).save(photo)
    runs = [tmp_path / name for name in ('a.png', 'b.png', 'way.png')]
    for out, more in zip(runs, ([], [], ['--way', '--preset=thesis', '--alpha=0.2', '--use=2'])):
        assert main(['animefy', str(photo), f'--out={out}', '--whole', *shipped_pair, *more]) == 0
    assert 'latent energy' in capsys.readouterr().out
    assert runs[0].read_bytes() == runs[1].read_bytes()
    assert Image.open(runs[0]).size == (64, 64) and Image.open(runs[2]).width > 300


def test_the_command_answers_bad_images_in_one_sentence(tmp_path, shipped_pair, capsys):
    photo, text = tmp_path / 'photo.png', tmp_path / 'text.png'
    Image.new('RGB', (20, 20)).save(photo)
    text.write_text('no image')
    wrong = {
        str(photo): 'too small',
        str(text): 'no image that can be read',
        str(tmp_path / 'missing.png'): 'check the path',
    }
    for word, answer in wrong.items():
        assert main(['animefy', word, f'--out={tmp_path / "out.png"}', *shipped_pair]) == 1
        said = capsys.readouterr().err
        assert answer in said and said.count('\n') == 1, said
    assert main(['animefy', str(photo), f'--out={tmp_path / "out.txt"}', '--whole', *shipped_pair]) == 1
    assert main(['animefy', str(photo), f'--out={tmp_path / "o.png"}', '--whole', '--alpha=2', *shipped_pair]) == 1
    assert 'α lies between' in capsys.readouterr().err and not list(tmp_path.glob('o*'))


def test_the_command_checks_its_words_before_it_looks_for_a_face(tmp_path, shipped_pair, capsys, monkeypatch):
    monkeypatch.setattr(cd, 'portrait', lambda *_, **__: pytest.fail('a face was looked for'))
    photo = tmp_path / 'photo.png'
    Image.new('RGB', (99, 99)).save(photo)
    wrong = {
        '--preset=best': 'There is no preset',
        '--alpha=2': 'α lies between',
        '--use=9': 'blocks from g_fin',
        '--preset=direct --use=2': 'leave use out',
        '--scale=100000': '--scale is at most',
    }
    for word, answer in wrong.items():
        assert main(['animefy', str(photo), f'--out={tmp_path / "o.png"}', *shipped_pair, *word.split()]) == 1
        said = capsys.readouterr().err
        assert answer in said and said.count('\n') == 1, said
    assert main(['animefy', str(tmp_path / 'none.png'), f'--out={tmp_path / "o.png"}', '--preset=best']) == 1
    assert 'There is no preset' in capsys.readouterr().err and not list(tmp_path.glob('o*'))


def test_every_preset_works_on_a_gpu(gpu):
    cuda = torch.device('cuda')
    g, g_fin = (network.to(cuda) for network in generators())
    x = torch.rand(2, 3, 16, 16, generator=rng(3, cuda), device=cuda) * 2 - 1
    for preset in cd.PRESETS:
        done = cd.animefy(x, g, g_fin, preset, **QUICK)
        for tensor in (done.image, done.ws, done.energy, *done.images.values()):
            assert tensor.is_cuda
    assert cd.match_colours(x, x).is_cuda
    assert cd.Animefier(g, g_fin, people(1), steps=1).image().height == 32
    gpu.check()
