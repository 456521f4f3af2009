"""feats.py X.npy OUT.pt: eye maps (float16) of images, by the bundled discriminator's projection."""
import sys, numpy as np, torch, dataclasses
from catgan.training.starting_point import load_starting_point
from catgan.networks.build import build_discriminator
def projection():
    sp=load_starting_point("bundled",print)
    net=dataclasses.replace(sp.network,eye_heads=True,feature_resolution=256)
    D=build_discriminator(net,None,torch.float32)
    own=D.state_dict()
    sd={k:v for k,v in sp.discriminator.items() if k.startswith("projection.") }
    print(len(sd), [k for k in own if k.startswith("projection.") and k not in sd][:5])
    D.load_state_dict({**own,**sd}); return D.projection
@torch.no_grad()
def maps(P,x):
    outs=[[],[],[]]
    for i in range(0,len(x),32):
        t=torch.from_numpy(x[i:i+32]).permute(0,3,1,2).float().contiguous(memory_format=torch.channels_last)/127.5-1
        for o,m in zip(outs,P.eyes(t)): o.append(m.half())
    return [torch.cat(o) for o in outs]
if __name__=="__main__":
    if sys.argv[1]=="photos":
        from catgan.data.dataset.dataset import Dataset
        from pathlib import Path
        d=Dataset.open(Path("RUNS/afhq128")); ix=d.indices("train"); x=np.asarray(d.images[ix[::2]])
    else: x=np.load(sys.argv[1])
    print(x.shape); torch.save(maps(projection(),x),sys.argv[2])
