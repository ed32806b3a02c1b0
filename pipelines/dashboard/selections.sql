-- The selections, with their rows and these with their copies.
SELECT selection, count(*) AS classes, sum(kept) AS kept, sum(copies) AS copies
FROM selection_classes
GROUP BY selection
ORDER BY selection
