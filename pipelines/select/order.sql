-- The second pass, for rows whose key decides something: of rows that tie at a cut-off the first keys stay, and who gets a copy more or belongs to
-- a sample is chosen by seeded_hash(seed, key).
SELECT key, class, confidence FROM candidates WHERE reason IS NULL AND is_decided_by_key(class, confidence)
