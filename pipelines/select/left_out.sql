-- With --explain: every row that is left out, and why. One of the best K that is not chosen was not in their sample.
SELECT
    key,
    class,
    confidence,
    COALESCE(CAST(reason AS VARCHAR), CASE WHEN is_best(class, confidence, key) THEN 'sampled-out' ELSE 'beyond-k' END) AS reason
FROM candidates
WHERE reason IS NOT NULL OR NOT is_chosen(class, confidence, key)
