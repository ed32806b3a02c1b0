-- How a teacher's labels of a dataset fall into classes, and of each class into 20 bins of confidence.
SELECT class, label, bin, images, confidence_sum
FROM class_bins
WHERE dataset = $dataset AND teacher = $teacher
ORDER BY class, bin
