-- How labels moved between two teachers: from which class to which, over all datasets, and by how much more sure the second one is of those images together.
SELECT from_class, to_class, count(*) AS images, sum(CAST(after AS DOUBLE) - CAST(before AS DOUBLE)) AS shift
FROM compared($before, $after)
GROUP BY from_class, to_class
