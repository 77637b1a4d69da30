"""The hash of an image's pixels, since equal images may be encoded differently."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('annotate', '0017_job_may_pass'),
    ]

    operations = [
        migrations.AddField(
            model_name='candidate',
            name='pixels_sha256',
            field=models.CharField(editable=False, help_text='sha256 of the pixels, by which equal images are recognised; null in rows of versions before 0.3 until another image is compared with them', max_length=64, null=True),
        ),
        migrations.AddConstraint(
            model_name='candidate',
            constraint=models.UniqueConstraint(condition=models.Q(('source', 'hq')), fields=('pixels_sha256',), name='candidate_hq_pixels_unique'),
        ),
    ]
