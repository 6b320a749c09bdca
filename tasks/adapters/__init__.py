"""One adapter per task, built on mmpretrain, mmdet and mmseg."""
