-- The trainings and what became of them.
SELECT training, student, selection, teacher, steps, held_out_top1
FROM trainings
ORDER BY training
