-- As left_out.sql, where one teacher filters and another labels: chosen rows that the other one has not labelled are left out as well.
SELECT
    key,
    class,
    confidence,
    COALESCE(CAST(reason AS VARCHAR), CASE WHEN is_best(class, confidence, key) THEN 'sampled-out' ELSE 'beyond-k' END) AS reason
FROM candidates
WHERE reason IS NOT NULL OR NOT is_chosen(class, confidence, key)
UNION ALL
SELECT chosen.key, chosen.class, chosen.confidence, 'unlabelled' AS reason
FROM (
    SELECT key, class, confidence
    FROM candidates
    WHERE reason IS NULL AND is_chosen(class, confidence, key)
) AS chosen
LEFT ANTI JOIN targets ON chosen.key = targets.key
