"""Give every face a data set: the demo's if only the demo has made faces, else “unnamed”.

File names are not stored, so the keys of paths stay empty: these faces are still found by the stem of their file's name.
"""

import django.db.models.deletion
from django.db import migrations, models


def assign_dataset(apps, schema_editor):
    face, dataset, stage_run = (apps.get_model("annotate", name) for name in ("Face", "Dataset", "StageRun"))
    if not face.objects.exists():
        return
    of_demo = stage_run.objects.filter(stage="demo").exists() and not stage_run.objects.filter(stage="ingest").exists()
    row = dataset.objects.create(name="demo" if of_demo else "unnamed")
    face.objects.update(dataset=row)
    if schema_editor.connection.vendor == "postgresql":  # it alters no table that has pending checks of foreign keys
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")


class Migration(migrations.Migration):
    dependencies = [("annotate", "0008_wording")]

    operations = [
        migrations.CreateModel(
            name="Dataset",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.SlugField(max_length=60, unique=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[("training", "training"), ("evaluation", "evaluation: never trained on")],
                        default="training",
                        max_length=10,
                    ),
                ),
                (
                    "has_ground_truth",
                    models.BooleanField(default=True, help_text="photographs of high quality exist"),
                ),
                ("licence", models.TextField(blank=True, help_text="note on the licence and the allowed use")),
                (
                    "folder_key",
                    models.CharField(
                        blank=True,
                        editable=False,
                        help_text="salted hash of the folder that gave it its name",
                        max_length=32,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={"verbose_name": "data set"},
        ),
        migrations.AddField(
            "face",
            "dataset",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="faces",
                to="annotate.dataset",
            ),
        ),
        migrations.AddField(
            "face",
            "path_key",
            models.CharField(
                blank=True, default="", help_text="salted hash of the path in the data set", max_length=32
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            "face",
            "name_key",
            models.CharField(
                blank=True, default="", help_text="the same, of the path without its suffix", max_length=32
            ),
            preserve_default=False,
        ),
        migrations.RunPython(assign_dataset, migrations.RunPython.noop),
        migrations.AlterField(
            "face",
            "dataset",
            models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="faces", to="annotate.dataset"
            ),
        ),
        migrations.AddConstraint(
            "face",
            models.UniqueConstraint(
                condition=models.Q(("path_key", ""), _negated=True),
                fields=("dataset", "path_key"),
                name="face_once_per_path",
            ),
        ),
    ]
