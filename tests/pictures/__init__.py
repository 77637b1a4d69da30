"""The pictures of the documentation: `make screenshots` takes them and writes them to docs/pictures.

The faces in them are mean faces (`tests.pictures.mean_faces`), restored by the demo's restorers. All answers are those
of simulated annotators. The trainings of the reward models, the base and its tuning are short.
"""
