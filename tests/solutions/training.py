"An independent solution of the training chapter's exercise."

import math

SOLUTIONS = {'training.ema_decay': lambda batch_size, half_life: math.exp(-math.log(2) * batch_size / half_life)}
