-- Some of the images that have no label for a reason.
SELECT key, stage, detail, attempts
FROM rejects
WHERE dataset = $dataset AND teacher = $teacher AND reason = $reason
ORDER BY key
LIMIT $most
