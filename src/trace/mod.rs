//! The room `trace`.
