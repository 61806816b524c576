"Answers to the assignment on styles: another style, and wrong versions with the laws that they break."

import torch
import torch.nn.functional as F


def adain(x, scale, bias):
    deviation, mean = torch.std_mean(x, dim=(-2, -1), unbiased=False)
    factor = scale / torch.sqrt(deviation**2 + 1e-8)
    return torch.einsum('bchw,bc->bchw', x, factor) + (bias - factor * mean)[..., None, None]


def modulated_conv(x, weight, style, demodulate=True):
    y = F.conv2d(torch.einsum('bihw,bi->bihw', x, style), weight, padding='same')
    if demodulate:
        norms = torch.einsum('oikl,bi->bo', weight**2, style**2).add(1e-8).sqrt()
        y = torch.einsum('bohw,bo->bohw', y, 1 / norms)
    return y


def truncate(ws, w_avg, psi, cutoff=None):
    moved = torch.empty_like(ws)
    for layer in range(ws.shape[1]):
        stays = cutoff is not None and layer >= cutoff
        moved[:, layer] = ws[:, layer] if stays else psi * ws[:, layer] + (1 - psi) * w_avg
    return moved


def replace_layers(ws, other, layers):
    chosen = torch.tensor([i in layers for i in range(ws.shape[1])])
    return torch.where(chosen[None, :, None], other, ws)


SOLUTIONS = dict(adain=adain, modulated_conv=modulated_conv, truncate=truncate, replace_layers=replace_layers)


def statistics_of_the_batch(x, scale, bias):
    x = x - x.mean((0, 2, 3), keepdim=True)
    x = x / (x.square().mean((0, 2, 3), keepdim=True) + 1e-8).sqrt()
    return scale[..., None, None] * x + bias[..., None, None]


def no_small_number(x, scale, bias):
    mean, spread = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True, correction=0)
    return scale[..., None, None] * (x - mean) / spread + bias[..., None, None]


def conv(root=True, own=True, of_all=False, second=True):
    "`modulated_conv` with one part changed."

    def changed(x, weight, style, demodulate=True):
        if not own:
            style = style[:1].expand_as(style)
        y = F.conv2d(x * style[:, :, None, None], weight, padding=weight.shape[-1] // 2)
        power = style.square() @ weight.square().sum((2, 3)).T + 1e-8
        if of_all:
            power = power.mean(1, keepdim=True).expand_as(power)
        if demodulate and second:
            y = y / (power.sqrt() if root else power)[..., None, None]
        return y

    return changed


STYLE_1 = 'style 1: a convolution with weights of norm 1'
LARGE_STYLE, LARGE_WEIGHT = 'a style twice as large changes nothing', 'weights twice as large change nothing'
SELECT = 'a style that selects one map sees only that one'
NOISE = 'white noise of spread 1 keeps its spread, whatever the style'
TWO_MAPS = 'weights 1 and 2, styles 3 and −2: 0.6 of one map minus 0.8 of the other'
DEFINITION = 'the definition, image by image, also for negative styles'
NOT_OF_LENGTH_1 = [STYLE_1, LARGE_STYLE, LARGE_WEIGHT, SELECT, NOISE, TWO_MAPS, DEFINITION]


def in_place(ws, other, layers):
    for i in layers:
        ws[:, i] = other[:, i]
    return ws


def adain_in_place(x, scale, bias):
    x -= x.mean((2, 3), keepdim=True)
    x /= (x.square().mean((2, 3), keepdim=True) + 1e-8).sqrt()
    return x * scale[:, :, None, None] + bias[:, :, None, None]


def sorted_layers(ws, other, layers):
    mixed = ws.clone()
    for place, layer in enumerate(layers):
        mixed[:, layer] = other[:, sorted(layers)[place]]
    return mixed


def spoils_the_other(ws, other, layers):
    rest = [i for i in range(ws.shape[1]) if i not in list(layers)]
    other[:, rest] = ws[:, rest]
    return other


WRONG = dict(
    adain={
        'in place': (adain_in_place, ['the argument is as it was before the call']),
        'statistics of the batch': (
            statistics_of_the_batch,
            [
                'the mean of every map is its bias',
                'the spread of every map is |scale|',
                'its own statistics give x back',
                'no image feels another',
            ],
        ),
        'nothing under the root': (
            no_small_number,
            ['a constant map gives its bias, no NaN', 'a constant map becomes its bias, and nothing is infinite'],
        ),
        'scaled by 1 + s': (
            lambda x, s, t: adain(x, 1 + s, t),
            [
                'the spread of every map is |scale|',
                'a negative scale turns the map over',
                'its own statistics give x back',
            ],
        ),
    },
    modulated_conv={
        'the size of the style': (
            lambda x, weight, style, demodulate=True: modulated_conv(x, weight, style.abs(), demodulate),
            [TWO_MAPS, DEFINITION],
        ),
        'no demodulation': (conv(second=False), NOT_OF_LENGTH_1),
        'no root': (conv(root=False), NOT_OF_LENGTH_1),
        'the first style for all': (conv(own=False), ['every image has its own style', DEFINITION]),
        'one norm for all outputs': (conv(of_all=True), [STYLE_1, SELECT, DEFINITION]),
    },
    truncate={
        'a cutoff of 0 is none': (
            lambda ws, mean, psi, cutoff=None: truncate(ws, mean, psi, cutoff or None),
            ['a cutoff of 0 truncates nothing'],
        ),
        'towards zero': (
            lambda ws, mean, psi, cutoff=None: torch.cat([psi * ws[:, :cutoff], ws[:, len(ws[0, :cutoff]) :]], 1),
            [
                'ψ = 0 is the mean',
                'the mean stays where it is',
                'ψ scales the distance to the mean',
                'a cutoff truncates the first layers',
                'ψ counts with a cutoff, too',
            ],
        ),
        'the cutoff is ignored': (
            lambda ws, mean, psi, cutoff=None: mean + psi * (ws - mean),
            [
                'a cutoff spares the others',
                'a cutoff of 0 truncates nothing',
                'a change of ws counts in full in the other layers',
            ],
        ),
    },
    replace_layers={
        'the numbers sorted': (
            lambda ws, other, layers: sorted_layers(ws, other, layers),
            ['the numbers may come in any order'],
        ),
        'spoils the other': (spoils_the_other, ['the other parent is as it was']),
        'the two exchanged': (
            lambda ws, other, layers: replace_layers(other, ws, layers),
            [
                'the layers named come from the other',
                'all others stay',
                'nothing replaced: the first',
                'everything replaced: the other',
                'the numbers may come in any order',
            ],
        ),
        'changes its argument': (
            in_place,
            ['the argument is unchanged', 'nothing replaced: the first', 'without numbers it is a copy of ws'],
        ),
    },
)
