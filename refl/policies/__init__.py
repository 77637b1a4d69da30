"""Policies: diffusion restorers of which some parameters are trained (Sec. 3.2)."""
