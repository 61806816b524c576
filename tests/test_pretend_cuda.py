"The pretended GPU itself: it finds every planted fault, finds nothing in clean code, and leaves nothing behind."

import copy
import sys
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pretend_cuda import CUDA, pretend, Storages
from torch import nn
from torch.utils.checkpoint import checkpoint

from animegan_nb.core import default_device, rng


def on_gpu(*shape):
    return torch.linspace(-1, 1, torch.Size(shape).numel(), device='cuda').view(shape)


def host_bias(x):
    return x + torch.zeros(x.shape[-1])


# ---- what tensors say


def test_tensors_say_where_they_are(pretended_gpu):
    x = on_gpu(2, 3)
    assert x.device == CUDA and x.is_cuda and not x.is_cpu and x.get_device() == 0
    made = [x + 1, x.T, x[0], x.detach(), x.double(), torch.zeros_like(x), x.new_ones(2), x.new_tensor([1.0])]
    made += [nn.Parameter(x), copy.deepcopy(x), x.unbind()[0], torch.ones(2, device=x.device), x.clone().mul_(2)]
    made += [torch.tensor([1, 2], device='cuda:0'), torch.arange(3, device=0), torch.zeros(3).type_as(x)]
    assert [tensor.device for tensor in made] == [CUDA] * len(made)
    host = [torch.zeros(3), x.cpu(), x.to('cpu'), torch.empty_like(x, device='cpu'), x.new_zeros(2, device='cpu')]
    assert all(tensor.device.type == 'cpu' for tensor in host)
    assert torch.zeros(3).to(x).device == torch.as_tensor(torch.zeros(3), device=x.device).device == CUDA
    assert torch.as_tensor([1, 2], device='cuda').is_cuda and torch.as_tensor(x) is x
    assert torch.zeros(3, dtype=torch.int64).to(x.double()).dtype == torch.float64
    pretended_gpu.check()


def test_the_library_takes_it_for_the_best_device(pretended_gpu, monkeypatch):
    assert default_device() == torch.device('cuda')
    assert torch.cuda.is_available() and torch.cuda.device_count() == 1
    monkeypatch.setenv('ANIMEGAN_DEVICE', 'cpu')
    assert default_device() == torch.device('cpu')
    monkeypatch.setenv('ANIMEGAN_DEVICE', 'cuda')
    assert torch.zeros(2, device=default_device()).is_cuda


def test_a_module_moves_with_buffers_gradients_and_optimiser(pretended_gpu):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).to('cuda')
    assert all(t.device == CUDA for t in (*net.parameters(), *net.buffers()))
    before = net[0].weight
    optimizers = [torch.optim.Adam(net.parameters(), fused=fused) for fused in (True, False)]
    optimizers[0].found_inf, optimizers[0].grad_scale = torch.zeros((), device='cuda'), None
    pretended_gpu.clear()
    for optimizer in optimizers:
        net(on_gpu(5, 3)).mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    assert not pretended_gpu.syncs
    assert net[0].weight is before and net[0].weight.grad.device == CUDA
    assert all(t.device == CUDA for t in copy.deepcopy(net).state_dict().values())
    pretended_gpu.check()


def test_a_number_of_the_host_cannot_become_one_of_the_gpu(pretended_gpu):
    total = torch.zeros(())
    total + on_gpu(3)[0], on_gpu(3).add_(total)
    pretended_gpu.check()
    total += on_gpu(3)[0]
    assert sum(pretended_gpu.mixed_devices.values()) == 1


def test_threads_share_the_table_of_storages():
    table = Storages()
    table.next_sweep = 0  # looks for dead storages at every turn
    before, errors, kept = sys.getswitchinterval(), [], [torch.zeros(1) for _ in range(600)]

    def fill(part):
        try:
            for tensor in part:
                table.next_sweep = 0
                table.put(tensor, 'cuda')
        except RuntimeError as error:
            errors.append(error)

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=fill, args=(kept[k::2],)) for k in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not errors and all(table.of(tensor) == 'cuda' for tensor in kept)


def test_gradients_cross_devices_backwards(pretended_gpu):
    x = torch.ones(3, requires_grad=True)
    y = (x.to('cuda') * on_gpu(3)).square().sum()
    (gradient,) = torch.autograd.grad(y, x, create_graph=True)
    assert gradient.device.type == 'cpu'
    gradient.sum().backward()
    assert x.grad.device.type == 'cpu'
    torch.testing.assert_close(x.grad, 2 * torch.linspace(-1, 1, 3) ** 2)
    pretended_gpu.check()


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        assert x.device == CUDA
        return 2 * gradient + torch.zeros(3, device=gradient.device) * x


def test_functions_maps_recomputation_and_threads_are_followed(pretended_gpu):
    x = on_gpu(3).requires_grad_()
    outputs = [Doubling.apply(x), torch.func.vmap(lambda v: 2 * v + on_gpu(3)[0])(x)]
    outputs += [torch.func.grad(lambda v: v.square().sum())(x), checkpoint(torch.sin, x, use_reentrant=False)]
    assert all(output.device == CUDA for output in outputs)
    for output in outputs:
        assert torch.autograd.grad(output.sum(), x, allow_unused=True)[0] is None or output.device == CUDA
    with torch.autocast('cuda', torch.bfloat16):
        product = x[None] @ x[:, None]
        assert product.dtype == torch.bfloat16 and torch.is_autocast_enabled('cuda')
    found = []
    thread = threading.Thread(target=lambda: found.append((x + 1).device))
    thread.start()
    thread.join()
    assert found == [CUDA] and product.device == CUDA
    pretended_gpu.check()


# ---- faults


@pytest.mark.parametrize(
    'fault',
    [
        host_bias,
        lambda x: torch.cat([x, torch.zeros(4, 3)]),
        lambda x: torch.stack([x.sum(), torch.tensor(1.0)]),
        lambda x: F.linear(x, torch.ones(2, 3)),
        lambda x: nn.Linear(3, 1)(x),
        lambda x: x.add_(torch.ones(3)),
        lambda x: torch.ones(5)[x.long().abs()],
        lambda x: torch._foreach_lerp_([torch.zeros(4, 3)], [x], 0.5),
        lambda x: torch.where(x > 0, x, torch.zeros(3)),
        lambda x: x.index_select(0, torch.tensor([0])),
    ],
)
def test_tensors_of_two_devices_are_found(pretended_gpu, fault):
    fault(on_gpu(4, 3))
    assert sum(pretended_gpu.mixed_devices.values()) == 1
    with pytest.raises(AssertionError, match=r'(?s)1 places would fail.*two devices: test_pretend_cuda\.py:\d+:'):
        pretended_gpu.check()


def test_a_fault_in_a_backward_pass_is_found(pretended_gpu):
    class Forgetful(Doubling):
        @staticmethod
        def backward(ctx, gradient):
            return gradient * ctx.host

        @staticmethod
        def forward(ctx, x):
            ctx.host = torch.full((3,), 2.0)
            return 2 * x

    Forgetful.apply(on_gpu(3).requires_grad_()).sum().backward()
    assert pretended_gpu.mixed_devices


def test_host_numbers_may_meet_the_gpu(pretended_gpu):
    x = on_gpu(4, 3)
    torch.lerp(x, x * torch.tensor(2.0), torch.tensor(0.5)) + 1
    x[torch.tensor(1)] = torch.tensor(3.0)
    pretended_gpu.check()


@pytest.mark.parametrize(
    ('make', 'fault'),
    [
        (lambda g: torch.randn(3, generator=g, device='cuda'), 'cpu'),
        (lambda g: torch.randn(3, generator=g), 'cuda'),
        (lambda g: torch.randint(0, 9, (3,), generator=g), 'cuda'),
        (lambda g: torch.randperm(3, generator=g, device='cuda'), 'cpu'),
        (lambda g: on_gpu(3).uniform_(generator=g), 'cpu'),
        (lambda g: torch.bernoulli(on_gpu(3).abs(), generator=g), 'cpu'),
        (lambda g: nn.init.normal_(torch.zeros(3), generator=g), 'cuda'),
    ],
)
def test_generators_of_another_device_are_found(pretended_gpu, make, fault):
    right = {'cpu': 'cuda', 'cuda': 'cpu'}[fault]
    make(rng(0, right))
    pretended_gpu.check()
    make(rng(0, fault))
    assert sum(pretended_gpu.wrong_generators.values()) == 1
    with pytest.raises(AssertionError, match='generator of another device'):
        pretended_gpu.check()


def test_a_generator_on_the_gpu_has_a_state_of_its_own_kind(pretended_gpu):
    generator = rng(3, 'cuda')
    assert generator.device == CUDA
    state = generator.get_state()
    first, again = torch.rand(4, generator=generator, device='cuda'), generator.set_state(state)
    assert torch.equal(first, torch.rand(4, generator=again, device='cuda')) and state.numel() == 16
    with pytest.raises(RuntimeError, match='wrong size'):
        generator.set_state(rng(3).get_state())
    with pytest.raises((RuntimeError, TypeError)):
        rng(3).set_state(state)


@pytest.mark.parametrize('read', [lambda x: x.numpy(), np.asarray, lambda x: np.stack([x, x])])
def test_arrays_of_gpu_tensors_are_found(pretended_gpu, read):
    read(on_gpu(3))
    assert pretended_gpu.numpy_of_cuda
    with pytest.raises(AssertionError, match='array of a tensor on the GPU'):
        pretended_gpu.check()


# ---- waits


@pytest.mark.parametrize(
    'wait',
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: float(x[0]),
        lambda x: int(x[0]),
        lambda x: 3 if x.any() else 4,
        lambda x: f'{x[0]:.2f}',
        lambda x: x.tolist(),
        lambda x: x[x > 0],
        lambda x: x[x.argmax()],
        lambda x: x.masked_select(x > 0),
        lambda x: x.nonzero(),
        lambda x: torch.where(x > 0),
        lambda x: x.unique(),
        lambda x: torch.equal(x, x),
        lambda x: torch.allclose(x, x),
        lambda x: x.cpu(),
        lambda x: x.to('cpu'),
        lambda x: torch.zeros(4).copy_(x),
        lambda x: x.repeat_interleave(x.long() + 2),
        lambda x: torch.linalg.inv(x[:, None] * x + torch.eye(4, device='cuda')),
        lambda x: torch.tensor([1.0], device='cuda'),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.zeros(4).to(x),
        lambda x: x[[0, 1]],
        lambda x: x[torch.tensor([0, 1])],
        lambda x: torch.cuda.synchronize(),
    ],
)
def test_waits_are_counted(pretended_gpu, wait):
    x = on_gpu(4)
    pretended_gpu.clear()
    wait(x)
    assert sum(pretended_gpu.syncs.values()) >= 1
    (place, *_) = pretended_gpu.syncs
    assert place.startswith('test_pretend_cuda.py:')
    pretended_gpu.check()  # slow, not wrong


def test_moving_to_the_gpu_is_counted(pretended_gpu):
    torch.zeros(3).to('cuda')
    assert sum(pretended_gpu.copies.values()) == sum(pretended_gpu.syncs.values()) == 1
    torch.zeros(3).pin_memory().to('cuda', non_blocking=True)
    assert sum(pretended_gpu.copies.values()) == 2
    assert sum(pretended_gpu.syncs.values()) == 1


def test_clean_code_has_an_empty_report(pretended_gpu):
    generator = rng(0, 'cuda')
    x = torch.randn(4, 3, generator=generator, device='cuda', requires_grad=True)
    rows = torch.randint(0, 4, (8,), generator=generator, device=x.device)
    y = x[rows] * torch.linspace(0, 1, 3, device=x.device) + F.one_hot(rows % 3, 3)
    y = torch.where(y > 0, y, 0.0).masked_fill(y > 1, 1.0)
    (gradient,) = torch.autograd.grad(y.square().mean() + y.quantile(0.5), x, create_graph=True)
    gradient.square().sum().backward()
    with torch.no_grad():
        x[x > 0] = 0.0
        x.copy_(x.detach().clone().roll(1))
    assert str(pretended_gpu) == 'nothing to report'


# ---- leaving


def test_afterwards_everything_is_as_before():
    places = [(torch, 'Generator'), (torch, 'autocast'), (torch.cuda, 'is_available'), (torch.amp, 'autocast')]
    places += [(torch.cuda, 'current_device'), (threading.Thread, '_bootstrap_inner'), (torch.Tensor, 'pin_memory')]
    before = [getattr(owner, name) for owner, name in places]
    waiting, kept = threading.Event(), []
    with pretend() as report:
        x = on_gpu(3)
        thread = threading.Thread(target=lambda: (waiting.wait(60), kept.append(x.device)))
        thread.start()
    assert [getattr(owner, name) for owner, name in places] == before
    waiting.set()
    thread.join()
    assert kept == [torch.device('cpu')] and x.device == torch.device('cpu')
    host_bias(x).sum().item()
    assert str(report) == 'nothing to report'


def test_what_was_kept_is_on_the_gpu_the_next_time():
    with pretend():
        kept = on_gpu(3)
    with pretend() as report:
        (kept + on_gpu(3)).sum()
    assert kept.device == torch.device('cpu') and not report.faults


def test_the_numbers_are_those_of_the_cpu():
    def loss(device):
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        with torch.no_grad():
            for i, p in enumerate(net.parameters()):
                p.copy_(torch.randn(p.shape, generator=rng(i)))
        net.to(device)
        value = net(torch.rand(5, 3, generator=rng(9, device), device=device)).square().mean()
        value.backward()
        return value.detach().cpu(), net[0].weight.grad.cpu()

    expected = loss('cpu')
    with pretend():
        pretended = loss('cuda')
    assert all(torch.equal(a, b) for a, b in zip(expected, pretended))
