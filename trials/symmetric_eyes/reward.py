"""Trial: eyes as those of the generator at the start, made symmetric. Env: JUDGES, RATIO, ANCHOR, PIX."""
import copy, os, glob, sys
from concurrent.futures import ThreadPoolExecutor
import cv2, numpy as np, torch
import torch.nn.functional as F
sys.path.insert(0, "RUNS/sel")
from judge import Judge, swap
import sym2
from sym import mask as eye_mask
cv2.setNumThreads(1)

class Reward:
    def __init__(self, G, D, autocast):
        self.D=D; self.autocast=autocast
        self.pattern=os.environ["JUDGES"]; self.ratio=float(os.environ["RATIO"]); self.anchor=float(os.environ["ANCHOR"]); self.pix=float(os.environ.get("PIX","1"))
        self.G0=copy.deepcopy(G).train().requires_grad_(False)  # as G: statistics of the batch
        if os.environ.get('G0')=='bundled':
            from catgan.training.starting_point import load_starting_point
            b=load_starting_point('bundled', print).generator; own=self.G0.state_dict(); print('G0', [k for k in own if k not in b], flush=True); self.G0.load_state_dict({k: b[k] if k in b else torch.zeros_like(v) for k,v in own.items()})
        self.slack=float(os.environ.get("SLACK","0.3")); self.margin=float(os.environ.get("MARGIN","0.25")); self.adv=float(os.environ.get("ADV","1")); self.pool=ThreadPoolExecutor(2)
        self.weight=None; self.k=0; self.stamp=None; self.judges=[]; self.sum=np.zeros(9)
        self.load()
    def load(self):
        files=sorted(glob.glob(self.pattern)); stamp=[(f,os.path.getmtime(f)) for f in files]
        if stamp==self.stamp: return
        self.stamp=stamp; self.judges=[]
        for f in files:
            j=Judge(); j.load_state_dict(torch.load(f)); self.judges.append(j.eval().requires_grad_(False).to(memory_format=torch.channels_last))
        print("judges", files, flush=True)
    def rate(self, maps):
        maps=[m.float() for m in maps]; s=swap(maps)
        return torch.stack([torch.minimum(j(maps),j(s)) for j in self.judges]).mean(0)
    @torch.no_grad()
    def targets(self, z):
        
        with self.autocast: ref=self.G0(z).float()
        n=len(ref)
        x=((ref+1)*127.5).round().clamp(0,255).byte().permute(0,2,3,1).contiguous().numpy()
        T,C=sym2.predict(x)
        tr=list(self.pool.map(lambda i: sym2.sym(x[i],T[i],C[i]), range(n)))
        both=np.stack([t[0] for t in tr]+[t[1] for t in tr])
        both=(torch.from_numpy(both).permute(0,3,1,2).float()/127.5-1).contiguous(memory_format=torch.channels_last)
        with self.autocast: maps=self.D.projection.eyes(both); own=self.D.projection.eyes(ref.contiguous(memory_format=torch.channels_last))
        q=self.rate(maps); q0=self.rate(own)
        ql,qr=q[:n],q[n:]; right=qr>ql+self.margin; best=torch.where(right,qr,ql)
        use=((best>q0-self.slack)).float()
        pick=torch.arange(n)+n*right
        m=torch.from_numpy(np.stack([np.maximum(eye_mask(t[3],t[4],1),eye_mask(t[3],t[4],-1)) for t in tr]))[:,None]
        return ref,both[pick],[a[pick] for a in maps],own,m,use,right,torch.stack([q0.mean(),best.mean()])
    def __call__(self, z, fake, features, G_loss):
        if self.k % 16 == 0: self.load()
        ref,T,maps,own,m,use,right,q=self.targets(z)
        P=int(os.environ.get('POOL','2')); W=float(os.environ.get('FEATW','1'))
        def pix(a): return ((F.avg_pool2d(a,P)-F.avg_pool2d(T,P)).square().mean(1,keepdim=True)*F.avg_pool2d(m,P)).sum((1,2,3))/F.avg_pool2d(m,P).sum((1,2,3))/0.01
        def feat(f):  # augmentation mirrors some
            return torch.minimum(*(sum((a.float()-b.float()).square().mean((1,2,3)) for a,b in zip(f,t))/3 for t in (maps,swap(maps))))
        eyes=features[-3:]; p=pix(fake); f=feat(eyes)
        r=((W*f+self.pix*p)*use).sum()/use.sum().clamp_min(1)
        Q=int(os.environ.get('APOOL','1')); d=F.avg_pool2d(fake,Q)-F.avg_pool2d(ref,Q)
        a=(d.square()*(1-F.avg_pool2d(m,Q))).mean()/0.01
        if self.weight is None or self.k % 64 == 0:
            ga,=torch.autograd.grad(G_loss,fake,retain_graph=True); gr,=torch.autograd.grad(r,fake,retain_graph=True)
            w=self.ratio*(ga.norm()/gr.norm()).item(); self.weight=w if self.weight is None else 0.5*self.weight+0.5*w
        with torch.no_grad():
            u=use/use.sum().clamp_min(1)
            self.sum+=np.array([(f*u).sum(),(feat(own)*u).sum(),(p*u).sum(),(pix(ref)*u).sum(),a,use.mean(),right.float().mean(),q[0],q[1]],dtype=float)
        self.k+=1
        if self.k % 32 == 0:
            s=self.sum/32; self.sum[:]=0
            print(f"RW step {self.k} feat {s[0]:.3f} of {s[1]:.3f} pix {s[2]:.3f} of {s[3]:.3f} anchor {s[4]:.3f} use {s[5]:.2f} right {s[6]:.2f} q {s[7]:.2f} {s[8]:.2f} weight {self.weight:.4f} adv {G_loss.item():.3f}",flush=True)
        return self.adv*G_loss+self.weight*r+self.anchor*a
