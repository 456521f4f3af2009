"""prog.py REF.npy NEW.npy...: eye-mask squared error at 64 px to the composites of REF, relative; asymmetry"""
import sys,numpy as np,torch,cv2
import torch.nn.functional as F
from sym2 import predict,sym,compose
from sym import mask,axis_matrix,S
ref=np.load(sys.argv[1]); T,C=predict(ref); n=len(ref)
tr=[sym(im,T[i],C[i]) for i,im in enumerate(ref)]
t=lambda x: F.avg_pool2d(torch.from_numpy(x).permute(0,3,1,2).float(),2)
m=torch.from_numpy(np.stack([np.maximum(mask(a[3],a[4],1),mask(a[3],a[4],-1)) for a in tr]))[:,None]; m2=F.avg_pool2d(m,2)
L,R=t(np.stack([a[0] for a in tr])),t(np.stack([a[1] for a in tr]))
e=lambda a,b:((a-b).square()*m2).sum((1,2,3))/m2.sum((1,2,3))/3
r=t(ref)
for f in sys.argv[2:]:
    y=t(np.load(f)); el,er=e(y,L),e(y,R); rl,rr=e(r,L),e(r,R)
    # asymmetry of y with its own axis
    yy=np.load(f); T2,C2=predict(yy); A=[]
    for i,im in enumerate(yy):
        s=sym(im,T2[i],C2[i]); q=np.maximum(mask(s[3],s[4],1),mask(s[3],s[4],-1))[...,None]
        a=cv2.GaussianBlur(s[0].astype(np.float32),(0,0),1.0); b=cv2.GaussianBlur(s[1].astype(np.float32),(0,0),1.0)
        M=q; A.append(np.sqrt(((a-b)**2*M).sum()/M.sum()/3))
    print(f,'to L %.0f of %.0f, to R %.0f of %.0f, nearer %.0f of %.0f | LL-RR rms mean %.1f median %.1f'%(el.mean(),rl.mean(),er.mean(),rr.mean(),torch.minimum(el,er).mean(),torch.minimum(rl,rr).mean(),np.mean(A),np.median(A)))
