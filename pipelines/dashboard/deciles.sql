-- The images of a class at the deciles of their confidence, the most confident one first.
SELECT key, confidence, place
FROM (
    SELECT key, confidence, row_number() OVER (ORDER BY confidence DESC, key) AS place
    FROM labels
    WHERE dataset = $dataset AND teacher = $teacher AND class = $class
)
WHERE place IN ($p0, $p1, $p2, $p3, $p4, $p5, $p6, $p7, $p8, $p9, $p10)
ORDER BY place
