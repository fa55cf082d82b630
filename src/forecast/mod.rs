//! The room `forecast`.
