"""Axis regressor: labels from photos by NCC with a prior; ridge on the stride-16/32 maps."""
import sys, numpy as np, torch, time, cv2
sys.path.insert(0,'MAIN/src')
from feats import projection
from sym import find
from catgan.data.dataset.dataset import Dataset
from pathlib import Path
from concurrent.futures import ThreadPoolExecutor
torch.set_num_threads(2); cv2.setNumThreads(1)
d=Dataset.open(Path("RUNS/afhq128")); x=np.asarray(d.images[d.indices("train")])
t=time.time()
with ThreadPoolExecutor(2) as ex: L=np.array(list(ex.map(find,x)))
print("labels",time.time()-t, np.percentile(L[:,0],[5,25,50,75,95])); np.save('axis_labels.npy',L)
P=projection()
@torch.no_grad()
def vec(x):
    out=[]
    for i in range(0,len(x),32):
        u=torch.from_numpy(x[i:i+32]).permute(0,3,1,2).float().contiguous(memory_format=torch.channels_last)/127.5-1
        m=P(u); out.append(torch.cat([m[2].float().flatten(1)*0.5,m[3].float().flatten(1)],1).half())
    return torch.cat(out)
X=vec(x).float(); print(X.shape,time.time()-t)
np.save('axis_x.npy',X.half().numpy())
