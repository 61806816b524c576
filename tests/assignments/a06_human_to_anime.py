"Answers to the assignment on fine-tuning: another style, and wrong versions with the laws that they break."

import copy

import torch
from torch import nn


def freeze(network, parts):
    network.requires_grad_(True)
    for name, parameter in network.named_parameters():
        if any(name == part or name.startswith(part + '.') for part in parts):
            parameter.requires_grad_(False)
    return [p for p in network.parameters() if p.requires_grad]


def fine_tune(network, free, frozen, x, y, steps, rate, source, copied=True, still=True, everything=False, power=1):
    net = copy.deepcopy(network) if copied else network
    parameters = free(net, frozen)
    if everything:
        parameters = list(net.requires_grad_(True).parameters())
    optimizer = torch.optim.Adam(parameters, rate)
    for _ in range(steps):
        net.train()
        for name, part in net.named_modules():
            if still and any(name == f or name.startswith(f + '.') for f in frozen):
                part.train(False)
        rows = torch.randint(len(x), (16,), generator=source).tolist()
        optimizer.zero_grad(set_to_none=False)
        (net(x[rows]) - y[rows]).abs().pow(power).mean().backward()
        optimizer.step()
    return net.eval()


def moved(before, after):
    children, result = dict(after.named_children()), {}
    for name, child in before.named_children():
        if list(child.parameters()):
            a, b = (nn.utils.parameters_to_vector(net.parameters()) for net in (child, children[name]))
            result[name] = float((b - a).norm() / a.norm())
    return result


def graft(first, second, parts):
    new = copy.deepcopy(first)
    for part in parts:
        setattr(new, part, copy.deepcopy(getattr(second, part)))
    return new


SOLUTIONS = dict(freeze=freeze, fine_tune=fine_tune, moved=moved, graft=graft)


def freeze_by_beginning(network, parts):
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(parts)))
    return [p for p in network.parameters() if p.requires_grad]


def freeze_only(network, parts):
    for name, parameter in network.named_parameters():
        if any(name == part or name.startswith(part + '.') for part in parts):
            parameter.requires_grad_(False)
    return [p for p in network.parameters() if p.requires_grad]


def tuned(**change):
    return lambda *arguments: fine_tune(*arguments, **change)


def sum_of_norms(before, after):
    children, result = dict(after.named_children()), {}
    for name, child in before.named_children():
        pairs = list(zip(child.parameters(), children[name].parameters()))
        if pairs:
            result[name] = sum(float((b - a).norm() / a.norm()) for a, b in pairs)
    return result


def not_a_share(before, after):
    shares, children = moved(before, after), dict(before.named_children())
    return {k: v * float(nn.utils.parameters_to_vector(children[k].parameters()).norm()) for k, v in shares.items()}


def parameters_only(first, second, parts):
    new = copy.deepcopy(first)
    with torch.no_grad():
        for part in parts:
            for a, b in zip(new.get_submodule(part).parameters(), second.get_submodule(part).parameters()):
                a.copy_(b)
    return new


def shared(first, second, parts):
    new = copy.deepcopy(first)
    for part in parts:
        setattr(new, part, getattr(second, part))
    return new


def frozen_inside(network, parts):
    inside = lambda name: any(name.startswith(part + '.') or f'.{part}.' in name for part in parts)
    for name, p in network.named_parameters():
        p.requires_grad_(not inside(name))
    return [p for p in network.parameters() if p.requires_grad]


def still_training(network, *args):
    network.train()
    return fine_tune(network, *args)


def begins_alike(first, second, parts):
    new = copy.deepcopy(first)
    state = {k: v for k, v in second.state_dict().items() if k.startswith(tuple(parts))}
    new.load_state_dict(state, strict=False)
    return new


WRONG = dict(
    freeze={
        'a name inside a name': (
            frozen_inside,
            ['what was frozen before can be trained again', 'a name inside another name is no part'],
        ),
        'the beginning of the name': (freeze_by_beginning, ['a part whose name only begins alike is another part']),
        'nothing is thawed': (
            freeze_only,
            ['what was frozen before can be trained again', 'no parts: everything can be trained'],
        ),
    },
    fine_tune={
        'no training': (
            lambda network, *_: copy.deepcopy(network).eval(),
            [
                'the network that was given is as it was',
                'the parameters of the frozen parts are as they were, to the last bit',
                'so are their buffers: look at the running means',
                'the other parts have learned',
                'the other BatchNorm has seen the data',
                'it is better than before',
                'five steps lead where the mean absolute difference and the rows of the generator lead',
                'a frozen part of a part, with parts of its own: their buffers stay, too',
            ],
        ),
        'the squared error': (
            tuned(power=2),
            ['five steps lead where the mean absolute difference and the rows of the generator lead'],
        ),
        'in training mode for good': (still_training, ['the network that was given is as it was']),
        'the network itself is trained': (
            tuned(copied=False),
            ['the network that was given is as it was', 'it is better than before'],
        ),
        'the buffers are forgotten': (
            tuned(still=False),
            [
                'so are their buffers: look at the running means',
                'a frozen part of a part, with parts of its own: their buffers stay, too',
            ],
        ),
        'everything is trained': (
            tuned(everything=True),
            ['the parameters of the frozen parts are as they were, to the last bit'],
        ),
    },
    moved={
        'zeros': (
            lambda before, after: {name: 0.0 for name, net in before.named_children() if list(net.parameters())},
            [
                'nothing has moved: zeros',
                'half as much again: ½, and nothing elsewhere',
                'three of 24 equal numbers have grown by twice their size',
                'the values are Python floats',
                'neither buffers nor a child whose name only begins alike count',
            ],
        ),
        'the sum of the tensors': (
            sum_of_norms,
            [
                'half as much again: ½, and nothing elsewhere',
                'three of 24 equal numbers have grown by twice their size',
                'neither buffers nor a child whose name only begins alike count',
            ],
        ),
        'not a share': (
            not_a_share,
            [
                'half as much again: ½, and nothing elsewhere',
                'three of 24 equal numbers have grown by twice their size',
            ],
        ),
    },
    graft={
        'a copy of the first': (
            lambda first, second, parts: copy.deepcopy(first),
            [
                'the named children come from the second',
                'with their buffers: look at the running mean',
                'all others come from the first',
                'without parts it is the first',
                'with all parts it is the second',
                'changing the new network changes neither of the others',
                'a child whose name only begins alike is another child',
            ],
        ),
        'names that begin alike': (begins_alike, ['a child whose name only begins alike is another child']),
        'parameters only': (
            parameters_only,
            ['with their buffers: look at the running mean', 'with all parts it is the second'],
        ),
        'shared with the second': (shared, ['changing the new network changes neither of the others']),
    },
)
