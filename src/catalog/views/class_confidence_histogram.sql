-- A class's labels by confidence, in bins of 0.05: closed below, open above, the last one closed at 1. Bins without images are left out.
-- Edges are compared in single precision, as confidences are stored: `guess` is the bin, or, by rounding just below an edge, the next one.
SELECT
    dataset,
    teacher,
    class,
    label,
    bin / CAST(20 AS REAL) AS confidence_from,
    (bin + CAST(1 AS REAL)) / CAST(20 AS REAL) AS confidence_to,
    count(*) AS images
FROM (
    SELECT
        dataset,
        teacher,
        class,
        label,
        CASE WHEN confidence < guess / CAST(20 AS REAL) THEN guess - CAST(1 AS REAL) ELSE guess END AS bin
    FROM (
        SELECT
            dataset,
            teacher,
            class,
            label,
            confidence,
            least(floor(confidence * CAST(20 AS REAL)), CAST(19 AS REAL)) AS guess
        FROM labels
    )
)
GROUP BY dataset, teacher, class, label, bin
