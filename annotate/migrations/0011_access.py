"""Access tokens instead of the plain ones, return links of guests that end, members removed by a lead.

Judgements and the audit log stay append-only against REPLACE (SQLite) and TRUNCATE (PostgreSQL) too. A later migration
that rebuilds one of these tables on SQLite loses its triggers and must run `protect` of this migration again.
"""

import hashlib
import re
from datetime import timedelta
from importlib import import_module

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.utils import timezone

TOKEN_DAYS, GUEST_LINK_DAYS = 90, 30  # what the old ones get from now on
PLAIN_TOKENS = "authtoken_token"  # of the Django REST framework, which stored tokens as they are
GUEST = re.compile(r"guest-(\d+)-\d+")
# Rows that an INSERT OR REPLACE would replace: those that are equal in one of these groups of columns.
UNIQUE = {
    "annotate_judgement": (("id",), ("key",), ("lease_id", "revision")),
    "annotate_auditentry": (("id",),),
}


def protect(apps, schema_editor):
    """Create the triggers of both tables, whichever of them exist."""
    execute, vendor = schema_editor.execute, schema_editor.connection.vendor
    earlier = import_module("annotate.migrations.0003_judging_desk")
    for table, groups in UNIQUE.items():
        refusal = f"{table} is append-only"
        if vendor == "sqlite":
            for event in ("update", "delete", "replace"):
                execute(f"DROP TRIGGER IF EXISTS {table}_no_{event}")
            for statement in earlier._triggers(table, vendor):
                execute(statement)
            equal = " OR ".join(
                f"EXISTS (SELECT 1 FROM {table} WHERE " + " AND ".join(f"{name} = NEW.{name}" for name in group) + ")"
                for group in groups
            )
            execute(
                f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {equal} "
                f"BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
            )
        else:
            execute(f"DROP TRIGGER IF EXISTS {table}_no_truncate ON {table}")
            execute(
                f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()"
            )
            # Also while session_replication_role is `replica`, which switches ordinary triggers off.
            for trigger in ("append_only", "no_truncate"):
                execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{trigger}")


def unprotect(apps, schema_editor):
    for table in UNIQUE:
        if schema_editor.connection.vendor == "sqlite":
            schema_editor.execute(f"DROP TRIGGER {table}_no_replace")
        else:
            schema_editor.execute(f"DROP TRIGGER {table}_no_truncate ON {table}")


def hash_tokens(apps, schema_editor):
    """Keep the tokens in use, as hashes and with an expiry, and drop the table that held them in plain text."""
    connection = schema_editor.connection
    if PLAIN_TOKENS not in connection.introspection.table_names():
        return
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT key, user_id FROM {PLAIN_TOKENS}")
        plain = cursor.fetchall()
    expires_at = timezone.now() + timedelta(days=TOKEN_DAYS)
    token_of = apps.get_model("annotate", "AccessToken")
    token_of.objects.bulk_create(
        token_of(
            user_id=user,
            name="from before the upgrade",
            sha256=hashlib.sha256(key.encode()).hexdigest(),
            start=key[:6],
            expires_at=expires_at,
        )
        for key, user in plain
    )


def drop_plain_tokens(apps, schema_editor):
    schema_editor.execute(f"DROP TABLE IF EXISTS {PLAIN_TOKENS}")
    schema_editor.execute("DELETE FROM django_migrations WHERE app = 'authtoken'")


def give_guests_links(apps, schema_editor):
    """Let the return links of all guests end, and note which invitation each guest used, which their name says."""
    link_of, membership_of = apps.get_model("annotate", "GuestLink"), apps.get_model("annotate", "Membership")
    expires_at = timezone.now() + timedelta(days=GUEST_LINK_DAYS)
    guests = apps.get_model("annotate", "User").objects.filter(guest=True)
    link_of.objects.bulk_create(link_of(guest=guest, expires_at=expires_at) for guest in guests)
    campaign_of = dict(apps.get_model("annotate", "Invitation").objects.values_list("pk", "campaign_id"))
    for membership in membership_of.objects.filter(annotator__guest=True).select_related("annotator"):
        named = GUEST.fullmatch(membership.annotator.username)
        if named and campaign_of.get(int(named[1])) == membership.campaign_id:
            membership_of.objects.filter(pk=membership.pk).update(invitation=int(named[1]))


class Migration(migrations.Migration):

    dependencies = [
        ('annotate', "0010_simulated_left_out"),
    ]

    operations = [
        migrations.CreateModel(
            name='RecentJoin',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('address', models.CharField(help_text='hash of the network address', max_length=64)),
                ('at', models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.AddField(
            model_name='invitation',
            name='revoked_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='membership',
            name='invitation',
            field=models.ForeignKey(blank=True, help_text='whose place they took', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='takers', to='annotate.invitation'),
        ),
        migrations.AddField(
            model_name='membership',
            name='browser',
            field=models.CharField(blank=True, editable=False, help_text='hash of the cookie of the browser that took the place', max_length=64),
        ),
        migrations.AddField(
            model_name='membership',
            name='removed_at',
            field=models.DateTimeField(blank=True, help_text='when a lead ended the membership', null=True),
        ),
        migrations.CreateModel(
            name='GuestLink',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('version', models.PositiveIntegerField(default=1)),
                ('expires_at', models.DateTimeField(help_text='renewed whenever the guest uses the link')),
                ('guest', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='guest_link', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='KnownAddress',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='hash of the name', max_length=64)),
                ('address', models.CharField(db_index=True, help_text='hash of the network address', max_length=64)),
                ('at', models.DateTimeField(help_text='last sign-in with the right password')),
            ],
            options={
                'verbose_name_plural': 'known addresses',
                'constraints': [models.UniqueConstraint(fields=('name', 'address'), name='known_address_once')],
            },
        ),
        migrations.CreateModel(
            name='AccessToken',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text="what it is used for, in its owner's words", max_length=60)),
                ('sha256', models.CharField(help_text='hash of the token', max_length=64, unique=True)),
                ('start', models.CharField(blank=True, help_text='its first characters, to tell tokens apart', max_length=12)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('expires_at', models.DateTimeField()),
                ('last_used_at', models.DateTimeField(blank=True, help_text='to ten minutes', null=True)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='access_tokens', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(fields=['user', '-created_at'], name='access_token_user_idx')],
            },
        ),
        migrations.RunPython(hash_tokens, migrations.RunPython.noop),
        migrations.RunPython(drop_plain_tokens, migrations.RunPython.noop),
        migrations.RunPython(give_guests_links, migrations.RunPython.noop),
        migrations.RunPython(protect, unprotect),
    ]
