-- How a teacher's labels of a dataset fall into classes.
SELECT
    dataset,
    teacher,
    class,
    label,
    sum(images) AS images,
    sum(confidence_sum) / sum(images) AS mean_confidence,
    max(confidence_max) AS max_confidence
FROM class_bins
GROUP BY dataset, teacher, class, label
