-- How labels moved between two teachers: from which class to which, over all datasets, and by how much more sure the second one is.
SELECT "from", "to", sum(images) AS images, sum(images * shift) / sum(images) AS shift
FROM churn($before, $after)
GROUP BY "from", "to"
ORDER BY images DESC, "from", "to"
