"""An export as a folder that transformers loads: the exact class, its tensors, the folder, its README."""
