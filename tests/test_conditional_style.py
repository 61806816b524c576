"A StyleGAN that learns tags: nbs/47_conditional_style."

import math
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from animegan_nb import conditional as C, conditional_style as S, core, toon
from animegan_nb.callbacks import Checkpoints
from animegan_nb.core import rng
from animegan_nb.data import ImageSet
from animegan_nb.stylegan import StyleGANConfig, StyleMapping
from animegan_nb.training import Draws, load_run, Recipe, recipes, train, TrainingConfig
from test_conditional import GROUPS, tagged

STYLE = S.ConditionalStyleConfig(
    16,
    z_dim=8,
    w_dim=6,
    mapping_layers=2,
    channel_base=64,
    channel_max=16,
    mixing=0.0,
    path_weight=0.0,
    noise=False,
    discriminator='dcgan',
    r1_gamma=1.0,
    r1_every=2,
    tags=GROUPS,
)


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    "The folder of a StyleGAN's run, its averaged generator, and the pair."
    run = tmp_path_factory.mktemp('stylegan')
    network = StyleGANConfig(**{f.name: getattr(STYLE, f.name) for f in fields(StyleGANConfig)})
    recipe = Recipe('stylegan', network, TrainingConfig(batch_size=4, ema_half_life=8.0), 3, 'a test')
    train(recipe, ImageSet({'image': tagged().arrays['image']}), run, device='cpu', progress=False)
    pair, generator, _ = load_run(run)
    return run, generator, pair


def begun(start, **numbers):
    "A conditional pair that begins as that run."
    torch.manual_seed(1)
    pair = S.ConditionalStylePair(replace(STYLE, start=str(start[0]), **numbers))
    pair.start()
    return pair


def test_at_first_a_tag_changes_nothing_and_the_networks_are_those_of_the_start(start):
    _, generator, trained = start
    pair = begun(start)
    latents = pair.latents(5, Draws(2))
    assert torch.allclose(pair.generator(latents, noise='none'), generator(latents[:, :8], noise='none'), atol=1e-5)
    images = torch.randn(5, 3, 16, 16, generator=rng(3))
    logits, tags = pair.discriminator(images, tags=True)
    assert torch.allclose(logits, trained.discriminator(images), atol=1e-5) and tags.shape == (5, 6)
    assert torch.equal(pair.discriminator(images), logits)
    fresh = S.ConditionalStylePair(STYLE)
    before = {k: v.clone() for k, v in fresh.state_dict().items()}
    fresh.start()  # nothing to start as
    assert all(torch.equal(v, before[k]) for k, v in fresh.state_dict().items())


def test_a_tag_moves_w_in_one_direction_wherever_w_is():
    pair = S.ConditionalStylePair(STYLE)
    mapping = pair.generator.mapping
    torch.nn.init.normal_(mapping.directions.weight)
    pink, blue = (C.one_hot(torch.tensor([[k, 0, 1]] * 7), GROUPS) for k in (1, 2))
    z = torch.randn(7, 8, generator=rng(4))
    w = lambda tags: mapping.w(torch.cat([z, tags], 1))
    columns = mapping.directions.weight
    assert torch.allclose(w(pink) - w(blue), (columns[:, 1] - columns[:, 2]).expand(7, -1), atol=1e-5)
    assert torch.equal(w(torch.zeros(7, 6)), StyleMapping.w(MappingOf(mapping), z))
    assert torch.equal(mapping(torch.cat([z, pink], 1))[:, 0], w(pink))  # and so do ws
    assert not torch.allclose(pair.generator(torch.cat([z, pink], 1)), pair.generator(torch.cat([z, blue], 1)))


def MappingOf(mapping):
    "The mapping without its directions."
    plain = StyleMapping(STYLE)
    plain.load_state_dict({k: v for k, v in mapping.state_dict().items() if 'directions' not in k})
    return plain


def test_the_losses_of_a_styled_step_are_the_sums_of_their_parts(start):
    pair = begun(start, tag_weight=0.7, r1_every=1)
    torch.nn.init.normal_(pair.generator.mapping.directions.weight)
    labels = torch.tensor([[0, 1, 1], [1, 0, 0], [2, 1, 0], [0, 0, 1]])
    batch = {'image': torch.randn(4, 3, 16, 16, generator=rng(2)).clamp(-1, 1), 'labels': labels}
    logs = pair.discriminator_step(batch, Draws(3))
    latents = pair.latents(4, Draws(3))
    with torch.no_grad():
        fake = pair.generator(latents, noise='none')
    assert torch.equal(logs['fake_images'], fake)
    real = batch['image'].clone().requires_grad_()
    (on_real, real_tags), on_fake = pair.discriminator(real, tags=True), pair.discriminator(fake)
    (gradient,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
    softplus, ce = torch.nn.functional.softplus, torch.nn.functional.cross_entropy
    named = lambda out, labels: (
        ce(out[:, :3], labels[:, 0])
        + ce(out[:, 4:], labels[:, 2])
        + torch.nn.functional.binary_cross_entropy_with_logits(out[:, 3], labels[:, 1].float())
    )
    parts = softplus(-on_real).mean() + softplus(on_fake).mean() + 0.7 * named(real_tags, labels)
    r1 = 0.5 * STYLE.r1_gamma * gradient.square().sum((1, 2, 3)).mean()
    assert torch.isclose(logs['r1'], r1, rtol=1e-4) and torch.isclose(logs['loss'], parts + r1, rtol=1e-4)

    logs = pair.generator_step(batch, Draws(5))
    latents = pair.latents(4, Draws(5))
    out, tags = pair.discriminator(pair.generator.eval()(latents, noise='none'), tags=True)
    asked = C.read_labels(pair.requested_tags(latents) - 0.5, GROUPS)
    assert torch.isclose(logs['loss'], softplus(-out).mean() + 0.7 * named(tags, asked), rtol=1e-4)


def test_a_styled_training_goes_on_where_it_stopped(start, tmp_path):
    config = replace(STYLE, start=str(start[0]))
    recipe = Recipe('conditional-stylegan', config, TrainingConfig(batch_size=8, ema_half_life=100.0), 5, 'a test')
    whole = recipe.trainer(tagged(), device='cpu').fit(5, progress=False)
    assert whole.pair.remembered == 40 and bool(whole.pair.generator.mapping.w_avg.any())
    assert ('r1' in whole.history[0]) and 'r1' not in whole.history[1]
    moved = whole.pair.generator.mapping.directions.weight
    assert bool(moved.any())
    recipe.trainer(tagged(), [Checkpoints(tmp_path, 1)], device='cpu').fit(3, progress=False)
    second = recipe.trainer(tagged(), device='cpu').resume(tmp_path).fit(until=5, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(whole.pair.state_dict().values(), second.pair.state_dict().values()))


def test_directions_can_learn_slowly(start):
    "Adam moves F a tenth as far in its first step, and a generator of rate 1 is as before."
    moved = {}
    for rate in (1.0, 0.1):
        config = replace(STYLE, start=str(start[0]), direction_rate=rate)
        recipe = Recipe('conditional-stylegan', config, TrainingConfig(batch_size=8), 1, 'a test')
        moved[rate] = recipe.trainer(tagged(), device='cpu').fit(1, progress=False).pair.generator.mapping.F.detach()
    learning = moved[1.0].abs() > 1e-5  # Adam moves by its rate, whatever the gradient
    assert learning.float().mean() > 0.3
    torch.testing.assert_close(moved[0.1][learning], 0.1 * moved[1.0][learning], rtol=0.05, atol=0)
    with pytest.raises(ValueError, match='direction_rate'):
        replace(STYLE, direction_rate=0.0)


def test_the_share_of_the_tags_in_the_variance_of_w():
    generator, labels = S.ConditionalStyleGenerator(STYLE).eval(), tagged().arrays['labels']
    known = torch.from_numpy(labels)
    assert S.tag_share(generator, known) == 0  # F begins as zero
    z = torch.randn(4000, 8, generator=rng(0))
    rows = known[torch.randint(len(known), (4000,), generator=rng(1))]
    torch.nn.init.normal_(generator.mapping.directions.weight)
    with torch.no_grad():
        from_z = generator.mapping.w(torch.cat([z, torch.zeros(4000, 6)], 1)).var(0).sum()
        from_tags = (C.one_hot(rows, GROUPS) @ generator.mapping.F.T).var(0).sum()
    share = S.tag_share(generator, known, n=4000)
    assert share == pytest.approx((from_tags / (from_tags + from_z)).item(), abs=0.02)
    generator.mapping.directions.weight.data *= 1e3
    assert S.tag_share(generator, known) > 0.999


def test_variety_of_heads_that_are_alike_and_of_one_request():
    heads = core.to_float(toon.ToonHeads(40, 64, seed=3).batch(range(40))['image'])
    alike, real = S.head_variety(heads[:1].expand(20, -1, -1, -1)), S.head_variety(heads)
    assert alike['background'] == alike['clothes'] == 1 and alike['angle'] < 1e-3
    assert real['background'] < 0.5 > real['clothes'] and real['angle'] > 8
    generator, known, _ = S.pretrained_conditional_style()
    z = Draws(5).normal(12, generator.z_dim)
    rows = known[[0, len(known) - 1]]
    found = [S.head_variety(S.requested_heads(generator, z, row.expand(12, -1), batch=5)) for row in rows]
    mean = {name: (found[0][name] + found[1][name]) / 2 for name in found[0]}
    assert S.request_variety(generator, known, 12, 2) == pytest.approx(mean, rel=1e-4)
    for call, words in (
        (lambda: S.head_variety(heads[:, :, ::2, ::2]), '64'),
        (lambda: S.head_variety(heads[:1]), 'at least two heads'),
        (lambda: S.request_variety(generator, known, 4, 0), 'known requests'),
        (lambda: S.request_variety(generator, known[:3], 4, 5), '3 known requests'),
        (lambda: S.requested_heads(generator, z, known[:3]), '12 and 3 do not fit'),
        (lambda: S.tag_share(generator, known, 1), 'at least two latents'),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_what_a_tag_changes_besides():
    generator, known, _ = S.pretrained_conditional_style()
    made = S.heads_of_values(generator, known, 'mouth', n=3, seed=4, glasses='yes')
    assert list(made) == ['smile', 'neutral', 'open', 'small', 'frown']
    draws = Draws(4)
    z, labels = draws.normal(3, generator.z_dim), C.sample_labels(known, 3, draws)
    labels = C.name_labels(labels, C.TOON_TAGS, mouth='open', glasses='yes')
    torch.testing.assert_close(made['open'], S.requested_heads(generator, z, labels))
    turned = toon.ToonHeads(12, 64, seed=3)
    known_angles = torch.tensor(turned.arrays['yaw']).rad2deg()
    angles = S.head_angles(core.to_float(turned.batch(range(12))['image']))
    assert (angles - known_angles).abs().max() < 8 and angles.std() > 8
    read = S.network_readings(S.toon_network(), core.to_uint8(made['open']))['background']
    assert torch.equal(S.head_backgrounds(made['open']), read.argmax(1))
    readings, values = torch.tensor([0, 0, 1, 5, 5, 5]), torch.tensor([0, 0, 0, 2, 2, 2])
    shares = S.commonest_shares(readings, values, 4)
    assert shares[0] == pytest.approx(2 / 3) and shares[2] == 1 and math.isnan(shares[1]) and math.isnan(shares[3])
    for call, words in (
        (lambda: S.heads_of_values(generator, known, 'hat'), "no group 'hat'"),
        (lambda: S.head_angles(torch.zeros(2, 3, 32, 32)), '64'),
        (lambda: S.heads_of_values(generator, known, 'mouth', mouth='smile'), 'cannot be fixed as well'),
        (lambda: S.head_backgrounds(torch.zeros(2, 3, 32, 32)), '64'),
        (lambda: S.commonest_shares(readings, values[:4], 4), 'whole numbers'),
        (lambda: S.commonest_shares(readings, values, 2), 'from 0 to 1'),
        (lambda: S.commonest_shares(readings, values - 1, 4), 'whole numbers'),
        (lambda: S.commonest_shares(readings, values.float(), 4), 'whole numbers'),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_a_styled_generator_is_stored_with_its_tags(start, tmp_path):
    generator = begun(start).generator.eval()
    torch.nn.init.normal_(generator.mapping.directions.weight)
    again = S.ConditionalStyleGenerator.from_pretrained(generator.save_pretrained(tmp_path / 'styled'))
    latents = torch.randn(3, 14, generator=rng(1))
    assert again.config.tags == GROUPS and torch.allclose(again(latents), generator(latents), atol=1e-4)
    faces = C.FaceMaker(again, n=3)
    assert not torch.equal(faces.images(hair='pink'), faces.images(hair='blue'))


@pytest.mark.parametrize(
    'wrong, word',
    [
        (dict(tag_weight=-1.0), 'tag_weight cannot be negative'),
        (dict(tag_weight=float('nan')), 'tag_weight is a finite number'),
        (dict(tag_weight=float('inf')), 'tag_weight is a finite number'),
        (dict(tag_weight='0.2'), 'tag_weight is a finite number'),
        (dict(start=5), 'start is'),
        (dict(tags='hair'), r"Tags are groups such as .*, not 'hair'"),
        (dict(tags=5), 'Tags are groups such as .*, not 5'),
        (dict(prior='mine'), "prior must be 'uniform' or 'data'"),
        (dict(discriminator='residual'), "needs discriminator='dcgan'"),
        (dict(mixing=0.5), 'mixing=0'),
        (dict(path_weight=2.0), 'path_weight=0'),
        (dict(noise=True), 'noise=False'),
        (dict(tags=()), 'no tag'),
    ],
)
def test_wrong_numbers_of_a_styled_pair(wrong, word):
    with pytest.raises(ValueError, match=word) as error:
        replace(STYLE, **wrong)
    assert '\n' not in str(error.value)


def test_the_defaults_fit():
    config = S.ConditionalStyleConfig()
    assert (config.mixing, config.path_weight, config.noise, config.discriminator) == (0, 0, False, 'dcgan')
    assert config.width == 38 and config.latent == config.z_dim


def test_both_players_see_augmented_images(start):
    pair, seen = begun(start, r1_every=1), []
    pair.augment = lambda images: seen.append(images.shape[0]) or 0.5 * images
    batch = {'image': torch.randn(4, 3, 16, 16, generator=rng(2)), 'labels': tagged().batch(range(4))['labels']}
    logs = pair.discriminator_step(batch, Draws(3))
    assert seen == [4, 4] and torch.allclose(logs['real_logits'], pair.discriminator(0.5 * batch['image']), atol=1e-5)
    plain = begun(start, r1_every=1)
    assert not torch.isclose(logs['r1'], plain.discriminator_step(batch, Draws(3))['r1'])
    pair.generator_step(batch, Draws(3))
    assert seen == [4] * 3


def test_styles_and_tags_that_do_not_fit():
    directions = torch.zeros(6, 4)
    for w, tags in ((3, 4), (6, 3), (1, 4)):
        with pytest.raises(ValueError, match=r'Styles are \[batch, 6\] and tags \[batch, 4\]'):
            S.tagged_style(torch.zeros(2, w), torch.zeros(2, tags), directions)
    with pytest.raises(ValueError, match='Styles are'):
        S.tagged_style(torch.zeros(2, 6), torch.zeros(1, 4), directions)


def test_what_does_not_fit_a_styled_pair(start):
    pair = S.ConditionalStylePair(STYLE)
    with pytest.raises(ValueError, match=r'z and tags side by side, \[batch, 8 \+ 6\], not \[2, 8\]'):
        pair.generator(torch.zeros(2, 8))
    with pytest.raises(ValueError, match=r'\[batch, 3, 16, 16\], not \[2, 3, 8, 8\]'):
        pair.discriminator(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match='no labels'):
        pair.discriminator_step({'image': torch.zeros(2, 3, 16, 16)}, Draws(0))
    with pytest.raises(ValueError, match="labels of 2 groups, and the network's tags have 3"):
        pair.discriminator_step({'image': torch.zeros(2, 3, 16, 16), 'labels': torch.zeros(2, 2).long()}, Draws(0))
    with pytest.raises(ValueError, match='w_dim = 6 and 7'):
        begun(start, w_dim=7)


def test_the_shipped_generator():
    generator, known, facts = S.pretrained_conditional_style()
    assert known.shape[1] == len(generator.config.tags) and {'command', 'seed', 'steps'} <= set(facts)
    assert core.shipped('pretrained/conditional_toon_64.safetensors').stat().st_size < 8_000_000
    assert not any(p.requires_grad for p in generator.parameters()) and not generator.training
    maker = C.FaceMaker(generator, known, n=64)
    wanted = dict(hair_colour='pink', eye_colour='green', hair_style='twin tails', glasses='yes')
    read = C.read_tags(C.ToonTagClassifier(), core.to_uint8(maker.images(**wanted)))
    for name, value in wanted.items():
        column = [g[0] for g in C.TOON_TAGS].index(name)
        share = (read[:, column] == C.choices(C.TOON_TAGS[column]).index(value)).double().mean()
        assert share > 0.85, name


def test_the_recipe_begins_as_the_network_that_ships():
    pair = recipes['conditional-cpu-64'].trainer(C.tagged_heads(64), device='cpu').pair
    plain = S.StyleGANGenerator.from_pretrained('stylegan_toon_64')
    latents = pair.latents(2, Draws(1))
    assert torch.allclose(pair.generator.eval()(latents), plain(latents[:, :128]), atol=1e-4)
