"""Whether a failed job may succeed when it runs again; one spelling of the states of a version."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('annotate', '0016_uploads'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='may_pass',
            field=models.BooleanField(default=False, help_text='whether the failure may be gone next time'),
        ),
        migrations.AlterField(
            model_name='predictor',
            name='status',
            field=models.CharField(choices=[('fitting', 'Fitting'), ('ready', 'Ready'), ('failed', 'Failed'), ('withdrawn', 'Withdrawn by a rollback')], default='fitting', max_length=9),
        ),
    ]
