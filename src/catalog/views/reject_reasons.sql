-- Why images of a dataset have no label.
SELECT
    dataset,
    teacher,
    stage,
    reason,
    count(*) AS images
FROM rejects
GROUP BY dataset, teacher, stage, reason
