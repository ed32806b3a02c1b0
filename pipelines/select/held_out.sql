-- The fingerprints of a held-out dataset, from the labels of any teacher; a reject whose bytes were read has its SHA-256.
SELECT key, sha256, phash FROM labels WHERE dataset = $dataset
UNION ALL
SELECT key, sha256, CAST(NULL AS BIGINT UNSIGNED) AS phash FROM rejects WHERE dataset = $dataset AND sha256 IS NOT NULL
