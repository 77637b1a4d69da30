"""Inspection of the stored data: suspicious faces, pairs and image files, and the repairs that are safe."""
