-- The images of a class at the deciles of their confidence, the most confident one first. `wanted` has each one's place in the class, the step of confidence where it lies, and its
-- place among the images of that step: of the images at these steps, $s0 to $s10, alone keys are read and sorted.
SELECT wanted.class, wanted.place, placed.key, placed.confidence
FROM (
    SELECT
        step,
        key,
        confidence,
        row_number() OVER (PARTITION BY step ORDER BY confidence DESC, key) AS place_in_step
    FROM (
        SELECT key, confidence, CAST(floor(CAST(confidence AS DOUBLE) * 4096) AS BIGINT) AS step
        FROM labels
        WHERE dataset = $dataset AND teacher = $teacher AND class = $class
    )
    WHERE step IN ($s0, $s1, $s2, $s3, $s4, $s5, $s6, $s7, $s8, $s9, $s10)
) AS placed
JOIN wanted ON placed.step = wanted.step AND placed.place_in_step = wanted.place_in_step
ORDER BY wanted.place
