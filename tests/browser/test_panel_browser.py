"A panel in a real JupyterLab: keys, menus, an error, an upload; a narrow and dark page; a reload; a restarted kernel."

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image


pytestmark = pytest.mark.browser

SETUP = """from PIL import Image
from animegan_nb.widgets import *
class Square(RichDisplay):
    def image(self, size=40, colour='red', mode='plain'):
        return Image.new('RGB', (int(size), int(size)), colour)
    still_image = image
    def widget(self):
        controls = dict(size=slider('size in pixels', 10, 90, 40, 1), mode=choice('mode', ['plain', 'framed']),
                        colour=menu('colour of it', ['red', 'green', 'no such colour']))
        return panel(self.image, controls, 'a square', {'Again': lambda: None}, width=240)
"ready\""""
CELLS = [SETUP, 'square = Square()\nsquare', 'square.shown_widget.request["values"]']


def shown(page, seconds=30):
    page.run(0, 4 * seconds)
    page.run(1, 2 * seconds)
    box = page.page.locator('.agnb-panel')
    box.wait_for(timeout=1000 * seconds)
    page.until(lambda: box.get_attribute('aria-busy') == 'false', seconds, 'the first image')
    return box


def at_rest(page, box, seconds=30):
    page.page.wait_for_timeout(400)
    page.until(lambda: box.get_attribute('aria-busy') == 'false', seconds, 'the answer')


def test_keys_move_sliders_menus_and_buttons(lab):
    with lab.open(CELLS, name='keys') as page:
        box = shown(page)
        image, press = box.locator('img'), page.page.keyboard.press
        side = lambda: image.evaluate('e => [e.naturalWidth, e.clientWidth, e.clientHeight]')
        assert side() == [40, 240, 240]  # square on the page
        box.get_by_label('size in pixels').focus()
        for _ in range(3):
            press('ArrowRight')
        page.until(lambda: side()[0] == 43, what='a larger square')
        press('Tab')  # the row of buttons
        press('ArrowRight')
        press('Tab')  # the menu
        press('ArrowDown')
        at_rest(page, box)
        page.run(2)
        assert re.findall(r"'(\w+)': ('?\w+)", page.text(2)) == [
            ('size', '43'),
            ('mode', "'framed"),
            ('colour', "'green"),
        ]
        assert image.get_attribute('alt') == 'a square: size in pixels 43, mode framed, colour of it green'

        box.get_by_label('colour of it').select_option('no such colour')
        problem = box.get_by_role('alert')
        page.until(lambda: 'unknown color' in problem.inner_text(), what='the error')
        box.get_by_label('colour of it').select_option('red')
        page.until(lambda: not problem.is_visible(), what='a good image again')
        assert page.our_errors() == []


def test_a_narrow_dark_page_and_a_reload(lab):
    with lab.open(CELLS, name='narrow', dark=True, size=(620, 900)) as page:
        box = shown(page)
        assert box.evaluate('e => e.scrollWidth <= e.clientWidth')
        image = box.locator('img').bounding_box()
        assert abs(image['width'] - image['height']) < 1
        colours = box.evaluate(
            'e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color].map('
            r'c => c.match(/\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0))'
        )
        assert colours[0] < 200 < colours[1]  # dark paper, light letters
        page.save()
        page.page.goto(page.url.replace('?reset', ''))  # the kernel lives: so does the widget
        box.wait_for(timeout=40_000)
        assert page.our_errors() == []


def test_after_a_restart_of_the_kernel_the_image_is_back(lab):
    with lab.open(CELLS, name='restart') as page:
        box = shown(page)
        page.page.get_by_role('menuitem', name='Kernel').click()
        page.page.get_by_text('Restart Kernel\u2026', exact=True).click()
        page.page.get_by_role('button', name='Confirm Kernel Restart').click()
        page.until(lambda: box.count() == 0, 30, 'the end of the widget')
        assert page.cell(1).locator('.jp-RenderedImage > img').is_visible()


ANIMEFIER = """import torch; torch.set_num_threads(1)
from animegan_nb.crossdomain import Animefier
from animegan_nb.stylegan import pretrained_stylegan
generator, _ = pretrained_stylegan()
"ready\""""
UPLOAD = [
    ANIMEFIER,
    'viewer = Animefier(generator, generator, torch.zeros(1, 3, 32, 32), steps=1, scale=3)\nviewer',
    'photo = viewer.shown_widget.request["values"]["photo"]\nphoto["name"], photo["data"][:15]',
]


def person_of(box):
    "The first of the images in a row that a panel shows, in its own size: 32 px of 3×3 screen pixels."
    head, data = box.locator('img').get_attribute('src').split(',')
    row = Image.open(io.BytesIO(base64.b64decode(data))).convert('RGB')
    assert head.startswith('data:image/')
    return np.asarray(row.crop((0, 0, 96, 96)).resize((32, 32), Image.NEAREST)).astype(float)


def test_an_uploaded_photo_becomes_the_person_of_the_widget(lab, tmp_path):
    pytest.importorskip('cv2')
    import torch

    from animegan_nb import crossdomain, toon
    from animegan_nb.cameras import pose
    from animegan_nb.core import grid, rng

    who = toon.sample_identity(1, rng(8))
    head = grid(toon.render(who, pose(torch.zeros(1)), 12.0, 256, style='human')['image'], 1, 0)
    head = head.resize((200, 200), Image.BICUBIC)  # the cascade finds it here, also after a JPEG
    head.save(tmp_path / 'head.png')
    Image.new('RGB', (200, 200), 'white').save(tmp_path / 'wall.png')
    (tmp_path / 'notes.txt').write_text('no image')
    wanted = np.asarray(grid(crossdomain.portrait(head, 32), 1, 0)).astype(float)
    with lab.open(UPLOAD, name='upload') as page:
        box = shown(page, 240)
        assert np.abs(person_of(box) - 127.5).max() < 2  # grey, until there is a photo
        button, problem = box.get_by_label('your photo'), box.get_by_role('alert')
        for file, words in (('notes.txt', "'notes.txt' is no image"), ('wall.png', 'No face was found')):
            button.set_input_files(tmp_path / file)
            page.until(lambda words=words: words in problem.inner_text(), 240, words)
        button.set_input_files(tmp_path / 'head.png')
        page.until(lambda: not problem.is_visible(), 240, 'an image again')
        at_rest(page, box, 240)
        assert np.abs(person_of(box) - wanted).mean() < 12  # the page sends a JPEG
        page.run(2, 120)
        assert "('head.png', 'data:image/jpeg')" in page.text(2)
        assert page.our_errors() == []
