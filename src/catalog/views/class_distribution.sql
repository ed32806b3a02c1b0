-- How a teacher's labels of a dataset fall into classes.
SELECT
    dataset,
    teacher,
    class,
    label,
    count(*) AS images,
    avg(confidence) AS mean_confidence,
    max(confidence) AS max_confidence
FROM labels
GROUP BY dataset, teacher, class, label
