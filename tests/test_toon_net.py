"The network that reads heads: its scores on unseen heads, what counts as visible, its losses and its training."

import json
import math

import numpy as np
import torch

from animegan_nb import toon
from animegan_nb.cameras import pose
from animegan_nb.core import rng, shipped, to_float
from animegan_nb.toon_net import (
    network_loss,
    network_scores,
    READ,
    same_person_loss,
    toon_network,
    train_network,
    verification,
    visible,
)


def test_the_network_reads_unseen_heads():
    net = toon_network()
    rows = toon.ToonHeads(n=24, size=64, seed=123).batch(range(24))
    seen = visible(rows['identity'], rows['cam2world'], rows['fov'])
    angles = torch.stack([rows['yaw'], rows['pitch']], 1)
    scores = network_scores(net, rows['image'], rows['identity'], angles, seen)
    assert scores['median_error_degrees']['yaw'] < 4
    assert np.mean(list(scores['accuracy_visible'].values())) > 0.93
    assert net.features(torch.zeros(2, 3, 32, 32)).shape == (2, 256)
    assert len(net.maps(torch.zeros(1, 3, 49, 48))) == 5
    assert torch.allclose(net(torch.zeros(2, 3, 64, 64))['embedding'].norm(dim=1), torch.ones(2), atol=1e-5)


def test_what_ships_is_small():
    assert shipped('pretrained/toon_net.safetensors').stat().st_size <= 2 * 2**20
    assert shipped('toon_heads_3000.npz').stat().st_size <= 8 * 2**20


def test_a_training_learns_and_is_repeatable():
    rows = toon.ready_heads('white').batch(range(32))
    pairs = lambda x: x.unflatten(0, (16, 2))  # any two heads as the two views of a person
    angles = pairs(torch.stack([rows['yaw'], rows['pitch']], 1))
    data = pairs(rows['image']), pairs(rows['coverage']), rows['identity'][::2], angles
    first, again, longer = (train_network(*data, epochs=n, batch=8) for n in (1, 1, 6))
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values()))
    assert not first.training

    def loss(net):
        return network_loss(net(to_float(rows['image'][::2])), rows['identity'][::2], angles[:, 0])

    with torch.no_grad():
        assert loss(longer) < loss(first)


def test_the_stored_scores_reach_what_is_asked():
    stored = json.loads(shipped('pretrained/toon_net.json').read_text())
    assert min(stored['accuracy_visible'].values()) >= 0.95 and max(stored['median_error_degrees'].values()) <= 3
    for name, of in stored['count'].items():
        assert abs(stored['commonest'][name] - max(of.values()) / 500) < 0.1  # counted where it is visible
        right = sum(stored['recall'][name][value] * n for value, n in of.items()) / sum(of.values())
        assert abs(right - stored['accuracy_visible'][name]) < 1e-3
    assert stored['verification']['embedding']['auc'] > stored['verification']['pixels']['auc']


def test_what_hair_hides_is_not_visible():
    view, fov = pose(torch.tensor([0.0, math.pi]), 0.0), torch.tensor([12.0]).expand(2)
    person = toon.encode(glasses='yes', mouth='open', accessory='ribbon', hair_style='long')[None].expand(2, -1)
    seen = visible(person, view, fov)
    assert set(seen) == set(READ)
    for name in ('mouth', 'eye_shape', 'eye_colour', 'blush', 'glasses', 'fringe'):
        assert seen[name].tolist() == [True, False], name
    assert seen['hair_colour'].all() and seen['background'].all()


def test_two_views_of_one_person_attract():
    a = torch.nn.functional.normalize(torch.randn(6, 8, generator=rng(0)), dim=1)
    assert same_person_loss(a, a) < same_person_loss(a, a.roll(1, 0))
    assert same_person_loss(torch.eye(6), torch.eye(6), 0.01) < 1e-6
    b = a.roll(1, 0).flip(0)
    assert torch.allclose(same_person_loss(a, b), same_person_loss(b, a))
    perfect = verification(a, a)
    chance = verification(torch.randn(400, 8, generator=rng(1)), torch.randn(400, 8, generator=rng(2)))
    assert perfect == {'top_1': 1.0, 'auc': 1.0} and abs(chance['auc'] - 0.5) < 0.06 and chance['top_1'] < 0.02
