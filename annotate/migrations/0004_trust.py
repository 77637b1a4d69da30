"""Gold sets, labels that are believed within an error only, learning curves, imported annotators."""

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models


OLD_VIEW = import_module("annotate.migrations.0003_judging_desk").NEW_VIEW
# The SVM's label counts only where it is sure enough. The highest rank of a pair is found by a window: a join of the
# votes with themselves took SQLite, which has no statistics of its own, a time that grows with their square.
NEW_VIEW = """
CREATE VIEW annotate_preference AS
WITH votes AS (
    SELECT item.pair_id,
           CASE WHEN person.simulated THEN 0 WHEN campaign.adjudicates_id IS NULL THEN 1 ELSE 2 END AS rank,
           CASE judgement.choice WHEN 'first' THEN 1 ELSE 0 END AS chose_first,
           CASE judgement.choice WHEN 'second' THEN 1 ELSE 0 END AS chose_second
    FROM annotate_lease lease
    JOIN annotate_judgement judgement ON judgement.id = lease.judgement_id
    JOIN annotate_item item ON item.id = lease.item_id
    JOIN annotate_campaign campaign ON campaign.id = item.campaign_id
    JOIN annotate_user person ON person.id = lease.annotator_id
    WHERE lease.status = 'answered' AND item.question = 'preference' AND NOT lease.is_repeat
), asked AS (
    SELECT pair_id, rank, chose_first, chose_second, MAX(rank) OVER (PARTITION BY pair_id) AS highest FROM votes
), judged AS (
    SELECT pair_id,
           MAX(rank) AS rank,
           COUNT(*) AS judgements,
           SUM(chose_first) AS votes_first,
           SUM(chose_second) AS votes_second
    FROM asked WHERE rank = highest
    GROUP BY pair_id
)
SELECT pair.id AS pair_id, pair.p_first, 'ground_truth' AS origin, CAST(1.0 AS double precision) AS weight,
       0 AS judgements, 0 AS votes_first, 0 AS votes_second
FROM annotate_pair pair WHERE pair.kind = 'anchored'
UNION ALL
SELECT judged.pair_id,
       (votes_first + 0.5 * (judgements - votes_first - votes_second)) / judgements,
       CASE judged.rank WHEN 0 THEN 'simulated' ELSE 'human' END,
       1.0,
       judgements, votes_first, votes_second
FROM judged JOIN annotate_pair pair ON pair.id = judged.pair_id WHERE pair.kind = 'contested'
UNION ALL
SELECT label.pair_id, label.p_first, 'svm', 1.0, 0, 0, 0
FROM annotate_autolabel label
WHERE label.predictor_id = (SELECT MAX(id) FROM annotate_predictor WHERE status = 'ready')
  AND NOT EXISTS (SELECT 1 FROM judged WHERE judged.pair_id = label.pair_id)
  AND ABS(label.p_first - 0.5) >= (
      SELECT least_margin FROM annotate_predictor
      WHERE id = (SELECT MAX(id) FROM annotate_predictor WHERE status = 'ready')
  )
"""


def create_policy_row(apps, schema_editor):
    apps.get_model("annotate", "LabelPolicy").objects.create(pk=1)


class Migration(migrations.Migration):

    dependencies = [
        ('annotate', '0003_judging_desk'),
    ]

    operations = [
        # SQLite rebuilds tables, which the view would hinder.
        migrations.RunSQL("DROP VIEW annotate_preference", OLD_VIEW),
        migrations.CreateModel(
            name='LearningCurve',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('results', models.JSONField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.AddField(
            model_name='predictor',
            name='audit',
            field=models.JSONField(default=dict, help_text='coverage against error on the random audit sample'),
        ),
        migrations.AddField(
            model_name='predictor',
            name='least_margin',
            field=models.FloatField(default=0, help_text='labels with |p - 1/2| below it do not count; above 1/2: none does'),
        ),
        migrations.AddField(
            model_name='predictor',
            name='max_error',
            field=models.FloatField(help_text='the error that its labels may have; none: all of them count', null=True),
        ),
        migrations.AddField(
            model_name='predictor',
            name='pairs_abstained',
            field=models.PositiveIntegerField(default=0, help_text='of these, that it is too unsure of to count'),
        ),
        migrations.AddField(
            model_name='user',
            name='imported',
            field=models.BooleanField(default=False, help_text='stands for an annotator whose answers came from a file'),
        ),
        migrations.AlterField(
            model_name='lease',
            name='drawn',
            field=models.CharField(choices=[('random', 'Random'), ('uncertain', 'uncertain first'), ('repeat', 'mirrored repeat'), ('imported', 'from a file: nobody knows how it was drawn')], default='random', max_length=9),
        ),
        migrations.AlterField(
            model_name='predictor',
            name='status',
            field=models.CharField(choices=[('fitting', 'Fitting'), ('ready', 'Ready'), ('failed', 'Failed'), ('withdrawn', 'withdrawn by a rollback')], default='fitting', max_length=9),
        ),
        migrations.CreateModel(
            name='GoldSet',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('seed', models.BigIntegerField(help_text='draws its faces')),
                ('pairs_sha256', models.CharField(help_text="of its pairs' pictures and persons, when it was made", max_length=64)),
                ('answers_sha256', models.CharField(blank=True, help_text='of pairs and answers, when it was frozen', max_length=64)),
                ('frozen_at', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('campaign', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='gold_set', to='annotate.campaign')),
            ],
        ),
        migrations.CreateModel(
            name='LabelPolicy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('max_error', models.FloatField(blank=True, help_text="bound on the labels' error; empty: all count", null=True)),
                ('confidence', models.FloatField(default=0.95, help_text='with which the bound holds')),
                ('audit_share', models.FloatField(default=0.2, help_text='of the training faces, kept out of every fit while there is a bound to keep')),
                ('pinned', models.ForeignKey(blank=True, help_text='the version that a rollback chose: no newer one is fitted by itself', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotate.predictor')),
            ],
            options={
                'verbose_name_plural': 'label policy',
            },
        ),
        migrations.CreateModel(
            name='MachineAnswers',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.SlugField(max_length=100)),
                ('title', models.CharField(max_length=200)),
                ('group', models.CharField(choices=[('baseline', 'Baseline'), ('metric', 'Metric'), ('predictor', 'Predictor'), ('start', 'starting backbone'), ('frm', 'reward model')], max_length=9)),
                ('margins', models.JSONField(default=dict, help_text='pair -> margin, above 0 where the first image is preferred')),
                ('is_log_odds', models.BooleanField(default=False, help_text='the margins are log-odds: they claim a probability')),
                ('reason', models.TextField(blank=True, help_text='why there are none, with the remedy')),
                ('provenance', models.JSONField(default=dict)),
                ('measured_at', models.DateTimeField(auto_now=True)),
                ('gold_set', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='machine_answers', to='annotate.goldset')),
            ],
            options={
                'verbose_name_plural': 'machine answers',
            },
        ),
        migrations.AddConstraint(
            model_name='goldset',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('answers_sha256', ''), ('frozen_at', None)), models.Q(('frozen_at__isnull', False), models.Q(('answers_sha256', ''), _negated=True)), _connector='OR'), name='gold_set_frozen_has_hash'),
        ),
        migrations.AddConstraint(
            model_name='labelpolicy',
            constraint=models.CheckConstraint(condition=models.Q(('max_error', None), models.Q(('max_error__gt', 0), ('max_error__lt', 0.5)), _connector='OR'), name='label_policy_error_below_chance'),
        ),
        migrations.AddConstraint(
            model_name='labelpolicy',
            constraint=models.CheckConstraint(condition=models.Q(('audit_share__gt', 0), ('audit_share__lt', 1), ('confidence__gt', 0.5), ('confidence__lt', 1)), name='label_policy_shares_are_shares'),
        ),
        migrations.AddConstraint(
            model_name='machineanswers',
            constraint=models.UniqueConstraint(fields=('gold_set', 'name'), name='machine_answers_once'),
        ),
        migrations.RunSQL(NEW_VIEW, "DROP VIEW annotate_preference"),
        migrations.RunPython(create_policy_row, migrations.RunPython.noop),
    ]
