import torch, time
from animegan_nb.inversion import *
from animegan_nb.stylegan import *
from animegan_nb.dcgan import *
from animegan_nb.metrics import psnr
from animegan_nb.core import rng
g,_=pretrained_stylegan('stylegan_toon_64')
own=g(torch.randn(4,g.z_dim,generator=rng(7))).detach()
print(latent_prior(g).w_radius)
for s in ('z','w','w+','p'):
    a=time.process_time(); r=invert(g,own,s,steps=100,progress=False); print(s,psnr(r.image.clamp(-1,1),own.clamp(-1,1)),r.losses[-1],time.process_time()-a,latent_prior(g).energy(r.ws).mean())
