-- As candidates.sql, for one interval of confidence (Figure 5 of the paper): [from, to), the last one closed at 1.
SELECT
    key,
    class,
    confidence,
    probs,
    first_reason(
        class IS NULL OR NOT is_confidence(confidence), 'invalid',
        NOT (confidence >= $from AND (confidence < $to OR $to >= 1)), 'threshold',
        $duplicates AND is_duplicate(sha256, key), 'duplicate',
        $leaks AND is_leaked(sha256, phash), 'leaked'
    ) AS reason
FROM input
