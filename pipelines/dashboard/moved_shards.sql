-- Which shards have the images whose label moved from one class to another and of which the second teacher is most sure: no key is read to tell.
SELECT DISTINCT shard
FROM (
    SELECT dataset, shard, after
    FROM compared($before, $after)
    WHERE from_class IN ($from) AND to_class IN ($to)
    ORDER BY after DESC, dataset, shard
    LIMIT $most
)
ORDER BY shard
