"Fine-tuning and grafts: what is frozen rests, grafts join, starts load, the command line, a GPU, bad input."

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from animegan_nb import cli, transfer
from animegan_nb.callbacks import Checkpoints
from animegan_nb.core import rng, shipped
from animegan_nb.data import ImageSet
from animegan_nb.stylegan import STYLEGAN_TINY, StyleGANConfig, StyleGANGenerator, StyleGANPair
from animegan_nb.toon_net import toon_network
from animegan_nb.training import fit_stages, load_run, recipes, Stage, train
from animegan_nb.transfer import (
    agreement,
    at_rest,
    changes,
    discriminator_layers,
    frozen_names,
    graft,
    load_start,
    transfer_recipe,
    TransferConfig,
    TransferPair,
)

TINY = STYLEGAN_TINY.network
TRAINING = replace(STYLEGAN_TINY.training, batch_size=4, mirror=False)
BLOCKS = ['b4', 'b8', 'b16']


def generator(seed=0, **changed):
    torch.manual_seed(seed)
    return StyleGANGenerator(replace(TINY, **changed)).eval().requires_grad_(False)


def pictures(n=24, size=16):
    return ImageSet({'image': torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=rng(0)).numpy()})


def draw(network, seed=0):
    z = torch.randn(3, network.z_dim, generator=rng(seed))
    return network(z, noise='none')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    "A tiny StyleGAN, trained for two steps."
    folder = tmp_path_factory.mktemp('runs') / 'human'
    recipe = replace(STYLEGAN_TINY, training=replace(TRAINING, ema_half_life=30.0), steps=2)
    train(recipe, pictures(), folder, device='cpu', progress=False)
    return folder


# ---- grafts ---------------------------------------------------------------------------------------------------------
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 3), st.integers(0, 3), st.sampled_from(['stylegan1', 'stylegan2']))
def test_the_tensors_of_a_graft(use, again, architecture):
    g, fin = (generator(seed, architecture=architecture) for seed in (0, 1))
    before = [copy.deepcopy(network.state_dict()) for network in (g, fin)]
    made = graft(g, fin, use)
    late = tuple(f'synthesis.blocks.{name}.' for name in BLOCKS[3 - use :]) if use else ()
    for name, value in made.state_dict().items():
        source = fin if use == 3 or name.startswith(late) else g
        assert torch.equal(value, source.state_dict()[name])
    for network, state in zip((g, fin), before):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    twice = graft(made, fin, again)  # what is there already changes nothing
    assert torch.equal(draw(twice), draw(graft(g, fin, max(use, again))))
    assert not made.training and not any(p.requires_grad for p in made.parameters())


def test_what_is_handed_on_at_the_cut():
    "The graft is the first blocks of one, then the last blocks of the other, with features and skip image."
    g, fin = generator(0), generator(1)
    ws = g.mapping(torch.randn(3, g.z_dim, generator=rng(0)))
    x, image = None, None
    for network, name, part, count in (
        (g, 'b4', slice(0, 2), 1),
        (g, 'b8', slice(1, 4), 2),
        (fin, 'b16', slice(3, 6), 2),
    ):
        x, image = network.synthesis.blocks[name](x, image, ws[:, part], ['none'] * count)
    assert torch.equal(image, draw(graft(g, fin, 1)))


@pytest.mark.parametrize('use', [-1, 4, 1.0, True, None, '1'])
def test_use_is_a_number_of_blocks(use):
    with pytest.raises(ValueError, match='0 to 3'):
        graft(generator(0), generator(1), use)


@pytest.mark.parametrize('changed', [dict(size=32), dict(z_dim=8), dict(architecture='stylegan1'), dict(channel_max=8)])
def test_other_numbers_are_refused_in_one_sentence(changed):
    with pytest.raises(ValueError, match=f'{next(iter(changed))} = .*fine-tune the one'):
        graft(generator(), generator(**changed), 1)
    with pytest.raises(TypeError, match='not a Linear'):
        graft(generator(), nn.Linear(2, 2), 1)


def test_generators_grown_to_different_sizes():
    g, fin = (generator(seed, architecture='stylegan1') for seed in (0, 1))
    fin.synthesis.grow(8)
    with pytest.raises(ValueError, match='grown to different sizes'):
        graft(g, fin, 1)


def test_changes():
    g = generator()
    assert set(changes(g, g).values()) == {0.0} and list(changes(g, g)) == ['mapping', *BLOCKS]
    doubled = copy.deepcopy(g)
    for p in doubled.synthesis.blocks['b8'].state_dict().values():
        p.mul_(2)
    found = changes(g, doubled)
    assert found.pop('b8') == pytest.approx(1) and set(found.values()) == {0.0}


# ---- what rests -----------------------------------------------------------------------------------------------------
@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(['sgd', 'adam', 'adamw', 'rmsprop']), st.sets(st.integers(0, 3)), st.booleans(), st.integers(0, 3)
)
def test_at_rest_for_any_optimiser(kind, parts, to_none, steps):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3), nn.BatchNorm1d(3))
    make = dict(
        sgd=lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.1),
        adam=lambda p: torch.optim.Adam(p, 0.01),
        adamw=lambda p: torch.optim.AdamW(p, 0.01),
        rmsprop=lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5),
    )
    optimizer, source = make[kind](network.parameters()), rng(1)

    def go_on(n):
        for _ in range(n):
            optimizer.zero_grad(set_to_none=to_none)
            loss = network(torch.randn(8, 3, generator=source)).square().sum()
            if loss.requires_grad:
                loss.backward()
            optimizer.step()

    def everything(part):
        memory = [optimizer.state.get(p, {}) for p in network[part].parameters()]
        found = [*network[part].state_dict().values(), *(v for m in memory for v in m.values() if torch.is_tensor(v))]
        return [value.clone() for value in found]

    go_on(2)
    before = [everything(part) for part in range(4)]
    with at_rest(network, [f'{part}.' for part in parts]):
        go_on(steps)
    for part in range(4):
        same = all(map(torch.equal, before[part], everything(part)))
        assert same if part in parts else not (same and steps)
    assert all(p.requires_grad for p in network.parameters())


def test_at_rest_after_an_error_and_with_a_wrong_name():
    network = nn.BatchNorm1d(2)
    with pytest.raises(KeyError), at_rest(network, ['']):
        network(torch.randn(4, 2))
        raise KeyError
    assert network.weight.requires_grad and network.running_mean.tolist() == [0, 0]
    with pytest.raises(ValueError, match="begins with 'maping'"), at_rest(network, ['maping']):
        pass
    with pytest.raises(ValueError, match="begins with 'wieght'"), at_rest(network, ['bias', 'wieght']):
        pass
    for word in ('weight', ''):  # would freeze whatever begins with one of its letters
        with pytest.raises(TypeError, match='The beginnings of names are a list'), at_rest(network, word):
            pass


def test_buffers_are_put_back_where_their_module_keeps_them():
    class Counts(nn.Module):
        def __init__(self, again):
            super().__init__()
            self.again = again
            self.register_buffer('seen', torch.zeros(2))

        def forward(self, x):
            seen = self.seen + x.sum(0)
            self.seen = seen if self.again else self.seen.copy_(seen)
            return self.seen

    for again in (True, False):
        network = nn.ModuleDict(dict(first=Counts(again), second=Counts(again)))
        x = torch.ones(3, 2, requires_grad=again)
        kept = network['first'].seen
        with at_rest(network, ['first.']):
            network['second'](network['first'](x)[None].detach())
            assert network['first'].seen.tolist() == [3, 3]
        assert network['first'].seen.tolist() == [0, 0] and network['second'].seen.tolist() == [3, 3]
        assert not network['first'].seen.requires_grad and set(network.state_dict()) == {'first.seen', 'second.seen'}
        assert again or network['first'].seen is kept


def test_a_number_of_numpy_is_a_number_of_blocks():
    whole = [transfer.is_count(value, 1, 3) for value in (np.int64(1), np.uint8(3), 2)]
    wrong = [transfer.is_count(value, 1, 3) for value in (np.int64(4), np.bool_(True), True, 1.0, '1')]
    assert all(whole) and not any(wrong)


@pytest.mark.parametrize('changed', [{}, dict(discriminator='dcgan'), dict(architecture='stylegan1')])
def test_the_layers_of_a_discriminator(changed):
    network = StyleGANPair(replace(TINY, **changed)).discriminator
    layers = discriminator_layers(network)
    names = [name for name, _ in network.named_parameters()]
    found = [[name for name in names if name.startswith(layer)] for layer in layers]
    assert sorted(name for layer in found for name in layer) == sorted(names)  # each once
    assert all(found) and len(layers) == (2 if 'discriminator' in changed else 3)
    assert any('from_rgb' in name or name == 'body.0.weight' for name in found[0])


def test_the_names_of_what_rests():
    names = frozen_names(TINY, tune=2, freeze_d=1)
    blocks = 'generator.synthesis.blocks'
    assert names == ('generator.mapping.', f'{blocks}.b4.', 'discriminator.from_rgb.', 'discriminator.blocks.b16.')
    assert frozen_names(TINY) == () and frozen_names(TINY, tune=3) == ('generator.mapping.',)
    for other in (generator(), vars(TINY), None):
        with pytest.raises(TypeError, match='StyleGANConfig, such as generator.config, not'):
            frozen_names(other, 1)
    wrong = [dict(tune=value) for value in (0, 4, 1.0, 1.5, True, '1')]
    for bad in (*wrong, *(dict(freeze_d=value) for value in (-1, 3, 1.5, True, None))):
        with pytest.raises(ValueError, match=f'{next(iter(bad))} is the number'):
            frozen_names(TINY, **bad)


@pytest.mark.parametrize('stop', [None, 4, 6])
@pytest.mark.parametrize('architecture', ['stylegan1', 'stylegan2'])
def test_what_rests_keeps_its_bits_also_when_it_goes_on(tmp_path, stop, architecture):
    network = replace(TINY, architecture=architecture, path_weight=2.0 * (architecture == 'stylegan2'), path_every=2)
    resting = frozen_names(network, tune=1, freeze_d=1)
    stages = Stage(3), Stage(4, frozen=resting)
    numbers = replace(TRAINING, ema_half_life=20.0)

    def go_to(step):
        torch.manual_seed(0)
        watch = [Checkpoints(tmp_path, 1, keep=9)]
        how = dict(config=numbers, callbacks=watch, device='cpu', until=step, progress=False)
        return fit_stages(StyleGANPair(network), pictures(), stages, tmp_path, **how)

    def resting_tensors(trainer):
        found = {n: v for n, v in trainer.pair.state_dict().items() if n.startswith(resting)}
        for name, p in trainer.pair.named_parameters():
            if name.startswith(resting):
                memory = trainer.optimizers[name.split('.')[0]].state[p]
                found |= {f'{name} {k}': v for k, v in memory.items()}
        return {name: value.clone() for name, value in found.items()}

    before = resting_tensors(go_to(3))
    if stop:
        go_to(stop)
    trainer = go_to(7)
    after = resting_tensors(trainer)
    assert before.keys() == after.keys() and all(torch.equal(v, after[n]) for n, v in before.items())
    assert 'generator.mapping.w_avg' in before and any('exp_avg_sq' in name for name in before)
    last = trainer.pair.generator.synthesis.blocks['b16'].state_dict()
    saved = load_run(tmp_path / 'step-00000003')[0].generator.synthesis.blocks['b16'].state_dict()
    assert not all(torch.equal(v, saved[n]) for n, v in last.items())


# ---- the start ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('begins', ['trained', 'fresh'])
def test_a_fine_tuning_begins_as_its_start_and_goes_on(run, tmp_path, begins):
    pair, human, _ = load_run(run)
    network = TransferConfig(**vars(TINY), start=str(run), discriminator_start=begins)
    recipe = transfer_recipe(network, replace(TRAINING, ema_half_life=30.0), 4, 'test', tune=2, freeze_d=1)
    trainer = recipe.trainer(pictures(), device='cpu')
    assert not any(changes(human, trainer.pair.generator).values())
    assert not any(changes(human, trainer.average).values())
    same = [torch.equal(a, b) for a, b in zip(pair.discriminator.parameters(), trainer.pair.discriminator.parameters())]
    assert all(same) == (begins == 'trained')
    whole = train(recipe, pictures(), tmp_path / 'whole', device='cpu', progress=False)
    train(recipe, pictures(), tmp_path / 'parts', 2, device='cpu', progress=False)
    again = train(recipe, pictures(), tmp_path / 'parts', device='cpu', progress=False)
    for a, b in ((whole.pair, again.pair), (whole.average, again.average)):
        assert all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))
    moved = changes(human, load_run(tmp_path / 'parts')[1])
    assert [name for name, value in moved.items() if value == 0] == ['mapping', 'b4']
    first = trainer.pair.discriminator.blocks['b16'].state_dict()
    assert all(torch.equal(v, first[n]) for n, v in again.pair.discriminator.blocks['b16'].state_dict().items())


def test_a_run_opens_without_its_start(run, tmp_path):
    network = TransferConfig(**vars(TINY), start=str(run))
    recipe = transfer_recipe(network, TRAINING, 1, 'test')
    train(recipe, pictures(), tmp_path / 'fin', device='cpu', progress=False)
    state = tmp_path / 'fin' / 'step-00000001' / 'state.json'
    assert json.loads(state.read_text(encoding='utf-8'))['info']['network']['start'] == str(run)
    pair, generator, info = load_run(tmp_path / 'fin')
    assert isinstance(pair, TransferPair) and info['model'] == 'transfer'
    g = load_start(str(run))[0]
    assert torch.equal(draw(graft(g, generator, 3)), draw(generator))


def test_the_command_line(run, tmp_path, capsys):
    from PIL import Image

    (tmp_path / 'faces').mkdir()
    for i, image in enumerate(pictures().batch(torch.arange(12))['image'].permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(tmp_path / 'faces' / f'{i}.png')
    out, toml = tmp_path / 'fin', tmp_path / 'fin.toml'
    network = TransferConfig(**vars(TINY), start=str(run))
    toml.write_text(cli.recipe_to_toml(transfer_recipe(network, TRAINING, 2, 'test', tune=1)), encoding='utf-8')
    assert cli.main(['train', str(toml), '--data', str(tmp_path / 'faces'), '--out', str(out), '--steps', '1']) == 0
    assert cli.main(['resume', str(out), '--steps', '2']) == 0
    moved = changes(load_start(str(run))[0], load_run(out)[1])
    assert [name for name, value in moved.items() if value] == ['b16']
    wrong = ['train', str(toml), '--data', str(tmp_path / 'faces'), '--out', str(tmp_path / 'x')]
    capsys.readouterr()
    for setting, words in (('start=', 'give network.start'), ('z_dim=8', 'z_dim = '), ('start=nowhere', 'no network')):
        assert cli.main([*wrong, '--set', f'network.{setting}']) == 1
        assert words in capsys.readouterr().err and not (tmp_path / 'x').exists()


def test_the_presets():
    g = StyleGANConfig(**json.loads(shipped('pretrained/stylegan_toon_64.json').read_text(encoding='utf-8'))['network'])
    for name in ('freezeg-cpu', 'freezed-cpu', 'freezeg-wang'):
        assert cli.recipe_from_toml(cli.recipe_to_toml(recipes[name])) == recipes[name]
    small, wang = recipes['freezeg-cpu'], recipes['freezeg-wang']
    assert all(getattr(small.network, f) == getattr(g, f) for f in ('size', 'z_dim', 'channel_base', 'discriminator'))
    assert (wang.steps, wang.training.batch_size, wang.training.generator_lr) == (50_000, 8, 0.002)
    frozen = [name for name in wang.stages[0].frozen if 'blocks' in name]
    assert [name.split('.')[-2] for name in frozen] == ['b4', 'b8', 'b16']


@pytest.mark.parametrize(
    'changed, words',
    [
        (dict(start=''), 'give network.start'),
        (dict(start='stylegan_toon_64'), 'size = 64 and 16'),
        (dict(start='pigan_toon_32'), 'not a StyleGANGenerator|has no setting'),
        (dict(discriminator='dcgan'), 'another one than'),
        (dict(discriminator_start='best'), "'trained' or 'fresh'"),
    ],
)
def test_a_start_that_does_not_fit(run, changed, words):
    with pytest.raises(ValueError, match=words):
        TransferPair(TransferConfig(**vars(TINY) | dict(start=str(run)) | changed)).start()


def test_a_start_without_a_discriminator():
    g = StyleGANGenerator.from_pretrained('stylegan_toon_fin4')
    with pytest.raises(ValueError, match='comes without its discriminator'):
        TransferPair(TransferConfig(**vars(g.config), start='stylegan_toon_fin4')).start()
    pair = TransferPair(TransferConfig(**vars(g.config), start='stylegan_toon_fin4', discriminator_start='fresh'))
    pair.start()
    assert not any(changes(g, pair.generator).values())


@pytest.mark.parametrize('steps, words', [(0, 'at least one step, not 0'), (-3, 'at least'), (1.5, 'whole number')])
def test_a_fine_tuning_of_no_steps_is_refused(steps, words):
    with pytest.raises(ValueError, match=words):
        transfer_recipe(TransferConfig(**vars(TINY), start='x'), TRAINING, steps, 'test', tune=1)


# ---- what is kept ---------------------------------------------------------------------------------------------------
def test_agreement():
    from animegan_nb.core import to_float
    from animegan_nb.toon import ready_heads

    heads, reader = to_float(ready_heads().batch(torch.arange(60))['image']), toon_network()
    itself, others = agreement(reader, heads, heads), agreement(reader, heads, heads.roll(1, 0))
    assert itself['person'] == itself['attributes'] == 1 and itself['degrees'] == 0
    assert itself['yaw'] == pytest.approx(1) and itself['pitch'] == pytest.approx(1)
    assert others['person'] == 0 and others['degrees'] > 5 and abs(others['yaw']) < 0.5 and others['attributes'] < 0.6
    for a, b in ((heads[:2], heads[:2]), (heads[:4], heads[:5])):
        with pytest.raises(ValueError, match='pairs of images'):
            agreement(reader, a, b)
    with pytest.raises(ValueError, match='Images are floats in .*not torch.uint8'):
        agreement(reader, heads, heads.byte())


# ---- a GPU ----------------------------------------------------------------------------------------------------------
def test_on_a_gpu(gpu, run):
    cuda = torch.device('cuda')
    g, fin = generator(0).to(cuda), generator(1).to(cuda)
    z = torch.randn(3, g.z_dim, generator=rng(0, cuda), device=cuda)
    made = graft(g, fin, 1)
    assert made(z, noise='none').is_cuda and changes(g, made)['b16'] > 0
    assert changes(generator(0), made)['b8'] == 0  # one on each device
    with at_rest(g, ['mapping.']):
        pass
    images = torch.rand(3, 3, 64, 64, generator=rng(1, cuda), device=cuda)
    agreement(toon_network().to(cuda), images, images.flip(0))
    network = TransferConfig(**vars(TINY), start=str(run))
    recipe = transfer_recipe(network, TRAINING, 2, 'test', tune=1, freeze_d=1)
    trainer = recipe.trainer(pictures(), device='cuda').fit(2, progress=False)
    assert all(b.is_cuda and v.is_cuda for b, v in trainer.frozen if b.ndim) and trainer.frozen
    gpu.check()
