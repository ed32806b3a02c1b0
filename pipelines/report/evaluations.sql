-- The newest evaluation on held-out images and the best one, of equally good ones the first: one row where these are the same.
SELECT step, held_out_loss, held_out_top1
FROM (
    SELECT
        step,
        held_out_loss,
        held_out_top1,
        row_number() OVER (ORDER BY step DESC) AS newest,
        row_number() OVER (ORDER BY held_out_top1 DESC, step) AS best
    FROM training_metrics
    WHERE training = $training AND held_out_top1 IS NOT NULL
)
WHERE newest = 1 OR best = 1
ORDER BY step
