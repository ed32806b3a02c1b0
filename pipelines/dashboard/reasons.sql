-- Why images of a dataset have no label by a teacher.
SELECT stage, reason, images
FROM reject_reasons
WHERE dataset = $dataset AND teacher = $teacher
ORDER BY images DESC, stage, reason
