"""labels.py N OFFSET OUT.pt files: ratings (N,), -1 where missing; raters' means equalized."""
import sys, torch
n,off,out=int(sys.argv[1]),int(sys.argv[2]),sys.argv[3]
Y=torch.full((n,),-1.0); R=[]
for f in sys.argv[4:]:
    d={}
    for l in open(f):
        p=l.split()
        if len(p)==2 and p[1] in "0123": d[int(p[0])-off]=int(p[1])
    R.append((f,d))
mean=sum(sum(d.values())/len(d) for _,d in R)/len(R)
for f,d in R:
    m=sum(d.values())/len(d); v=list(d.values())
    print(f.split("/")[-1],len(d),round(m,3),[v.count(k) for k in range(4)])
    for i,y in d.items(): Y[i]=max(y+mean-m,0)
print((Y>=0).sum().item(),mean); torch.save(Y,out)
