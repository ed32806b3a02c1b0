-- How many labels of each dataset each teacher has made, and how sure it is on average.
SELECT dataset, teacher, sum(images) AS labels, sum(confidence_sum) / sum(images) AS confidence
FROM class_bins
GROUP BY dataset, teacher
ORDER BY dataset, teacher
