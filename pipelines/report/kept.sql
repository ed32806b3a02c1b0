-- As confidence.sql, for the rows that were kept.
SELECT bin, count(*) AS images
FROM (
    SELECT least(greatest(CAST(ceil(round(CAST(confidence AS DOUBLE) * 50, 5)) AS BIGINT) - 1, 0), 49) AS bin
    FROM selections
    WHERE selection = $selection AND (copy IS NULL OR copy = 0)
)
GROUP BY bin
ORDER BY bin
