-- The teachers that have labelled anything.
SELECT teacher, count(*) AS labels FROM labels GROUP BY teacher ORDER BY teacher
