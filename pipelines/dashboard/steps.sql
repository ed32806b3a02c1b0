-- How many labels of a class lie at each of 4,096 steps of confidence: enough to tell at which step a decile lies.
SELECT class, step, count(*) AS images, sum(confidence) AS confidence_sum
FROM (
    SELECT
        CAST(class AS BIGINT) AS class,
        CAST(floor(CAST(confidence AS DOUBLE) * 4096) AS BIGINT) AS step,
        CAST(confidence AS DOUBLE) AS confidence
    FROM labels
    WHERE dataset = $dataset AND teacher = $teacher AND class = $class
)
GROUP BY class, step
ORDER BY step DESC
