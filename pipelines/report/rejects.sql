-- Images without a label, by reason, each with its first example.
SELECT
    teacher,
    stage,
    reason,
    count(*) AS images,
    min(key) AS example,
    first_value(detail ORDER BY key) AS detail
FROM rejects
WHERE dataset = $dataset AND (teacher = $teacher OR teacher = $filter)
GROUP BY teacher, stage, reason
ORDER BY images DESC, teacher, stage, reason
