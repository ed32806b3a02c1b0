-- The selection, in the order of the labels. `is_chosen`, `rank_in_class` and `copies` know the cut-offs of the two passes; soft labels are
-- read for the chosen rows alone.
SELECT
    key,
    class,
    confidence,
    copies(class, key) AS copies,
    rank_in_class(class, confidence) AS rank,
    probs
FROM candidates
WHERE reason IS NULL AND is_chosen(class, confidence, key)
