"Independent solutions of the DCGAN chapter's exercises."
import torch
from torch import nn


def deconv_size(size, kernel=4, stride=2, padding=1):
    "Insert stride − 1 zeros between the pixels, pad by kernel − 1 − padding, convolve with stride 1."
    stretched = size + (size - 1)*(stride - 1)
    return stretched + 2*(kernel - 1 - padding) - kernel + 1


@torch.no_grad()
def init_weights(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.copy_(1 + .02*torch.randn_like(module.weight)); module.bias.zero_()
        elif hasattr(module, 'weight'):
            module.weight.copy_(.02*torch.randn_like(module.weight))
            if module.bias is not None: module.bias.zero_()


SOLUTIONS = {'dcgan.deconv_size': deconv_size, 'dcgan.init_weights': init_weights}
