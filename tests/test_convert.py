"Official StyleGAN2 weights: equal to the reference, there and back, and nothing of a hostile file runs."

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from animegan_nb import convert
from animegan_nb.stylegan import StyleGANConfig, StyleGANDiscriminator, StyleGANGenerator

SMALL = StyleGANConfig(16, z_dim=8, w_dim=12, mapping_layers=3, channel_base=128, channel_max=16)


@pytest.fixture(scope='module')
def reference(reference_dir):
    with np.load(reference_dir / 'stylegan2_reference.npz', allow_pickle=False) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


def part(reference, prefix):
    return {k[2:]: v for k, v in reference.items() if k.startswith(prefix)}


def close(a, b):
    return a.shape == b.shape and (a - b).abs().max() <= 1e-4


@pytest.fixture(scope='module')
def generator(reference):
    return convert.load_stylegan2_generator(part(reference, 'G/'))


def test_reference_mapping(reference, generator):
    assert close(generator.mapping(reference['z']), reference['w'])
    assert close(generator.mapping(reference['z'], truncation=0.7), reference['w_psi0.7'])
    assert close(generator.mapping(reference['z'], truncation=0.5, cutoff=2), reference['w_psi0.5_cutoff2'])


def test_reference_pictures(reference, generator):
    assert close(generator.synthesis(reference['w'], noise='none'), reference['image_noise_none'])
    assert close(generator.synthesis(reference['w'], noise='constant'), reference['image_noise_const'])
    assert close(
        generator.synthesis(reference['w_mixed_0_with_1_from_layer3'], noise='none'),
        reference['image_mixed_noise_none'],
    )


@pytest.mark.parametrize('form', ['grouped', 'per_sample'])
def test_reference_pictures_in_every_form(reference, generator, form):
    layers = [m for m in generator.modules() if hasattr(m, 'form')]
    for m in layers:
        m.form = form
    try:
        assert close(generator.synthesis(reference['w'], noise='constant'), reference['image_noise_const'])
    finally:
        for m in layers:
            m.form = 'scaled'


def test_reference_logits(reference):
    discriminator = convert.load_stylegan2_discriminator(part(reference, 'D/'), group_size=3)
    logits = discriminator(reference['D_input'])
    assert logits.shape == (3,) and close(logits, reference['D_logits'][:, 0])


@pytest.mark.parametrize('prefix', ['G/', 'D/'])
def test_reference_goes_back_to_the_last_bit(reference, prefix):
    official = part(reference, prefix)
    network = (
        convert.load_stylegan2_generator(official)
        if prefix == 'G/'
        else convert.load_stylegan2_discriminator(official, 3)
    )
    again = convert.stylegan2_state(network)
    assert set(again) == set(official)
    for key, value in official.items():
        if 'resample_filter' in key:
            assert torch.allclose(again[key], value, atol=1e-7)
        else:
            assert torch.equal(again[key], value), key


@pytest.mark.parametrize('size, base', [(8, 64), (32, 256), (64, 4096)])
def test_any_size_there_and_back(size, base):
    config = StyleGANConfig(size, z_dim=6, w_dim=10, mapping_layers=2, channel_base=base, channel_max=24)
    for network, load in (
        (StyleGANGenerator(config), convert.load_stylegan2_generator),
        (StyleGANDiscriminator(config), convert.load_stylegan2_discriminator),
    ):
        official = convert.stylegan2_state(network)
        again = load(official)
        assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values()))
        assert again.config.size == size and again.config.maps(4) == config.maps(4)


def test_other_weights_are_refused_in_one_sentence():
    official = convert.stylegan2_state(StyleGANGenerator(SMALL))
    for state, words in (
        ({}, 'not a StyleGAN2 generator'),
        ({'a': torch.ones(2)}, 'not a StyleGAN2 generator'),
        ({k: v for k, v in official.items() if k != 'synthesis.b8.torgb.bias'}, 'to_rgb.bias is missing'),
        (official | {'mapping.embed.weight': torch.ones(2, 2)}, 'class label'),
        (official | {'synthesis.b8.resample_filter': torch.ones(4, 4)}, 'another kernel'),
        (official | {'synthesis.b8.conv1.weight': torch.ones(3, 3)}, 'do not fit'),
    ):
        with pytest.raises(ValueError, match=words) as error:
            convert.load_stylegan2_generator(state)
        assert str(error.value).count('. ') == 0
    with pytest.raises(ValueError, match='not a StyleGAN2 discriminator'):
        convert.load_stylegan2_discriminator(official)
    with pytest.raises(ValueError, match='has an official counterpart'):
        convert.stylegan2_state(
            StyleGANGenerator(StyleGANConfig(16, 'stylegan1', z_dim=4, w_dim=4, mapping_layers=1, channel_base=64))
        )


class Call:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class BuiltState:
    "Hides a call in the state of an honest object."

    def __init__(self, inner):
        self.inner = inner

    def __reduce__(self):
        return dict, (), None, None, iter([('x', self.inner)])


def hostile_files(folder):
    victim = str(folder / 'made-by-the-file')
    yield 'call', pickle.dumps({'G_ema': Call(os.mkdir, victim)})
    yield 'call at the top', pickle.dumps(Call(os.mkdir, victim))
    yield 'eval', pickle.dumps({'G': Call(eval, f'__import__("os").mkdir({victim!r})')})
    yield 'inside a list', pickle.dumps([1, [Call(os.mkdir, victim)]])
    yield 'in items', pickle.dumps(BuiltState(Call(os.mkdir, victim)))
    yield 'protocol 0', pickle.dumps(Call(os.mkdir, victim), protocol=0)
    yield 'old opcodes', b"(S'" + victim.encode() + b"'\nios\nmkdir\n."
    yield 'through getattr', pickle.dumps(Call(getattr, 'text', 'upper'))
    yield 'torch.load', pickle.dumps(Call(torch.load, victim))
    inner = io.BytesIO()
    torch.save(Call(os.mkdir, victim), inner, _use_new_zipfile_serialization=False)
    yield 'a pickle in a tensor', pickle.dumps(Call(torch.storage._load_from_bytes, inner.getvalue()))
    zipped = io.BytesIO()
    torch.save(Call(os.mkdir, victim), zipped)
    yield 'a zip in a tensor', pickle.dumps(Call(torch.storage._load_from_bytes, zipped.getvalue()))
    yield 'outside the file', b'Pevil\n.'


def test_hostile_files_make_nothing_and_are_refused(tmp_path):
    (tmp_path / 'files').mkdir()
    for name, data in hostile_files(tmp_path):
        file = tmp_path / 'files' / 'network.pkl'
        file.write_bytes(data)
        with pytest.raises(ValueError, match=r'refused|damaged') as error:
            convert.read_official(file)
        assert '\n' not in str(error.value), name
        assert not (tmp_path / 'made-by-the-file').exists(), name


def test_the_trap_is_real(tmp_path):
    "The same file, opened the usual way, does make the folder."
    pickle.loads(pickle.dumps({'G_ema': Call(os.mkdir, str(tmp_path / 'made'))}))
    assert (tmp_path / 'made').is_dir()


def test_tensors_are_read_in_every_layout(tmp_path):
    base = torch.arange(24.0).view(2, 3, 4)
    tensors = {
        'plain': base,
        'strided': base.transpose(0, 2),
        'view': base[1:, :, 2:],
        'half': base.half(),
        'scalar': torch.tensor(0.3),
        'empty': torch.empty(0, 3),
    }
    file = tmp_path / 'n.pkl'
    with open(file, 'wb') as f:
        pickle.dump({k: v for k, v in tensors.items()}, f)
    with open(file, 'rb') as f:
        read = convert.TensorReader(f).load()
    for name, value in tensors.items():
        assert torch.equal(read[name], value), name


def test_a_tensor_cannot_look_outside_its_numbers():
    with pytest.raises(RuntimeError):
        convert._tensor(torch.zeros(4), 0, (100,), (1,))
    with pytest.raises(RuntimeError):
        convert._tensor(torch.zeros(4), 3, (2,), (1,))


def test_truncated_missing_and_foreign_files(tmp_path):
    data = pickle.dumps({'G_ema': torch.randn(40)})
    file = tmp_path / 'cut.pkl'
    for length in (0, 1, 10, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(ValueError, match='cut short or damaged'):
            convert.read_official(file)
    file.write_bytes(data)
    with pytest.raises(ValueError, match='holds no network'):
        convert.read_official(file)
    with zipfile.ZipFile(file, 'w') as z:
        z.writestr('a', 'b')
    with pytest.raises(ValueError, match='zip archive'):
        convert.read_official(file)
    with pytest.raises(FileNotFoundError, match='download'):
        convert.read_official(tmp_path / 'none.pkl')


def test_foreign_code_is_never_imported():
    import sys

    before = set(sys.modules)
    convert.TensorReader(io.BytesIO(b'ctraining.networks\nGenerator\n.')).load()
    assert not {m for m in set(sys.modules) - before if m.startswith('training')}
