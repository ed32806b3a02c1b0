-- How many kept images of the classes that are shown lie at each of 4,096 steps of confidence: enough to tell at which step a decile lies.
SELECT class, step, count(*) AS images
FROM (
    SELECT class, CAST(floor(CAST(confidence AS DOUBLE) * 4096) AS BIGINT) AS step
    FROM selections
    WHERE selection = $selection AND (copy IS NULL OR copy = 0) AND class IN (SELECT class FROM shown)
)
GROUP BY class, step
ORDER BY class, step DESC
