-- Some of the images whose label moved from one class to another between two teachers, those first of which the second teacher is most sure; $shards are the shards that have them.
SELECT before.dataset AS dataset, before.key AS key, before.confidence AS before, after.confidence AS after
FROM labels AS before
JOIN labels AS after ON before.dataset = after.dataset AND before.key = after.key
WHERE
    before.teacher = $before
    AND after.teacher = $after
    AND before.class IN ($from)
    AND after.class IN ($to)
    AND before.shard IN ($shards)
    AND after.shard IN ($shards)
ORDER BY after.confidence DESC, before.dataset, before.key
LIMIT $most
