-- The pairs that are shown: of those that were dropped and of those that were not the ones nearest to the limit, where a person can tell whether it
-- is set well.
SELECT key, held_out, distance, same_bytes, dropped
FROM (
    SELECT
        *,
        row_number() OVER (PARTITION BY dropped ORDER BY abs(CAST(distance AS DOUBLE) - $limit), same_bytes, key) AS place
    FROM leakage
    WHERE selection = $selection
)
WHERE place <= $pairs
ORDER BY dropped DESC, place
