"The library is exactly the export of the notebooks, and the notebooks are clean: a fresh clean and export changes no byte."
import shutil
import subprocess
import sys
from pathlib import Path


def snapshot(root: Path):
    return {str(p.relative_to(root)): p.read_bytes() for folder in ('nbs', 'animegan_nb') for p in sorted((root/folder).rglob('*'))
            if p.is_file() and '__pycache__' not in p.parts and '.ipynb_checkpoints' not in p.parts}


def test_clean_and_export_change_nothing(root, tmp_path):
    for name in ('nbs', 'animegan_nb'):
        shutil.copytree(root/name, tmp_path/name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    for name in ('settings.ini', 'pyproject.toml'): shutil.copy(root/name, tmp_path)
    before = snapshot(tmp_path)
    for module in (tmp_path/'animegan_nb').glob('*.py'):
        if module.name != '__init__.py': module.unlink()            # a module without a notebook would stay missing
    bin = Path(sys.executable).parent
    subprocess.run([bin/'nbdev_clean'], cwd=tmp_path, check=True)
    subprocess.run([bin/'nbdev_export'], cwd=tmp_path, check=True)
    after = snapshot(tmp_path)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == [], 'run make export and commit'


def test_every_module_has_its_notebook(root):
    names = {p.stem for p in (root/'animegan_nb').glob('*.py')} - {'__init__', '_modidx'}
    chapters = {p.stem[3:] for p in (root/'nbs').glob('[0-9][0-9]_*.ipynb')}
    assert names == chapters


def test_readme_is_made_from_the_index(root):
    subprocess.run([sys.executable, root/'.ci'/'readme.py', '--check'], check=True)
