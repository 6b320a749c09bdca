"""One adapter a task, on mmpretrain, mmdet and mmseg."""
