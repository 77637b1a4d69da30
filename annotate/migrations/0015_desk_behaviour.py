"""What annotators can say, the order and the attention checks of each, recruitment services.

Answers to attention checks, and answers of annotators whom a lead or failed checks exclude, are not votes. Everyone's
place in the order is forgotten: from now on each annotator has an order of their own.
"""

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models

OLD_VIEW = import_module("annotate.migrations.0010_simulated_left_out").NEW_VIEW
NEW_VIEW = OLD_VIEW.replace(
    """      AND (NOT person.simulated OR (SELECT count_simulated FROM policy))
), ranked""",
    """      AND (NOT person.simulated OR (SELECT count_simulated FROM policy))
      AND item.known_answer = ''
      AND NOT EXISTS (
          SELECT 1 FROM annotate_membership member
          WHERE member.campaign_id = item.campaign_id AND member.annotator_id = lease.annotator_id
            AND member.excluded_at IS NOT NULL
      )
), ranked""",
)
protect = import_module("annotate.migrations.0011_access").protect  # SQLite builds the table of judgements anew


class Migration(migrations.Migration):

    dependencies = [
        ('annotate', '0014_campaign_pages'),
    ]

    operations = [
        migrations.RunSQL("DROP VIEW annotate_preference", OLD_VIEW),
        migrations.CreateModel(
            name='Recruitment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('service', models.CharField(choices=[('prolific', 'Prolific'), ('mturk', 'Amazon Mechanical Turk')], max_length=8)),
                ('completion_code', models.CharField(blank=True, max_length=64)),
                ('completion_url', models.URLField(blank=True, max_length=300)),
                ('screened_out_code', models.CharField(blank=True, max_length=64)),
                ('screened_out_url', models.URLField(blank=True, max_length=300)),
            ],
        ),
        migrations.AddField(
            model_name='campaign',
            name='cant_tell_kinds',
            field=models.BooleanField(default=False, help_text="offer “both good” and “both bad” besides “can't tell”"),
        ),
        migrations.AddField(
            model_name='campaign',
            name='check_consequence',
            field=models.CharField(choices=[('report', 'only report it to the lead'), ('warn', 'warn the annotator'), ('pause', 'pause the annotator: no more pairs until a lead lifts it'), ('exclude', "exclude the annotator's answers from the votes")], default='report', help_text='what happens when an annotator falls below this share', max_length=7),
        ),
        migrations.AddField(
            model_name='campaign',
            name='check_required',
            field=models.FloatField(default=0.7, help_text='share of attention checks that must be answered correctly, 0 to 1'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='check_share',
            field=models.FloatField(default=0, help_text='share of attention checks among the pairs of each person: unmarked, the answer is known'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='guideline_first',
            field=models.BooleanField(default=False, help_text='the guideline must be opened once before the first pair'),
        ),
        migrations.AddField(
            model_name='example',
            name='radius',
            field=models.FloatField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='example',
            name='x',
            field=models.FloatField(blank=True, help_text='centre of the circle', null=True),
        ),
        migrations.AddField(
            model_name='example',
            name='y',
            field=models.FloatField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='item',
            name='known_answer',
            field=models.CharField(blank=True, choices=[('first', 'first'), ('second', 'second')], help_text='the better image of an attention check, which takes no slots and whose answers are not votes', max_length=6),
        ),
        migrations.AddField(
            model_name='judgement',
            name='cant_tell_kind',
            field=models.CharField(blank=True, choices=[('both_good', 'both good'), ('both_bad', 'both bad')], help_text="of a can't tell, if the annotator said so", max_length=9),
        ),
        migrations.AddField(
            model_name='judgement',
            name='note',
            field=models.CharField(blank=True, help_text="in the annotator's own words", max_length=500),
        ),
        migrations.AddField(
            model_name='lease',
            name='skip_note',
            field=models.CharField(blank=True, help_text="why, in the annotator's own words", max_length=500),
        ),
        migrations.AddField(
            model_name='membership',
            name='checked',
            field=models.PositiveIntegerField(default=0, help_text='attention checks answered'),
        ),
        migrations.AddField(
            model_name='membership',
            name='checks_since',
            field=models.DateTimeField(blank=True, help_text='earlier attention checks no longer count: a lead lifted what followed', null=True),
        ),
        migrations.AddField(
            model_name='membership',
            name='excluded_at',
            field=models.DateTimeField(blank=True, help_text='since when their answers in this campaign are not votes', null=True),
        ),
        migrations.AddField(
            model_name='membership',
            name='external_id',
            field=models.CharField(blank=True, editable=False, help_text='participant or worker', max_length=64),
        ),
        migrations.AddField(
            model_name='membership',
            name='external_session',
            field=models.CharField(blank=True, editable=False, help_text='session or assignment', max_length=64),
        ),
        migrations.AddField(
            model_name='membership',
            name='external_hash',
            field=models.CharField(blank=True, editable=False, help_text='salted hash of the participant, to recognise them', max_length=64),
        ),
        migrations.AddField(
            model_name='membership',
            name='external_study',
            field=models.CharField(blank=True, editable=False, help_text='study or HIT', max_length=64),
        ),
        migrations.AddField(
            model_name='membership',
            name='guideline_opened_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='membership',
            name='last_at',
            field=models.DateTimeField(blank=True, help_text='when they last answered or skipped', null=True),
        ),
        migrations.AddField(
            model_name='membership',
            name='paused_at',
            field=models.DateTimeField(blank=True, help_text='because of failed attention checks', null=True),
        ),
        migrations.AddField(
            model_name='membership',
            name='warned_at',
            field=models.DateTimeField(blank=True, help_text='because of failed attention checks', null=True),
        ),
        migrations.AddField(
            model_name='user',
            name='hotkeys',
            field=models.JSONField(blank=True, default=dict, editable=False, help_text='action of the desk -> key, where it is not the usual one'),
        ),
        migrations.AlterField(
            model_name='lease',
            name='drawn',
            field=models.CharField(choices=[('random', 'Random'), ('uncertain', 'uncertain first'), ('repeat', 'mirrored repeat'), ('check', 'attention check'), ('imported', 'from a file: how it was drawn is unknown')], default='random', max_length=9),
        ),
        migrations.AlterField(
            model_name='membership',
            name='cursor',
            field=models.BigIntegerField(default=-1, help_text='place of the last item leased to them, in their own order (annotate.desk.own_order)'),
        ),
        migrations.AddIndex(
            model_name='item',
            index=models.Index(condition=models.Q(('known_answer', ''), _negated=True), fields=['campaign', 'position'], name='item_check_idx'),
        ),
        migrations.AddIndex(
            model_name='lease',
            index=models.Index(condition=models.Q(('drawn', 'check')), fields=['annotator'], name='lease_check_idx'),
        ),
        migrations.AddConstraint(
            model_name='campaign',
            constraint=models.CheckConstraint(condition=models.Q(('check_required__range', (0, 1)), ('check_share__range', (0, 0.3))), name='campaign_check_shares_are_shares'),
        ),
        migrations.AddConstraint(
            model_name='example',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('radius', None), ('x', None), ('y', None)), models.Q(('radius__gt', 0), ('radius__lte', 0.5), ('x__range', (0, 1)), ('y__range', (0, 1))), _connector='OR'), name='example_circle_is_in_image'),
        ),
        migrations.AddConstraint(
            model_name='item',
            constraint=models.CheckConstraint(condition=models.Q(('known_answer', ''), ('open_slots', 0), _connector='OR'), name='item_check_has_no_slots'),
        ),
        migrations.AddConstraint(
            model_name='judgement',
            constraint=models.CheckConstraint(condition=models.Q(('cant_tell_kind', ''), ('choice', 'cant_tell'), _connector='OR'), name='judgement_kind_is_of_cant_tell'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.UniqueConstraint(condition=models.Q(('external_hash', ''), _negated=True), fields=('campaign', 'external_hash'), name='membership_once_per_participant'),
        ),
        migrations.AddField(
            model_name='recruitment',
            name='campaign',
            field=models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='recruitment', to='annotate.campaign'),
        ),
        migrations.RunSQL(
            "UPDATE annotate_membership SET cursor = -1, audit_cursor = -1",
            "UPDATE annotate_membership SET cursor = -1, audit_cursor = -1",
        ),
        migrations.RunSQL(NEW_VIEW, "DROP VIEW annotate_preference"),
        migrations.RunPython(protect, protect),
    ]
