"benchmarks/gpu.py: every part runs on the CPU with small networks, and what fails is a row, not the end."

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from animegan_nb.training import recipes, Stage


@pytest.fixture(scope='module')
def script(root):
    spec = importlib.util.spec_from_file_location('gpu_script', root / 'benchmarks' / 'gpu.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(capsys, script, part):
    script.work(part, 'cpu', quick=True)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{')]


def test_the_presets_are_those_of_papers(script):
    assert set(recipes) >= script.PAPER
    ours = {name for name, recipe in recipes.items() if recipe.source.startswith('ours')}
    assert not ours & script.PAPER and set(recipes) - ours <= script.PAPER
    assert {recipes[name].model for name in script.QUICK} == {recipe.model for recipe in recipes.values()}


@pytest.mark.parametrize(
    'part',
    ['preset dcgan-tiny', 'preset stylegan-tiny', 'preset pigan-cpu', 'preset freezeg-cpu']
    + ['preset conditional-cpu-64', 'drawing'],
)
def test_a_part_has_speed_and_memory(script, capsys, part):
    for row in rows_of(capsys, script, part):
        assert row['part'] == part and row['ms'] > 0 and row['images_per_second'] > 0 and row['peak_gib'] > 0
        assert 'note' not in row


def test_a_preset_is_measured_in_its_last_stage(script, monkeypatch):
    stages = Stage(steps=5, batch_size=2), Stage(steps=5, batch_size=6)
    monkeypatch.setitem(script.recipes, 'staged', replace(recipes['dcgan-tiny'], stages=stages))
    trainer = script.trainer_of('staged', 'cpu', quick=False).fit(1, progress=False)
    assert trainer.step == 6 and trainer.config.batch_size == 6 and len(trainer.batch['image']) == 6


def test_ratios_are_relative_to_float32(script, capsys):
    rows = rows_of(capsys, script, 'ratio wgan-gp-tiny')
    assert [row['what'] for row in rows] == [setting for setting in script.SETTINGS if 'compiled' not in setting]
    assert rows[0]['faster'] == 1 and all(row['faster'] > 0 for row in rows)


@pytest.mark.parametrize(
    'name',
    ['dcgan-tiny', 'wgan-gp-tiny', 'conditional-tiny', 'conditional-cpu-64', 'stylegan-tiny', 'freezeg-cpu']
    + ['modern-live', 'pigan-cpu', 'mimic3d-cpu'],
)
def test_a_device_equals_itself(script, capsys, name):
    rows = rows_of(capsys, script, f'equal {name}')
    assert [row['what'] for row in rows] == ['float32', 'float64'][: 1 if name in ('pigan-cpu', 'mimic3d-cpu') else 2]
    assert all(row['difference'] == 0 and row['note'] == 'equal' for row in rows)


def test_a_difference_is_told(script, capsys, monkeypatch):
    measured = script.losses_and_gradients
    wrong = iter([1.0, 1.01, 1.0, 1.0])
    monkeypatch.setattr(
        script, 'losses_and_gradients', lambda *a: {k: v * next(wrong) for k, v in [*measured(*a).items()][:1]}
    )
    first, second = rows_of(capsys, script, 'equal dcgan-tiny')
    assert first['note'] == 'different: discriminator_loss' and second['note'] == 'equal'


def test_failures_are_rows(script, capsys, monkeypatch):
    for error, words in (
        (torch.OutOfMemoryError('…'), 'out of memory'),
        (ValueError('no such thing'), 'no such thing'),
    ):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(script, 'drawing', fail)
        (row,) = rows_of(capsys, script, 'drawing')
        assert words in row['note']
    assert 'no recipe called' in rows_of(capsys, script, 'preset nothing')[0]['note']


def test_processes_that_hang_or_die_are_rows_and_time_runs_out(script, monkeypatch, tmp_path):
    def write(code):
        path = tmp_path / 'part.py'
        path.write_text('print(\'{"part": "a", "what": "early"}\', flush=True)\n' + code)
        monkeypatch.setattr(script, '__file__', str(path))

    write('import time\ntime.sleep(60)')
    rows = script.run_part('a', 8.0, [])
    assert rows[0]['what'] == 'early' and rows[1] == {'part': 'a', 'note': 'stopped after 8 s'}
    write('raise SystemExit(7)')
    assert script.run_part('a', 60, [])[1]['note'].startswith('the process ended with 7')
    (late,) = script.run_all(['a'], 0.1, [])
    assert 'minutes were over' in late['note']
    lines = script.table([*rows, late]).splitlines()
    assert len(lines) == 4 and lines[0].startswith('part') and 'stopped after' in lines[2]


def test_the_whole_script(root, tmp_path):
    command = [sys.executable, 'benchmarks/gpu.py', '--device', 'cpu', '--quick', '--out', str(tmp_path / 'gpu.json')]
    result = subprocess.run(
        [*command, '--parts', 'drawing,tests'], cwd=root, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr[-2000:]
    stored = json.loads((tmp_path / 'gpu.json').read_text())
    assert {row['part'] for row in stored['rows']} == {'drawing', 'tests'} and stored['torch'] == torch.__version__
    assert stored['rows'][-1]['note'].startswith('1 passed') and 'images/s' in result.stdout


def test_without_a_gpu_one_sentence(root):
    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    result = subprocess.run(
        [sys.executable, 'benchmarks/gpu.py'], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0 and result.stdout.startswith('There is no CUDA device here')
    assert len(result.stdout.splitlines()) == 1
