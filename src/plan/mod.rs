//! The room `plan`.

pub mod compat;
