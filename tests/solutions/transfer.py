"Solutions to the exercises of 42_transfer, written from the task alone."

import contextlib


def joined(g, g_fin, use):
    whole = len(g.synthesis.blocks)
    late = tuple(f'synthesis.blocks.{name}.' for name in list(g.synthesis.blocks)[whole - use :])
    takes = lambda name: use == whole or (use > 0 and name.startswith(late))
    ours, theirs = g.state_dict(), g_fin.state_dict()
    made = type(g)(g.config).eval()
    made.load_state_dict({name: theirs[name] if takes(name) else value for name, value in ours.items()})
    return made


class Rest(contextlib.AbstractContextManager):
    def __init__(self, network, beginnings):
        self.network = network
        self.mine = lambda name: any(name.startswith(beginning) for beginning in beginnings)

    def __enter__(self):
        self.buffers = {n: b.detach().clone() for n, b in self.network.named_buffers() if self.mine(n)}
        self.learning = [p for n, p in self.network.named_parameters() if self.mine(n) and p.requires_grad]
        for name, p in self.network.named_parameters():
            if self.mine(name):
                p.requires_grad, p.grad = False, None
        return self.network

    def __exit__(self, *error):
        for p in self.learning:
            p.requires_grad = True
        for name, buffer in self.network.named_buffers():
            if name in self.buffers:
                buffer.copy_(self.buffers[name])


def rests_while(network, beginnings, train):
    with Rest(network, beginnings):
        train()


SOLUTIONS = {'transfer.graft': joined, 'transfer.train_at_rest': rests_while}
