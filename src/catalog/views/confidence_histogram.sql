-- All labels of a dataset by a teacher by confidence: class_confidence_histogram over the classes.
SELECT
    dataset,
    teacher,
    confidence_from,
    confidence_to,
    sum(images) AS images
FROM class_confidence_histogram
GROUP BY dataset, teacher, confidence_from, confidence_to
