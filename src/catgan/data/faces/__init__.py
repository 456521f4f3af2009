"""Cat faces in whole photos: found, verified, straightened, cropped like AFHQ, judged."""
