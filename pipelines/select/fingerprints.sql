-- What is looked at for duplicates and for leaked held-out images: the rows that would otherwise be candidates. Read before
-- `is_duplicate` and `is_leaked` know anything, so that only the first two reasons apply. `$from` is the number next above the threshold, or where the
-- interval begins.
SELECT key, sha256, phash
FROM input
WHERE class IS NOT NULL AND confidence <= 1 AND confidence >= $from AND (confidence < $to OR $to >= 1)
