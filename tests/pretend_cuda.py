"""A pretended GPU: the numbers stay on the CPU, and some tensors say that they are on `cuda:0`.

    with pretend() as report:
        Trainer(pair, data, device='cuda').fit(2)
    report.check()  # AssertionError with file:line:function of every fault

What a real GPU would refuse is recorded, and the computation goes on, so one run shows many faults:
`mixed_devices`, `wrong_generators` and `numpy_of_cuda`. `syncs` counts the places where the host would wait for the
GPU, `copies` the tensors that move to it; a copy that is not `non_blocking` is counted as both.

How it works. A device belongs to a *storage*, as in PyTorch: a table knows the storages that are on the pretended GPU,
so views, parameters and saved tensors are always right. Two modes watch the computation. `_Functions` sees the calls
of the Python interface: it answers `tensor.device`, takes `device=` out of the arguments, and moves tensors.
`_Operations` sees every operation that then runs, those of backward passes and custom functions included: its results
are on the device of its arguments. A few functions of `torch.cuda` are replaced while the context lasts.

What it cannot see: operations that exist on a CPU only, memory, streams, and numbers that differ between kernels. A
tensor that is made without arguments inside a recomputed forward pass counts as made on the GPU.
"""

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA, CPU = torch.device('cuda', 0), torch.device('cpu')
LIBRARY = Path(__file__).resolve().parent.parent / 'animegan_nb'

# operations whose result, or its shape, the host must know: a GPU has to finish all work before
WAITING = {
    '_local_scalar_dense', 'nonzero', 'masked_select', 'equal', 'allclose', '_unique', '_unique2', 'unique_dim',
    'unique_consecutive', 'bincount', 'histc', 'multinomial', '_linalg_check_errors', '_linalg_eigh', '_linalg_svd',
}  # fmt: skip
# functions that read their arguments on a CPU only, to check them
CHECKED_ON_CPU = {'one_hot', 'quantile', 'nanquantile'}
# functions that read numbers without an operation
READING = {'tolist', '__array__', 'numpy', 'tensor'}
# functions that make a tensor from numbers of the host
FROM_DATA = {'tensor', 'as_tensor', 'asarray', 'new_tensor'}
# operations that may take tensors of both devices
ACROSS = {
    'copy_', '_foreach_copy_', '_to_copy', 'index', 'index_put', 'index_put_', '_index_put_impl_', 'set_',
    '_has_compatible_shallow_copy_type',
}  # fmt: skip
# operations that do not take a host number (a tensor without axes) beside tensors of the GPU, as all others do
WITHOUT_NUMBERS = {'cat', 'stack'}


class Report:
    "What happened on the pretended GPU: how often, by 'file:line:function what'."

    def __init__(self, real: bool = False):
        self.real = real  # there is a GPU, and nothing is recorded
        self.mixed_devices = Counter()  # one operation, tensors of two devices
        self.wrong_generators = Counter()  # a generator of one device, numbers for another
        self.numpy_of_cuda = Counter()  # the array of a tensor that is not in the host's memory
        self.syncs = Counter()  # the host waits for the GPU
        self.copies = Counter()  # from the host to the GPU

    def add(self, kind: str, what: str):
        getattr(self, kind)[f'{where()} {what}'] += 1

    def clear(self):
        for counter in (self.mixed_devices, self.wrong_generators, self.numpy_of_cuda, self.syncs, self.copies):
            counter.clear()

    @property
    def faults(self) -> list[str]:
        "One line for each fault that a real GPU would refuse."
        kinds = {
            'tensors of two devices': self.mixed_devices,
            'a generator of another device': self.wrong_generators,
            'the array of a tensor on the GPU': self.numpy_of_cuda,
        }
        return [f'{kind}: {place} ({n}x)' for kind, places in kinds.items() for place, n in places.items()]

    def check(self):
        "Raise `AssertionError` with all faults, if there are any."
        faults = self.faults
        assert not faults, f'{len(faults)} places would fail on a GPU:\n  ' + '\n  '.join(faults)

    def __str__(self) -> str:
        waits = [f'wait: {place} ({n}x)' for place, n in self.syncs.most_common()]
        copies = [f'copy: {place} ({n}x)' for place, n in self.copies.most_common()]
        return '\n'.join(self.faults + waits + copies) or 'nothing to report'


def where() -> str:
    "'file:line:function' of the innermost frame in the library, else of the innermost outside of torch and this file."
    frame, outside = sys._getframe(1), None
    while frame:
        path = frame.f_code.co_filename
        if Path(path).parent == LIBRARY:
            return _place(frame)
        if outside is None and path != __file__ and 'site-packages' not in path:
            outside = _place(frame)
        frame = frame.f_back
    return outside or '(no frame)'


def _place(frame) -> str:
    return f'{Path(frame.f_code.co_filename).name}:{frame.f_lineno}:{frame.f_code.co_name}'


# ---- which storages are on the GPU


class Storages:
    """Where storages are: 'cuda' or 'pinned'; all others are plain host memory.

    A weak reference keeps the address of a storage from being used again."""

    def __init__(self):
        self.places, self.next_sweep, self.lock = {}, 10_000, threading.RLock()

    def of(self, tensor: Tensor) -> str | None:
        entry = self.places.get(_storage(tensor)._cdata)
        return entry and entry[1]

    def put(self, tensor: Tensor, place: str | None):
        storage = _storage(tensor)
        with self.lock:  # batches are prepared by threads of their own
            if place is None:
                self.places.pop(storage._cdata, None)
                return
            self.places[storage._cdata] = StorageWeakRef(storage), place
            if len(self.places) > self.next_sweep:
                self.places = {key: entry for key, entry in self.places.items() if not entry[0].expired()}
                self.next_sweep = 2 * len(self.places) + 10_000


# one table for all contexts: the library keeps some tensors of a device from one call to the next
STORAGES = Storages()


def _storage(tensor: Tensor):
    with torch._C.DisableTorchFunction():
        while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            tensor = torch._C._functorch.get_unwrapped(tensor)
        return tensor.untyped_storage()


def _tensors(value, found: list | None = None) -> list[Tensor]:
    "All tensors in nested arguments."
    found = [] if found is None else found
    if isinstance(value, Tensor):
        found.append(value)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _tensors(item, found)
    elif isinstance(value, dict):
        for item in value.values():
            _tensors(item, found)
    return found


def _is_cuda(device) -> bool:
    return isinstance(device, int) or torch.device(device).type == 'cuda'


# ---- random numbers

_RealGenerator = torch.Generator


class PretendedGenerator(_RealGenerator):
    """A CPU generator that can say it is on the GPU. There its state is 16 bytes, as CUDA's, and it refuses the state
    of a CPU generator."""

    states = []  # the real states; the 16 bytes hold the number of one

    def __new__(cls, device='cpu'):
        generator = super().__new__(cls)
        generator.pretended = CUDA if _is_cuda(device) else CPU
        return generator

    @property
    def device(self):
        return self.pretended

    def get_state(self) -> Tensor:
        state = super().get_state()
        if self.pretended == CPU:
            return state
        self.states.append(state)
        return torch.tensor([self.initial_seed(), len(self.states) - 1]).view(torch.uint8)

    def set_state(self, state: Tensor):
        if self.pretended == CUDA:
            if state.numel() != 16:
                raise RuntimeError('RNG state is wrong size')
            state = self.states[state.view(torch.int64)[1].item()]
        return super().set_state(state)


class _Move(torch.autograd.Function):
    "A copy on the other device; its gradient goes back the other way."

    @staticmethod
    def forward(ctx, tensor, gpu, place):
        ctx.gpu, ctx.back = gpu, gpu.storages.of(tensor)
        copy = tensor.clone()
        gpu.storages.put(copy, place)
        return copy

    @staticmethod
    def backward(ctx, gradient):
        return _Move.apply(gradient, ctx.gpu, ctx.back), None, None


# ---- the two modes


class _Gpu:
    "What the two modes share: the storages, the report, and the Python call that is going on in each thread."

    def __init__(self, report: Report):
        self.report, self.storages, self.active = report, STORAGES, True
        self._thread = threading.local()

    @property
    def calls(self) -> list[str | None]:
        "Where the calls that are going on, the innermost last, make tensors that have no other place."
        if not hasattr(self._thread, 'calls'):
            self._thread.calls, self._thread.silent = [], 0
        return self._thread.calls

    @contextlib.contextmanager
    def calling(self, place: str | None, silent: bool):
        self.calls.append(place)
        self._thread.silent += silent
        try:
            yield
        finally:
            self.calls.pop()
            self._thread.silent -= silent

    def wait(self, what: str):
        if self.active and not (self.calls and self._thread.silent):
            self.report.add('syncs', what)

    def copy(self, what: str, blocking: bool):
        self.report.add('copies', what)
        if blocking:
            self.wait(what)

    def on_cuda(self, value) -> bool:
        return any(self.storages.of(t) == 'cuda' for t in _tensors(value))

    def move(self, tensor: Tensor, place: str | None, blocking: bool, what: str) -> Tensor:
        "The tensor on another device."
        source = self.storages.of(tensor)
        if place == source or (place is None and source == 'pinned'):
            return tensor
        if place == 'cuda':
            self.copy(what, blocking)
        elif source == 'cuda':
            self.wait(what)
        return _Move.apply(tensor, self, place)


class _Functions(TorchFunctionMode):
    "Answers questions about devices, and takes devices out of the arguments."

    def __init__(self, gpu: _Gpu):
        super().__init__()
        self.gpu = gpu
        getter = lambda name: getattr(Tensor, name).__get__
        self.answers = {
            getter('device'): lambda t, cuda: CUDA if cuda else t.device,
            getter('is_cuda'): lambda t, cuda: cuda,
            getter('is_cpu'): lambda t, cuda: not cuda,
            Tensor.get_device: lambda t, cuda: 0 if cuda else -1,
            Tensor.is_pinned: lambda t, cuda: gpu.storages.of(t) == 'pinned',
        }
        self.special = {
            Tensor.to: self.to,
            Tensor.type_as: lambda t, other: self.to(t, other),
            Tensor.cpu: lambda t, *a, **k: gpu.move(t, None, True, '.cpu()'),
            Tensor.cuda: lambda t, d=None, non_blocking=False, **k: gpu.move(t, 'cuda', not non_blocking, '.cuda()'),
            Tensor.pin_memory: lambda t, *a: gpu.move(t, 'pinned', True, '.pin_memory()'),
            Tensor.__deepcopy__: self.deepcopy,
            Tensor.backward: self.backward,
            torch.as_tensor: self.as_tensor,
        }

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not self.gpu.active:
            return function(*args, **kwargs)
        if answer := self.answers.get(function):
            return answer(args[0], self.gpu.storages.of(args[0]) == 'cuda')
        if special := self.special.get(function):
            return special(*args, **kwargs)
        return self.call(function, args, dict(kwargs))

    def call(self, function, args, kwargs):
        "Any other function: on the device that it asks for, or that of its arguments."
        gpu, name = self.gpu, getattr(function, '__name__', str(function))
        inputs, device = gpu.on_cuda((args, kwargs)), kwargs.get('device')
        place = 'cuda' if inputs else None
        if name == 'tensor' and not isinstance(args[0], Tensor):
            place = None  # a list of numbers on the GPU becomes a tensor of the host
        if device is not None:
            place, kwargs['device'] = 'cuda' if _is_cuda(device) else None, CPU
        if kwargs.get('generator') is not None:
            self.check_generator(kwargs['generator'], args, place, name)
        if name in READING and inputs:
            gpu.wait(name)
        if name in ('__array__', 'numpy') and inputs:
            gpu.report.add('numpy_of_cuda', name)
        with gpu.calling(place, name in CHECKED_ON_CPU):
            result = function(*args, **kwargs)
        if device is not None or name in FROM_DATA:
            self.place_new(result, place, (args, kwargs))
        if name in FROM_DATA and place == 'cuda' and not gpu.on_cuda(args[name == 'new_tensor' :][:1]):
            gpu.copy(name, blocking=True)
        return result

    def place_new(self, result, place, inputs):
        "Say where results are, except those that share the memory of an argument."
        known = {_storage(t)._cdata for t in _tensors(inputs)}
        for tensor in _tensors(result):
            if _storage(tensor)._cdata not in known:
                self.gpu.storages.put(tensor, place)

    def check_generator(self, generator, args, place, name):
        tensors = _tensors(args)
        if tensors and place is None:
            place = self.gpu.storages.of(tensors[0])
        wanted = 'cuda' if place == 'cuda' else 'cpu'
        if generator.device.type != wanted:
            self.gpu.report.add(
                'wrong_generators', f'{name}: generator on {generator.device.type}, numbers on {wanted}'
            )

    def to(self, tensor, *args, **kwargs):
        "`Tensor.to` in all its forms."
        like = kwargs.pop('other', None)
        device, rest = kwargs.pop('device', None), []
        for value in args:
            if isinstance(value, Tensor):
                like = value
            elif isinstance(value, (str, torch.device)) or (isinstance(value, int) and not isinstance(value, bool)):
                device = value
            else:
                rest.append(value)
        if like is not None:
            device, rest = CUDA if self.gpu.on_cuda(like) else CPU, [like.dtype, *rest]
        dtype = next((v for v in rest if isinstance(v, torch.dtype)), kwargs.get('dtype')) or tensor.dtype
        flags = [v for v in rest if isinstance(v, bool)] + [False, False]
        non_blocking, copy = kwargs.get('non_blocking', flags[0]), kwargs.get('copy', flags[1])
        if device is not None:
            place = 'cuda' if _is_cuda(device) else None
            moved = self.gpu.move(tensor, place, not non_blocking, f'.to({torch.device(device)})')
            copy = copy and moved is tensor
            tensor = moved
        return tensor.to(dtype, copy=copy, memory_format=kwargs.get('memory_format', torch.preserve_format))

    def as_tensor(self, data, dtype=None, device=None):
        "Of a tensor, the same as `to`."
        if isinstance(data, Tensor):
            return self.to(data, dtype=dtype, device=device)
        return self.call(torch.as_tensor, (data,), dict(dtype=dtype, device=device))

    def backward(self, tensor, gradient=None, **kwargs):
        "The custom functions of the graph ask for devices, too."
        with self:
            torch.autograd.backward(tensor, gradient, **kwargs)

    def deepcopy(self, tensor, memo):
        "PyTorch copies the storage behind the modes' backs."
        with self.gpu.calling(None, silent=True):
            result = Tensor.__deepcopy__(tensor, memo)
        self.gpu.storages.put(result, self.gpu.storages.of(tensor))
        return result


class _Operations(TorchDispatchMode):
    "Follows devices through every operation."

    def __init__(self, gpu: _Gpu):
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not self.gpu.active:
            return operation(*args, **kwargs)
        gpu, name = self.gpu, operation._schema.name.removeprefix('aten::')
        inputs = _tensors((args, kwargs))
        places = [gpu.storages.of(t) for t in inputs]
        if 'cuda' in places:
            self.check(operation, name, args, kwargs, list(zip(inputs, places)))
        elif inputs:
            return operation(*args, **kwargs)
        known = {_storage(t)._cdata for t in inputs}
        result = operation(*args, **kwargs)
        place = 'cuda' if inputs else gpu.calls[-1] if gpu.calls else None
        for tensor in _tensors(result):
            if place and _storage(tensor)._cdata not in known:
                gpu.storages.put(tensor, place)
        return result

    def check(self, operation, name, args, kwargs, inputs):
        "Would a GPU do this, and would it have to wait?"
        gpu = self.gpu
        hosts = [t for t, place in inputs if place != 'cuda' and (t.dim() > 0 or name in WITHOUT_NUMBERS)]
        number_changes = name.endswith('_') and inputs[0][1] != 'cuda'  # a host number, by one of the GPU
        if name in WAITING or (name == 'repeat_interleave' and kwargs.get('output_size') is None):
            gpu.wait(name)
        if name == 'copy_':
            target, source = inputs[0][1], inputs[1][1]
            if target == 'cuda' and source != 'cuda':
                gpu.copy('copy_', not (kwargs.get('non_blocking') or args[2:3] == (True,)))
            elif source == 'cuda' and target != 'cuda':
                gpu.wait('copy_ to the host')
        elif name in ('index', 'index_put', 'index_put_', '_index_put_impl_'):
            self.check_index(name, args)
        elif (hosts or number_changes) and name not in ACROSS:
            kinds = ', '.join(f'{place or "cpu"}{list(t.shape)}' for t, place in inputs)
            gpu.report.add('mixed_devices', f'{operation.__name__}: {kinds}')

    def check_index(self, name, args):
        "A mask must be counted, and an index of the host must be copied; a host tensor takes no index on the GPU."
        gpu, target = self.gpu, self.gpu.storages.of(args[0])
        indices = [i for i in args[1] if i is not None]
        on_gpu = [gpu.storages.of(i) == 'cuda' for i in indices]
        filled = name != 'index' and args[2].numel() == 1 and len(indices) == 1  # such a mask is not counted
        if target != 'cuda' and any(on_gpu):
            gpu.report.add('mixed_devices', f'{name}: cpu{list(args[0].shape)} with an index on cuda')
        if name != 'index' and (gpu.storages.of(args[2]) == 'cuda') != (target == 'cuda') and args[2].dim() > 0:
            gpu.report.add('mixed_devices', f'{name}: values of another device')
        if target == 'cuda' and any(i.dtype in (torch.bool, torch.uint8) for i in indices) and not filled:
            gpu.wait('a mask as index')
        if target == 'cuda' and not all(on_gpu):
            gpu.copy('an index of the host', True)


# ---- putting it on and taking it off


@contextlib.contextmanager
def pretend() -> Iterator[Report]:
    "Inside, this machine has one GPU, `cuda:0`; afterwards everything is as before."
    gpu = _Gpu(Report())
    with contextlib.ExitStack() as stack:
        for target, name, replacement in _replacements(gpu):
            stack.enter_context(mock.patch.object(target, name, replacement, create=False))
        # recomputed tensors are compared while no mode answers for devices
        facts = {'default': lambda tensor: {'shape': tensor.shape, 'dtype': tensor.dtype}}
        stack.enter_context(mock.patch.dict(torch.utils.checkpoint._allowed_determinism_checks_to_fns, facts))
        stack.callback(PretendedGenerator.states.clear)
        stack.callback(setattr, gpu, 'active', False)  # also for threads that live on
        stack.enter_context(_Operations(gpu))
        stack.enter_context(_Functions(gpu))
        yield gpu.report


def _replacements(gpu: _Gpu) -> list[tuple]:
    "What must be changed outside of the modes: (object, attribute, replacement)."
    cuda, cpu_state, group_on_cpu = torch.cuda, torch.get_rng_state, torch._C._group_tensors_by_device_and_dtype
    always = lambda value: lambda *args, **kwargs: value
    start, engine = threading.Thread._bootstrap_inner, torch.autograd._engine_run_backward

    def start_thread(self):
        with _Operations(gpu), _Functions(gpu):
            start(self)

    def as_cpu(function):
        "The same question or setting, about the CPU."
        change = lambda kind: 'cpu' if kind == 'cuda' else kind
        return lambda kind='cpu', *args, **kwargs: function(change(kind), *args, **kwargs)

    class autocast(torch.autocast):
        def __init__(self, device_type, *args, **kwargs):
            super().__init__('cpu' if device_type == 'cuda' else device_type, *args, **kwargs)

    def run_backward(outputs, *args, **kwargs):
        with gpu.calling('cuda' if gpu.on_cuda(outputs) else None, silent=False):
            return engine(outputs, *args, **kwargs)

    def group(lists, with_indices=False):
        "Groups of tensors by device and type, for optimisers and norms of gradients."
        found = group_on_cpu(lists, with_indices)
        place = lambda tensors: CUDA if gpu.on_cuda(tensors[0][:1]) else CPU
        return {(place(tensors), kind): (tensors, indices) for (_, kind), (tensors, indices) in found.items()}

    card = SimpleNamespace(name='a pretended GPU', total_memory=80 << 30, major=9, minor=0, multi_processor_count=100)
    return [
        (torch, 'Generator', PretendedGenerator),
        (torch, 'autocast', autocast),
        (torch.amp, 'autocast', autocast),
        (torch, 'is_autocast_enabled', as_cpu(torch.is_autocast_enabled)),
        (torch, 'get_autocast_dtype', as_cpu(torch.get_autocast_dtype)),
        (torch.autograd, '_engine_run_backward', run_backward),
        (torch.autograd, 'has_torch_function', always(False)),  # `_Functions` stays on in backward passes
        (torch._C, '_group_tensors_by_device_and_dtype', group),
        (threading.Thread, '_bootstrap_inner', start_thread),
        (cuda, 'is_available', always(True)),
        (cuda, 'device_count', always(1)),
        (cuda, 'current_device', always(0)),
        (cuda, 'device', always(contextlib.nullcontext())),
        (cuda, 'synchronize', lambda *args: gpu.wait('torch.cuda.synchronize')),
        (cuda, 'get_rng_state', always(cpu_state())),
        (cuda, 'set_rng_state', always(None)),
        (cuda, 'manual_seed_all', always(None)),
        (cuda, 'is_current_stream_capturing', always(False)),
        (torch.accelerator, 'is_available', always(False)),  # optimisers ask it about captured graphs
        *[(cuda, name, always(0)) for name in ('memory_allocated', 'max_memory_allocated', 'memory_reserved')],
        (cuda, 'reset_peak_memory_stats', always(None)),
        (cuda, 'mem_get_info', always((card.total_memory, card.total_memory))),
        (cuda, 'get_device_properties', always(card)),
        (cuda, 'get_device_name', always(card.name)),
        (cuda, 'get_device_capability', always((card.major, card.minor))),
        (cuda, 'is_bf16_supported', always(True)),
    ]
