"""symmetrise: returns LL, RR, score, params"""
import numpy as np, cv2
S=128
def axis_matrix(th,c):
    # reflection across line through (63.5+c, 62) with tilt th (radians from vertical); maps coords
    p=np.array([63.5+c,62.0]); n=np.array([np.cos(th),np.sin(th)])  # normal of the line
    A=np.eye(2)-2*np.outer(n,n); t=p-A@p
    return np.hstack([A,t[:,None]]).astype(np.float32)
W=np.zeros((S,S),np.float32); W[30:104,14:114]=1; W=cv2.GaussianBlur(W,(0,0),6); 
W2=W.copy(); W2[36:86,20:108]*=2
def feat(im):
    g=cv2.cvtColor(im,cv2.COLOR_RGB2LAB).astype(np.float32)[...,0]
    a=cv2.GaussianBlur(g,(0,0),1.5); b=cv2.GaussianBlur(g,(0,0),10)
    return a-b
def ncc(a,b,w):
    sw=w.sum(); ma=(a*w).sum()/sw; mb=(b*w).sum()/sw
    a=a-ma;b=b-mb
    return (w*a*b).sum()/np.sqrt((w*a*a).sum()*(w*b*b).sum()+1e-6)
def find(im):
    f=feat(im); best=(-2,)
    small=cv2.resize(f,(64,64),interpolation=cv2.INTER_AREA); 
    def score(th,c):
        M=axis_matrix(th,c)
        r=cv2.warpAffine(f,M,(S,S),flags=cv2.INTER_LINEAR|cv2.WARP_INVERSE_MAP,borderMode=cv2.BORDER_REPLICATE)
        return ncc(f,r,W2)
    for th in np.deg2rad(np.arange(-15,16,5)):
        for c in range(-12,13,2):
            s=score(th,c)
            if s>best[0]: best=(s,th,c)
    for step_t,step_c in ((2.5,1),(1.2,.5)):
        _,t0,c0=best
        for dt in (-1,0,1):
            for dc in (-1,0,1):
                th=t0+np.deg2rad(step_t)*dt; c=c0+step_c*dc
                s=score(th,c)
                if s>best[0]: best=(s,th,c)
    return best
yy,xx=np.mgrid[:S,:S].astype(np.float32)
def mask(th,c,side):
    # eye centers along axis-perpendicular: +-19.5 px from the axis at row 60
    p=np.array([63.5+c,62.0]); n=np.array([np.cos(th),np.sin(th)]); d=(xx-p[0])*n[0]+(yy-p[1])*n[1]
    v=-(xx-p[0])*n[1]+(yy-p[1])*n[0]
    e=((d-side*20)/18)**2+((v+1)/15)**2
    return np.clip((1.25-np.sqrt(e))/0.35,0,1)
def apply(im,side,th,c):
    """side=+1: right (image right) replaced by mirrored left"""
    M=axis_matrix(th,c)
    r=cv2.warpAffine(im,M,(S,S),flags=cv2.INTER_CUBIC|cv2.WARP_INVERSE_MAP,borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    m=mask(th,c,side)[...,None]
    x=im.astype(np.float32)
    # low-frequency match on the rim of the mask: lighting of the destination side
    rim=((m>0.02)&(m<0.9)).astype(np.float32)
    k=lambda a:cv2.GaussianBlur(a*rim,(0,0),8)/(cv2.GaussianBlur(rim,(0,0),8)[...,None]+1e-3)
    r2=r+k(x)-k(r)
    return np.clip(x*(1-m)+r2*m,0,255).round().astype(np.uint8)
def sym(im):
    s,th,c=find(im)
    return apply(im,1,th,c),apply(im,-1,th,c),s,th,c
if __name__=="__main__":
    import sys
    from PIL import Image
    x=np.load(sys.argv[1])[:int(sys.argv[3])]; rows=[]; sc=[]
    for i,im in enumerate(x):
        ll,rr,s,th,c=sym(im); sc.append((s,np.rad2deg(th),c)); rows.append(np.hstack([im,ll,rr]))
    print(np.round(np.array(sc),2)[:40].tolist())
    n=len(rows); cols=4; g=np.vstack([np.hstack(rows[i:i+cols]) for i in range(0,n,cols)])
    Image.fromarray(g).resize((g.shape[1],g.shape[0])).save(sys.argv[2],compress_level=1)
