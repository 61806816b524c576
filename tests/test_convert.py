"Official StyleGAN2 weights: equal to the reference, there and back, and nothing of a hostile file runs."

import io
import math
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from animegan_nb import convert, pigan
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


def test_reference_images(reference, generator):
    assert close(generator.synthesis(reference['w'], noise='none'), reference['image_noise_none'])
    assert close(generator.synthesis(reference['w'], noise='constant'), reference['image_noise_const'])
    assert close(
        generator.synthesis(reference['w_mixed_0_with_1_from_layer3'], noise='none'),
        reference['image_mixed_noise_none'],
    )


@pytest.mark.parametrize('form', ['grouped', 'per_sample'])
def test_reference_images_in_every_form(reference, generator, form):
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
        (official | {'synthesis.b8.conv1.weight': torch.ones(3, 3)}, r'do not fit .* \(1 tensor differs in all\)'),
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


class Fake:
    "An object that pickles as one of a class of another library."

    def __init__(self, module, name, state):
        self.made = module, name, state


class Pickler(pickle._Pickler):
    "Writes a `Fake` as an instance of its class, which need not exist."

    def save(self, obj, save_persistent_id=True):
        if not isinstance(obj, Fake):
            return super().save(obj, save_persistent_id)
        module, name, state = obj.made
        self.write(b'c' + module.encode() + b'\n' + name.encode() + b'\n)\x81')
        super().save(state)
        self.write(b'b')


def pickled(content, protocol=3) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol).dump(content)
    return file.getvalue()


def older_torch_file(content) -> bytes:
    "What torch.save wrote before its files were zip archives."
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def network(**state):
    return Fake('training.networks', 'Generator', state)


def module(tensors=None, children=None):
    return network(_parameters=tensors or {}, _buffers={}, _modules=children or {})


def doubled_pairs(depth):
    "A dictionary whose key is a pair of pairs of pairs: hashing it takes 2^depth steps."
    return b'\x80\x02}K\x01' + b'2\x86' * depth + b'K\x01s.'


def cyclic():
    return b'\x80\x02}U\x01Gctraining.networks\nGenerator\n)\x81q\x01}(U\x0b_parameters}U\x08_modules}U\x01ah\x01subs.'


def expanded_tensor():
    "One stored number, asked for as a hundred million."
    data = pickle.dumps(torch.ones(1), protocol=3)
    at = data.index(b'K\x01\x85')
    return data[:at] + b'J' + (10**8).to_bytes(4, 'little') + b'\x85' + data[at + 3 :]


def many_times(call: bytes, count: int):
    "The same call on the same stored thing, again and again."
    return b'\x80\x02' + call + b''.join([b'h\x01h\x02R0'] * count) + b'N.'


def nasty_files():
    yield 'modules that hold themselves', cyclic()
    deep = module({'w': torch.ones(1)})
    for _ in range(3000):
        deep = module(children={'a': deep})
    import sys

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        yield '3000 deep', pickled({'G_ema': deep})
    finally:
        sys.setrecursionlimit(limit)
    wide = module({'w': torch.ones(1)})
    for _ in range(40):
        wide = module(children={'a': wide, 'b': wide})
    yield '2^40 modules', pickled({'G_ema': wide})
    yield 'a list for a dictionary', pickled({'G': network(_parameters=[1, 2], _modules=[3])})
    yield 'numbers as names', pickled({'G': module({1: torch.ones(1)}), 3: module()})
    yield 'numbers for modules', pickled({'G': network(_parameters=3, _buffers='x', _modules=4.5)})
    yield 'nested pairs as a key', doubled_pairs(39)
    yield 'nested pairs in a set', b'\x80\x04\x8f(' + b'K\x01' + b'2\x86' * 39 + b'\x90.'
    yield (
        'nested pairs in an ordered dictionary',
        (b'\x80\x02ccollections\nOrderedDict\n](' + b'(K\x01' + b'2\x86' * 39 + b'K\x01te\x85R.'),
    )
    yield 'a tensor that is larger than its numbers', expanded_tensor()
    numbers = io.BytesIO()
    torch.save(torch.ones(1000)._typed_storage(), numbers, _use_new_zipfile_serialization=False)
    stored = pickle.dumps(numbers.getvalue(), protocol=3)[2:-1]
    yield (
        'a storage asked for again',
        many_times(b'ctorch.storage\n_load_from_bytes\nq\x01' + stored + b'\x85q\x020', 5000),
    )
    yield 'a list copied again', many_times(b'cbuiltins\nset\nq\x01](' + b'K\x01' * 30_000 + b'e\x85q\x020', 30_000)
    yield 'a memo of four billion places', b'\x80\x02Nr\xff\xff\xff\xff.'
    yield 'a length that is a lie', b'\x80\x04\x8e' + (2**40).to_bytes(8, 'little') + b'x.'
    yield 'an array of bytes that is a lie', b'\x80\x05\x96' + (2**44).to_bytes(8, 'little') + b'x.'
    yield 'a state for a tensor', pickle.dumps(torch.ones(2), protocol=3)[:-1] + b'(K\x01K\x02tb.'


@pytest.mark.timeout(900)  # ends what would last for years
def test_nasty_files_cost_little_and_are_one_sentence(tmp_path):
    file = tmp_path / 'network.pkl'
    for name, data in nasty_files():
        file.write_bytes(data)
        with pytest.raises(ValueError, match=r'damaged|refused|holds no network') as error:
            convert.read_official(file)
        assert '\n' not in str(error.value), name


def test_work_is_bounded_by_the_length_of_the_file():
    "Also where an object is made without a call, and where a size is a number of a thousand digits."
    numbers = b'](' + b'K\x01' * 3000 + b'e\x85q\x020'
    made = b'\x80\x02ctorch\nSize\nq\x01' + numbers + b'h\x01h\x02\x810' * 2000 + b'N.'
    with pytest.raises(pickle.UnpicklingError, match='more work'):
        convert.TensorReader(io.BytesIO(made)).load()
    text = b'\x80\x02cbuiltins\nset\nq\x01X' + (8000).to_bytes(4, 'little') + b'x' * 8000 + b'\x85q\x020'
    with pytest.raises(pickle.UnpicklingError, match='more work'):
        convert.TensorReader(io.BytesIO(text + b'h\x01h\x02R0' * 9000 + b'N.')).load()
    module = {'_parameters': {f'w{i}': torch.ones(1) for i in range(1000)}}
    for _ in range(8):  # each holds the one before twice
        child = convert.Inert()
        child.state = module
        module = {'_modules': {'a': child, 'b': child}}
    with pytest.raises(pickle.UnpicklingError, match='tensors without end'):
        convert._collect(module, convert._budget(math.inf))
    for old in (b'(cbuiltins\nset\n](K\x01eo.', b'(](K\x01eibuiltins\nset\n.'):
        with pytest.raises(pickle.UnpicklingError, match='no file of a network needs'):
            convert.TensorReader(io.BytesIO(old)).load()
    with pytest.raises(RuntimeError, match='more numbers'):
        convert._tensor(torch.ones(3), 0, [2**8000] * 8, [1] * 8)
    with pytest.raises(RuntimeError, match='more numbers'):
        convert._tensor(torch.ones(3), 0, [1] * 9, [1] * 9)


def test_the_networks_hold_no_more_than_their_file(tmp_path):
    "One tensor under many names would become many copies; and a walk through many names is work, too."
    big, small = torch.zeros(400_000).half(), torch.ones(4)
    many_names = module({f'n{i}': big for i in range(50)})
    long_name = module({'w' * 100_000: small})
    nothing = network(_parameters=dict.fromkeys(range(20_000)), _buffers={}, _modules={})
    for _ in range(2):
        long_name = module(children={f'{i}': long_name for i in range(30)})
        nothing = module(children={f'{i}': nothing for i in range(30)})
    half_of_it = {f'n{i}': module({'w': big}) for i in range(5)}
    for content in ({'G_ema': many_names}, {'G_ema': long_name}, {'G_ema': nothing}, half_of_it):
        (tmp_path / 'n.pkl').write_bytes(pickled(content))
        with pytest.raises(ValueError, match='cut short or damaged'):
            convert.read_official(tmp_path / 'n.pkl')
    # what honest files share: a filter of many layers, and a network under two names
    honest = module({f'filter{i}': torch.ones(4, 4) for i in range(300)} | {'w': big})
    (tmp_path / 'n.pkl').write_bytes(pickled({'G': honest, 'G_ema': honest}))
    read = convert.read_official(tmp_path / 'n.pkl')
    assert [len(state) for state in read.values()] == [301, 301]


@pytest.mark.timeout(60)
def test_shapes_are_compared_before_a_network_is_made():
    "A small file may describe a network of 70 gigabytes."
    state = convert.stylegan2_state(StyleGANGenerator(SMALL))
    width = 40_000
    for r in (4, 8, 16):
        state[f'synthesis.b{r}.conv1.bias'] = torch.zeros(width)
    state['synthesis.b4.const'] = torch.zeros(1).expand(width, 4, 4)
    with pytest.raises(ValueError, match='do not fit the generator'):
        convert.load_stylegan2_generator(state)


@pytest.mark.parametrize('kind', [StyleGANGenerator, StyleGANDiscriminator])
def test_every_tensor_is_looked_through_once(kind, monkeypatch):
    generator = kind is StyleGANGenerator
    load = convert.load_stylegan2_generator if generator else convert.load_stylegan2_discriminator
    state = convert.stylegan2_state(kind(SMALL))
    checked, real = [], torch.isfinite
    monkeypatch.setattr(torch, 'isfinite', lambda value: checked.append(0) or real(value))
    load(state)
    assert len(checked) == len(state)
    with pytest.raises(ValueError, match='contains NaN'):
        load({k: v * math.nan for k, v in state.items()})


def test_other_types_of_numbers_become_float32():
    state = convert.stylegan2_state(StyleGANGenerator(SMALL))
    for kind in (torch.float16, torch.float64):
        again = convert.load_stylegan2_generator({k: v.to(kind) for k, v in state.items()})
        for key, value in convert.stylegan2_state(again).items():
            assert value.dtype == torch.float32 and torch.equal(value, state[key].to(kind).float())


def test_a_box_may_be_a_number_of_numpy_or_pytorch():
    generator, _ = pigan.pretrained_pigan()
    state = convert.pigan_state(generator, box=0.24)
    for box in (np.float32(0.24), torch.tensor(0.24)):
        for key, value in convert.pigan_state(generator, box=box).items():
            torch.testing.assert_close(value, state[key])
        convert.load_pigan_generator(state, box=box)


@pytest.mark.parametrize('box', [0, -0.24, math.nan, math.inf, None, 'x', True])
def test_a_box_is_a_finite_number_above_0(box):
    generator, _ = pigan.pretrained_pigan()
    state = convert.pigan_state(generator)
    for call in (lambda: convert.pigan_state(generator, box=box), lambda: convert.load_pigan_generator(state, box=box)):
        with pytest.raises(ValueError, match='finite number above 0') as error:
            call()
        assert '\n' not in str(error.value)


@given(st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_gives_networks_or_one_sentence(tmp_path_factory, where, value, cut):
    data = bytearray(pickled({'G_ema': module({'w': torch.ones(3)}, {'a': module({'b': torch.ones(2)})})}))
    data[where % len(data)] = value
    file = tmp_path_factory.mktemp('pickle') / 'n.pkl'
    file.write_bytes(bytes(data[: cut % (2 * len(data)) + 1]))
    try:
        networks = convert.read_official(file)
    except ValueError as error:
        assert '\n' not in str(error)
    else:
        assert all(isinstance(t, torch.Tensor) for state in networks.values() for t in state.values())


def test_an_honest_file_of_that_make_is_read(tmp_path):
    tensor = torch.arange(6.0).view(2, 3)
    content = {'G_ema': module({'w': tensor}, {'a': module({'b': tensor[0], 'none': None})}), 'args': {'x': (1, 2)}}
    for protocol in (3, 4):
        (tmp_path / 'n.pkl').write_bytes(pickled(content, protocol))
        networks = convert.read_official(tmp_path / 'n.pkl')
        assert list(networks) == ['G_ema'] and list(networks['G_ema']) == ['w', 'a.b']
        assert torch.equal(networks['G_ema']['w'], tensor) and torch.equal(networks['G_ema']['a.b'], tensor[0])


@pytest.mark.parametrize(
    'content, words',
    [
        (pickled(tuple(Fake('dnnlib.tflib.network', 'Network', {'version': 4}) for _ in range(3))), 'TensorFlow'),
        (b'<!DOCTYPE html><html>404</html>', 'a web page'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'git-lfs'),
        (b'PK\x03\x04' + b'\0' * 50, 'zip archive'),
        (b'\x1f\x8b' + b'\0' * 50, 'an archive'),
        (b'a text\n', 'does not begin like a pickle'),
        (b'\xff\xd8\xff\xe0\0\x10JFIF' + b'\0' * 50, 'does not begin like a pickle'),
        (older_torch_file({'w': torch.ones(2)}), "in PyTorch's own older format, not an official .pkl"),
    ],
)
def test_another_file_is_named(tmp_path, content, words):
    (tmp_path / 'n.pkl').write_bytes(content)
    with pytest.raises(ValueError, match=words):
        convert.read_official(tmp_path / 'n.pkl')
    with pytest.raises(ValueError, match='is a folder'):
        convert.read_official(tmp_path)
    with pytest.raises(ValueError, match='names nothing'):
        convert.read_official('')


def test_what_is_no_state_dict_is_named(tmp_path):
    official = convert.stylegan2_state(StyleGANGenerator(SMALL))
    broken = {k: torch.full_like(v, torch.nan) if 'b8.conv1.weight' in k else v for k, v in official.items()}
    for state, words in (
        (tmp_path / 'n.pkl', 'read_official'),
        ('n.pkl', 'read_official'),
        (None, 'read_official'),
        ({'G_ema': official, 'D': {}}, r"state\['G_ema'\]"),
        (official | {'synthesis.b8.conv1.bias': [1.0]}, 'is list'),
        (broken, 'b8.conv1.weight contains NaN'),
    ):
        for load in (convert.load_stylegan2_generator, convert.load_pigan_generator):
            with pytest.raises(ValueError, match=words) as error:
                load(state)
            assert '\n' not in str(error.value)


@pytest.mark.parametrize('key, tensor', [('b4.out.weight', torch.tensor(1.0)), ('b8.fromrgb.weight', torch.zeros(4))])
def test_a_tensor_with_too_few_axes_is_named(key, tensor):
    network = StyleGANDiscriminator(StyleGANConfig(8, z_dim=8, w_dim=8, channel_base=32, channel_max=8))
    state = convert.stylegan2_state(network)
    with pytest.raises(ValueError, match=f'{key} is .* axes are needed'):
        convert.load_stylegan2_discriminator(state | {key: tensor})
