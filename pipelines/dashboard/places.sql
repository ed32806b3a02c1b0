-- In which shards the images at the deciles of a class lie, the most confident one first; images of one confidence by shard and key. `wanted` has each one's place in the class, the step of
-- confidence where it lies, and its place among the images of that step: of the images at these steps, $s0 to $s10, alone confidences are sorted. `number` is its place among the images of
-- its shard that have its confidence.
SELECT wanted.place, placed.shard, placed.confidence, placed.number
FROM (
    SELECT
        step,
        shard,
        confidence,
        row_number() OVER surest_first AS place_in_step,
        CAST(row_number() OVER surest_first - rank() OVER surest_first AS BIGINT) + 1 AS number
    FROM (
        SELECT shard, confidence, CAST(floor(CAST(confidence AS DOUBLE) * 4096) AS BIGINT) AS step
        FROM labels
        WHERE dataset = $dataset AND teacher = $teacher AND class = $class
    )
    WHERE step IN ($s0, $s1, $s2, $s3, $s4, $s5, $s6, $s7, $s8, $s9, $s10)
    WINDOW surest_first AS (PARTITION BY step ORDER BY confidence DESC, shard)
) AS placed
JOIN wanted ON placed.step = wanted.step AND placed.place_in_step = wanted.place_in_step
ORDER BY wanted.place
