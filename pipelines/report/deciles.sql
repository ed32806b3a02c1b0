-- The kept images at the deciles of their class's confidence. `wanted` has each one's place in the class, counted from the most confident image on, the
-- step of confidence where it lies, and its place among the images of that step: only these have to be sorted.
SELECT wanted.class, wanted.place, placed.key, placed.confidence, placed.copies
FROM (
    SELECT
        class,
        step,
        key,
        confidence,
        copies,
        row_number() OVER (PARTITION BY class, step ORDER BY confidence DESC, key) AS place_in_step
    FROM (
        SELECT *, CAST(floor(CAST(confidence AS DOUBLE) * 4096) AS BIGINT) AS step
        FROM selections
        WHERE selection = $selection AND (copy IS NULL OR copy = 0)
    ) AS stepped
    WHERE EXISTS (SELECT 1 FROM wanted WHERE wanted.class = stepped.class AND wanted.step = stepped.step)
) AS placed
JOIN wanted ON placed.class = wanted.class AND placed.step = wanted.step AND placed.place_in_step = wanted.place_in_step
ORDER BY wanted.class, wanted.place
