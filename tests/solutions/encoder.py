"Independent solutions of the exercises of 34_encoder."

import math

import torch


def output_size(size, kernel=4, stride=2, padding=1, layers=1):
    if layers == 0:
        return size
    return output_size(math.floor((size + 2 * padding - kernel) / stride + 1), kernel, stride, padding, layers - 1)


def explained(answers, truth, mean):
    missed = ((answers - truth) ** 2).sum(1).mean()
    spread = ((truth - mean[None]) ** 2).sum(1).mean()
    return ((spread - missed) / spread).item()


def refine(encoder, generate, images, start, passes):
    found, ws = [start], start
    while len(found) <= passes:
        both = torch.concatenate((images, generate(ws)), dim=1)
        ws = ws + encoder(both)
        found.append(ws)
    return found


SOLUTIONS = {'encoder.output_size': output_size, 'encoder.explained': explained, 'encoder.refine': refine}
