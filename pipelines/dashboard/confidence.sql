-- A teacher's labels of a dataset by confidence, in 20 bins of 0.05.
SELECT CAST(round(CAST(confidence_from AS DOUBLE) * 20) AS BIGINT) AS bin, images
FROM confidence_histogram
WHERE dataset = $dataset AND teacher = $teacher
ORDER BY bin
