//! The room `controllers`.
