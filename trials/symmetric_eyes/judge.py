import torch
from torch import nn
import torch.nn.functional as F
class Judge(nn.Module):
    def __init__(s):
        super().__init__()
        s.a=nn.Conv2d(128,64,3,2,1); s.b=nn.Conv2d(64+256,96,3,2,1); s.c=nn.Conv2d(96+512,128,3,1,1)
        s.drop=nn.Dropout(0.5); s.out=nn.Linear(128*16,1); nn.init.zeros_(s.out.weight); nn.init.constant_(s.out.bias,1.5)
    def forward(s,maps):
        m0,m1,m2=maps
        d=F.dropout2d
        h=F.leaky_relu(s.a(d(m0,0.3,s.training)),0.2)
        h=F.leaky_relu(s.b(d(torch.cat([h,m1],1),0.3,s.training)),0.2)
        h=F.leaky_relu(s.c(d(torch.cat([h,m2],1),0.3,s.training)),0.2)
        return s.out(s.drop(h.flatten(1)))[:,0]
def swap(maps):  # the mirror image's maps
    return [torch.cat(m.chunk(2,1)[::-1],1) for m in maps]
