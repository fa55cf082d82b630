//! The replica inventory of one graph: what is asked for, what serves, what starts, what drains.
//!
//! Reading order: [`read`] gathers, `count` counts pods, [`roles`] finds the services that a plan is
//! about, `model` reads the model's name off a command line.

mod count;
mod model;
mod read;
mod roles;

pub use model::model_name;
pub use read::{
    DesiredSource, DgdInventory, InventoryError, InventoryOptions, PodSource, ServiceInventory,
    read,
};
pub use roles::{RoleError, find, find_model};
