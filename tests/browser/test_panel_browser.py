"A panel in a real JupyterLab: keys, menus, an error; a narrow and dark page; a reload; a restarted kernel."

import re

import pytest


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


def shown(page):
    page.run(0, 120)
    page.run(1)
    box = page.page.locator('.agnb-panel')
    box.wait_for(timeout=30_000)
    page.until(lambda: box.get_attribute('aria-busy') == 'false', 30, 'the first image')
    return box


def at_rest(page, box):
    page.page.wait_for_timeout(400)
    page.until(lambda: box.get_attribute('aria-busy') == 'false', 30, 'the answer')


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


def test_after_a_restart_of_the_kernel_the_picture_is_back(lab):
    with lab.open(CELLS, name='restart') as page:
        box = shown(page)
        page.page.get_by_role('menuitem', name='Kernel').click()
        page.page.get_by_text('Restart Kernel\u2026', exact=True).click()
        page.page.get_by_role('button', name='Confirm Kernel Restart').click()
        page.until(lambda: box.count() == 0, 30, 'the end of the widget')
        assert page.cell(1).locator('.jp-RenderedImage > img').is_visible()
