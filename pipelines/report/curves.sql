-- A training's curves: means over equal stretches of its steps, at most $buckets of them, whatever the number of steps. Numbers are rounded before they
-- are added, so that their sum is the same in any order, and the page the same to the byte. `held_out_after` is how many steps were done when a stretch's
-- evaluations were made.
SELECT
    bucket,
    min(step) AS first,
    max(step) AS last,
    avg(round(CAST(learning_rate AS DOUBLE) * 1e10)) / 1e10 AS learning_rate,
    avg(round(CAST(loss AS DOUBLE) * 1e6)) / 1e6 AS loss,
    avg(round(CAST(labelled_loss AS DOUBLE) * 1e6)) / 1e6 AS labelled_loss,
    avg(round(CAST(labelled_top1 AS DOUBLE) * 1e6)) / 1e6 AS labelled_top1,
    avg(round(CAST(pseudo_loss AS DOUBLE) * 1e6)) / 1e6 AS pseudo_loss,
    avg(round(CAST(pseudo_top1 AS DOUBLE) * 1e6)) / 1e6 AS pseudo_top1,
    avg(round(CAST(held_out_loss AS DOUBLE) * 1e6)) / 1e6 AS held_out_loss,
    avg(round(CAST(held_out_top1 AS DOUBLE) * 1e6)) / 1e6 AS held_out_top1,
    avg(CASE WHEN held_out_loss IS NOT NULL THEN CAST(step AS DOUBLE) + 1 END) AS held_out_after
FROM (
    SELECT *, step * $buckets / $steps AS bucket
    FROM training_metrics
    WHERE training = $training
)
GROUP BY bucket
ORDER BY bucket
