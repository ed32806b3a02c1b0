-- The second pass: keys, where they decide. Of rows that tie at the cut-off the first keys stay; who gets a copy more is chosen by
-- seeded_hash(seed, key).
SELECT key, class, confidence FROM candidates WHERE reason IS NULL
