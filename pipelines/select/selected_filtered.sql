-- As selected.sql, where one teacher filters and another labels: the soft labels come from `targets`, joined by key. Rows that the other teacher
-- has not labelled are counted by `is_labelled` and left out.
SELECT
    chosen.key,
    chosen.class,
    chosen.confidence,
    chosen.copies,
    chosen.rank,
    targets.probs
FROM (
    SELECT
        key,
        class,
        confidence,
        copies(class, key) AS copies,
        rank_in_class(class, confidence) AS rank
    FROM candidates
    WHERE reason IS NULL AND is_chosen(class, confidence, key)
) AS chosen
LEFT JOIN targets ON chosen.key = targets.key
WHERE is_labelled(chosen.key, targets.key)
