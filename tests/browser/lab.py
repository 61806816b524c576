"""A real JupyterLab and a headless Chromium for tests of widgets.

    with Lab(tmp_path) as lab, lab.open({'cells': ['1 + 1']}) as page:
        page.run(0); page.output(0).wait_for()

Everything lives in one temporary folder: the notebooks, JupyterLab's settings and workspaces, the browser's profile.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
]
# what JupyterLab itself complains about; everything else in the console is ours
HARMLESS = (
    'favicon',
    'Failed to load resource',
    'ResizeObserver',
    'api/lsp',
    'jupyterlab-lsp',
    'extensionmanager',
    'net::ERR_',
    'Could not open',
    'api/news',
    'Wrong source',
)


def find_chromium():
    "The path of a Chromium on this machine, or None."
    named = os.environ.get('ANIMEGAN_CHROMIUM')
    for name in filter(None, (named, 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')):
        if found := shutil.which(name):
            return found


def need_browser():
    "Skip, with a sentence, where a browser test cannot run."
    pytest.importorskip('playwright', reason='playwright is not installed: pip install -e ".[dev]"')
    pytest.importorskip('jupyterlab', reason='JupyterLab is not installed: pip install -e ".[dev]"')
    if not find_chromium():
        pytest.skip('there is no Chromium here: install chromium, or set ANIMEGAN_CHROMIUM to its path')


def free_port() -> int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Lab:
    "A JupyterLab server with its own settings, in `folder`, and a headless Chromium."

    def __init__(self, folder):
        self.folder, self.port = Path(folder), free_port()
        for name in ('notebooks', 'settings', 'workspaces', 'config', 'data', 'runtime', 'profile', 'ipython'):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        from playwright.sync_api import sync_playwright

        f = self.folder
        env = {
            **os.environ,
            'JUPYTERLAB_SETTINGS_DIR': str(f / 'settings'),
            'JUPYTERLAB_WORKSPACES_DIR': str(f / 'workspaces'),
            'JUPYTER_CONFIG_DIR': str(f / 'config'),
            'JUPYTER_DATA_DIR': str(f / 'data'),
            'JUPYTER_RUNTIME_DIR': str(f / 'runtime'),
            'IPYTHONDIR': str(f / 'ipython'),
            'OMP_NUM_THREADS': '1',
            'ANIMEGAN_BUDGET': 'fast',
            'PYTHONPATH': os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])),
        }
        self.log = open(f / 'lab.log', 'wb')
        self.server = subprocess.Popen(
            [
                sys.executable,
                '-m',
                'jupyter',
                'lab',
                '--no-browser',
                f'--port={self.port}',
                '--ServerApp.port_retries=0',
                '--IdentityProvider.token=',
                '--ServerApp.disable_check_xsrf=True',
                '--ServerApp.ip=127.0.0.1',
                '--allow-root',
                f'--notebook-dir={f / "notebooks"}',
            ],
            env=env,
            stdout=self.log,
            stderr=self.log,
            cwd=f,
        )
        self.wait_until_up()
        self.playwright = sync_playwright().start()
        self.browser = self.playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        return self

    def wait_until_up(self, seconds=300):
        end = time.time() + seconds
        while time.time() < end:
            if self.server.poll() is not None:
                break
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f'http://127.0.0.1:{self.port}/api', timeout=2).read()
                return
            time.sleep(0.2)
        self.server.terminate()
        raise RuntimeError(f"JupyterLab did not start: {(self.folder / 'lab.log').read_text()[-2000:]}")

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.browser.close()
        with contextlib.suppress(Exception):
            self.playwright.stop()
        self.server.terminate()
        try:
            self.server.wait(10)
        except subprocess.TimeoutExpired:
            self.server.kill()
        self.log.close()

    @contextlib.contextmanager
    def open(self, cells, name='test', dark=False, size=(1180, 900)):
        "Write a notebook of these code cells, open it, and yield a `Page` with a kernel that is ready."
        import nbformat

        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        notebook.metadata['kernelspec'] = {'display_name': 'Python 3', 'language': 'python', 'name': 'python3'}
        path = self.folder / 'notebooks' / f'{name}.ipynb'
        nbformat.write(notebook, path)
        with self.reopen(path, dark, size) as page:
            yield page

    @contextlib.contextmanager
    def reopen(self, path, dark=False, size=(1180, 900)):
        "Open a notebook that is there, and yield a `Page` with a kernel that is ready."
        settings = self.folder / 'settings' / '@jupyterlab' / 'apputils-extension'
        settings.mkdir(parents=True, exist_ok=True)
        (settings / 'notification.jupyterlab-settings').write_text('{"fetchNews": "false", "checkForUpdates": false}')
        (settings / 'themes.jupyterlab-settings').write_text(f'{{"theme": "JupyterLab {"Dark" if dark else "Light"}"}}')
        context = self.browser.new_context(viewport={'width': size[0], 'height': size[1]}, device_scale_factor=1.5)
        page = Page(context.new_page(), path, f'http://127.0.0.1:{self.port}/lab/tree/{path.name}?reset')
        try:
            page.load()
            yield page
        finally:
            context.close()

    def kernels(self):
        return json.load(urllib.request.urlopen(f'http://127.0.0.1:{self.port}/api/sessions'))

    def end_kernels(self):
        "Shut down all kernels of this server."
        for session in self.kernels():
            url = f'http://127.0.0.1:{self.port}/api/sessions/{session["id"]}'
            urllib.request.urlopen(urllib.request.Request(url, method='DELETE'))


class Page:
    "One notebook in the browser."

    def __init__(self, page, path, url):
        self.page, self.path, self.url, self.errors = page, path, url, []
        page.on('console', lambda m: m.type == 'error' and self.errors.append(m.text))
        page.on('pageerror', lambda e: self.errors.append(str(e)))

    def load(self):
        self.page.goto(self.url)
        self.page.locator('.jp-Notebook .jp-CodeCell').first.wait_for(timeout=60_000)
        self.page.locator('#jp-main-statusbar').get_by_text('| Idle').wait_for(timeout=60_000)

    def cell(self, i):
        return self.page.locator('.jp-Notebook .jp-CodeCell').nth(i)

    def output(self, i):
        return self.cell(i).locator('.jp-OutputArea-output')

    def prompt(self, i):
        return self.cell(i).locator('.jp-InputPrompt').inner_text().strip('[]: \n')

    def run(self, i, seconds=60):
        "Run cell `i` and wait until it has ended; returns for how many seconds we waited."
        before = self.prompt(i)
        self.cell(i).locator('.cm-content').click()
        begin = time.perf_counter()
        self.page.keyboard.press('Shift+Enter')
        while time.perf_counter() - begin < seconds:
            if self.prompt(i) not in (before, '*', ''):
                return time.perf_counter() - begin
            self.page.wait_for_timeout(20)
        raise TimeoutError(f'cell {i} did not end within {seconds} s')

    def text(self, i):
        return '\n'.join(self.output(i).all_inner_texts())

    def until(self, condition, seconds=20, what='the condition'):
        "Wait until `condition()` is true; returns for how many seconds we waited."
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds:
            if condition():
                return time.perf_counter() - begin
            self.page.wait_for_timeout(30)
        raise TimeoutError(f'{what} did not come true within {seconds} s')

    def save(self):
        self.page.keyboard.press('Control+s')
        self.page.wait_for_timeout(700)

    def our_errors(self):
        return [e for e in self.errors if not any(h in e for h in HARMLESS)]
