-- What is looked at for duplicates and for leaked held-out images: the rows that would otherwise be candidates. Read before
-- `is_duplicate` and `is_leaked` know anything, so that only the first two reasons apply.
SELECT key, sha256, phash
FROM input
WHERE confidence >= 0 AND confidence <= 1 AND class IS NOT NULL AND confidence > $threshold
