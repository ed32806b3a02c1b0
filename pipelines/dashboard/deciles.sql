-- The images at the deciles of a class: `found` has what places.sql says of them. Of their shards, $s0 to $s10, alone keys are read.
SELECT CAST($class AS BIGINT) AS class, found.place, placed.key, placed.confidence
FROM (
    SELECT
        shard,
        key,
        confidence,
        CAST(row_number() OVER (PARTITION BY shard, confidence ORDER BY key) AS BIGINT) AS number
    FROM labels
    WHERE
        dataset = $dataset
        AND teacher = $teacher
        AND class = $class
        AND shard IN ($s0, $s1, $s2, $s3, $s4, $s5, $s6, $s7, $s8, $s9, $s10)
) AS placed
JOIN found ON placed.shard = found.shard AND placed.confidence = found.confidence AND placed.number = found.number
ORDER BY found.place
