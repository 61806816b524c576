"Images as other libraries keep them: a `Trainer` takes them for epochs, resumes, and says what is wrong."

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

sys.path.insert(0, str(Path(__file__).parent))
from tiny import TinyPair, images, weights

from animegan_nb.data import as_loader, collate_rows, Loader
from animegan_nb.training import Trainer, TrainingConfig

CONFIG = TrainingConfig(batch_size=4, mirror=False)


def floats(n=10):
    g = torch.Generator().manual_seed(0)
    return torch.rand(n, 3, 8, 8, generator=g) * 2 - 1


class Plain(Dataset):
    "A map-style set whose rows are made by a function of the image and its number."

    def __init__(self, make, n=10):
        self.make, self.pictures = make, floats(n)

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        return self.make(self.pictures[i], i)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(x, 0) for x in floats()])


def jittered(x, i):
    "A row with a random change, as torchvision's transforms draw it."
    return (x * (0.5 + torch.rand(()) / 2), i)


def pillow(x, i):
    return Image.fromarray(x.add(1).mul(127.5).byte().permute(1, 2, 0).numpy())


SETS = {
    'a tensor': floats,
    'bytes': lambda: floats().add(1).mul(127.5).byte(),
    'an array of bytes': lambda: floats().add(1).mul(127.5).byte().numpy(),
    'rows that are tensors': lambda: Plain(lambda x, i: x),
    'tuples': lambda: Plain(lambda x, i: (x, i)),
    'tuples with more': lambda: Plain(lambda x, i: (x, i, 'name', None)),
    'dictionaries': lambda: Plain(lambda x, i: {'image': x, 'label': i, 'file': f'{i}.png'}),
    'pixel_values': lambda: Plain(lambda x, i: {'pixel_values': x}),
    'Pillow': lambda: Plain(pillow),
    'grey': lambda: Plain(lambda x, i: x[:1]),
    'arrays [h, w, 3]': lambda: Plain(lambda x, i: x.permute(1, 2, 0).numpy()),
    'TensorDataset': lambda: TensorDataset(floats(), torch.arange(10)),
    'Subset': lambda: Subset(Plain(lambda x, i: (x, i)), range(2, 9)),
    'a list': lambda: [(x, 0) for x in floats()],
    'DataLoader': lambda: DataLoader(TensorDataset(floats()), 4, shuffle=True),
    'DataLoader of tuples': lambda: DataLoader(Plain(jittered), 4, shuffle=True),
    'DataLoader of dictionaries': lambda: DataLoader(Plain(lambda x, i: {'image': x, 'name': 'n'}), 4, drop_last=True),
    'DataLoader of Pillow images': lambda: DataLoader(Plain(pillow), 4, collate_fn=list),
    'DataLoader with its own generator': lambda: DataLoader(
        Plain(jittered), 4, shuffle=True, generator=torch.Generator().manual_seed(7)
    ),
    'DataLoader with workers': lambda: DataLoader(Plain(jittered), 4, shuffle=True, num_workers=1),
    'a stream': Stream,
    'DataLoader of a stream': lambda: DataLoader(Stream(), 4),
    'random transforms': lambda: Plain(jittered),
}


def trainer(data):
    return Trainer(TinyPair(), data, CONFIG, device='cpu')


@pytest.mark.parametrize('kind', SETS)
def test_a_training_takes_it_for_epochs_and_resumes_exactly(kind, tmp_path):
    "12 steps of 4 images out of 10: an interruption changes no bit, and a training no global random number."
    whole = trainer(SETS[kind]())
    before = torch.get_rng_state()
    whole.fit(12, progress=False)
    assert torch.equal(before, torch.get_rng_state())
    assert whole.images == 48
    first = trainer(SETS[kind]()).fit(5, progress=False)
    first.save(tmp_path / 'step-5')
    torch.rand(3)  # whatever happens in between
    again = trainer(SETS[kind]()).load(tmp_path / 'step-5').fit(7, progress=False)
    assert torch.equal(weights(whole), weights(again))


def test_every_image_once_an_epoch():
    numbers = torch.arange(10).view(-1, 1, 1, 1).expand(-1, 3, 8, 8) / 10 - 0.5
    served = as_loader(Plain(lambda x, i: (numbers[i], i)), 5, mirror=False, device='cpu')
    seen = torch.cat([served.batch(k)['labels'][:, 0] for k in range(6)]).view(3, 10)
    assert (seen.sort().values == torch.arange(10)).all() and not torch.equal(seen[0], seen[1])


def test_bytes_and_floats_are_one_training():
    by = images(n=10)
    as_tensor = torch.from_numpy(by.arrays['image'])
    one, two = trainer(by).fit(4, progress=False), trainer(as_tensor).fit(4, progress=False)
    assert torch.equal(weights(one), weights(two))
    assert isinstance(one.loader, Loader) and isinstance(two.loader, Loader)


def test_labels_are_columns():
    batch = next(iter(as_loader(DataLoader(Plain(lambda x, i: (x, i)), 4), 4, device='cpu')))
    assert batch['labels'].tolist() == [[0], [1], [2], [3]] and batch['mirrored'].dtype == torch.bool
    rows = collate_rows([{'image': np.zeros((3, 8, 8), np.uint8), 'labels': torch.tensor([1, 2]), 'text': 'a'}])
    assert rows['labels'].tolist() == [[1, 2]] and set(rows) == {'image', 'labels'}


def sizes(x, i):
    return x[:, : 4 + i]


@pytest.mark.parametrize(
    'data, says',
    [
        ('pictures', 'is a path, not a data set'),
        (Path('pictures'), 'is a path, not a data set'),
        ({'train': 1, 'test': 2}, 'choose one of them'),
        (3, 'A int is no data set'),
        (Plain(lambda x, i: {'photo': x, 'label': i}), "has the fields photo, label"),
        (Plain(lambda x, i: 'a.png'), 'not str'),
        (Plain(lambda x, i: x.mul(127).long()), 'not torch.int64'),
        (Plain(lambda x, i: (x + 1) * 127.5), 'reach from'),
        (Plain(lambda x, i: x * float('nan')), 'reach from nan'),
        (Plain(lambda x, i: x.expand(2, -1, -1, -1)), r'not \[2, 3, 8, 8\]'),
        (Plain(lambda x, i: x[:2]), 'has the shape'),
        (Plain(sizes), 'one size'),
        (Plain(lambda x, i: x, n=0), 'empty'),
        (DataLoader(Plain(lambda x, i: x), batch_size=None), 'no batches of one size'),
        (DataLoader(Plain(lambda x, i: x), batch_size=64), 'no full batch of 64'),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(data, says):
    with pytest.raises((TypeError, ValueError), match=says) as error:
        trainer(data).fit(1, progress=False)
    assert str(error.value).count('. ') == 0 and str(error.value).endswith('.')


def test_values_from_0_to_1_are_warned_of():
    with pytest.warns(UserWarning, match=r'lie in \[0, 1\]'):
        trainer((floats() + 1) / 2).fit(1, progress=False)


def test_processes_with_one_dataloader_are_refused():
    loader = as_loader(DataLoader(TensorDataset(floats()), 4), 4, device='cpu')
    loader.world = 2
    with pytest.raises(ValueError, match='DistributedSampler'):
        next(iter(loader))


def test_rows_of_hugging_face(tmp_path, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    datasets = pytest.importorskip('datasets', reason="needs pip install 'animegan_nb[scale]'")
    # its fingerprints pickle half of the process, which fails with some versions of pyarrow
    monkeypatch.setattr(datasets.fingerprint.Hasher, 'hash', classmethod(lambda cls, value: '0'))
    rows = [{'image': np.asarray(pillow(x, 0)).tolist(), 'label': i} for i, x in enumerate(floats())]
    features = datasets.Features({'image': datasets.Array3D((8, 8, 3), 'uint8'), 'label': datasets.Value('int64')})
    table = datasets.Dataset.from_list(rows, features=features)
    by_torch, by_numpy = table.with_format('torch'), table.with_format('numpy')
    assert torch.equal(
        weights(trainer(by_torch).fit(4, progress=False)), weights(trainer(by_numpy).fit(4, progress=False))
    )
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for i, x in enumerate(floats()):
        pillow(x, i).save(folder / f'{i}.png')
    files = {'image': sorted(map(str, folder.iterdir())), 'name': ['a'] * 10}
    found = datasets.Dataset.from_dict(files).cast_column('image', datasets.Image())
    trainer(found).fit(6, progress=False)
    with pytest.raises(TypeError, match='choose one of them'):
        trainer(datasets.DatasetDict(train=found))
