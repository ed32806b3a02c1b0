//! The student: what it is trained on, and how it is noised.

pub mod noise;
