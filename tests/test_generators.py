"""What PyTorch can do with a module, it can do with every generator of the library: copy it, move it, load it without
memory, record it with a batch of any size, compile it, call it as a function, halve its precision."""

import copy
import warnings

import pytest
import torch
from torch.export import Dim

from animegan_nb.core import rng
from animegan_nb.encoder import Encoder, EncoderConfig
from animegan_nb.standing import FigureReader
from animegan_nb.super_resolution import CARN, CARNConfig
from animegan_nb.toon_net import ToonNet
from animegan_nb.training import build_pair, Draws, models

# case -> (registered model, the numbers of its networks): one small network of every kind
TAGS = (('hair', 'black', 'red', 'blue'), ('glasses', 'yes'))
STYLE = dict(size=16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=128, channel_max=16)
TAGGED = STYLE | dict(mixing=0.0, path_weight=0.0, noise=False, discriminator='dcgan')
FIELD = dict(hidden=16, layers=2, z_dim=8, mapping_hidden=16)
PLANES = dict(size=16, raw=8, planes=8, channels=4, z_dim=8, w_dim=8, channel_base=64, channel_max=8, features=4)
PLANES |= dict(hidden=8, super_maps=8, critic_base=64, critic_max=8, patch=8, view=dict(samples=4, fine=4))
CASES = {
    'dcgan': ('dcgan', dict(size=16, channels=16, latent=8)),
    'dcgan relu, 64 px': ('dcgan', dict(size=64, channels=16, latent=8, activation='relu')),
    'wgan': ('wgan', dict(size=16, channels=16, latent=8)),
    'conditional': ('conditional', dict(size=16, tags=TAGS, latent=8, base=8, channels=8, blocks=1, d_channels=4)),
    'stylegan1': ('stylegan', dict(architecture='stylegan1', **STYLE)),
    'stylegan2': ('stylegan', STYLE),
    'transfer': ('transfer', STYLE),
    'conditional StyleGAN': ('conditional-stylegan', dict(TAGGED, tags=TAGS)),
    'modern': ('modern', dict(size=16, latent=8, channels=16, features='')),
    'pigan': ('pigan', dict(size=8, field=FIELD, view=dict(samples=4, fine=4), channel_base=64, channel_max=16)),
    'mimic3d': ('mimic3d', dict(PLANES, imitation='')),
    'mimic3d, direct': ('mimic3d', dict(PLANES, imitation='', super_resolution=False)),
}


class Flat(torch.nn.Module):
    "A network that reads images, with all that it reads side by side [batch, numbers]."

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        read = self.network(images)
        return torch.cat([x.reshape(x.shape[0], -1) for x in read.values()], 1)


# networks that nobody registers as a model: case -> (function that makes it, side of the images it takes)
OTHERS = {
    'carn, mobile': (lambda: CARN(CARNConfig(channels=8, groups=2, shared=True, depth=2)), 8),
    'carn': (lambda: CARN(CARNConfig(channels=8, depth=2, scales=(2,))), 8),
    'encoder': (lambda: Encoder(EncoderConfig(kind='plain', w_dim=8, width=8, size=32)).net, 32),
    'reader of heads': (lambda: Flat(ToonNet((8, 8, 8, 8, 8), (8, 8, 8, 8), 8, 8)), 64),
    'reader of figures': (lambda: Flat(FigureReader((8, 8, 8, 8, 8), features=8)), 64),
}


def make(case):
    "A generator with weights that are not those of its start, and a function that draws its input."
    torch.manual_seed(0)
    if case in OTHERS:
        fresh, size = OTHERS[case]
        network = moved(fresh())
        return network, lambda n, seed=0: (torch.randn(n, 3, size, size, generator=rng(seed)),), fresh
    model, numbers = CASES[case]
    pair = build_pair(model, dict(numbers))

    def inputs(n, seed=0):
        latents = pair.latents(n, Draws(seed))
        return latents if isinstance(latents, tuple) else (latents,)

    return moved(pair.generator), inputs, lambda: build_pair(model, dict(numbers)).generator


def moved(network):
    "The network with other weights than those of its start, ready for use."
    source = rng(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and 'progress' not in name and 'running_var' not in name:
                tensor.add_(0.05 * torch.randn(tensor.shape, generator=source))
    return network.eval().requires_grad_(False)


def same(a, b, tolerance=0.0):
    assert a.shape == b.shape and torch.isfinite(b).all()
    assert (a - b).abs().max().item() <= tolerance


def test_every_registered_model_is_tried():
    assert {model for model, _ in CASES.values()} == set(models)


def deepcopy(generator, inputs, fresh):
    twin = copy.deepcopy(generator)
    x = inputs(3)
    before = generator(*x)
    for p in generator.parameters():
        p.add_(1)
    same(before, twin(*x))


def strict_load(generator, inputs, fresh):
    "Built without memory, given memory, filled from a file."
    with torch.device('meta'):
        other = fresh()
    assert all(p.is_meta for p in other.parameters())
    other.to_empty(device='cpu')
    other.load_state_dict(generator.state_dict(), strict=True)
    same(generator(*inputs(3)), other.eval()(*inputs(3)))


def assigned_load(generator, inputs, fresh):
    "Built without memory, and given the tensors of a file."
    with torch.device('meta'):
        other = fresh()
    other.load_state_dict(generator.state_dict(), strict=True, assign=True)
    same(generator(*inputs(3)), other.eval()(*inputs(3)))


def meta(generator, inputs, fresh):
    "Shapes without memory."
    other = copy.deepcopy(generator).to('meta')
    out = other(*(x.to('meta') for x in inputs(3)))
    assert out.is_meta and out.shape == generator(*inputs(3)).shape


def bfloat16(generator, inputs, fresh):
    exact = generator(*inputs(3))
    half = generator.to(torch.bfloat16)(*(x.bfloat16() for x in inputs(3)))
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).abs().mean() < 0.1 * exact.std() + 0.01


def functional_call(generator, inputs, fresh):
    weights = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    expected = generator(*inputs(3))
    for p in generator.parameters():
        p.zero_()
    same(expected, torch.func.functional_call(generator, weights, inputs(3)))


def jit_trace(generator, inputs, fresh):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch.jit.trace is deprecated, and warns of checks of shapes
        traced = torch.jit.trace(generator, inputs(2), check_trace=False)
    for n in (1, 2, 5):
        same(generator(*inputs(n, n)), traced(*inputs(n, n)), 1e-6)


def dynamic_batch(inputs):
    batch = Dim('batch', min=1, max=64)
    return tuple({0: batch} for _ in inputs)


def torch_export(generator, inputs, fresh):
    program = torch.export.export(generator, inputs(2), dynamic_shapes=dynamic_batch(inputs(2)))
    for n in (1, 2, 5):
        same(generator(*inputs(n, n)), program.module()(*inputs(n, n)), 1e-6)


def onnx(generator, inputs, fresh, tmp_path):
    runtime = pytest.importorskip('onnxruntime', reason="needs pip install 'animegan_nb[onnx]'")
    pytest.importorskip('onnxscript', reason="needs pip install 'animegan_nb[onnx]'")
    path, x = tmp_path / 'generator.onnx', inputs(2)
    torch.onnx.export(
        generator, x, path, dynamo=True, dynamic_shapes=dynamic_batch(x), verbose=False, external_data=False
    )
    session = runtime.InferenceSession(path, providers=['CPUExecutionProvider'])
    names = [node.name for node in session.get_inputs()]
    for n in (1, 2, 5):
        found = session.run(None, {name: t.numpy() for name, t in zip(names, inputs(n, n))})[0]
        same(generator(*inputs(n, n)), torch.from_numpy(found), 1e-4)


def compiled(generator, inputs, fresh):
    "The whole forward pass as one graph."
    expected = generator(*inputs(2))
    torch.compiler.reset()
    fast = torch.compile(generator, backend='eager', fullgraph=True)
    same(expected, fast(*inputs(2)), 1e-6)
    same(generator(*inputs(5)), fast(*inputs(5)), 1e-6)


CHECKS = [
    deepcopy,
    strict_load,
    assigned_load,
    meta,
    bfloat16,
    functional_call,
    jit_trace,
    torch_export,
    onnx,
    compiled,
]
RAYS = 'a pi-GAN looks at values while it renders: it checks rays, and cuts them into chunks as the memory allows'
IMPOSSIBLE = {('pigan', name): RAYS for name in ('jit_trace', 'torch_export', 'onnx', 'compiled')}
IMPOSSIBLE['pigan', 'bfloat16'] = "a sine of 30 times a coordinate needs float32: pi-GAN's own 'mixed' keeps it"
SEARCH = 'the fine samples of a ray are found by searchsorted, which ONNX does not have'
IMPOSSIBLE |= {(case, 'onnx'): SEARCH for case in ('mimic3d', 'mimic3d, direct')}


@pytest.mark.parametrize('check', CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize('case', [*CASES, *OTHERS])
@torch.no_grad()
def test_generator(case, check, tmp_path):
    if reason := IMPOSSIBLE.get((case, check.__name__)):
        pytest.skip(reason)
    extra = [tmp_path] if check is onnx else []
    check(*make(case), *extra)
