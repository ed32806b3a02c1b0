-- The newest runs.
SELECT run, kind, outcome, error, CAST(started AS VARCHAR) AS started, dataset, teacher, selection, images, seconds, images_per_second
FROM runs
ORDER BY run DESC
LIMIT 12
