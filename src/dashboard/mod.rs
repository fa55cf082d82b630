//! The room `dashboard`.
