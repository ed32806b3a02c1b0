-- The second pass, for rows whose key decides something: of rows that tie at a cut-off the first keys stay, and who gets a copy more or belongs to
-- a sample is chosen by seeded_hash(seed, key). Where no soft labels are wanted ($kept), all rows that may be chosen are read here and kept for the third pass.
SELECT key, class, confidence
FROM candidates
WHERE reason IS NULL AND ($kept AND is_within_reach(class, confidence) OR NOT $kept AND is_decided_by_key(class, confidence))
