-- A class's labels by confidence, in bins of 0.05: closed below, open above, the last one closed at 1. Bins without images are left out.
SELECT
    dataset,
    teacher,
    class,
    label,
    CAST(bin AS REAL) / CAST(20 AS REAL) AS confidence_from,
    (CAST(bin AS REAL) + CAST(1 AS REAL)) / CAST(20 AS REAL) AS confidence_to,
    images
FROM class_bins
