"The most memory that tensors take up at once while something runs, on any device."

import weakref

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    "Counts the bytes of all tensors that are made inside, from their first use until they are freed."

    def __init__(self):
        super().__init__()
        self.now, self.most, self.live = 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self.note(x.untyped_storage())
        return out

    def note(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key not in self.live:
            self.live.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self.free, key, size)

    def free(self, key, size):
        self.live.discard(key)
        self.now -= size
