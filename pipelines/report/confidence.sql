-- How confident the labels are that a selection was made of: 50 bins of 0.02. A bin has its upper edge, so that a label at exactly a threshold of
-- 0.3 lies below it, as it does in a selection; the rounding takes back what single precision adds to 0.3.
SELECT bin, count(*) AS images
FROM (
    SELECT least(greatest(CAST(ceil(round(CAST(confidence AS DOUBLE) * 50, 5)) AS BIGINT) - 1, 0), 49) AS bin
    FROM labels
    WHERE dataset = $dataset AND teacher = $teacher
)
GROUP BY bin
ORDER BY bin
