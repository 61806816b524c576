"Independent solution of the exercise of 70_convert."

NAMES = {
    'torch._utils._rebuild_tensor_v2',
    'torch._utils._rebuild_parameter',
    'torch.storage._load_from_bytes',
    'collections.OrderedDict',
}


def find_class(module, name):
    return f'{module}.{name}' in NAMES or module.split('.')[0] in ('torch_utils', 'training', 'dnnlib')


SOLUTIONS = {'convert.find_class': find_class}
