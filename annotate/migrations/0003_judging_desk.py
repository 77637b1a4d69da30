"""The judging desk: campaigns of several kinds, repeats, qualification, invitations, the audit log.

Judgements and the audit log become append-only in the database itself. A later migration that rebuilds one of these
tables on SQLite loses its triggers and must run `protect` again.
"""

from importlib import import_module

import annotate.models.campaigns
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


OLD_VIEW = import_module("annotate.migrations.0002_preference_view").CREATE
# Adjudicated answers outrank those they settle, these outrank simulated ones. Repeats and studies do not vote.
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
    SELECT pair_id, MAX(rank) AS rank FROM votes GROUP BY pair_id
), judged AS (
    SELECT votes.pair_id,
           MAX(asked.rank) AS rank,
           COUNT(*) AS judgements,
           SUM(chose_first) AS votes_first,
           SUM(chose_second) AS votes_second
    FROM votes JOIN asked ON asked.pair_id = votes.pair_id AND asked.rank = votes.rank
    GROUP BY votes.pair_id
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
"""
APPEND_ONLY = ("annotate_judgement", "annotate_auditentry")


def protect(apps, schema_editor):
    for table in APPEND_ONLY:
        for statement in _triggers(table, schema_editor.connection.vendor):
            schema_editor.execute(statement)


def _triggers(table, vendor):
    refusal = f"{table} is append-only"
    if vendor == "sqlite":
        for event in ("UPDATE", "DELETE"):
            yield (
                f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
            )
        return
    yield (
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{refusal}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    yield (
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse()"
    )


def unprotect(apps, schema_editor):
    for table in APPEND_ONLY:
        if schema_editor.connection.vendor == "sqlite":
            for event in ("update", "delete"):
                schema_editor.execute(f"DROP TRIGGER {table}_no_{event}")
        else:
            schema_editor.execute(f"DROP TRIGGER {table}_append_only ON {table}")
            schema_editor.execute(f"DROP FUNCTION {table}_refuse()")


class Migration(migrations.Migration):

    dependencies = [
        ('annotate', '0002_preference_view'),
    ]

    operations = [
        # SQLite rebuilds tables, which the view would hinder.
        migrations.RunSQL("DROP VIEW annotate_preference", OLD_VIEW),
        migrations.CreateModel(
            name='AuditEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('action', models.SlugField(max_length=40)),
                ('target', models.CharField(blank=True, max_length=200)),
                ('details', models.JSONField(default=dict)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'verbose_name_plural': 'audit log',
            },
        ),
        migrations.CreateModel(
            name='FailedSignIn',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='hash of the name that was tried', max_length=64)),
                ('address', models.CharField(help_text='hash of the network address', max_length=64)),
                ('at', models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.CreateModel(
            name='Invitation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('token', models.CharField(default=annotate.models.campaigns.invitation_token, editable=False, max_length=43, unique=True)),
                ('places', models.PositiveSmallIntegerField()),
                ('taken', models.PositiveSmallIntegerField(default=0, editable=False)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name='Trial',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('round', models.PositiveSmallIntegerField(help_text='the how-manieth try, from 1')),
                ('number', models.PositiveSmallIntegerField(help_text='place in the round, from 0')),
                ('left_is_first', models.BooleanField()),
                ('choice', models.CharField(blank=True, help_text='left, right or cant_tell; empty: not yet answered', max_length=9)),
                ('answered_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.RemoveConstraint(
            model_name='item',
            name='item_once_per_campaign',
        ),
        migrations.RemoveConstraint(
            model_name='lease',
            name='lease_once_per_annotator',
        ),
        migrations.AddField(
            model_name='campaign',
            name='adjudicates',
            field=models.ForeignKey(blank=True, editable=False, help_text='the campaign whose disagreements these answers settle', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='adjudications', to='annotate.campaign'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='consent',
            field=models.TextField(blank=True, help_text='Markdown. If not empty, asked for before the first pair'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='kind',
            field=models.CharField(choices=[('preference', 'preferences by the ordered rubric (App. A.1)'), ('study', 'user study: fidelity and realism (App. C)')], default='preference', max_length=10),
        ),
        migrations.AddField(
            model_name='campaign',
            name='order',
            field=models.CharField(choices=[('balanced', 'balanced: random over all pairs'), ('uncertain', "uncertain first: the SVM's smallest margins")], default='balanced', max_length=9),
        ),
        migrations.AddField(
            model_name='campaign',
            name='qualification_rounds',
            field=models.PositiveSmallIntegerField(default=3, help_text='how often one may try'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='qualification_share',
            field=models.FloatField(default=0.8, help_text='of them that must be right, 0 to 1'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='qualification_size',
            field=models.PositiveSmallIntegerField(default=0, help_text='pairs with a known answer (one is the photograph) to judge first; 0: none'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='quiet_hours',
            field=models.PositiveSmallIntegerField(default=24, help_text='the lead is warned when an open campaign has had no answer for so long'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='random_share',
            field=models.FloatField(default=0.2, help_text='of items drawn at random although the order is uncertain first: for honest estimates'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='repeat_share',
            field=models.FloatField(default=0, help_text='of answers asked again later with the sides mirrored, to the same annotator'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='show_input',
            field=models.BooleanField(default=True, help_text='the low-quality input can be looked at on demand'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='show_reference',
            field=models.BooleanField(default=False, help_text='the photograph stands beside the two images'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='tutorial',
            field=models.TextField(blank=True, help_text='Markdown. If not empty, shown before the first pair'),
        ),
        migrations.AddField(
            model_name='item',
            name='audit',
            field=models.BooleanField(default=False, help_text='drawn at random to be kept for honest estimates: never asked for its small margin'),
        ),
        migrations.AddField(
            model_name='item',
            name='given_back',
            field=models.BooleanField(default=False, help_text='a slot came back: those whose cursor is past it must look again'),
        ),
        migrations.AddField(
            model_name='item',
            name='question',
            field=models.CharField(choices=[('preference', 'Which face is better?'), ('fidelity', 'Which image better preserves the identity of the person in the reference?'), ('realism', 'Which image looks more natural and realistic, with fewer artefacts?')], default='preference', max_length=10),
        ),
        migrations.AddField(
            model_name='item',
            name='rank',
            field=models.PositiveIntegerField(help_text="among the SVM's most uncertain, by its newest version", null=True),
        ),
        migrations.AddField(
            model_name='judgement',
            name='tools',
            field=models.JSONField(blank=True, default=dict, help_text='tool of the viewer -> how often it was used'),
        ),
        migrations.AddField(
            model_name='lease',
            name='drawn',
            field=models.CharField(choices=[('random', 'Random'), ('uncertain', 'uncertain first'), ('repeat', 'mirrored repeat')], default='random', max_length=9),
        ),
        migrations.AddField(
            model_name='lease',
            name='due_after',
            field=models.PositiveIntegerField(help_text='a repeat is given out after so many answers', null=True),
        ),
        migrations.AddField(
            model_name='lease',
            name='is_repeat',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='membership',
            name='audit_cursor',
            field=models.BigIntegerField(default=-1, help_text='the same among the items kept for honest estimates'),
        ),
        migrations.AddField(
            model_name='membership',
            name='consent_sha256',
            field=models.CharField(blank=True, help_text='of the text that was agreed to', max_length=64),
        ),
        migrations.AddField(
            model_name='membership',
            name='consented_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='membership',
            name='given',
            field=models.PositiveIntegerField(default=0, help_text='items given out to them'),
        ),
        migrations.AddField(
            model_name='membership',
            name='qualified_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='membership',
            name='repeated',
            field=models.PositiveIntegerField(default=0, help_text='mirrored repeats answered'),
        ),
        migrations.AddField(
            model_name='membership',
            name='tutored_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='user',
            name='guest',
            field=models.BooleanField(default=False, help_text='joined a campaign by an invitation link; has no password'),
        ),
        migrations.AlterField(
            model_name='lease',
            name='status',
            field=models.CharField(choices=[('planned', 'Planned'), ('held', 'Held'), ('answered', 'Answered'), ('skipped', 'Skipped'), ('expired', 'Expired')], default='held', max_length=8),
        ),
        migrations.AlterField(
            model_name='membership',
            name='answered',
            field=models.PositiveIntegerField(default=0, help_text='items; mirrored repeats are counted apart'),
        ),
        migrations.AddIndex(
            model_name='item',
            index=models.Index(condition=models.Q(('given_back', True), ('open_slots__gt', 0)), fields=['campaign', 'position'], name='item_given_back_idx'),
        ),
        migrations.AddIndex(
            model_name='item',
            index=models.Index(condition=models.Q(('audit', True), ('open_slots__gt', 0)), fields=['campaign', 'position'], name='item_audit_idx'),
        ),
        migrations.AddIndex(
            model_name='item',
            index=models.Index(condition=models.Q(('open_slots__gt', 0), ('rank__isnull', False)), fields=['campaign', 'rank'], name='item_rank_idx'),
        ),
        migrations.AddConstraint(
            model_name='campaign',
            constraint=models.CheckConstraint(condition=models.Q(('qualification_share__range', (0, 1)), ('random_share__range', (0, 1)), ('repeat_share__range', (0, 0.5))), name='campaign_shares_are_shares'),
        ),
        migrations.AddConstraint(
            model_name='item',
            constraint=models.UniqueConstraint(fields=('campaign', 'pair', 'question'), name='item_once_per_question'),
        ),
        migrations.AddConstraint(
            model_name='lease',
            constraint=models.UniqueConstraint(fields=('item', 'annotator', 'is_repeat'), name='lease_once_per_annotator'),
        ),
        migrations.AddConstraint(
            model_name='lease',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('drawn', 'repeat'), ('is_repeat', True)), models.Q(('is_repeat', False), models.Q(('drawn', 'repeat'), _negated=True), models.Q(('status', 'planned'), _negated=True)), _connector='OR'), name='lease_repeat_is_drawn_so'),
        ),
        migrations.AddField(
            model_name='auditentry',
            name='actor',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddIndex(
            model_name='failedsignin',
            index=models.Index(fields=['name', 'at'], name='failed_sign_in_name_idx'),
        ),
        migrations.AddIndex(
            model_name='failedsignin',
            index=models.Index(fields=['address', 'at'], name='failed_sign_in_address_idx'),
        ),
        migrations.AddField(
            model_name='invitation',
            name='campaign',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='invitations', to='annotate.campaign'),
        ),
        migrations.AddField(
            model_name='invitation',
            name='created_by',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='trial',
            name='membership',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='trials', to='annotate.membership'),
        ),
        migrations.AddField(
            model_name='trial',
            name='pair',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotate.pair'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['target', '-id'], name='audit_target_idx'),
        ),
        migrations.AddConstraint(
            model_name='invitation',
            constraint=models.CheckConstraint(condition=models.Q(('taken__lte', models.F('places'))), name='invitation_never_over_taken'),
        ),
        migrations.AddConstraint(
            model_name='trial',
            constraint=models.UniqueConstraint(fields=('membership', 'round', 'number'), name='trial_once_per_place'),
        ),
        migrations.AddConstraint(
            model_name='trial',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('answered_at', None), ('choice', '')), models.Q(models.Q(('choice', ''), _negated=True), ('answered_at__isnull', False)), _connector='OR'), name='trial_answered_has_choice'),
        ),
        migrations.RunSQL("UPDATE annotate_membership SET cursor = -1", migrations.RunSQL.noop),
        migrations.RunSQL(NEW_VIEW, "DROP VIEW annotate_preference"),
        migrations.RunPython(protect, unprotect),
    ]
