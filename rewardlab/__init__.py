"""Reward models and image-quality tools for face restoration. Knows no Django."""
