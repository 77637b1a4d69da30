"""Two processes that write to one SQLite database."""

import subprocess

from tests.support.servers import Deployment

MORE_THAN_A_CHUNK = """
import sqlite3
from django.db import connection
from annotate.common.batches import in_chunks
from annotate.models import Dataset, Face

dataset = Dataset.objects.create(name="many")
Face.objects.bulk_create(
    Face(dataset=dataset, source_key=str(n), source_sha256=str(n), identity=str(n), size=64, seed=n) for n in range(210)
)
other = sqlite3.connect(connection.settings_dict["NAME"])
captioned = 0
for face in in_chunks(Face.objects.filter(caption="").order_by("pk")):
    if not captioned:
        with other:
            other.execute("UPDATE annotate_dataset SET name = name")
    captioned += Face.objects.filter(pk=face.pk).update(caption="A face.")
print("captioned", captioned)
"""


def test_stage_writes_while_another_process_does():
    with Deployment("sqlite") as site:
        code = ("manage.py", "shell", "--no-imports", "-c", MORE_THAN_A_CHUNK)
        assert "captioned 210" in site.python(*code, stdout=subprocess.PIPE).stdout
