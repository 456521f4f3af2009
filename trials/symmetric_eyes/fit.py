"""fit.py OUT PHOTOS.pt FEATS.pt:LABELS.pt ... ; env SEEDS, HOLD"""
import sys, os, time, torch, numpy as np
from judge import Judge, swap
def load(spec):
    f,l=spec.split(":"); m=torch.load(f); y=torch.load(l); k=y>=0
    return [a[k] for a in m], y[k]
out=sys.argv[1]; photos=torch.load(sys.argv[2]); sets=[load(s) for s in sys.argv[3:]]
M=[torch.cat(z) for z in zip(*(s[0] for s in sets))]; Y=torch.cat([s[1] for s in sets]).float()
n=len(Y); steps=int(os.environ.get("STEPS","500")); hold=os.environ.get("HOLD")=="1"
print(n, Y.mean().item(), photos[0].shape)
for seed in map(int,os.environ.get("SEEDS","0,1").split(",")):
    torch.manual_seed(seed); perm=torch.randperm(n); cut=n//8 if hold else 0
    test,train=perm[:cut],perm[cut:]
    pp=torch.randperm(len(photos[0])); pt,pv=pp[128:],pp[:128]
    J=Judge(); J=J.to(memory_format=torch.channels_last); opt=torch.optim.AdamW(J.parameters(),5e-4,weight_decay=0.05,betas=(0.9,0.99))
    E=Judge(); E.load_state_dict(J.state_dict()); t=time.time()
    for k in range(steps):
        for g in opt.param_groups: g["lr"]=5e-4*min(1,(k+1)/50)*(1-k/steps)**0.5
        i=train[torch.randint(len(train),(64,))]; j=pt[torch.randint(len(pt),(32,))]
        m=[torch.cat([a[i],b[j]]).float().contiguous(memory_format=torch.channels_last) for a,b in zip(M,photos)]
        y=torch.cat([Y[i],torch.full((32,),2.9)])
        if k%2: m=swap(m)
        loss=(J(m)-y).square().mean(); opt.zero_grad(); loss.backward(); opt.step()
        with torch.no_grad():
            for a,b in zip(E.parameters(),J.parameters()): a.lerp_(b,0.02)
    E.eval()
    with torch.no_grad():
        pr=E([a[pv].float() for a in photos]); print("seed",seed,"photos",pr.mean().item(),"train mse",loss.item(),round(time.time()-t),"s")
        if cut:
            q=torch.cat([E([a[c].float() for a in M]) for c in test.split(128)])
            print("  held out corr",np.corrcoef(q,Y[test])[0,1],"mean",q.mean().item())
    torch.save(E.state_dict(),f"{out}{seed}.pt")
