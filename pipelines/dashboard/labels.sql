-- How many labels of each dataset each teacher has made, and how sure it is on average.
SELECT dataset, teacher, count(*) AS labels, avg(confidence) AS confidence
FROM labels
GROUP BY dataset, teacher
ORDER BY dataset, teacher
