import csv
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from animegan_nb import core
from animegan_nb import conditional as C, toon
from animegan_nb.core import rng
from animegan_nb.data import ImageSet
from animegan_nb.penalties import dragan_penalty
from animegan_nb.callbacks import Checkpoints
from animegan_nb import widgets
from test_widgets import ask, decoded, drawn
from animegan_nb.training import Draws, Trainer, TrainingConfig, build_pair, load_run, recipes

GROUPS = (('hair', 'black', 'pink', 'blue'), ('glasses', 'yes'), ('eyes', 'red', 'green'))
SMALL = C.ConditionalConfig(
    16,
    GROUPS,
    latent=5,
    base=8,
    channels=8,
    blocks=1,
    last_kernel=3,
    d_channels=6,
    d_blocks=1,
    tag_loss='softmax',
    prior='data',
    penalty_every=2,
)


def tagged(n=40, size=16, seed=0, groups=GROUPS):
    source = rng(seed)
    labels = torch.stack([torch.randint(0, len(C.choices(g)), (n,), generator=source) for g in groups], 1)
    return ImageSet(
        {
            'image': torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=source).numpy(),
            'labels': labels.numpy(),
        }
    )


# ---- tags ---------------------------------------------------------------------------------------------------------
@given(st.integers(0, 2**20), st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_labels_survive_the_way_to_tags_and_back(seed, n):
    labels = torch.stack(
        [torch.randint(0, len(C.choices(g)), (n,), generator=rng(seed + i)) for i, g in enumerate(GROUPS)], 1
    )
    tags = C.one_hot(labels, GROUPS)
    assert tags.shape == (n, 6) and set(tags.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(C.read_labels(tags - 0.5, GROUPS), labels)
    assert tags[:, :3].sum(1).eq(1).all() and tags[:, 4:].sum(1).eq(1).all()


def test_columns_have_names():
    assert C.tag_names(GROUPS) == ['hair: black', 'hair: pink', 'hair: blue', 'glasses', 'eyes: red', 'eyes: green']
    assert C.tag_slices(GROUPS) == {'hair': slice(0, 3), 'glasses': slice(3, 4), 'eyes': slice(4, 6)}
    assert len(C.MOE_TAGS) == 13 and len(C.tag_names(C.MOE_TAGS)) == 34


@pytest.mark.parametrize(
    'labels, word',
    [
        ([[3, 0, 0]], "'hair' counts from 0 to 2"),
        ([[0, -1, 0]], 'label -1 of image 0'),
        ([[0, 0, 2]], "'eyes'"),
        ([[0, 0]], r'\[batch, 3\]'),
        ([[0.0, 0.0, 0.0]], 'float32'),
        ([0, 0, 0], r'not torch.int64 \[3\]'),
    ],
)
def test_wrong_labels(labels, word):
    with pytest.raises(ValueError, match=word):
        C.one_hot(torch.tensor(labels), GROUPS)


@pytest.mark.parametrize(
    'groups, word',
    [
        ((), 'no tag'),
        ((('hair',),), 'no value'),
        ((('hair', 'a', 'a'),), 'twice'),
        ((('hair', 'a'), ('hair', 'b')), 'same name'),
    ],
)
def test_wrong_groups(groups, word):
    with pytest.raises(ValueError, match=word):
        C.as_groups(groups)


def test_drawn_heads_have_labels():
    heads = toon.ready_heads().subset(range(30))
    data = C.tagged_heads(16, heads)
    assert data.size == 16 and data.batch([0])['labels'].shape == (1, 5)
    truth = toon.decode(heads.batch(range(30))['identity'])
    labels = data.batch(range(30))['labels']
    assert all(torch.equal(labels[:, i], truth[g[0]]) for i, g in enumerate(C.TOON_TAGS))
    with pytest.raises(ValueError, match='divides'):
        C.tagged_heads(48, heads)
    with pytest.raises(ValueError, match="'wings'"):
        C.toon_labels(heads.batch([0])['identity'], (('wings', 'yes'),))


def test_groups_of_drawn_heads_count_in_any_order_and_name_every_value():
    heads = toon.ready_heads().subset(range(50))
    batch = heads.batch(range(50))
    mouth = C.TOON_TAGS[3]
    turned = (('glasses', 'yes'), ('mouth', *mouth[:0:-1]))
    plain, other = C.toon_labels(batch['identity']), C.toon_labels(batch['identity'], turned)
    assert torch.equal(other[:, 0], plain[:, 4]) and torch.equal(other[:, 1], 4 - plain[:, 3])
    reads = [C.read_tags(C.ToonTagClassifier(groups), batch['image']) for groups in (C.TOON_TAGS, turned)]
    assert torch.equal(reads[1][:, 0], reads[0][:, 4]) and torch.equal(reads[1][:, 1], 4 - reads[0][:, 3])
    for some in (mouth[:3], ('mouth', 'smile'), (*mouth, 'grin')):
        with pytest.raises(ValueError, match='names all of them'):
            C.tagged_heads(32, heads, (some,))
        with pytest.raises(ValueError, match='names all of them'):
            C.ToonTagClassifier((some,))


# ---- a folder with a tag file -------------------------------------------------------------------------------------
@pytest.fixture
def folder(tmp_path):
    for i in range(6):
        Image.fromarray(np.full((20, 20, 3), 40 * i, np.uint8)).save(tmp_path / f'{i}.png')
    return tmp_path


def write(folder, *rows, head=('file', 'hair', 'eyes')):
    with open(folder / 'labels.csv', 'w', newline='') as file:
        csv.writer(file).writerows([head, *rows])


def make(folder, **options):
    return C.TaggedFolder(folder, 16, cache=folder / '.cache', progress=False, **options)


def test_a_tagged_folder(folder):
    write(folder, *[(f'{i}.png', 'black' if i % 3 else 'pink', 'red') for i in range(6)])
    data = make(folder)
    assert data.groups == (('hair', 'black', 'pink'), ('eyes', 'red')) and len(data) == 6
    assert data.batch(range(6))['labels'][:, 0].tolist() == [1, 0, 0, 1, 0, 0]
    train, held = data.split(0.5)
    assert len(train) == len(held) == 3 and train.batch([0])['labels'].shape == (1, 2)


def test_images_and_rows_without_each_other_are_reported(folder):
    write(
        folder,
        ('0.png', 'black', 'red'),
        ('1.png', '', 'red'),
        ('2.png', 'pink'),
        ('9.png', 'black', 'red'),
        ('0.png', 'pink', 'red'),
        ('3.png', 'pink', 'blue'),
    )
    with pytest.warns(UserWarning, match=r"more than one row for 1 of the images, as in line 6 for '0.png'"):
        data = make(folder)
    assert data.files == ['0.png', '3.png']
    why = {d.file: d.reason for d in data.report.dropped if d.step == 'tags'}
    assert 'line 5' in why['9.png'] and 'no such image' in why['9.png']
    assert (
        'no row' in why['4.png']
        and 'no row' in why['5.png']
        and 'nothing about' in {d.reason for d in data.report.dropped if d.file == '2.png'}.pop()
    )
    assert not {d.file for d in data.report.dropped} & set(data.files)  # nothing is kept and dropped
    assert (
        data.report.kept == data.files
        and len(data.report.dropped) == 5
        and 'labels.csv' not in {d.file for d in data.report.dropped}
    )
    labels = data.batch([0, 1])['labels']
    named = [[C.choices(g)[i] for g, i in zip(data.groups, row)] for row in labels.tolist()]
    assert named == [['black', 'red'], ['pink', 'blue']]


@pytest.mark.parametrize(
    'rows, head, word',
    [
        (
            [('0.png', 'green', 'red')],
            ('file', 'hair', 'eyes'),
            r"line 2: 'hair' has no value 'green': it knows black, pink",
        ),
        (
            [('0.png', '7', 'red')],
            ('file', 'hair', 'eyes'),
            r'line 2: the label 7 .* out of range, it counts from 0 to 1',
        ),
        ([('0.png', 'black')], ('file', 'hair'), "no column 'eyes'"),
        ([], ('picture', 'hair'), "must name a column 'file'"),
        ([], ('file', 'hair', 'eyes'), 'No image'),
        ([('8.png', 'black', 'red')], ('file', 'hair', 'eyes'), 'No image'),
    ],
)
def test_bad_tag_files(folder, rows, head, word):
    write(folder, *rows, head=head)
    with pytest.raises(ValueError, match=word) as error:
        make(folder, groups=(('hair', 'black', 'pink'), ('eyes', 'red', 'blue')))
    assert '\n' not in str(error.value)


def test_numbers_are_labels_too(folder):
    write(folder, ('0.png', '1', 'red'))
    assert make(folder, groups=(('hair', 'black', 'pink'), ('eyes', 'red', 'blue'))).batch([0])['labels'].tolist() == [
        [1, 0]
    ]


def test_an_image_whose_first_row_is_empty_is_not_dropped(folder):
    write(folder, ('0.png', '', 'red'), ('0.png', 'black', 'red'), ('1.png', 'pink', 'blue'))
    data = make(folder)
    assert data.files == ['0.png', '1.png'] and {d.file for d in data.report.dropped} == {
        f'{i}.png' for i in range(2, 6)
    }


@pytest.mark.parametrize('value', ['0', 'no', 'No', 'False'])
def test_a_column_that_nobody_has_is_no_yes(folder, value):
    write(folder, ('0.png', 'black', value), ('1.png', 'pink', value), head=('file', 'hair', 'hat'))
    with pytest.raises(ValueError, match=rf"'hat' has only the value '{value}'.*write \('hat', 'yes'\)"):
        make(folder)
    if value in ('0', 'no'):  # the cure
        data = make(folder, groups=(('hair', 'black', 'pink'), ('hat', 'yes')))
        assert data.batch([0, 1])['labels'].tolist() == [[0, 0], [1, 0]]


def test_no_tag_file(folder):
    with pytest.raises(FileNotFoundError, match='labels.csv'):
        make(folder)
    (folder / 'labels.csv').write_text('')
    with pytest.raises(ValueError, match='nothing'):
        make(folder)


# ---- networks -----------------------------------------------------------------------------------------------------
def count(network):
    return sum(p.numel() for p in network.parameters())


def test_parameters_of_makegirlsmoe():
    with torch.device('meta'):
        pair = build_pair('conditional', recipes['conditional-moe-128'].network)
    assert count(pair.generator) == 4_315_715 and count(pair.discriminator) == 23_895_427
    assert pair.config.width == 34 and pair.weight == 34


@given(st.sampled_from([(8, 4), (16, 4), (32, 8), (32, 16)]), st.integers(0, 2), st.integers(1, 9))
@settings(max_examples=10, deadline=None)
def test_any_size_that_doubles(sizes, blocks, latent):
    size, base = sizes
    c = replace(SMALL, size=size, base=base, blocks=blocks, d_blocks=blocks, latent=latent)
    images = C.ConditionalGenerator(c).eval()(torch.randn(2, latent + 6))
    assert images.shape == (2, 3, size, size) and images.abs().max() <= 1
    logits, tags = C.ConditionalDiscriminator(c)(images, tags=True)
    assert logits.shape == (2,) and tags.shape == (2, 6)


@pytest.mark.parametrize(
    'wrong, word',
    [
        (dict(size=48), 'not 48'),
        (dict(size=8), 'not 8'),
        (dict(tag_loss='hinge'), 'tag_loss'),
        (dict(prior='mine'), 'prior'),
        (dict(last_kernel=4), 'odd'),
        (dict(penalty_every=0), 'penalty_every'),
        (dict(adversarial_weight=-1.0), 'negative'),
        (dict(loss='nothing'), 'nothing'),
        (dict(latent=0), 'widths'),
        (dict(penalty_weight=-1.0), 'penalty_weight'),
        (dict(tags=()), 'no tag'),
    ],
)
def test_wrong_numbers(wrong, word):
    with pytest.raises((ValueError, KeyError), match=word):
        replace(SMALL, **wrong)


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r'\[batch, 5 \+ 6\]'):
        C.ConditionalGenerator(SMALL)(torch.zeros(2, 9))
    with pytest.raises(ValueError, match=r'\[batch, 3, 16, 16\]'):
        C.ConditionalDiscriminator(SMALL)(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match='tag logits'):
        C.tag_loss(torch.zeros(2, 3), torch.zeros(2, 4), GROUPS)


def test_the_configuration_survives_json_and_toml():
    from animegan_nb.cli import recipe_from_toml, recipe_to_toml

    for recipe in (recipes['conditional-tiny'], recipes['conditional-moe-128']):
        again = C.ConditionalConfig(**json.loads(json.dumps(asdict(recipe.network))))
        assert again == recipe.network == recipe_from_toml(recipe_to_toml(recipe)).network


def test_a_plain_block_starts_close_to_a_copy():
    torch.manual_seed(0)
    block = C.PlainBlock(16)
    block.apply(C._init_weights)
    x = torch.randn(4, 16, 8, 8)
    assert (block(x) - torch.nn.functional.leaky_relu(x, 0.2)).std() < 0.2


# ---- losses -------------------------------------------------------------------------------------------------------
def test_tag_losses_at_zero():
    tags = C.one_hot(torch.tensor([[0, 1, 1], [2, 0, 0]]), GROUPS)
    assert torch.isclose(C.tag_loss(torch.zeros(2, 6), tags, GROUPS, 'sigmoid'), torch.tensor(6 * np.log(2)).float())
    assert torch.isclose(
        C.tag_loss(torch.zeros(2, 6), tags, GROUPS, 'softmax'), torch.tensor(np.log(3) + 2 * np.log(2)).float()
    )


def test_softmax_does_not_see_a_common_shift():
    logits, tags = torch.randn(4, 6, generator=rng(1)), C.one_hot(torch.tensor([[0, 1, 1]] * 4), GROUPS)
    shift = torch.tensor([5.0, 5, 5, 0, -2, -2])
    assert torch.isclose(
        C.tag_loss(logits, tags, GROUPS, 'softmax'), C.tag_loss(logits + shift, tags, GROUPS, 'softmax'), atol=1e-5
    )
    assert not torch.isclose(C.tag_loss(logits, tags, GROUPS), C.tag_loss(logits + shift, tags, GROUPS), atol=1e-2)


@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(tag_loss='sigmoid'),
        dict(classify_fakes=False),
        dict(prior='uniform'),
        dict(penalty_weight=0.0),
        dict(loss='hinge'),
    ],
)
def test_a_step_of_every_kind(changes):
    t = Trainer(
        C.ConditionalPair(replace(SMALL, **changes)),
        tagged(),
        TrainingConfig(batch_size=8, ema_half_life=100),
        device='cpu',
    ).fit(2, progress=False)
    record = t.history[-1]
    assert {'tags_on_real', 'tags_on_fake', 'real_logits', 'fake_logits'} <= set(record)
    # every other step
    assert ('penalty' in t.history[0]) == (changes.get('penalty_weight') != 0.0) and 'penalty' not in record
    assert torch.isfinite(t.sample(3)).all()


def test_the_loss_of_a_step_is_the_sum_of_its_parts():
    torch.manual_seed(0)
    pair = C.ConditionalPair(replace(SMALL, penalty_every=1, classify_fakes=True))
    batch = {
        'image': torch.randn(4, 3, 16, 16, generator=rng(2)).clamp(-1, 1),
        'labels': torch.tensor([[0, 1, 1], [1, 0, 0], [2, 1, 0], [0, 0, 1]]),
    }
    logs = pair.discriminator_step(batch, Draws(3))
    draws = Draws(3)
    wish = pair.latents(4, draws)
    real, fake = pair.discriminator(batch['image'], tags=True), pair.discriminator(logs['fake_images'], tags=True)
    assert abs(pair.weight - np.log2(3 * 2 * 2)) < 1e-9  # what a wish for one of 12 costs
    parts = (
        pair.weight * pair.loss.discriminator(real[0], fake[0])
        + pair.classify(real[1], C.one_hot(batch['labels'], GROUPS))
        + pair.classify(fake[1], pair.requested_tags(wish))
    )
    penalty = dragan_penalty(pair.discriminator, batch['image'], SMALL.penalty_weight, rng=draws.generator)
    assert torch.isclose(logs['loss'], parts + penalty, rtol=1e-4)


def test_no_labels_no_training():
    plain = ImageSet({'image': tagged().arrays['image']})
    with pytest.raises(ValueError, match='no labels'):
        Trainer(C.ConditionalPair(SMALL), plain, TrainingConfig(batch_size=4), device='cpu').fit(1, progress=False)


def test_drawn_heads_train_as_they_come():
    heads = toon.ready_heads().subset(range(24))
    heads.arrays = {
        'image': heads.batch(range(24))['image'][:, :, ::4, ::4].numpy(),
        'identity': heads.batch(range(24))['identity'].numpy(),
    }
    heads.indices = np.arange(24)
    t = Trainer(
        build_pair('conditional', recipes['conditional-tiny'].network),
        heads,
        TrainingConfig(batch_size=8),
        device='cpu',
    ).fit(1, progress=False)
    assert t.pair.remembered == 8


def test_labels_are_remembered_across_checkpoints_of_every_age(tmp_path):
    "The number of remembered labels follows from the labels; earlier versions stored it beside them."
    pair = C.ConditionalPair(SMALL)
    pair.remember(torch.tensor([[0, 1, 1], [2, 0, 0]]))
    fresh = C.ConditionalPair(SMALL)
    fresh.load_state_dict(pair.state_dict())
    assert fresh.remembered == 2 and torch.equal(fresh.known, pair.known)
    old = pair.state_dict() | {'counts': torch.tensor([2, 7])}
    old['known'] = old['known'].clamp_min(0)
    older = C.ConditionalPair(SMALL)
    older.load_state_dict(older.names_of_today(old))
    assert older.remembered == 2 and torch.equal(older.known, pair.known)
    assert torch.equal(old['known'][2:], torch.zeros_like(old['known'][2:]))  # the caller's tensors stay


def test_the_penalty_is_lazy_in_optimiser_steps():
    "With two batches a step, DRAGAN acts in both of every second step and in none of the others."
    pair, found = C.ConditionalPair(replace(SMALL, penalty_every=2)), []
    step = pair.discriminator_step
    pair.discriminator_step = lambda *a: found.append('penalty' in (logs := step(*a))) or logs
    Trainer(pair, tagged(), TrainingConfig(batch_size=4, accumulate=2), device='cpu').fit(4, progress=False)
    assert found == [True, True, False, False] * 2


def test_a_batch_of_one():
    t = Trainer(C.ConditionalPair(SMALL), tagged(), TrainingConfig(batch_size=1), device='cpu').fit(2, progress=False)
    assert torch.isfinite(t.sample(1)).all()


def test_batch_norm_under_the_penalty_is_refused():
    pair = C.ConditionalPair(replace(SMALL, penalty_every=1))
    pair.discriminator.body.insert(2, torch.nn.BatchNorm2d(6))
    with pytest.raises(ValueError, match='normalises over the batch'):
        Trainer(pair, tagged(), TrainingConfig(batch_size=4), device='cpu').fit(1, progress=False)


# ---- wishes -------------------------------------------------------------------------------------------------------
def test_requests_follow_the_data():
    pair = C.ConditionalPair(SMALL)
    seen = torch.tensor([[0, 1, 1], [2, 0, 0]])
    assert pair.requested_labels(50, Draws(1))[:, 0].unique().numel() == 3  # nothing known yet: all values alike
    pair.remember(seen)
    requests = {tuple(row) for row in pair.requested_labels(200, Draws(1)).tolist()}
    assert requests == {(0, 1, 1), (2, 0, 0)}
    pair.remember(torch.zeros(3000, 3, dtype=torch.long))
    assert pair.remembered == C.MEMORY and torch.equal(pair.known[:2].long(), seen)
    uniform = C.ConditionalPair(replace(SMALL, prior='uniform'))
    uniform.remember(seen)
    assert len({tuple(row) for row in uniform.requested_labels(300, Draws(1)).tolist()}) == 12


def test_latents_are_the_draws_and_hold_the_request():
    pair = C.ConditionalPair(SMALL)
    latents = pair.latents(7, Draws(1))
    assert latents.shape == (7, 11) and torch.equal(latents[:, :5], Draws(1).normal(7, 5))
    assert torch.equal(pair.requested_tags(latents), latents[:, 5:]) and torch.equal(latents, pair.latents(7, Draws(1)))


def test_a_resumed_training_is_the_same(tmp_path):
    def trainer(*callbacks):
        torch.manual_seed(0)
        return Trainer(
            C.ConditionalPair(SMALL),
            tagged(),
            TrainingConfig(batch_size=8, ema_half_life=100),
            callbacks,
            'cpu',
            {'model': 'conditional', 'network': asdict(SMALL)},
        )

    whole = trainer().fit(5, progress=False)
    trainer(Checkpoints(tmp_path, 1)).fit(3, progress=False)
    second = trainer(Checkpoints(tmp_path, 100)).resume(tmp_path).fit(until=5, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(whole.pair.state_dict().values(), second.pair.state_dict().values()))
    pair, generator, info = load_run(tmp_path)
    assert pair.config == SMALL and torch.equal(pair.generate(generator, pair.latents(3, Draws(0))), second.sample(3))


# ---- judges -------------------------------------------------------------------------------------------------------
def test_scores():
    asked = torch.tensor([[0, 1, 0], [0, 0, 1], [1, 1, 1], [2, 1, 1]])
    perfect = C.tag_scores(asked, asked, GROUPS)
    assert all(s['granted'] == 1 for s in perfect.values()) and perfect['hair']['values'] == {
        'black': (1.0, 2),
        'pink': (1.0, 1),
        'blue': (1.0, 1),
    }
    assert perfect['hair']['chance'] == 0.375
    wrong = asked.clone()
    wrong[:, 0] = 0
    scores = C.tag_scores(asked, wrong, GROUPS)['hair']
    assert scores['granted'] == scores['chance'] == 0.5 and scores['values']['pink'] == (0.0, 1)


def test_a_classifier_learns_colours():
    labels = torch.arange(60) % 2
    image = torch.where(labels[:, None, None, None] == 1, 200, 40).expand(-1, 3, 16, 16).to(torch.uint8)
    groups = (('shade', 'dark', 'light'),)
    data = ImageSet({'image': image.numpy(), 'labels': labels[:, None].numpy()})
    nets = [C.train_tag_classifier(data, groups, 40, 16, seed=s) for s in (0, 1)]
    assert torch.equal(C.read_tags(nets, image)[:, 0], labels) and torch.equal(
        C.read_tags(nets[0], image)[:, 0], labels
    )


def test_the_toon_classifier_reads_heads():
    rows = toon.ready_heads().batch(range(60))
    read = C.read_tags(C.ToonTagClassifier(), rows['image'])
    scores = C.tag_scores(C.toon_labels(rows['identity']), read, C.TOON_TAGS)
    assert all(scores[k]['granted'] > 0.85 for k in ('hair_colour', 'eye_colour', 'hair_style', 'glasses'))


def test_images_for_a_classifier():
    pair = C.ConditionalPair(SMALL)
    images, asked = C.requested_images(pair, pair.generator.eval(), 120, seed=3)
    assert images.dtype == torch.uint8 and images.shape == (120, 3, 16, 16)
    assert torch.equal(C.one_hot(asked[:100], GROUPS), pair.requested_tags(pair.latents(100, Draws(3))))


# ---- what ships, and the widget -----------------------------------------------------------------------------------
def test_the_shipped_generator():
    generator, known, facts = C.pretrained_conditional()
    assert known.shape[1] == len(generator.config.tags) and {'command', 'seed', 'steps'} <= set(facts)
    path = core.shipped('pretrained/conditional_toon_32.safetensors')
    assert path.stat().st_size < 2_000_000
    assert not any(p.requires_grad for p in generator.parameters()) and not generator.training
    maker = C.FaceMaker(generator, known, n=64)
    hair = C.read_tags(C.ToonTagClassifier(), core.to_uint8(maker.images(hair_colour='pink')))[:, 0]
    assert (hair == C.choices(C.TOON_TAGS[0]).index('pink')).double().mean() > 0.5


def maker(**options):
    torch.manual_seed(0)
    return C.FaceMaker(C.ConditionalGenerator(SMALL), torch.tensor([[0, 0, 0], [1, 1, 1]]), n=4, columns=2, **options)


def test_requests_by_name():
    rows = torch.tensor([[0, 0, 0], [2, 1, 1]])
    assert (
        C.name_labels(rows, GROUPS, hair='pink', glasses='yes').tolist() == [[1, 1, 0], [1, 1, 1]] and rows[0, 0] == 0
    )
    with pytest.raises(ValueError, match="no tag 'wings'"):
        C.name_labels(rows, GROUPS, wings='yes')
    with pytest.raises(ValueError, match="hair has no value 'gold': choose from black, pink, blue"):
        maker(hair='gold')
    with pytest.raises(ValueError, match="no tag 'wings'"):
        maker(wings='any')


def test_what_a_maker_was_asked_for_holds_for_its_images():
    asked, free = maker(hair='pink', eyes='any'), maker()
    assert asked.alt_text() == '4 generated faces: hair pink'
    assert torch.equal(asked.images(), free.images(hair='pink'))
    assert torch.equal(asked.images(eyes='green'), free.images(hair='pink', eyes='green'))
    assert torch.equal(asked.images(hair='any'), free.images()) and not torch.equal(asked.images(), free.images())
    assert np.array_equal(asked.image(hair='blue'), free.image(hair='blue'))


@pytest.mark.parametrize(
    'known, n, word',
    [
        (torch.zeros(2, 3), 4, 'torch.float32'),
        (torch.zeros(2, 2).long(), 4, r'\[batch, 3\]'),
        (torch.zeros(0, 3).long(), 4, 'in one row or more'),
        ([[0, 0, 0]], 4, 'whole numbers in one row or more'),
        (torch.full((2, 3), 7), 4, "out of range: 'hair' counts from 0 to 2"),
        (None, 0, 'n is how many faces'),
        (None, 2.5, 'n is how many faces'),
    ],
)
def test_a_maker_refuses_what_is_no_label(known, n, word):
    with pytest.raises(ValueError, match=word):
        C.FaceMaker(C.ConditionalGenerator(SMALL), known, n=n)


def test_a_maker_needs_a_generator_with_tags():
    with pytest.raises(TypeError, match='knows tags, not a Linear'):
        C.FaceMaker(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match='give both, or neither'):
        C.FaceMaker(None, torch.zeros(2, 5).long())


def test_the_same_seed_is_the_same_face():
    m = maker()
    assert torch.equal(m.images(hair='pink'), m.images(hair='pink')) and not torch.equal(
        m.images(hair='pink'), m.images(hair='blue')
    )
    assert not torch.equal(m.images(seed=1), m.images(seed=2))
    assert m.image().size == (34 * 3, 34 * 3)


def test_the_widget_answers_its_menus():
    pytest.importorskip('anywidget')
    m = maker(hair='blue')
    widget = m.widget()
    controls = widget.settings['controls']
    assert controls['hair']['value'] == 'blue' and controls['glasses']['options'] == ['any', 'no', 'yes']
    after = lambda **values: (ask(widget, **values), np.asarray(drawn(widget)))[1]
    same = np.array_equal
    first = np.asarray(drawn(widget))
    second = after(hair='pink')
    assert not same(first, second) and same(second, m.image(hair='pink'))
    assert same(after(eyes='green'), m.image(hair='pink', eyes='green'))
    assert same(after(hair='any', eyes='any'), m.image(hair='any'))
    other = m.image(seed=1, hair='any')
    assert same(after(pressed='Other faces'), other) and not same(other, m.image(seed=0, hair='any'))


def test_where_nothing_runs_there_is_an_image(monkeypatch):
    bundle, facts = maker(hair='pink')._repr_mimebundle_()
    assert facts['image/png']['alt'] == '4 generated faces: hair pink' and bundle['image/png']
    monkeypatch.setitem(sys.modules, 'anywidget', None)
    widgets.widget_class.cache_clear()
    alone, _ = maker(hair='pink')._repr_mimebundle_()
    assert set(alone) == {'image/png', 'text/plain'}
    assert np.array_equal(decoded(alone), decoded(bundle))


# ---- results and real images ------------------------------------------------------------------------------------
@pytest.mark.parametrize('name', ['toon_32', 'toon_64', 'faces_32'])
def test_stored_results_say_how_they_were_made(name):
    facts = json.loads(core.shipped(f'results/conditional_{name}.json').read_text())
    assert {'command', 'runs', 'held', 'drawn', 'latent_seeds', 'judges'} <= set(facts)
    for judge in facts['judges'].values():
        for group in judge['groups'].values():
            assert len(group['granted']) >= 3 and 0 <= group['chance'] <= 1 and 0 <= group['ceiling'] <= 1


def test_every_recipe_builds():
    for name in ('conditional-moe-128', 'conditional-cpu', 'conditional-tiny'):
        recipe = recipes[name]
        with torch.device('meta'):
            pair = build_pair(recipe.model, recipe.network)
        assert pair.config.size == recipe.network.size and recipe.source and recipe.steps > 0


@pytest.mark.real
def test_the_tagged_faces(data_dir):
    faces = C.TaggedFolder(data_dir / 'anime_faces_tagged_96', 32, C.FACE_TAGS, progress=False)
    assert len(faces) == 800 and faces.groups == C.FACE_TAGS
    # the values by frequency
    assert C.TaggedFolder(data_dir / 'anime_faces_tagged_96', 32, progress=False).groups == C.FACE_TAGS
    config = replace(SMALL, size=32, tags=C.FACE_TAGS)
    t = Trainer(C.ConditionalPair(config), faces, TrainingConfig(batch_size=8), device='cpu').fit(2, progress=False)
    assert torch.isfinite(t.sample(4)).all()


def test_a_kind_of_tag_loss_and_integer_tags():
    logits, tags = torch.randn(4, C.tag_slices(SMALL.tags)[SMALL.tags[-1][0]].stop), torch.zeros(4, 1).long()
    tags = tags.expand(-1, logits.shape[1])
    assert torch.equal(C.tag_loss(logits, tags, SMALL.tags), C.tag_loss(logits, tags.float(), SMALL.tags))
    with pytest.raises(ValueError, match="'sigmoid' or 'softmax'"):
        C.tag_loss(logits, tags, SMALL.tags, 'bce')


def test_a_face_maker_leaves_its_generator_alone():
    generator = C.ConditionalGenerator(SMALL).train()
    maker = C.FaceMaker(generator, n=4)
    maker.images()
    assert generator.training and not maker.generator.training
    for k, group in enumerate(SMALL.tags):  # without known rows, what is open is any value
        assert set(maker.known[:, k].tolist()) == set(range(len(C.choices(group))))


def test_columns_that_are_not_those_of_the_groups_are_refused():
    groups = [['hair', 'red', 'blue'], ['glasses', 'yes']]
    for columns in (2, 4):
        logits = torch.zeros(5, columns)
        with pytest.raises(ValueError, match='3 tags'):
            C.tag_loss(logits, logits, groups, 'softmax')
        with pytest.raises(ValueError, match='3 tags'):
            C.read_labels(logits, groups)
    labels = torch.zeros(5, 2).long()
    for bad in (labels[:, :1], labels[:0], torch.zeros(5, 3).long()):
        with pytest.raises(ValueError, match='labels'):
            C.tag_scores(bad, bad, groups)
