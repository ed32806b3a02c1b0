-- Labels near a held-out image, by distance in bits.
SELECT distance, dropped, count(*) AS images, sum(CASE WHEN same_bytes THEN 1 ELSE 0 END) AS same_bytes
FROM leakage
WHERE selection = $selection
GROUP BY distance, dropped
ORDER BY distance, dropped
