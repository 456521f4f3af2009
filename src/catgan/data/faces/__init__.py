"""Cat faces in whole photos: detect, classify, align and crop them as in AFHQ, and filter them."""
