"""Trial: a loss of ratings and an anchor to the generator at the start. Env: JUDGES (files, read again when they change), REWARD, ANCHOR."""
import copy, os, glob
import torch
import torch.nn.functional as F
import sys
sys.path.insert(0, "ratings")
from judge import Judge, swap

class Reward:
    def __init__(self, G):
        self.pattern=os.environ["JUDGES"]; self.ratio=float(os.environ["REWARD"]); self.anchor=float(os.environ["ANCHOR"])
        self.G0=copy.deepcopy(G).eval().requires_grad_(False)
        self.weight=None; self.k=0; self.stamp=None; self.judges=[]; self.sum=[0,0,0,0]
        self.load()
    def load(self):
        files=sorted(glob.glob(self.pattern)); stamp=[(f,os.path.getmtime(f)) for f in files]
        if stamp==self.stamp: return
        self.stamp=stamp; self.judges=[]
        for f in files:
            j=Judge(); j.load_state_dict(torch.load(f)); self.judges.append(j.eval().requires_grad_(False).to(memory_format=torch.channels_last))
        print("judges", files, flush=True)
    def ratings(self, maps):
        maps=[m.float() for m in maps]; judge=self.judges[self.k % len(self.judges)]
        return torch.minimum(judge(maps), judge(swap(maps)))
    def __call__(self, z, fake, features, G_loss, ema_count=0):
        if self.k % 16 == 0: self.load()
        if not self.judges: self.k+=1; return fake.new_zeros(())
        q=self.ratings(features[-3:])
        r=F.relu(2.7-q).square().mean()/2
        with torch.no_grad(): ref=self.G0(z).float()
        d=F.avg_pool2d(fake,4)-F.avg_pool2d(ref,4)  # 32 x 32
        mask=torch.ones(32,32); mask[10:20,6:26]=0
        a=(d.square()*mask).mean()/0.01
        if self.weight is None or self.k % 64 == 0:
            ga,=torch.autograd.grad(G_loss,fake,retain_graph=True); gr,=torch.autograd.grad(r,fake,retain_graph=True)
            w=self.ratio*(ga.norm()/gr.norm()).item(); self.weight=w if self.weight is None else 0.5*self.weight+0.5*w
        self.k+=1; self.sum=[s+v for s,v in zip(self.sum,(q.mean().item(),a.item(),G_loss.item(),1))]
        if self.k % 32 == 0:
            n=self.sum[3]; print(f"RW step {self.k} rating {self.sum[0]/n:.3f} anchor {self.sum[1]/n:.3f} adv {self.sum[2]/n:.3f} weight {self.weight:.3f}",flush=True); self.sum=[0]*4
        return self.weight*r+self.anchor*a
