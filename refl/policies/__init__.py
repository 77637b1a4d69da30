"""Restorers that can be tuned: diffusion bases whose marked parameters train (Sec. 3.2)."""
