"The dashboard in a real JupyterLab: start, watch, work meanwhile, stop, look back, reload, export."

import re
import subprocess
import sys
from pathlib import Path

import pytest


pytestmark = pytest.mark.browser

TESTS = str(Path(__file__).resolve().parents[1])
SETUP = f'''import sys; sys.path.insert(0, {TESTS!r})
import torch; torch.set_num_threads(1)
from test_dashboard import Pair, trainer
from animegan_nb.dashboard import TrainingDashboard
"ready"'''


def steps_done(page, which=0):
    return int(re.search(r'step (\d+) of', page.page.locator('.agnb-steps').nth(which).inner_text())[1])


def losses(page, which=0):
    "The drawn curve itself, as the browser holds it."
    return page.page.locator('.agnb-losses-box').nth(which).locator('path[stroke-width="2"]').first.get_attribute('d')


def button(page, name, which=0):
    return page.page.locator(f'.agnb-dash .agnb-{name}').nth(which)


def stands(page):
    "The count of steps has not moved for a second."
    before = steps_done(page)
    page.page.wait_for_timeout(1000)
    return steps_done(page) == before


def test_start_watch_work_stop_and_export(lab, tmp_path):
    cells = [SETUP, 'board = TrainingDashboard(trainer(slow=.02), steps=100_000)\nboard', '6*7', 'board.state + "!"']
    with lab.open(cells, name='scenario') as page:
        page.run(0)
        page.run(1)
        page.page.locator('.agnb-dash').wait_for()
        assert button(page, 'pause').is_disabled()

        button(page, 'start').click()
        page.until(lambda: steps_done(page) > 5, what='the training')
        before = losses(page)
        page.until(lambda: losses(page) != before, what='a moving curve')
        assert page.page.locator('.agnb-training').count() == 1

        page.run(2, seconds=5)  # a second cell, meanwhile
        assert '42' in page.text(2) and page.page.locator('.agnb-training').count() == 1

        button(page, 'pause').click()
        page.until(lambda: 'Resume' in button(page, 'pause').inner_text(), what='Resume')
        page.until(lambda: stands(page), what='the end of the step that was running')
        stood = steps_done(page)
        button(page, 'step').click()
        page.until(lambda: steps_done(page) == stood + 1, what='one step')
        button(page, 'pause').click()
        page.until(lambda: steps_done(page) > stood + 3, what='going on')

        waited = (
            button(page, 'stop').click(),
            page.until(lambda: page.page.locator('.agnb-stopped').count() == 1, what='Stop'),
        )[1]
        assert waited < 1, f'Stop took {waited:.2f} s'
        page.run(3, seconds=5)  # the kernel is free
        assert 'stopped!' in page.text(3)

        stored = lambda: (page.save(), page.path.read_text())[1]
        page.until(lambda: 'TrainingDashboard: stopped, step' in stored(), what='the final image in the file')
        assert page.our_errors() == []

    text = page.path.read_text()
    assert '"image/png"' in text and '"widgets"' not in text and 'widget-view' not in text  # an image is stored
    subprocess.run(
        [sys.executable, '-m', 'jupyter', 'nbconvert', '--to', 'html', '--output-dir', str(tmp_path), str(page.path)],
        check=True,
        capture_output=True,
    )
    html = (tmp_path / 'scenario.html').read_text()
    assert 'data:image/png;base64,' in html and 'application/vnd.jupyter.widget-state' not in html


def test_slider_looks_back_two_dashboards_and_reload(lab):
    cells = [
        SETUP,
        'one = TrainingDashboard(trainer(slow=.01), steps=100_000)\none',
        'two = TrainingDashboard(trainer(slow=.01), steps=100_000)\ntwo.start()',
        'one.stop(); two.stop()',
    ]
    with lab.open(cells, name='two', size=(1180, 1700)) as page:
        page.run(0)
        page.run(1)
        page.run(2)
        page.until(lambda: page.page.locator('.agnb-dash').count() == 2, what='two dashboards')
        button(page, 'start', 0).click()
        page.until(lambda: min(steps_done(page, 0), steps_done(page, 1)) > 8, what='both trainings')

        shown = lambda: int(re.search(r'step (\d+)', page.page.locator('.agnb-when-box').nth(0).inner_text())[1])
        page.until(lambda: shown() > 5, what='a few snapshots')
        page.page.locator('.agnb-when-slider').nth(0).focus()

        newest = shown()

        def back():  # one snapshot at a time, until an older one is shown
            page.page.keyboard.press('ArrowLeft')
            page.page.wait_for_timeout(400)
            return shown() < newest

        page.until(back, what='an earlier snapshot')
        page.page.wait_for_timeout(800)  # the last key press has arrived
        there = shown()
        page.page.wait_for_timeout(1200)
        page.until(lambda: steps_done(page, 0) > newest + 20, what='training goes on')
        # below only if thinned
        assert shown() <= there, f'the slider left {there} (newest was {newest}, now {shown()})'

        far = steps_done(page, 1)
        page.save()
        page.page.goto(page.url.replace('?reset', ''))  # reload: the thread lives in the kernel
        page.until(
            lambda: page.page.locator('.agnb-dash').count() == 2, seconds=40, what='the dashboards after a reload'
        )
        page.until(lambda: steps_done(page, 1) > far + 5, what='the training after a reload')
        page.run(3)
        page.until(lambda: page.page.locator('.agnb-stopped').count() == 2, what='both stopped')
        assert page.our_errors() == []


def test_an_error_in_the_thread_is_shown(lab):
    cells = [SETUP, 'pair = Pair(); pair.poison = 9\nboard = TrainingDashboard(trainer(pair=pair), steps=50)\nboard']
    with lab.open(cells, name='error') as page:
        page.run(0)
        page.run(1)
        button(page, 'start').click()
        page.page.locator('.agnb-failed').wait_for(timeout=15_000)
        assert "generator's loss became nan" in page.page.locator('.agnb-error').inner_text()
        assert page.our_errors() == []
