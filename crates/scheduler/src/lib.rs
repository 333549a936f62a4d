//! Which node each instance goes to, and why.
//!
//! ```text
//!   Policy, Inventory ──▶ plan ──▶ Plan: a Decision with its Reasons, or a Refusal with what is missing where
//!                     ──▶ moves ─▶ Moves: where what stands on leaving nodes goes
//!             Inventory ──▶ audit ─▶ Violations: rules that do not hold as things stand
//! ```
//!
//! Invariant: the same inputs, in any order, give the same plan. Nothing here waits, reads a clock or draws chance.
//!
//! Does not start, stop or move an instance, and does not remember: what stands where comes in each time.

mod audit;
mod explain;
mod fleet;
mod index;
mod inventory;
mod owned;
mod place;
mod plan;
mod policy;
mod quantity;
mod rank;
mod refusal;
mod violation;
mod ways;

#[cfg(test)]
mod tests;

pub use audit::audit;
pub use inventory::{Constraints, Instance, Inventory, Node, Owner, Placed, Role, Sites};
pub use place::{moves, plan};
pub use plan::{Decision, Move, Moves, Plan, Reason, Shared};
pub use policy::{Policy, Racks};
pub use quantity::{Cores, Memory};
pub use refusal::{Obstacle, Obstructed, Refusal, SiteReport, WouldFit};
pub use violation::Violation;
