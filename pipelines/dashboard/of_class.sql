-- How many labels of a class there are.
SELECT label, count(*) AS images, avg(confidence) AS mean_confidence
FROM labels
WHERE dataset = $dataset AND teacher = $teacher AND class = $class
GROUP BY label
