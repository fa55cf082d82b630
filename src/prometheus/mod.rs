//! The room `prometheus`.
