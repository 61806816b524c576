"What the tests of widgets share: one JupyterLab for each file of tests."

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from lab import Lab, need_browser  # noqa: E402


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    need_browser()
    pytest.importorskip('anywidget', reason='anywidget is not installed: pip install -e ".[notebook]"')
    with Lab(tmp_path_factory.mktemp('lab')) as running:
        yield running
