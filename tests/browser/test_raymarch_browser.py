"The ray inspector in a real JupyterLab: click, drag, arrow keys."

import pytest


pytestmark = pytest.mark.browser

SETUP = '''import sys, torch; torch.set_num_threads(1)
from animegan_nb.cameras import pose, rays
from animegan_nb.raymarch import RayInspector
field = lambda p, d: ((p + 1)/2, 30*torch.sigmoid(40*(.5 - p.norm(dim=-1))))
inspect = lambda: RayInspector(field, *rays(pose(.3, radius=2.), 40., 16), 1.3, 2.7, 16)
"ready"'''


def test_a_click_shows_the_ray_of_its_pixel(lab):
    with lab.open([SETUP, 'inspector = inspect()\ninspector', 'inspector.pixel'], name='inspector') as page:
        page.run(0)
        page.run(1)
        photo, plot = page.page.locator('.agnb-inspector-image'), page.page.locator('.agnb-inspector-plot')
        photo.wait_for()
        page.until(lambda: photo.evaluate('e => e.naturalWidth') > 100, what='the image')

        def at(row, column):
            photo.evaluate("e => e.scrollIntoView({ block: 'center' })")  # running a cell scrolls the page
            box = photo.bounding_box()
            return box['x'] + (column + 0.5) * box['width'] / 16, box['y'] + (row + 0.5) * box['height'] / 16

        before = photo.get_attribute('src'), plot.get_attribute('src')
        page.page.mouse.click(*at(3, 11))
        page.until(
            lambda: photo.get_attribute('src') != before[0] and plot.get_attribute('src') != before[1],
            what='another ray',
        )
        page.run(2)
        assert '(3, 11)' in page.text(2)

        page.page.mouse.move(*at(3, 11))
        page.page.mouse.down()
        page.page.mouse.move(*at(8, 6), steps=6)
        page.page.mouse.up()
        page.page.wait_for_timeout(600)
        page.run(2)
        assert '(8, 6)' in page.text(2)  # a drag ends where the pointer does
        page.page.mouse.move(*at(1, 1))
        page.page.wait_for_timeout(300)
        page.run(2)
        assert '(8, 6)' in page.text(2)  # and a pointer that only passes changes nothing
        assert page.our_errors() == []
        page.save()
    assert '"image/' in page.path.read_text() and '"widgets"' not in page.path.read_text()


def test_arrow_keys_move_the_ring_and_shortcuts_reach_the_notebook(lab):
    with lab.open([SETUP, 'inspector = inspect()\ninspector', 'inspector.pixel'], name='keys') as page:
        page.run(0)
        page.run(1)
        photo = page.page.locator('.agnb-inspector-image')
        photo.wait_for()
        photo.focus()
        for key in ('ArrowDown', 'ArrowDown', 'ArrowLeft'):
            page.page.keyboard.press(key)
        page.until(lambda: 'row 10, column 7' in photo.get_attribute('alt'), what='the pixel in the description')
        page.page.wait_for_timeout(1000)
        page.page.keyboard.press('Control+s')  # the widget has the focus; the notebook is saved
        page.until(lambda: '"image/' in page.path.read_text(), what='the saved image')
        page.run(2)
        assert '(10, 7)' in page.text(2)
        assert page.our_errors() == []
