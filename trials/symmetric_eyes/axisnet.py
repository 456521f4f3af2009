import torch, numpy as np, time, cv2
from torch import nn
import torch.nn.functional as F
class AxisNet(nn.Module):
    def __init__(s):
        super().__init__()
        c=lambda i,o:nn.Sequential(nn.Conv2d(i,o,3,2,1),nn.BatchNorm2d(o),nn.ReLU())
        s.f=nn.Sequential(c(3,24),c(24,48),c(48,96),c(96,128)); s.d=nn.Dropout(0.2); s.o=nn.Linear(128*16,2)
    def forward(s,x): return s.o(s.d(s.f(x).flatten(1)))   # (theta/0.1 rad, c/5 px)
def prep(x):  # uint8 N,128,128,3 -> N,3,64,64
    t=torch.from_numpy(x).permute(0,3,1,2).float()/127.5-1
    return F.avg_pool2d(t,2)
if __name__=="__main__":
    from catgan.data.dataset.dataset import Dataset
    from pathlib import Path
    torch.set_num_threads(2); torch.manual_seed(0)
    d=Dataset.open(Path("RUNS/afhq128")); x=prep(np.asarray(d.images[d.indices("train")])); L=torch.from_numpy(np.load('axis_labels.npy')).float()
    w=((L[:,0]-0.25)/0.5).clamp(0,1)**1.5*(L[:,2].abs()<11); y=torch.stack([L[:,1]/0.1,L[:,2]/5],1)
    n=len(x); perm=torch.randperm(n); te,tr=perm[:400],perm[400:]
    N=AxisNet().to(memory_format=torch.channels_last); opt=torch.optim.AdamW(N.parameters(),2e-3,weight_decay=0.05); S=1500; t0=time.time()
    for k in range(S):
        for g in opt.param_groups: g['lr']=2e-3*min(1,(k+1)/50)*(1-k/S)**0.5
        i=tr[torch.randint(len(tr),(64,))]; a=x[i]; b=y[i].clone(); ww=w[i]
        fl=torch.rand(64)<0.5; a=torch.where(fl[:,None,None,None],a.flip(3),a); b=torch.where(fl[:,None],-b,b)
        # rotate by r, shift by u px (in 128 px units) : output(p)=input(R p + u)
        r=torch.randn(64)*0.12; u=torch.randn(64)*3
        M=torch.zeros(64,2,3); M[:,0,0]=r.cos(); M[:,0,1]=-r.sin(); M[:,1,0]=r.sin(); M[:,1,1]=r.cos(); M[:,0,2]=u/64
        a=F.grid_sample(a,F.affine_grid(M,a.shape,align_corners=False),padding_mode='border',align_corners=False)
        # axis line in input: point (c,~0), normal angle th ; in output coords: normal angle th - r ; passes near c-u rotated
        b=torch.stack([(b[:,0]*0.1-r)/0.1,(b[:,1]*5-u)*r.cos()/5],1)
        a=a*(1+0.2*torch.randn(64,1,1,1))+0.2*torch.randn(64,3,1,1)
        loss=(F.smooth_l1_loss(N(a),b,reduction='none').sum(1)*ww).mean(); opt.zero_grad(); loss.backward(); opt.step()
        if k%500==499:
            N.eval()
            with torch.no_grad(): p=N(x[te]); e=(p-y[te]).abs()[w[te]>0.3]; print(k,loss.item(),'err deg',e[:,0].median().item()*5.7,'px',e[:,1].median().item()*5, 'p90',e[:,0].quantile(.9).item()*5.7,e[:,1].quantile(.9).item()*5,round(time.time()-t0),flush=True)
            N.train()
    torch.save(N.state_dict(),'axisnet.pt')
