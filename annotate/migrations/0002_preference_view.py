"""The view behind `Preference` (one definition for SQLite and PostgreSQL) and the one row of RefitRequest."""

from django.db import migrations

CREATE = """
CREATE VIEW annotate_preference AS
WITH votes AS (
    SELECT item.pair_id,
           CASE WHEN person.simulated THEN 0 ELSE 1 END AS by_person,
           CASE judgement.choice WHEN 'first' THEN 1 ELSE 0 END AS chose_first,
           CASE judgement.choice WHEN 'second' THEN 1 ELSE 0 END AS chose_second
    FROM annotate_lease lease
    JOIN annotate_judgement judgement ON judgement.id = lease.judgement_id
    JOIN annotate_item item ON item.id = lease.item_id
    JOIN annotate_user person ON person.id = lease.annotator_id
    WHERE lease.status = 'answered'
), asked AS (
    SELECT pair_id, MAX(by_person) AS any_person FROM votes GROUP BY pair_id
), judged AS (
    SELECT votes.pair_id,
           MAX(any_person) AS any_person,
           COUNT(*) AS judgements,
           SUM(chose_first) AS votes_first,
           SUM(chose_second) AS votes_second
    FROM votes JOIN asked ON asked.pair_id = votes.pair_id AND asked.any_person = votes.by_person
    GROUP BY votes.pair_id
)
SELECT pair.id AS pair_id, pair.p_first, 'ground_truth' AS origin, CAST(1.0 AS double precision) AS weight,
       0 AS judgements, 0 AS votes_first, 0 AS votes_second
FROM annotate_pair pair WHERE pair.kind = 'anchored'
UNION ALL
SELECT judged.pair_id,
       (votes_first + 0.5 * (judgements - votes_first - votes_second)) / judgements,
       CASE any_person WHEN 1 THEN 'human' ELSE 'simulated' END,
       1.0,
       judgements, votes_first, votes_second
FROM judged JOIN annotate_pair pair ON pair.id = judged.pair_id WHERE pair.kind = 'contested'
UNION ALL
SELECT label.pair_id, label.p_first, 'svm', 1.0, 0, 0, 0
FROM annotate_autolabel label
WHERE label.predictor_id = (SELECT MAX(id) FROM annotate_predictor WHERE status = 'ready')
  AND NOT EXISTS (SELECT 1 FROM judged WHERE judged.pair_id = label.pair_id)
"""


def create_refit_row(apps, schema_editor):
    apps.get_model("annotate", "RefitRequest").objects.create(pk=1)


class Migration(migrations.Migration):
    dependencies = [("annotate", "0001_initial")]

    operations = [
        migrations.RunSQL(CREATE, "DROP VIEW annotate_preference"),
        migrations.RunPython(create_refit_row, migrations.RunPython.noop),
    ]
