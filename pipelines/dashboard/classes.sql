-- How a teacher's labels of a dataset fall into classes, largest first.
SELECT class, label, images, mean_confidence
FROM class_distribution
WHERE dataset = $dataset AND teacher = $teacher
ORDER BY images DESC, class
