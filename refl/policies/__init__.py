"""Restorers that can be tuned: diffusion bases with a marked set of trainable parameters (Sec. 3.2)."""
