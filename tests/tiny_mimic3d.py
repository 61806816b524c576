"The smallest Mimic3D that has all parts; shared by the tests of the network and of its experiment."

from animegan_nb.mimic3d import Mimic3DConfig
from animegan_nb.triplane import PlaneView

SMALL = Mimic3DConfig(
    size=16,
    raw=8,
    planes=8,
    channels=4,
    z_dim=8,
    w_dim=8,
    channel_base=64,
    channel_max=8,
    features=4,
    hidden=8,
    super_maps=8,
    critic_base=64,
    critic_max=8,
    patch=8,
    view=PlaneView(12.0, 4, 4, background=1.0),
    imitation='l1',
    r1_every=2,
    smooth_every=2,
)
