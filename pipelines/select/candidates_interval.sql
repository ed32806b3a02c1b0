-- As candidates.sql, for one interval of confidence (Figure 5 of the paper): [from, to), the last one closed at 1.
SELECT
    key,
    class,
    confidence,
    probs,
    CASE
        WHEN class IS NULL OR confidence IS NULL OR NOT (confidence >= 0 AND confidence <= 1) THEN 'invalid'
        WHEN NOT (confidence >= $from AND (confidence < $to OR $to >= 1)) THEN 'threshold'
        WHEN $duplicates AND is_duplicate(sha256, key) THEN 'duplicate'
        WHEN $leaks AND is_leaked(sha256, phash) THEN 'leaked'
    END AS reason
FROM input
