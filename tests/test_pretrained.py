"Networks by name: shipped, saved in a folder, on the hub; and the page that describes them."

import json

import pytest
import torch

from animegan_nb.conditional import ConditionalGenerator, pretrained_conditional
from animegan_nb.core import model_card, rng, shipped, shipped_networks
from animegan_nb.dcgan import DCGANConfig, DCGANGenerator
from animegan_nb.mimic3d import MimicGenerator, pretrained_mimic3d
from animegan_nb.pigan import pretrained_pigan, PiganGenerator
from animegan_nb.stylegan import pretrained_stylegan, StyleGANGenerator

SHIPPED = [
    (StyleGANGenerator, 'stylegan_toon_32', pretrained_stylegan),
    (PiganGenerator, 'pigan_toon_32', pretrained_pigan),
    (ConditionalGenerator, 'conditional_toon_32', pretrained_conditional),
    (MimicGenerator, 'mimic3d_toon_64', pretrained_mimic3d),
]


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize('kind, name, by_function', SHIPPED, ids=lambda x: x if isinstance(x, str) else '')
def test_a_shipped_network_by_its_name_and_through_a_folder(kind, name, by_function, tmp_path):
    network = kind.from_pretrained(name)
    assert equal(network, by_function(name)[0]) and not network.training and network.facts['seed'] == 0
    folder = network.save_pretrained(tmp_path / 'copy')
    assert sorted(p.name for p in folder.iterdir()) == ['README.md', 'config.json', 'model.safetensors']
    again = kind.from_pretrained(folder)
    assert equal(network, again) and again.facts['what'] == network.facts['what']
    assert network.facts['what'] in (folder / 'README.md').read_text(encoding='utf-8')
    others = [other for other, *_ in SHIPPED if other is not kind]
    for other in others:
        with pytest.raises(ValueError, match=f'is a {kind.__name__}, not a {other.__name__}'):
            other.from_pretrained(folder)
        with pytest.raises(ValueError, match=f'not a {other.__name__}|has no setting'):
            other.from_pretrained(name)


def test_a_network_of_ones_own(tmp_path):
    torch.manual_seed(0)
    network = DCGANGenerator(DCGANConfig(16, channels=16, latent=8)).eval()
    again = DCGANGenerator.from_pretrained(network.save_pretrained(tmp_path / 'own'))
    z = torch.randn(3, 8, generator=rng(0))
    assert torch.equal(network(z), again(z)) and all(p.requires_grad for p in again.parameters())


@pytest.mark.parametrize('name, says', [('no-such', "hub repository 'owner/name', or one of"), ('a/b/c', 'no network')])
def test_an_unknown_name_is_one_sentence(name, says):
    with pytest.raises(FileNotFoundError, match=says):
        StyleGANGenerator.from_pretrained(name)


def test_a_folder_without_a_network(tmp_path):
    with pytest.raises(FileNotFoundError, match='no config.json'):
        StyleGANGenerator.from_pretrained(tmp_path)


def test_the_hub(monkeypatch, tmp_path):
    "What is asked of huggingface_hub, without a network."
    hub = pytest.importorskip('huggingface_hub')
    sent = {}

    def upload_folder(repo_id, folder_path, token, commit_message):
        sent.update({p.name: p.read_bytes() for p in folder_path.iterdir()}, repo=repo_id)
        return 'https://hub/commit'

    def snapshot_download(repo_id, allow_patterns, **options):
        assert options == {'revision': 'v1'}
        for name in allow_patterns:
            (tmp_path / name).write_bytes(sent[name])
        return str(tmp_path)

    monkeypatch.setattr(hub, 'create_repo', lambda repo, **options: sent.update(made=(repo, options['private'])))
    monkeypatch.setattr(hub, 'upload_folder', upload_folder)
    monkeypatch.setattr(hub, 'snapshot_download', snapshot_download)
    network = StyleGANGenerator.from_pretrained('stylegan_toon_32')
    assert network.push_to_hub('me/heads', private=True) == 'https://hub/commit'
    assert sent['made'] == ('me/heads', True) and sent['repo'] == 'me/heads' and b'# heads' in sent['README.md']
    assert equal(network, StyleGANGenerator.from_pretrained('me/heads', revision='v1'))

    def offline(*args, **options):
        raise OSError('no network')

    monkeypatch.setattr(hub, 'snapshot_download', offline)
    with pytest.raises(ConnectionError, match='cannot be fetched from the hub'):
        StyleGANGenerator.from_pretrained('me/heads')


@pytest.mark.parametrize('name', shipped_networks())
def test_every_shipped_network_has_a_card(name):
    facts = json.loads(shipped(f'pretrained/{name}.json').read_text(encoding='utf-8'))
    card = model_card(name)
    assert card.startswith('---\nlibrary_name: animegan_nb\nlicense: apache-2.0\n') and f'\n# {name}\n' in card
    assert '## How it was trained' in card and facts['command'].replace('|', '\\|') in card
    assert len(card) < 30_000 and 'None' not in card.split('##')[0]
    if scores := facts.get('scores'):
        assert next(iter(scores)).replace('_', ' ') in card
