"The library is exactly the export of the notebooks, and the notebooks are clean: a fresh export changes no byte."

import shutil
import subprocess
import sys
from pathlib import Path

BY_HAND = {'__init__.py', '__main__.py', '_nearest.py', '_parameters.py'}  # and the files in static/
IGNORED = ('__pycache__', '.ipynb_checkpoints')


def snapshot(root: Path) -> dict[str, bytes]:
    files = [path for folder in ('nbs', 'animegan_nb') for path in sorted((root / folder).rglob('*'))]
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in files
        if path.is_file() and not set(IGNORED) & set(path.parts)
    }


def generated(library: Path) -> list[Path]:
    "The modules that come from notebooks, also those in exercises/."
    return [
        path
        for path in sorted(library.rglob('*.py'))
        if path.name not in BY_HAND and path.relative_to(library).parts[0] != 'static'
    ]


def clean_and_export(root: Path):
    programs = Path(sys.executable).parent
    for program in ('nbdev_clean', 'nbdev_export'):
        subprocess.run([programs / program], cwd=root, check=True)


def test_clean_and_export_change_nothing(root, tmp_path):
    for name in ('nbs', 'animegan_nb'):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns(*IGNORED))
    for name in ('settings.ini', 'pyproject.toml'):
        shutil.copy(root / name, tmp_path)
    before = snapshot(tmp_path)
    for module in generated(tmp_path / 'animegan_nb'):
        module.unlink()  # a module without a notebook stays missing, and so is found
    clean_and_export(tmp_path)
    after = snapshot(tmp_path)
    assert sorted(before) == sorted(after), 'run  make export  and commit'
    assert [name for name in before if before[name] != after[name]] == [], 'run  make export  and commit'


def test_readme_is_made_from_the_index(root):
    subprocess.run([sys.executable, root / '.ci' / 'readme.py', '--check'], check=True)
