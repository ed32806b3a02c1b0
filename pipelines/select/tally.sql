-- The first pass: how many candidates each class has, and the confidences of its best. Reads no keys and no soft labels.
SELECT class, confidence, reason FROM candidates
