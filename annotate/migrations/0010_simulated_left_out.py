"""Answers of simulated annotators, and what the SVM learned from them, are labels only if the label policy says so."""

from importlib import import_module

from django.db import migrations, models

OLD_VIEW = import_module("annotate.migrations.0005_a_vote_each").NEW_VIEW
NEW_VIEW = """
CREATE VIEW annotate_preference AS
WITH policy AS (
    SELECT count_simulated FROM annotate_labelpolicy WHERE id = 1
), current AS (
    SELECT id, least_margin FROM annotate_predictor
    WHERE id = (
        SELECT MAX(id) FROM annotate_predictor
        WHERE status = 'ready' AND (simulated_labels = 0 OR (SELECT count_simulated FROM policy))
    )
), votes AS (
    SELECT item.pair_id, lease.annotator_id, judgement.id AS judgement_id, judgement.created_at,
           CASE WHEN person.simulated THEN 0 WHEN campaign.adjudicates_id IS NULL THEN 1 ELSE 2 END AS rank,
           CASE judgement.choice WHEN 'first' THEN 1 ELSE 0 END AS chose_first,
           CASE judgement.choice WHEN 'second' THEN 1 ELSE 0 END AS chose_second
    FROM annotate_lease lease
    JOIN annotate_judgement judgement ON judgement.id = lease.judgement_id
    JOIN annotate_item item ON item.id = lease.item_id
    JOIN annotate_campaign campaign ON campaign.id = item.campaign_id
    JOIN annotate_user person ON person.id = lease.annotator_id
    WHERE lease.status = 'answered' AND item.question = 'preference' AND NOT lease.is_repeat
      AND (NOT person.simulated OR (SELECT count_simulated FROM policy))
), ranked AS (
    SELECT pair_id, rank, chose_first, chose_second,
           MAX(rank) OVER (PARTITION BY pair_id) AS highest,
           ROW_NUMBER() OVER (
               PARTITION BY pair_id, annotator_id, rank ORDER BY created_at DESC, judgement_id DESC
           ) AS place
    FROM votes
), judged AS (
    SELECT pair_id,
           MAX(rank) AS rank,
           COUNT(*) AS judgements,
           SUM(chose_first) AS votes_first,
           SUM(chose_second) AS votes_second
    FROM ranked WHERE rank = highest AND place = 1
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
WHERE label.predictor_id = (SELECT id FROM current)
  AND NOT EXISTS (SELECT 1 FROM judged WHERE judged.pair_id = label.pair_id)
  AND ABS(label.p_first - 0.5) >= (SELECT least_margin FROM current)
"""


class Migration(migrations.Migration):
    dependencies = [("annotate", "0009_datasets")]

    operations = [
        # Dropped first: SQLite builds the tables anew that the view reads.
        migrations.RunSQL("DROP VIEW annotate_preference", OLD_VIEW),
        migrations.AddField(
            "labelpolicy",
            "count_simulated",
            models.BooleanField(
                default=False,
                help_text="answers of simulated annotators count as labels where no person has answered: for "
                "demonstrations",
            ),
        ),
        migrations.AddField(
            "predictor",
            "count_simulated",
            models.BooleanField(
                default=False, help_text="fitted while answers of simulated annotators counted as labels"
            ),
        ),
        # Until now they always counted.
        migrations.RunSQL(
            "UPDATE annotate_predictor SET count_simulated = true WHERE simulated_labels > 0", migrations.RunSQL.noop
        ),
        migrations.RunSQL(NEW_VIEW, "DROP VIEW annotate_preference"),
    ]
