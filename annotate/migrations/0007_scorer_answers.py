"""Call what a metric, a predictor or a reward model prefers on the gold set scorer answers."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('annotate', '0006_attempt_number'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='machineanswers',
            name='machine_answers_once',
        ),
        migrations.RenameModel(
            old_name='MachineAnswers',
            new_name='ScorerAnswers',
        ),
        migrations.AlterModelOptions(
            name='scoreranswers',
            options={'verbose_name_plural': 'scorer answers'},
        ),
        migrations.AlterField(
            model_name='scoreranswers',
            name='gold_set',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='scorer_answers', to='annotate.goldset'),
        ),
        migrations.AddConstraint(
            model_name='scoreranswers',
            constraint=models.UniqueConstraint(fields=('gold_set', 'name'), name='scorer_answers_once'),
        ),
    ]
