"Solutions to the exercises of 51_siren, written from the task alone."

import torch
from torch import nn


def initialise(linear, omega=30.0, first=False):
    n = linear.weight.shape[1]
    limit = 1 / n if first else (6 / n) ** 0.5 / omega
    with torch.no_grad():
        linear.weight.copy_((2 * torch.rand(linear.weight.shape) - 1) * limit)
    return linear


def modulated_sine(x, weight, bias, frequency, phase):
    return torch.stack([torch.sin((xi @ weight.T + bias) * f + p) for xi, f, p in zip(x, frequency, phase)])


class Network(nn.Module):
    def __init__(self, inputs, hidden, layers, outputs, omega=30.0):
        super().__init__()
        widths = [inputs] + [hidden] * layers + [outputs]
        self.omega = omega
        self.layers = nn.ModuleList(
            [initialise(nn.Linear(a, b), omega, i == 0) for i, (a, b) in enumerate(zip(widths, widths[1:]))]
        )

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.sin(self.omega * layer(x))
        return self.layers[-1](x)


SOLUTIONS = {'siren.sine_init': initialise, 'siren.film': modulated_sine, 'siren.siren': Network}
