"The files around the code: the citation, the guide for contributors, hooks and workflows name what exists."

import json
import re
import subprocess
import sys

import pytest
import yaml
from test_house import ROOT

WORKFLOWS = sorted((ROOT / '.github' / 'workflows').glob('*.yml'))


def version() -> str:
    return re.search(r'__version__ = "(.+)"', (ROOT / 'animegan_nb' / '__init__.py').read_text())[1]


def targets() -> set[str]:
    return set(re.findall(r'^([a-z][\w-]*):', (ROOT / 'Makefile').read_text(), re.M))


def read_yaml(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text(encoding='utf-8'))


def test_the_citation_is_of_this_version():
    citation = read_yaml('CITATION.cff')
    assert citation['version'] == version() and citation['license'] == 'Apache-2.0'
    assert {'cff-version', 'message', 'title', 'authors'} <= set(citation)


def called_targets(text: str) -> set[str]:
    "The targets of make that a text tells its reader to call."
    return {
        name for name in re.findall(r'(?:`|^\s*|run: |&& )make ([a-z][\w-]*)', text, re.M) if name not in ('a', 'the')
    }


@pytest.mark.parametrize('name', ['CONTRIBUTING.md', 'README.md', '.devcontainer/devcontainer.json'])
def test_every_target_of_make_exists(name):
    called = called_targets((ROOT / name).read_text(encoding='utf-8'))
    assert called and called <= targets(), called - targets()


def test_a_missing_target_is_found():
    assert called_targets('`make book ONLY=x` and\nmake run\n`make  y`') == {'book', 'run'}


def test_every_target_is_explained():
    described = set(re.findall(r'^# make ([\w-]+)', (ROOT / 'Makefile').read_text(), re.M))
    assert targets() - described <= {'help', 'install', 'wheel', 'clean'}


def test_files_that_the_guide_names_exist():
    text = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    paths = re.findall(r'`((?:nbs|tests|book|animegan_nb|\.devcontainer)/[\w./]*)`', text)
    paths += re.findall(r'\]\(([\w/.]+)\)', text)
    missing = [path for path in paths if 'NN_name' not in path and path != 'tests/solutions/name.py']
    missing = [path for path in missing if not (ROOT / path).exists() and path != 'animegan_nb/name.py']
    assert len(paths) > 8 and missing == []


def test_the_hooks_use_tools_that_the_environment_has():
    hooks = [hook for repo in read_yaml('.pre-commit-config.yaml')['repos'] for hook in repo['hooks']]
    names = [hook['id'] for hook in hooks]
    assert names.index('nbdev-clean') < names.index('ruff-format') < names.index('nbdev-export')
    for hook in hooks:
        program, *arguments = hook['entry'].split()
        assert program.startswith('.venv/bin/') and hook['language'] == 'system'
        assert all((ROOT / word).exists() for word in arguments if word.startswith('.ci/'))
        re.compile(hook['files'])
    layout = re.compile(next(hook['files'] for hook in hooks if hook['id'] == 'ruff-format'))
    for path in (
        'nbs/20_losses.ipynb',
        'nbs/exercises/20_losses.ipynb',
        'tests/tiny.py',
        '.ci/execute.py',
        'book/conf.py',
    ):
        assert (ROOT / path).exists() and layout.match(path)
    assert not layout.match('animegan_nb/losses.py'), 'nbdev writes these'


def test_the_container_is_valid():
    container = json.loads((ROOT / '.devcontainer' / 'devcontainer.json').read_text())
    assert 'make install' in container['postCreateCommand']


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.stem)
def test_workflows(path):
    text = path.read_text(encoding='utf-8')
    jobs = yaml.safe_load(text)['jobs']
    for job in jobs.values():
        needs = job.get('needs', [])
        assert ({needs} if isinstance(needs, str) else set(needs)) <= set(jobs)
        for step in job['steps']:
            assert ('uses' in step) != ('run' in step)
            assert 'uses' not in step or re.fullmatch(r'[\w-]+/[\w-]+@[\w./-]+', step['uses'])
    assert called_targets(text) <= targets()
    for script in re.findall(r'\.ci/[\w.]+', text):
        assert (ROOT / script).exists()


def test_only_the_last_step_of_a_release_may_publish():
    "Nothing else has the right to, nothing is published that was not tried, and no password is stored."
    release = read_yaml('.github/workflows/release.yml')
    jobs = release['jobs']
    assert jobs['publish']['needs'] == 'try' and jobs['try']['needs'] == 'build'
    assert jobs['publish']['if'].startswith("startsWith(github.ref, 'refs/tags/v")
    assert jobs['publish']['permissions'] == {'id-token': 'write'}
    assert release['permissions'] == {'contents': 'read'}
    assert not any('permissions' in job for name, job in jobs.items() if name != 'publish')
    assert 'secrets.' not in (ROOT / '.github' / 'workflows' / 'release.yml').read_text()
    assert not any('checkout' in step.get('uses', '') for step in jobs['try']['steps'])


def test_the_release_reads_the_version():
    text = (ROOT / '.github' / 'workflows' / 'release.yml').read_text(encoding='utf-8')
    command = re.search(r'sed -n .*?__init__\.py', text)[0]
    found = subprocess.run(['bash', '-c', command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == version()


def test_the_check_of_an_installed_library(tmp_path):
    "It works on this library, and does not mistake a checkout for an installed one."
    script = ROOT / '.ci' / 'check_install.py'
    run = [sys.executable, str(script)]
    fine = subprocess.run([*run, '--checkout'], cwd=tmp_path, capture_output=True, text=True)
    assert fine.returncode == 0 and f'animegan_nb {version()}' in fine.stdout, fine.stderr
    assert 'networks that work' in fine.stdout
    refused = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 1 and 'not an installed one' in refused.stderr


def test_every_chapter_after_the_first_exports_its_module():
    "As the front page says."
    for path in sorted((ROOT / 'nbs').glob('[0-9][0-9]_*.ipynb')):
        name = path.stem[3:]
        exports = f'#| default_exp {name}' in path.read_text(encoding='utf-8')
        assert exports == (path.stem != '00_first_gan') == (ROOT / 'animegan_nb' / f'{name}.py').exists()
