"Standing figures: masks, wholeness, the pipeline, equal images shown, growth, counted operations, stored results."

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from animegan_nb import standing as sd
from animegan_nb.cleaning import clean
from animegan_nb.core import shipped, to_float
from animegan_nb.stylegan import STYLEGAN_LIU_A, STYLEGAN_LIU_B, STYLEGAN_LIU_C, StyleGANConfig, growth_stages
from animegan_nb.training import Trainer, build_pair
from animegan_nb.wgan import WGANConfig


def drawn(height=40, width=30, colour=(200, 220, 240), box=(10, 5, 20, 33), inner=(255, 255, 255)):
    "A dark frame around a light inside on a plain colour: a figure in white clothes."
    page = np.empty((height, width, 3), np.uint8)
    page[:] = colour
    left, top, right, bottom = box
    page[top:bottom, left:right] = (30, 20, 40)
    page[top + 2 : bottom - 2, left + 2 : right - 2] = inner
    return Image.fromarray(page)


def variants(size=64):
    "The four networks of the table."
    return sd.small_variants(size, wgan=WGANConfig(size, channels=64))


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_reachable_is_what_a_queue_finds(free):
    from solutions.standing import reachable

    assert np.array_equal(sd.reachable(free), reachable(free))


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_contacts_turn_with_the_image(mask):
    found, turned = sd.border_contact(mask), sd.border_contact(np.rot90(mask))
    assert [turned[k] for k in ('left', 'bottom', 'right', 'top')] == pytest.approx(
        [found[k] for k in ('top', 'left', 'bottom', 'right')]
    )
    assert all(0 <= v <= 1 for v in found.values())


def test_white_clothes_stay_and_the_background_goes():
    white = np.asarray(sd.on_white(drawn()))
    assert (white[0, 0] == 255).all() and (white[5, 10] == (30, 20, 40)).all()
    assert sd.figure_mask(drawn(inner=(200, 220, 240)))[20, 15]  # clothes of the background's colour
    assert sd.on_white(sd.on_white(drawn())).tobytes() == sd.on_white(drawn()).tobytes()
    assert sd.figure_mask(drawn()).sum() == 10 * 28


@pytest.mark.parametrize('colour', [(0, 0, 0, 0), (200, 30, 30, 0)])
def test_what_is_transparent_is_page(colour):
    image = Image.new('RGBA', (30, 40), colour)
    image.paste((0, 0, 0, 255), (10, 5, 20, 33))
    assert sd.figure_mask(image).sum() == 10 * 28 and sd.whole_figure(image) is image
    assert sd.on_white(image).getpixel((0, 0)) == (255, 255, 255)
    assert sd.on_white(image).getpixel((15, 20)) == (0, 0, 0)


def test_a_gradient_within_the_tolerance_is_plain():
    page = np.asarray(drawn()).astype(int)
    page[..., 0] += (np.arange(40)[:, None] * (page[..., 0] == 200)) // 4
    assert np.array_equal(sd.figure_mask(Image.fromarray(page.astype(np.uint8))), sd.figure_mask(drawn()))


@pytest.mark.parametrize(
    'box, side',
    [((10, 0, 20, 30), 'top'), ((10, 8, 20, 40), 'bottom'), ((0, 8, 20, 30), 'left'), ((10, 8, 30, 30), 'right')],
)
def test_a_cut_figure_is_refused_with_the_side(box, side):
    with pytest.raises(ValueError, match=f'cut off at the {side}'):
        sd.whole_figure(drawn(box=box), most=0.4)
    assert sd.whole_figure(drawn(box=box), most=1.0) is not None


def test_white_trousers_cut_off_at_the_border_are_found(tmp_path):
    "On white they would be background; the page tells them apart. A coloured page keeps its other figures."
    shop = tmp_path / 'shop'
    shop.mkdir()
    whole, cut = drawn(box=(10, 5, 20, 30)), np.asarray(drawn(box=(10, 5, 20, 40))).copy()
    cut[-2:, 12:18] = 255  # the outline is open below
    whole.save(shop / 'whole.png')
    Image.fromarray(cut).save(shop / 'cut.png')
    noise = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(shop / 'noise.png')
    changes = sd.standing_changes(32, corner=(4, 6), most=0.4)
    report = clean(shop, steps=(), into=tmp_path / 'clean', changes=changes, progress=False)
    reasons = {d.file: d.reason for d in report.dropped}
    assert report.kept == ['whole.png'] and set(reasons) == {'cut.png', 'noise.png'}
    assert 'cut off at the bottom' in reasons['cut.png'] and 'background is not plain' in reasons['noise.png']
    kept = clean(shop, steps=(), into=tmp_path / 'all', changes=sd.standing_changes(32, (4, 6), 1.0), progress=False)
    assert sorted(kept.kept) == ['cut.png', 'whole.png']


def test_paint_in_the_corner_hides_no_cut_and_takes_no_feet():
    "A mark in the corner is painted over; a figure that reaches into the corner is dropped."

    def change(page, **options):
        for step in sd.standing_changes(64, **options):
            page = step(page)
        return page

    page = np.full((96, 68, 3), 255, np.uint8)
    page[88:92, 50:60] = 120  # a mark
    whole, bar, foot = (page.copy() for _ in range(3))
    whole[20:80, 30:36] = 40
    bar[20:96, 45:60] = 40  # cut off at the bottom, inside the corner
    foot[20:90, 34:40] = 40  # whole, but it stands in the corner
    kept = change(Image.fromarray(whole), corner=(13, 30))
    mask = sd.figure_mask(kept)
    assert mask.any(1).sum() == pytest.approx(60 * 64 / 96, abs=3) and not mask[50:, 40:].any()
    for drawn_page in (bar, foot):
        with pytest.raises(ValueError, match="across the edge of the watermark's corner"):
            change(Image.fromarray(drawn_page), corner=(13, 30))
    page[80:92, 50:60] = 120  # a mark that is higher than the corner
    with pytest.raises(ValueError, match='the figure, or a larger mark'):
        change(Image.fromarray(page), corner=(13, 30))
    with pytest.raises(ValueError, match='cut off at the bottom'):
        bar[:, 36:40] = bar[:, 45:49]  # a second bar, beside the corner
        change(Image.fromarray(bar), corner=(13, 30))
    with pytest.raises(ValueError, match='only 68 pixels wide, no more than the watermark'):
        change(Image.fromarray(whole))  # the default is for pages of 500 px


@pytest.mark.parametrize('size', [4, 6, 48])
def test_growth_names_a_size_that_cannot_be(size):
    with pytest.raises(ValueError, match=f'from 8 px on, not to {size}'):
        sd.small_growth(size, 1000)


@pytest.mark.parametrize('batch', [1, 3])
def test_half_a_batch_must_be_whole(batch):
    with pytest.raises(ValueError, match=f'an even number, not {batch}'):
        sd.stylegan_step_flops(StyleGANConfig(32), batch=batch)


def test_no_plain_background_and_no_figure():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match='not plain'):
        sd.on_white(noise)
    with pytest.raises(ValueError, match='no figure'):
        sd.on_white(Image.new('RGB', (20, 20), (9, 9, 9)))


def test_the_pipeline_on_a_folder(tmp_path):
    shop = tmp_path / 'shop'
    shop.mkdir()
    for i, colour in enumerate([(255, 255, 255), (240, 230, 220), (200, 220, 240)]):
        drawn(colour=colour, box=(8, 4, 20 - 2 * i, 30)).save(shop / f'{i}.png')
    drawn(box=(10, 8, 20, 40)).save(shop / 'cut.png')
    (shop / 'broken.png').write_bytes((shop / '0.png').read_bytes()[:60])
    report = clean(
        shop,
        steps=(),
        into=tmp_path / 'clean',
        changes=sd.standing_changes(32, corner=(4, 6), most=0.4),
        progress=False,
    )
    assert sorted(report.kept) == ['0.png', '1.png', '2.png']
    assert {d.file: d.step for d in report.dropped} == {'cut.png': 'change', 'broken.png': 'broken'}
    for name in report.kept:
        page = np.asarray(Image.open(tmp_path / 'clean' / name))
        assert page.shape == (32, 32, 3) and (page[0] == 255).all() and (page[:, 0] == 255).all()


@pytest.mark.parametrize('size', [32, 64, 128])
def test_equal_numbers_of_images_are_shown(size):
    for key, v in variants(size).items():
        assert v.steps(8000) * v.training.batch_size * v.training.n_critic == 8000, key
    assert list(variants(size)) == ['wgan-gp', 'a', 'b', 'c'] and list(sd.small_variants(size)) == ['a', 'b', 'c']
    b, c = (variants(size)[k].network for k in 'bc')
    assert c.maps(size) == 2 * b.maps(size)


def test_a_trainer_shows_as_many_images_as_the_variant_says():
    from animegan_nb.data import ImageSet

    data = ImageSet({'image': np.random.default_rng(0).integers(0, 255, (16, 3, 32, 32), dtype=np.uint8)})
    for key in ('wgan-gp', 'b'):
        v = variants(32)[key]
        images = 80
        trainer = Trainer(build_pair(v.model, v.network), data, v.training, [], 'cpu').fit(
            v.steps(images), progress=False
        )
        assert trainer.position * v.training.batch_size == images


@pytest.mark.parametrize('size, images', [(32, 4000), (64, 20_000), (16, 999)])
def test_growth_is_complete_after_half(size, images):
    stages = sd.small_growth(size, images)
    sizes = [stage.size for stage in stages]
    assert sizes == sorted(sizes) and sizes[0] == 4 and sizes[-1] == size
    assert not stages[-1].fade and sum(stage.images for stage in stages) == images
    assert sum(stage.images for stage in stages[:-1]) == pytest.approx(images / 2, abs=4 * len(stages))
    assert all(stage.fade in (0, stage.images) for stage in stages)


WIDTHS = dict(z_dim=16, w_dim=16, mapping_layers=1, channel_base=2048, channel_max=64)


@pytest.mark.parametrize(
    'config',
    [
        StyleGANConfig(32, **WIDTHS),
        StyleGANConfig(32, **WIDTHS, discriminator='dcgan', r1_every=4),
        StyleGANConfig(32, 'stylegan1', **WIDTHS, path_weight=0.0, r1_every=1),
    ],
)
def test_the_formula_agrees_with_the_count(config):
    f = sd.stylegan_step_flops(config)
    if config.architecture == 'stylegan1' or config.discriminator == 'dcgan':  # the players cost unlike amounts
        assert f['generator'] > 1.5 * f['discriminator']
    path_every = config.path_every if config.path_weight else 0
    formula = sd.iteration_cost(f['generator'], f['discriminator'], config.r1_every, path_every)
    assert formula == pytest.approx(sd.training_flops(config), rel=0.03)
    assert sd.stylegan_step_flops(config, batch=8)['generator'] == pytest.approx(f['generator'], rel=1e-3)


def test_the_thesis_sizes_and_its_hours():
    b, c = sd.training_flops(STYLEGAN_LIU_B.network), sd.training_flops(STYLEGAN_LIU_C.network)
    assert 2.8 < c / b < 3.5 and 4e11 < b < 6e11
    without = replace(STYLEGAN_LIU_B.network, r1_gamma=0.0)
    r1 = sd.stylegan_step_flops(without)['R1'] / without.r1_every
    assert sd.training_flops(without) == pytest.approx(b - r1)
    quick = sd.growing_training_flops(STYLEGAN_LIU_A.network, growth_stages(images=1_200_000))
    assert quick < sd.training_flops(STYLEGAN_LIU_A.network, 8)
    assert sd.gpu_hours(b, 8_000_000, b * 8_000_000 / 3600 / 242) == pytest.approx(242)


def test_bad_input_is_answered_in_one_sentence():
    for call, words in (
        (lambda: sd.iteration_cost(1, 1, 0), 'from 1 on'),
        (lambda: sd.iteration_cost(1, 1, 16, -1), 'or 0: never'),
        (lambda: sd.growing_training_flops(StyleGANConfig(32, **WIDTHS), []), 'at least one stage'),
        (lambda: sd.read_figures(sd.figure_reader()[0], torch.zeros(2, 3, 64, 64, dtype=torch.uint8)), 'to_float'),
    ):
        with pytest.raises(ValueError, match=words) as error:
            call()
        assert '\n' not in str(error.value)


def test_stored_results_are_complete():
    stored = json.loads(shipped('results/standing_64.json').read_text())
    assert {(r['variant'], r['seed']) for r in stored['rows']} == {(v, s) for v in variants() for s in (0, 1)}
    assert stored['size'] == 64
    for r in stored['rows']:
        assert r['finished'] and r['steps'] == variants()[r['variant']].steps(stored['images'])
        assert r['processor_seconds'] > 0 and set(r['distinct']) == set('1234')
        for s in r['scores'].values():
            f = next(x for x in s['numbers'].values() if x['metric'] == 'frechet')
            assert f['low'] <= f['value'] <= f['high'] and f['floor'] < f['value']
    for name in [*variants(), 'real', 'quarters']:
        assert shipped(f'results/standing_64_{name}.jpg').stat().st_size < 120_000


# ---- the reader and what it reads


def figures(n=6):
    from animegan_nb.figures import ToonFigures

    rows = ToonFigures(n, 64, seed=21, supersample=1).batch(range(n))
    return to_float(rows['image']), sd.figure_truth(rows)


def test_truth_and_readings_have_the_same_names_and_shapes():
    images, truth = figures()
    net, facts = sd.figure_reader()
    readings = sd.read_figures(net, images, batch=4)
    still = next(m for m in net.train().modules() if isinstance(m, torch.nn.BatchNorm2d)).eval()
    again = sd.read_figures(net, images, batch=4)
    assert (
        net.training and not still.training and all(torch.equal(again[name], found) for name, found in readings.items())
    )
    net.eval()
    assert (
        list(readings) == list(sd.FIGURE_READINGS)
        and set(truth) == set(readings)
        and set(facts['agreement']) == set(readings)
    )
    for name, found in readings.items():
        assert (
            len(found) == 6 and found.isfinite().all() and found.ndim == (1 if truth[name].is_floating_point() else 2)
        )
        if found.ndim == 2:
            assert 0 <= int(truth[name].min()) and int(truth[name].max()) < found.shape[1]
    assert torch.allclose(
        readings['pose'], sd.read_figures(net, images)['pose'], atol=1e-4
    )  # the batch does not matter


def test_the_reader_reads_what_was_drawn():
    images, truth = figures()
    readings = sd.read_figures(sd.figure_reader()[0], images)
    assert max((readings[k] - truth[k]).abs().median() for k in ('left_hand', 'right_hand', 'stance')) < 0.05
    assert sum(int((readings[k].argmax(1) == truth[k]).sum()) for k in ('colours', 'hair_colour')) >= 8  # of 12
    other = torch.nn.functional.interpolate(images, scale_factor=2)  # another size is brought to 64 px
    assert (sd.read_figures(sd.figure_reader()[0], other)['stance'] - readings['stance']).abs().max() < 0.05


def test_float64_images_are_read_as_float32_ones():
    net, images = sd.figure_reader()[0], torch.rand(2, 3, 64, 64) * 2 - 1
    single, double = sd.read_figures(net, images), sd.read_figures(net, images.double())
    assert all(torch.equal(single[name], double[name]) for name in single)


def test_a_drawn_hand_is_where_the_truth_says():
    images, truth = figures()
    assert (
        all(((truth[k] > 0) & (truth[k] < 1)).all() for k in ('left_hand', 'right_hand'))
        and (truth['stance'] >= 0).all()
    )
    assert (truth['pose'] // 2 < 14).all()


def test_the_truth_is_in_sides_of_the_image_at_any_size():
    from animegan_nb.figures import ToonFigures

    small, large = (ToonFigures(3, size, seed=21, supersample=1).batch(range(3)) for size in (64, 96))
    for name, found in sd.figure_truth(large).items():
        assert torch.allclose(found.float(), sd.figure_truth(small)[name].float(), atol=5e-3), name


def test_stored_controls_belong_to_the_table():
    found = json.loads(shipped('results/standing_controls.json').read_text())
    stored = json.loads(shipped('results/standing_64.json').read_text())
    assert found['figures'] == stored['figures']
    assert set(found['scores']['one figure']) == set(stored['rows'][0]['scores'])
    assert len(found['scores']['one figure']['toon']['frechet']) == found['single']
    assert all(set(share) == set(sd.FIGURE_READINGS) for share in found['share'].values())


def test_stored_varieties_are_complete():
    found = json.loads(shipped('results/standing_variety.json').read_text())
    assert set(found['share']) == {f'{v}_{s}' for v in variants() for s in (0, 1)} | {'long'}
    assert all(set(share) == set(sd.FIGURE_READINGS) and min(share.values()) >= 0 for share in found['share'].values())
    assert found['influence']['names'] == list(sd.FIGURE_READINGS) and len(found['influence']['share']) == 3


@pytest.mark.skipif(
    not os.environ.get('ANIMEGAN_DATA') or not (Path(os.environ.get('ANIMEGAN_DATA', '.')) / 'figures_64').is_dir(),
    reason='the real sprites are not here: set ANIMEGAN_DATA',
)
def test_the_mask_of_real_sprites():
    files = sorted((Path(os.environ['ANIMEGAN_DATA']) / 'figures_64').glob('*.png'))[::6]
    overlaps = []
    for i, file in enumerate(files):
        sprite = Image.open(file).convert('RGBA')
        truth = np.asarray(sprite)[..., 3] > 127
        page = Image.alpha_composite(
            Image.new('RGBA', sprite.size, (230 - 3 * (i % 20), 160 + i % 50, 210, 255)), sprite
        ).convert('RGB')
        mask = sd.figure_mask(page)
        overlaps.append((mask & truth).sum() / (mask | truth).sum())
    assert np.median(overlaps) > 0.98 and min(overlaps) > 0.8
