-- With --explain: every row that is left out, and why.
SELECT
    key,
    class,
    confidence,
    COALESCE(reason, 'beyond-k') AS reason
FROM candidates
WHERE reason IS NOT NULL OR NOT is_chosen(class, confidence, key)
