"""How each task trains: the only package that knows mmpretrain, mmdet and mmseg."""
