"""Map over batches: rows in, a function with a model that each worker opens once, results out.

The driver, which is the command, reads from the database what is missing, hands out batches of plain rows, and writes
rows to the database as results arrive. Workers read and write the image store only: they have no database.
"""
