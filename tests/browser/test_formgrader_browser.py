"nbgrader's formgrader in a real JupyterLab: it opens, shows a submission that we graded, and saves points."

import json
import shutil
from pathlib import Path

import pytest
from lab import Lab, need_browser

pytestmark = pytest.mark.browser
SOURCE = Path(__file__).parents[1] / 'course' / 'source'


def test_formgrader_shows_a_submission_and_saves_points(tmp_path):
    need_browser()
    pytest.importorskip('nbgrader', reason='nbgrader is not installed: pip install -e ".[course]"')
    from animegan_nb import cli, course as teaching

    running = Lab(tmp_path)
    folder = tmp_path / 'notebooks' / 'course'
    shutil.copytree(SOURCE, folder / 'source')
    assert cli.main(['course', 'build', '--course', str(folder)]) == 0
    notebook = json.loads((folder / 'release' / 'tiny' / 'tiny.ipynb').read_text(encoding='utf-8'))
    for cell in notebook['cells']:
        if teaching.cell_id(cell) == 'q-factor':
            cell['source'] = 'One step forgets more.'
    (folder / 'submitted' / 'mei').mkdir(parents=True)
    (folder / 'submitted' / 'mei' / 'tiny.ipynb').write_text(json.dumps(notebook), encoding='utf-8')
    assert cli.main(['course', 'grade', str(folder / 'submitted')]) == 0
    shutil.copy(folder / 'nbgrader_config.py', tmp_path / 'config')
    config = (tmp_path / 'config' / 'nbgrader_config.py').read_text()
    line = next(line for line in config.splitlines() if 'CourseDirectory.root' in line)
    (tmp_path / 'config' / 'nbgrader_config.py').write_text(
        config.replace(line, f'c.CourseDirectory.root = {str(folder)!r}')
    )

    with running as lab:
        page = lab.browser.new_context(viewport={'width': 1180, 'height': 900}).new_page()
        page.set_default_timeout(120_000)
        page.goto(f'http://127.0.0.1:{lab.port}/lab?reset', wait_until='domcontentloaded')
        page.locator('.lm-MenuBar-itemLabel', has_text='Nbgrader').click()
        page.locator('.lm-Menu-itemLabel', has_text='Formgrader').first.click()
        frame = page.frame_locator('iframe[src*="formgrader"]')
        frame.get_by_role('link', name='Manual Grading').click()
        frame.get_by_role('link', name='tiny').first.click()
        frame.get_by_role('link', name='tiny').last.click()
        frame.get_by_role('link', name='Submission #1').click()
        frame.get_by_text('One step forgets more.').wait_for()
        assert frame.get_by_text('For the grader.').count() == 1
        points = frame.locator('input.score#q-factor')
        points.fill('1.5')
        points.press('Tab')
        frame.locator('#q-factor').locator('..').wait_for()
        page.wait_for_timeout(2000)
        page.screenshot(path=tmp_path / 'formgrader.png')
    record = teaching.load_records(teaching.Course(folder), 'tiny')[0]
    assert teaching.read_grades(teaching.Course(folder), record)['q-factor'].points == 1.5
    assert cli.main(['course', 'grade', str(folder / 'submitted')]) == 0
    assert '1.5 of 10 points' in (folder / 'feedback' / 'mei' / 'tiny' / 'tiny.md').read_text()
