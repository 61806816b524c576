"The orbit viewer in a real JupyterLab: drag, wheel, keys, channels, sliders, an error."

import base64
import io
import re
import time

import numpy as np
import pytest
from PIL import Image


pytestmark = pytest.mark.browser

SETUP = '''import sys, math, torch; torch.set_num_threads(1)
from animegan_nb.pigan import pretrained_pigan
from animegan_nb.orbit import FieldSource, OrbitCamera, OrbitViewer, PiganSource
generator, _ = pretrained_pigan('pigan_toon_32')
field = lambda p, d=None: (p*5 + .5, 600*torch.sigmoid(400*(.1 - p.norm(dim=-1))))
ball = FieldSource(field, samples=12, fine=12, name='ball')
"ready"'''
STATE = (
    'print(f"yaw={viewer.camera.yaw:.4f} pitch={viewer.camera.pitch:.4f} fov={viewer.camera.fov:.4f}'
    ' channel={viewer.channel}")'
)


def pixels(photo):
    "The image as the browser holds it."
    url = photo.get_attribute('src')
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(',')[2]))).convert('RGB')).astype(float)


def count(page):
    return int(page.page.locator('.agnb-orbit-box').get_attribute('data-count'))


def state(page, cell):
    page.run(cell)
    return {
        k: v if k == 'channel' else float(v) for k, v in re.findall(r'(\w+)=(\S+)', page.text(cell).splitlines()[-1])
    }


def at_rest(page, size=64):
    "Wait until the finest image of the newest request is shown."
    box = page.page.locator('.agnb-orbit-box')
    said = lambda name: box.get_attribute(f'data-{name}')
    quiet = lambda: said('shown') == said('request') and said('size') == str(size)
    page.page.wait_for_timeout(300)  # a wheel or a key asks for the fine image a quarter of a second later
    page.until(quiet, seconds=90, what='the finest image')


def open_viewer(page, what):
    page.run(0, seconds=240)
    page.run(1, seconds=120)
    photo = page.page.locator('.agnb-orbit-image').first
    photo.wait_for(timeout=60_000)
    page.until(lambda: photo.evaluate('e => e.naturalWidth') > 100, seconds=60, what='the first image')
    at_rest(page)
    photo.scroll_into_view_if_needed()
    box = photo.bounding_box()
    assert box['width'] > 100, what
    return photo, box


PACE = '''import time
def one():
    begin = time.perf_counter(); viewer.image(viewer.sources[0], size=32, coarse=True)
    return time.perf_counter() - begin
print(f"pace={sorted(one() for _ in range(7))[3]:.4f}")'''


def test_twenty_drags_give_ten_images_in_two_seconds(lab):
    """Two seconds on a machine that draws one image within 0.1 s;
    where others use the processor too, as long as twenty images take now."""
    cells = [SETUP, 'viewer = OrbitViewer(PiganSource(generator, 8), sizes=(32, 64))\nviewer', STATE, PACE]
    with lab.open(cells, name='drags') as page:
        photo, box = open_viewer(page, 'a pi-GAN')
        page.run(3)
        pace = float(re.search(r'pace=(\S+)', page.text(3))[1])
        seconds = 2.0 if pace < 0.1 else 20 * pace
        photo.scroll_into_view_if_needed()
        box = photo.bounding_box()
        x, y = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
        before, images = pixels(photo), count(page)
        page.page.mouse.move(x, y)
        page.page.mouse.down()
        begin = time.perf_counter()
        for i in range(1, 21):
            page.page.mouse.move(x - 3 * i, y + i)
            page.page.wait_for_timeout(max(0.0, begin + i * seconds / 20 - time.perf_counter()) * 1000)
        during, took = count(page) - images, time.perf_counter() - begin
        coarse = page.page.locator('.agnb-orbit-box').get_attribute('data-size')
        page.page.mouse.up()
        at_rest(page)  # fine at rest
        after = pixels(photo)
        print(f'{during} images for 20 drags in {took:.2f} s; one takes {pace:.3f} s')
        assert during >= 10, f'{during} images for 20 drags in {took:.2f} s; one takes {pace:.3f} s'
        assert coarse == '32'  # coarse while the hand moves
        assert before.shape == after.shape and np.abs(after - before).mean() > 3
        from animegan_nb.pigan import pretrained_pigan

        now, expected = state(page, 2), python_drag(-60, 20, box['width'], ball=1 - pretrained_pigan()[0].view.near)
        # the browser's drag is Python's
        assert abs(now['yaw'] - expected[0]) < 0.02 and abs(now['pitch'] - expected[1]) < 0.02
        assert page.our_errors() == []
        page.save()
    text = page.path.read_text()
    assert '"image/' in text and '"widgets"' not in text  # a plain image is stored, no widget state


def python_drag(dx, dy, width, fov=12.0, start=(0.0, 0.0), ball=0.12):
    from animegan_nb.orbit import drag, radians_per_pixel

    return drag(*start, dx, dy, radians_per_pixel(fov, width, 1.0, ball))


def test_wheel_keys_channels_sliders_reset_and_two_sources(lab):
    from animegan_nb.orbit import zoom

    cells = [
        SETUP,
        (
            'viewer = OrbitViewer(ball, PiganSource(generator, 8, axes=1), sizes=(16, 64), camera=OrbitCamera(.2, .1),'
            ' shown=200)\nviewer'
        ),
        STATE,
    ]
    with lab.open(cells, name='wheel', size=(1180, 1200)) as page:
        photo, box = open_viewer(page, 'a ball')
        second = page.page.locator('.agnb-orbit-image').nth(1)
        assert page.page.locator('.agnb-orbit-name').all_inner_texts() == ['ball', 'pi-GAN']
        ball, head = pixels(photo), pixels(second)
        page.page.mouse.move(box['x'] + 80, box['y'] + 80)
        for _ in range(3):
            page.page.mouse.wheel(0, 100)
            page.page.wait_for_timeout(60)
        at_rest(page)
        # one camera for both
        assert np.abs(pixels(photo) - ball).mean() > 3 and np.abs(pixels(second) - head).mean() > 3
        now = state(page, 2)
        notches = 3 / page.page.evaluate('devicePixelRatio')  # Chromium divides the wheel's 100 by it
        assert abs(now['fov'] - zoom(12.0, notches)) < 0.02 and abs(now['yaw'] - 0.2) < 1e-6

        photo.focus()
        page.page.keyboard.press('ArrowRight')
        page.page.keyboard.press('ArrowUp')
        page.page.keyboard.press('ArrowUp')
        at_rest(page)
        now = state(page, 2)
        assert abs(now['yaw'] - 0.3) < 1e-6 and abs(now['pitch'] - 0.3) < 1e-6

        page.page.locator('.agnb-orbit-channel', has_text='normals').click()
        at_rest(page)
        assert (
            state(page, 2)['channel'] == 'normals'
            and page.page.locator('.agnb-orbit-channel[aria-pressed=true]').inner_text() == 'normals'
        )

        head = pixels(second)
        slider = page.page.locator('.agnb-orbit-amount').nth(1)
        slider.focus()
        for _ in range(40):
            page.page.keyboard.press('ArrowRight')
        at_rest(page)
        assert np.abs(pixels(second) - head).mean() > 0.5
        page.page.locator('.agnb-orbit-reset').click()
        at_rest(page)
        now = state(page, 2)
        assert (now['yaw'], now['pitch'], now['fov']) == (0.2, 0.1, 12.0) and float(slider.input_value()) == 0
        assert page.our_errors() == []


def test_an_error_is_one_sentence_and_the_next_request_is_served(lab):
    cells = [
        SETUP,
        (
            'ill = lambda p, d=None: (p, field(p)[1]*(1 if abs(float(d[0, 0, 0])) < .2 else math.nan))\nviewer ='
            ' OrbitViewer(FieldSource(ill, samples=8, fine=0, name="ill"), sizes=(16, 64))\nviewer'
        ),
        STATE,
    ]
    with lab.open(cells, name='fault') as page:
        photo, box = open_viewer(page, 'an ill field')
        problem = page.page.locator('.agnb-orbit-problem')
        assert problem.inner_text() == ''
        photo.focus()
        for _ in range(6):
            page.page.keyboard.press('ArrowRight')
            page.page.wait_for_timeout(40)
        page.until(lambda: 'NaN' in problem.inner_text(), what='the sentence')
        assert '\n' not in problem.inner_text()
        page.page.keyboard.press('Home')
        page.until(lambda: problem.inner_text() == '', what='a good image again')
        at_rest(page)
        assert page.our_errors() == []
