import annotate.models.campaigns
import django.db.models.deletion
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('annotate', '0007_scorer_answers'),
    ]

    operations = [
        migrations.AlterField(
            model_name='campaign',
            name='adjudicates',
            field=models.ForeignKey(blank=True, editable=False, help_text='the campaign whose disagreements these answers resolve', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='adjudications', to='annotate.campaign'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='consent',
            field=models.TextField(blank=True, help_text='Markdown. If not empty, annotators must agree to it before the first pair'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='qualification_rounds',
            field=models.PositiveSmallIntegerField(default=3, help_text='number of attempts'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='qualification_share',
            field=models.FloatField(default=0.8, help_text='share that must be answered correctly, 0 to 1'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='qualification_size',
            field=models.PositiveSmallIntegerField(default=0, help_text='pairs with a known answer (one image is the photograph) to judge first; 0: none'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='quiet_hours',
            field=models.PositiveSmallIntegerField(default=24, help_text='warn the lead of an open campaign after this many hours without an answer'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='random_share',
            field=models.FloatField(default=0.2, help_text='share of items drawn at random even in uncertain-first order, for unbiased estimates'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='repeat_share',
            field=models.FloatField(default=0, help_text='share of answered pairs shown again later, mirrored, to the same annotator'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='seed',
            field=models.PositiveBigIntegerField(default=annotate.models.campaigns.random_seed, help_text='determines the order of items and the sides'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='show_input',
            field=models.BooleanField(default=True, help_text='annotators can view the low-quality input'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='show_reference',
            field=models.BooleanField(default=False, help_text='the photograph is shown next to the two images'),
        ),
        migrations.AlterField(
            model_name='candidate',
            name='key',
            field=models.UUIDField(default=uuid.uuid4, editable=False, help_text='identifies it in URLs', unique=True),
        ),
        migrations.AlterField(
            model_name='face',
            name='seed',
            field=models.BigIntegerField(help_text="seed of this face's random numbers"),
        ),
        migrations.AlterField(
            model_name='face',
            name='source_sha256',
            field=models.CharField(help_text='sha256 of the original file', max_length=64, unique=True),
        ),
        migrations.AlterField(
            model_name='failedsignin',
            name='name',
            field=models.CharField(help_text='hash of the name entered', max_length=64),
        ),
        migrations.AlterField(
            model_name='goldset',
            name='answers_sha256',
            field=models.CharField(blank=True, help_text='hash of pairs and answers at the freeze', max_length=64),
        ),
        migrations.AlterField(
            model_name='goldset',
            name='pairs_sha256',
            field=models.CharField(help_text="hash of its pairs' pictures and identities at creation", max_length=64),
        ),
        migrations.AlterField(
            model_name='goldset',
            name='seed',
            field=models.BigIntegerField(help_text='seed for drawing its faces'),
        ),
        migrations.AlterField(
            model_name='item',
            name='audit',
            field=models.BooleanField(default=False, help_text='drawn at random for unbiased estimates: never chosen for its small margin'),
        ),
        migrations.AlterField(
            model_name='item',
            name='given_back',
            field=models.BooleanField(default=False, help_text='a slot was returned: members whose cursor has passed the item must check it again'),
        ),
        migrations.AlterField(
            model_name='item',
            name='rank',
            field=models.PositiveIntegerField(help_text='rank by uncertainty of the newest SVM, most uncertain first', null=True),
        ),
        migrations.AlterField(
            model_name='judgement',
            name='key',
            field=models.UUIDField(help_text='created by the client; a repeated request has the same key', unique=True),
        ),
        migrations.AlterField(
            model_name='judgement',
            name='seconds',
            field=models.FloatField(blank=True, help_text='time from display to answer', null=True),
        ),
        migrations.AlterField(
            model_name='judgement',
            name='tools',
            field=models.JSONField(blank=True, default=dict, help_text='tool of the viewer -> number of uses'),
        ),
        migrations.AlterField(
            model_name='labelpolicy',
            name='audit_share',
            field=models.FloatField(default=0.2, help_text='share of training faces kept out of every fit while max_error is set'),
        ),
        migrations.AlterField(
            model_name='labelpolicy',
            name='confidence',
            field=models.FloatField(default=0.95, help_text='confidence level of the bound'),
        ),
        migrations.AlterField(
            model_name='labelpolicy',
            name='pinned',
            field=models.ForeignKey(blank=True, help_text='the version chosen by a rollback; the worker fits no newer one', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotate.predictor'),
        ),
        migrations.AlterField(
            model_name='lease',
            name='drawn',
            field=models.CharField(choices=[('random', 'Random'), ('uncertain', 'uncertain first'), ('repeat', 'mirrored repeat'), ('imported', 'from a file: how it was drawn is unknown')], default='random', max_length=9),
        ),
        migrations.AlterField(
            model_name='lease',
            name='due_after',
            field=models.PositiveIntegerField(help_text='number of answers after which the repeat is due', null=True),
        ),
        migrations.AlterField(
            model_name='lease',
            name='judgement',
            field=models.OneToOneField(blank=True, help_text='the current answer', null=True, on_delete=django.db.models.deletion.RESTRICT, related_name='+', to='annotate.judgement'),
        ),
        migrations.AlterField(
            model_name='lease',
            name='left_is_first',
            field=models.BooleanField(help_text='sides as shown; drawn once, so a reload shows the same'),
        ),
        migrations.AlterField(
            model_name='membership',
            name='answered',
            field=models.PositiveIntegerField(default=0, help_text='items answered, without mirrored repeats'),
        ),
        migrations.AlterField(
            model_name='membership',
            name='audit_cursor',
            field=models.BigIntegerField(default=-1, help_text='the same, for items reserved for unbiased estimates'),
        ),
        migrations.AlterField(
            model_name='membership',
            name='consent_sha256',
            field=models.CharField(blank=True, help_text='of the text they agreed to', max_length=64),
        ),
        migrations.AlterField(
            model_name='membership',
            name='cursor',
            field=models.BigIntegerField(default=-1, help_text='position of the last item leased to them'),
        ),
        migrations.AlterField(
            model_name='membership',
            name='given',
            field=models.PositiveIntegerField(default=0, help_text='items leased to them'),
        ),
        migrations.AlterField(
            model_name='predictor',
            name='audit',
            field=models.JSONField(default=dict, help_text='coverage and error on the random audit sample'),
        ),
        migrations.AlterField(
            model_name='predictor',
            name='grid_searched',
            field=models.BooleanField(default=False, help_text='if not, the parameters of the last grid search were used'),
        ),
        migrations.AlterField(
            model_name='predictor',
            name='last_judgement_id',
            field=models.BigIntegerField(default=0, help_text='newest judgement included'),
        ),
        migrations.AlterField(
            model_name='predictor',
            name='least_margin',
            field=models.FloatField(default=0, help_text='labels with |p - 1/2| below it do not count; above 1/2 no label counts'),
        ),
        migrations.AlterField(
            model_name='predictor',
            name='max_error',
            field=models.FloatField(help_text='bound on the error of its labels; empty: all labels count', null=True),
        ),
        migrations.AlterField(
            model_name='predictor',
            name='pairs_abstained',
            field=models.PositiveIntegerField(default=0, help_text='of these, too uncertain to count'),
        ),
        migrations.AlterField(
            model_name='refitrequest',
            name='note',
            field=models.TextField(blank=True, help_text='why there is no predictor yet'),
        ),
        migrations.AlterField(
            model_name='refitrequest',
            name='running_until',
            field=models.DateTimeField(help_text='a refit still running after this time was killed', null=True),
        ),
        migrations.AlterField(
            model_name='refitrequest',
            name='searching_until',
            field=models.DateTimeField(help_text='the same for the grid search', null=True),
        ),
        migrations.AlterField(
            model_name='scoreranswers',
            name='is_log_odds',
            field=models.BooleanField(default=False, help_text='the margins are log-odds, so they predict a probability'),
        ),
        migrations.AlterField(
            model_name='scoreranswers',
            name='margins',
            field=models.JSONField(default=dict, help_text='pair -> margin, positive if the first image is preferred'),
        ),
        migrations.AlterField(
            model_name='scoreranswers',
            name='reason',
            field=models.TextField(blank=True, help_text='why there are no answers, and what to do'),
        ),
        migrations.AlterField(
            model_name='stagerun',
            name='skipped',
            field=models.JSONField(default=dict, help_text='reason -> number of items'),
        ),
        migrations.AlterField(
            model_name='trial',
            name='choice',
            field=models.CharField(blank=True, help_text='left, right or cant_tell; empty if not answered yet', max_length=9),
        ),
        migrations.AlterField(
            model_name='trial',
            name='number',
            field=models.PositiveSmallIntegerField(help_text='index within the round, from 0'),
        ),
        migrations.AlterField(
            model_name='user',
            name='guest',
            field=models.BooleanField(default=False, help_text='joined through an invitation link; has no password'),
        ),
        migrations.AlterField(
            model_name='user',
            name='imported',
            field=models.BooleanField(default=False, help_text='represents an annotator whose answers were imported from a file'),
        ),
        migrations.AlterField(
            model_name='user',
            name='simulated',
            field=models.BooleanField(default=False, help_text='Answers come from a program and are marked as simulated everywhere.'),
        ),
    ]
