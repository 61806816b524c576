"The wheel carries what `data/` ships; installed alone, every module imports and the command line runs."

import json
import os
import subprocess
import sys
import zipfile

import pytest

CHECK = '''
import importlib, json, pkgutil, sys
import animegan_nb
names = [m.name for m in pkgutil.iter_modules(animegan_nb.__path__) if not m.name.startswith("_")]
for name in names:
    importlib.import_module("animegan_nb." + name)
from animegan_nb.core import shipped
foreign = ("nbdev", "fastcore", "execnb", "IPython", "matplotlib.pyplot")
facts = {
    "where": animegan_nb.__file__,
    "names": names,
    "index": str(shipped("index.ipynb")),
    "pretrained": shipped("pretrained").is_dir(),
    "foreign": [m for m in foreign if m in sys.modules],
}
print(json.dumps(facts))
'''


@pytest.fixture(scope='module')
def wheel(root, tmp_path_factory):
    out = tmp_path_factory.mktemp('wheel')
    subprocess.run(
        [sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', out, root],
        check=True,
        capture_output=True,
    )
    return next(out.glob('*.whl'))


def test_contents(wheel, root):
    names = zipfile.ZipFile(wheel).namelist()
    for file in (root / 'data' / 'pretrained').glob('*.safetensors'):
        assert f'animegan_nb/_shipped/pretrained/{file.name}' in names
    for file in (root / 'animegan_nb' / 'static').iterdir():
        assert f'animegan_nb/static/{file.name}' in names
    assert 'animegan_nb/_shipped/index.ipynb' in names
    assert not [n for n in names if n.startswith(('tests/', 'nbs/', 'data/')) or '/cache/' in n]


def test_installed_alone(wheel, tmp_path):
    "A fresh environment that holds the wheel and, through a path file, only what the wheel declares."
    import importlib.metadata as metadata

    site = tmp_path / 'site'
    subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'install',
            '--quiet',
            '--no-deps',
            '--no-index',
            '--disable-pip-version-check',
            '--target',
            site,
            wheel,
        ],
        check=True,
    )
    hidden = [
        'nbdev',
        'fastcore',
        'execnb',
        'nbclient',
        'nbconvert',
        'ipywidgets',
        'anywidget',
        'accelerate',
        'IPython',
        'jupyterlab',
    ]
    block = tmp_path / 'sitecustomize.py'  # the development tools of this environment count as absent
    block.write_text(f'''
import sys
class Absent:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in {hidden!r}: raise ImportError(name + " is not a dependency of the wheel")
sys.meta_path.insert(0, Absent())
''')
    environment = {**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{site}', 'PYTHONSAFEPATH': '1'}
    result = subprocess.run(
        [sys.executable, '-c', CHECK], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    facts = json.loads(result.stdout)
    assert (
        facts['where'].startswith(str(site))
        and facts['index'].startswith(str(site))
        and facts['pretrained']
        and facts['foreign'] == []
    )
    command = subprocess.run(
        [sys.executable, '-m', 'animegan_nb', '--help'], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    program = subprocess.run(
        [sys.executable, '-c', 'from animegan_nb.cli import main; main(["presets"])'],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert command.returncode == 0 and 'dcgan-liu-128' in program.stdout, program.stderr
    assert metadata.version('animegan_nb')
