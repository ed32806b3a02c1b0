-- Every label with the first reason for which it is left out; null for a candidate.
--
-- `input` are the labels: key, class, confidence (Float32), sha256, phash, probs. Confidences are compared in single precision, so that a row
-- at exactly the threshold is out. `is_duplicate` and `is_leaked` look the row up in what two passes over fingerprints.sql found.
SELECT
    key,
    class,
    confidence,
    probs,
    first_reason(
        class IS NULL OR NOT is_confidence(confidence), 'invalid',
        NOT is_above(confidence, $threshold), 'threshold',
        $duplicates AND is_duplicate(sha256, key), 'duplicate',
        $leaks AND is_leaked(sha256, phash), 'leaked'
    ) AS reason
FROM input
