import numpy as np, cv2, torch, sys
from sym import feat, ncc, W2, axis_matrix, mask, S
from axisnet import AxisNet, prep
N=AxisNet(); N.load_state_dict(torch.load('RUNS/sel/axisnet.pt')); N.eval()
@torch.no_grad()
def predict(x):
    out=[]
    for a in torch.from_numpy(x).split(256):
        p=prep(a.numpy()); q=N(p); r=N(p.flip(3)); out.append((q-r)/2)
    o=torch.cat(out).numpy(); return o[:,0]*0.1,o[:,1]*5
def refine(f,th0,c0):
    best=(-9,th0,c0)
    for dt in (-3,-1.5,0,1.5,3):
        for dc in (-2,-1,0,1,2):
            th=th0+np.deg2rad(dt); c=c0+dc
            r=cv2.warpAffine(f,axis_matrix(th,c),(S,S),flags=cv2.INTER_LINEAR|cv2.WARP_INVERSE_MAP,borderMode=cv2.BORDER_REPLICATE)
            s=ncc(f,r,W2)-0.02*((dt/1.5)**2+(dc/1.0)**2)/2
            if s>best[0]: best=(s,th,c)
    return best
def compose(im,side,th,c):
    M=axis_matrix(th,c); x=im.astype(np.float32)
    r=cv2.warpAffine(x,M,(S,S),flags=cv2.INTER_CUBIC|cv2.WARP_INVERSE_MAP,borderMode=cv2.BORDER_REPLICATE)
    m=mask(th,c,side)[...,None]; rim=((m>0.02)&(m<0.7)).astype(np.float32)
    den=cv2.GaussianBlur(rim,(0,0),7)[...,None]+0.02
    k=cv2.GaussianBlur((x-r)*rim,(0,0),7)/den
    r=r+np.clip(k.mean(2,keepdims=True),-15,15)
    return np.clip(x*(1-m)+r*m,0,255).round().astype(np.uint8)
def sym(im,th,c):
    s,th,c=refine(feat(im),th,c)
    return compose(im,1,th,c),compose(im,-1,th,c),s,th,c
if __name__=="__main__":
    from PIL import Image
    x=np.load(sys.argv[1])[int(sys.argv[3]):int(sys.argv[4])]; T,C=predict(x); rows=[]
    for i,im in enumerate(x):
        ll,rr,s,th,c=sym(im,T[i],C[i]); rows.append(np.hstack([im,ll,rr])); print(round(s,2),round(np.rad2deg(T[i]),1),round(C[i],1),round(np.rad2deg(th),1),round(c,1),end=' | ')
    cols=4; g=np.vstack([np.hstack(rows[i:i+cols]) for i in range(0,len(rows),cols)])
    im=Image.fromarray(g).resize((g.shape[1]*2,g.shape[0]*2),3)
    w=im.width//2; im.crop((0,0,w,im.height)).save(sys.argv[2]+'a.png',compress_level=1); im.crop((w,0,2*w,im.height)).save(sys.argv[2]+'b.png',compress_level=1)
